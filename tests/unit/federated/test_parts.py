"""Episodes that one executor begins and another ends: bit for bit what they are in one piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_rllib.federated.clients import Order
from edge_rllib.federated.pausing import Paused
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.ledger import fault_of
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import StealHalf
from edge_rllib.federated.stealing.speeds import Linear
from edge_rllib.federated.stealing.virtual import RoundSetting, simulate
from envs.errors import ConfigError

SIZE = {"n_clients": 4, "large_episodes": 6, "small_episodes": 4, "correction": "none"}


def order_of(federation: Any, round_: int = 0) -> Order:
    """Return the order of a large round."""
    return Order(round_, True, federation.vectors, None, None)


def in_parts(clients: Any, chunk: Any, order: Order, stops: Any) -> list[Any]:
    """Return the results of all parts, each executed by the next of the clients."""
    results, state = [], None
    while not results or results[-1].end is not None:
        client = clients[len(results) % len(clients)]
        result = client.execute_on(chunk, order, None, state, stops)
        assert fault_of(chunk, result) is None
        results.append(result)
        if result.end is not None:
            chunk, state = chunk.next_part(result.end, result.n_parts), result.end
    return results


@pytest.mark.parametrize("n_parts", [1, 2, 100])
@pytest.mark.parametrize("chunk_episodes", [0, "auto"])
@pytest.mark.parametrize("scenario", ["cartpole_v1", "mec_2es_3md_v1"])
def test_chunk_in_parts_is_the_chunk(server: Any, scenario: str, chunk_episodes: Any, n_parts: int) -> None:
    # two federations with networks and worlds of their own take turns, as two processes would
    here, there = (server(stealing={"chunk_episodes": chunk_episodes}, scenario=scenario, **SIZE) for _ in range(2))
    order = order_of(here)
    (whole,) = here.clients[1].chunks(order)
    expected = here.clients[1].execute(whole, order)
    lengths = expected.arrays["lengths"]
    part_steps = 7

    asked: list[int] = []
    cut = replace(whole, part_steps=part_steps)
    results = in_parts(
        (here.clients[1], there.clients[1]), cut, order, lambda n: bool(asked.append(n)) or len(asked) % n_parts == 0
    )

    last = results[-1]
    assert last.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert np.array_equal(last.arrays[name], array), name
    assert sum(result.n_steps for result in results) == lengths.sum()
    assert sum(result.n_parts for result in results) == -(-lengths.max() // part_steps)
    assert len(asked) == -(-lengths.max() // part_steps) - 1
    assert len(results) == len(asked) // n_parts + 1


def test_part_that_is_repeated_ends_where_it_did(server: Any) -> None:
    here, there = (server(stealing={}, **SIZE) for _ in range(2))
    order = order_of(here)
    (whole,) = here.clients[0].chunks(order, part_steps=3)
    first = here.clients[0].execute_on(whole, order, None, None, lambda n: n >= 2 * 3 * 6)

    again = there.clients[0].execute_on(whole.of_parts(first.n_parts), order, None, None, lambda n: False)

    assert first.n_parts >= 2
    assert again.digest == first.digest
    assert again.end == first.end


def test_state_is_the_same_bytes_wherever_it_was(server: Any) -> None:
    federation = server(stealing={}, **SIZE)
    order = order_of(federation)
    (chunk,) = federation.clients[2].chunks(order, part_steps=4)
    state = federation.clients[2].execute_on(chunk, order, None, None, lambda n: True).end

    paused = Paused.unpacked(state)

    assert paused.step == 4
    assert paused.columns.reward.shape == (4, 6, 1)
    assert paused.columns.observation.shape == (5, 6, 1, 4)
    assert paused.packed() == state


def test_batch_played_here_has_the_digest_of_its_parts_in_one(server: Any) -> None:
    federation = server(stealing={}, **SIZE)
    order = order_of(federation)
    (chunk,) = federation.clients[0].chunks(order, part_steps=5)

    together = federation.clients[0].execute(chunk, order)
    alone = federation.clients[0].execute_on(chunk, order, None, None, lambda n: False)

    assert together.n_parts == -(-together.arrays["lengths"].max() // 5)
    assert together.digest == alone.digest


def test_state_of_something_else_is_refused(server: Any) -> None:
    federation = server(stealing={}, **SIZE)
    order = order_of(federation)
    (chunk,) = federation.clients[0].chunks(order, part_steps=4)
    first = federation.clients[0].execute_on(chunk, order, None, None, lambda n: True)
    behind = chunk.next_part(first.end)

    with pytest.raises(StealingError, match="the state is not the one that it goes on from"):
        federation.clients[0].execute_on(behind, order, None, first.end + b"x", lambda n: False)
    with pytest.raises(StealingError, match="the state is not the one"):
        federation.clients[0].execute_on(behind, order, None, None, lambda n: False)
    assert torch.equal(federation.vectors["shared"], order.vectors["shared"])


VIRTUAL = {
    "collector": "virtual",
    "chunk_episodes": 0,
    "speed_profile": "bimodal(n_slow=1, slowdown=8.0)",
    "delay_s": 0.0002,
    "part_steps": 10,
}


@pytest.mark.parametrize("chunk_episodes", [0, 2, "auto"])
def test_tail_of_a_round_is_shorter_and_learning_is_the_same(server: Any, chunk_episodes: Any) -> None:
    cut = {**VIRTUAL, "chunk_episodes": chunk_episodes, "least_chunk_s": 0.2, "most_chunk_s": 0.2}
    federations = [
        server(stealing=stealing, **SIZE)
        for stealing in ({"chunk_episodes": chunk_episodes}, {**cut, "part_steps": 0}, cut)
    ]

    reports = [[federation.play() for _ in range(3)] for federation in federations]
    alone, whole, handed = federations

    assert reports[0] == reports[1] == reports[2]
    assert torch.equal(whole.vectors["shared"], alone.vectors["shared"])
    assert torch.equal(handed.vectors["shared"], alone.vectors["shared"])
    assert handed.figures["makespan_s"] < (0.6 if chunk_episodes == 0 else 0.95) * whole.figures["makespan_s"]
    assert handed.figures["bound_s"] == pytest.approx(whole.figures["bound_s"])


def test_parts_follow_the_time_of_a_chunk(server: Any) -> None:
    # 500 steps of 0.5 ms and 6 episodes: 1.5 s at most; 20 ms are 40 steps, 40 / 6 of each episode, so 7
    stealing = {**VIRTUAL, "speed_profile": "constant", "part_steps": "auto"}
    federation = server(stealing={**stealing, "least_latencies": 0.0}, **SIZE)
    short = server(stealing={**stealing, "least_latencies": 0.0, "most_chunk_s": 2.0}, **SIZE)

    assert federation.collector._plan(order_of(federation)).part_steps == 7
    assert short.collector._plan(order_of(short)).part_steps is None


def test_chunks_of_several_executors_count_for_none_of_them(server: Any) -> None:
    settings = {"n_faulty": 1, "aggregator": "geometric_median", **SIZE}

    with pytest.raises(ConfigError, match="part_steps = 10 with credit to executors"):
        server(stealing=VIRTUAL, **settings)
    assert server(stealing={**VIRTUAL, "part_steps": "auto"}, **settings).collector.sizing.part_steps == 0
    with pytest.raises(ConfigError, match="part_steps = -1"):
        server(stealing={**VIRTUAL, "part_steps": -1}, **SIZE)


def test_cut_chunks_are_checked_and_done_again(server: Any) -> None:
    settings = {"n_faulty": 1, "aggregator": "geometric_median", "attack": "chunk_poisoning", **SIZE}
    stealing = {**VIRTUAL, "chunk_episodes": 2, "check_prob": 1.0, "attribution": "owner", "delay_s": 0.0}
    federation = server(stealing={**stealing, "speed_profile": "bimodal(n_slow=1, slowdown=0.1)"}, **settings)
    honest = server(stealing={"chunk_episodes": 2}, **{**settings, "attack": ""})

    federation.play()
    honest.play()

    assert federation.figures["ledger_caught"] == 1.0
    assert torch.equal(federation.vectors["shared"], honest.vectors["shared"])


def test_work_of_parts_is_that_of_the_episodes_that_go_on() -> None:
    # two chunks for two clients at speeds 1 and 1/4; the slow one's is 4 s, and may be cut at 1 and at 3 s of work
    traces = Linear(4.0).traces(2, 0)
    slow = int(np.argmin([trace.speeds[0] for trace in traces]))
    speeds = [trace.speeds[0] for trace in traces]
    demands = [0.1, 0.1]
    demands[slow] = 4.0
    cuts: list[list[float]] = [[], []]
    cuts[slow] = [1.0, 3.0]
    setting = RoundSetting(traces, uniform_network(2), part_s=1.0, cuts_s=cuts)

    beliefs = Estimates(2, 4.0, speeds)
    for _ in range(3):
        beliefs.finished(4.0)

    played = simulate(demands, [0, 1], StealHalf(), setting, beliefs)

    # the fast one asks after 0.1 s at its own speed, and gets what is left behind the first second of work
    assert played.executors[slow] == 1 - slow
    assert played.ends_s[slow] == pytest.approx(1.0 / speeds[slow] + 3.0 / speeds[1 - slow])
    with pytest.raises(StealingError, match=r"cuts_s of 1 chunks: expected those of 2"):
        simulate(demands, [0, 1], StealHalf(), replace(setting, cuts_s=[[]]), None)
