"""Chunks as long as suits those who execute them: an estimate does not know where one ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.federated.batches import joined
from edge_rllib.federated.clients import Order, cut, execute
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.episodes import Streams
from edge_rllib.federated.stealing.chunks import Chunk, result_of
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from envs.errors import ConfigError

DEFAULTS: Any = load_part("algorithm", "federated", Source(None))
AUTO = {"chunk_episodes": "auto", "least_chunk_s": 0.02, "least_latencies": 10.0}
VIRTUAL = {**AUTO, "collector": "virtual", "speed_profile": "linear(ratio=4.0)", "delay_s": 0.0002}
SIZE = {"n_clients": 4, "large_episodes": 12, "small_episodes": 6}


def after(federation, n_rounds=4):
    """Return reports, the parameters behind them, and how many episodes the chunks of each round had."""
    reports, sizes = [], []
    for _ in range(n_rounds):
        reports.append(federation.play())
        sizes.append(federation.figures["chunk_episodes"])
    return reports, federation.vectors["shared"].clone(), sizes


@pytest.mark.parametrize(
    ("n", "most", "least", "sizes"),
    [(7, 2, 1, [2, 2, 2, 1]), (7, 2, 2, [3, 2, 2]), (3, 1, 2, [3]), (4, 3, 2, [2, 2]), (1, 1, 2, [1])],
)
def test_chunks_have_no_fewer_episodes_than_judge_each_other(n, most, least, sizes):
    assert cut(n, most, least) == sizes


@pytest.mark.parametrize(
    "estimator",
    [
        {"correction": "page"},
        {"baseline": "value", "correction": "none", "gae_lambda": 0.9, "normalise": True},
        {"correction": "none", "local_steps": 3},
        {"baseline": "none", "correction": "svrpg", "is_per_decision": True},
    ],
)
def test_learning_is_that_of_whole_batches_however_these_are_cut(server, estimator):
    whole = server(stealing={"chunk_episodes": 0}, **SIZE, **estimator)
    here = server(stealing=AUTO, **SIZE, **estimator)
    stolen = server(stealing=VIRTUAL, **SIZE, **estimator)
    finer = server(stealing={**VIRTUAL, "least_chunk_s": 0.001, "scheduler": "central_queue"}, **SIZE, **estimator)

    expected, vectors, _ = after(whole)
    found = [after(federation) for federation in (here, stolen, finer)]

    for reports, found_vectors, _ in found:
        assert reports == expected
        assert torch.equal(found_vectors, vectors)
    sizes = [each[2] for each in found]
    assert max(sizes[0]) == 12.0  # nobody asks for parts of a batch here
    assert max(sizes[1]) < 12.0
    assert max(sizes[2]) == 1.0
    assert stolen.figures["stolen_frac"] > 0.0
    assert finer.figures["stolen_frac"] > 0.0


def test_clients_with_parameters_of_their_own_keep_their_estimates(server):
    graph = {"graph": "complete", "agreement": "mean", **SIZE}
    whole, stolen = server(stealing={"chunk_episodes": 0}, **graph), server(stealing=VIRTUAL, **graph)

    (expected, vectors, _), (found, found_vectors, sizes) = after(whole, 3), after(stolen, 3)

    assert found == expected
    assert torch.equal(found_vectors, vectors)
    assert max(sizes) < 12.0


def test_agents_of_one_episode_stay_together_in_the_batch(server):
    # three devices in each world, whose streams judge those of other episodes only
    small = {"large_episodes": 3, "small_episodes": 2, "n_clients": 2, "scenario": "mec_2es_3md_v1"}
    whole = server(stealing={"chunk_episodes": 0}, **small)
    stolen = server(stealing={**VIRTUAL, "least_chunk_s": 0.0001, "delay_s": 0.0}, **small)

    (expected, vectors, _), (found, found_vectors, sizes) = after(whole, 2), after(stolen, 2)

    assert found == expected
    assert torch.equal(found_vectors, vectors)
    assert max(sizes) == 1.0


def test_a_chunk_takes_the_time_asked_for(server):
    # a step takes 0.5 ms at speed 1: 0.05 s are 100 steps, over the mean length of the episodes
    federation = server(stealing={**VIRTUAL, "least_chunk_s": 0.05, "delay_s": 0.0}, **SIZE, correction="none")
    federation.play()
    mean_steps = federation.collector.sizing.mean_steps
    federation.collector.estimates.prior_speeds = [1.0] * 4

    federation.play()

    n_episodes = int(np.ceil(100.0 / mean_steps))
    assert 1 < n_episodes < 12
    assert federation.figures["chunk_episodes"] == max(cut(12, n_episodes))


def test_a_chunk_takes_ten_times_as_long_as_to_ask_for_it(server):
    # 2 * 4 ms to ask and be answered: 80 ms instead of 20, which leaves four chunks of 40 episodes
    many = {**SIZE, "large_episodes": 40}
    slow, fast = (
        server(stealing={**VIRTUAL, "delay_s": delay_s, "speed_profile": "constant"}, **many, correction="none")
        for delay_s in (0.004, 0.0)
    )

    (*_, of_slow), (*_, of_fast) = after(slow, 2), after(fast, 2)

    mean_steps = slow.collector.sizing.mean_steps
    assert of_fast[1] < of_slow[1]
    assert of_slow[1] == pytest.approx(0.08 / (0.0005 * mean_steps), abs=1.5)


@pytest.mark.parametrize("attribution", ["owner", "executor"])
def test_saved_run_cuts_its_batches_as_it_would_have(server, attribution):
    stealing = {**VIRTUAL, "attribution": attribution, "speed_profile": "log_normal(each_round=true)"}
    settings = {"stealing": stealing, "n_faulty": 1, "aggregator": "geometric_median", "attack": "alie", **SIZE}
    whole, begun, resumed = (server(**settings) for _ in range(3))
    after(whole, 3)
    after(begun, 3)
    resumed.set_state(begun.get_state())

    expected, found = after(whole), after(resumed)

    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])
    assert found[2] == expected[2]


def test_executors_credit_has_two_episodes_that_judge_each_other(server):
    stealing = {**VIRTUAL, "attribution": "executor", "least_chunk_s": 0.001}
    federation = server(stealing=stealing, n_faulty=1, aggregator="geometric_median", **SIZE)

    reports, vectors, sizes = after(federation)

    assert max(sizes) == 2.0
    assert all(report.aggregate_norm > 0.0 for report in reports)
    assert vectors.isfinite().all()


def test_forged_episodes_stay_with_who_forged_them(server):
    # the first client is the fastest, and forges the rewards of what it steals
    settings = {"n_faulty": 1, "attack": "chunk_poisoning", "aggregator": "geometric_median", **SIZE}
    common = {**VIRTUAL, "speed_profile": "bimodal(n_slow=1, slowdown=0.1)", "delay_s": 0.0}
    by_owner, by_executor = (
        server(stealing={**common, "attribution": how}, **settings) for how in ("owner", "executor")
    )

    spoilt, kept = by_owner.play(), by_executor.play()

    assert by_owner.figures["steals"] >= 2.0
    assert spoilt.distance > 10.0 * kept.distance


def test_batch_is_put_together_in_the_order_of_its_episodes():
    # one stream of 2 steps, one of 1: the batch has 2 steps, and zero behind the end of the second
    chunks = [Chunk("run", 0, 0, i, 0, 0, horizon=9, n_episodes=1) for i in (0, 1)]
    results = [
        result_of(chunk, 1, steps, {f"stream/a/b/{name}": np.full((steps, 1), value) for name in Streams._fields})
        for chunk, steps, value in zip(chunks, (2, 1), (3.0, 4.0), strict=True)
    ]

    streams = joined(results)

    assert list(streams) == ["a/b"]
    assert streams["a/b"].reward.tolist() == [[3.0, 4.0], [3.0, 0.0]]


def test_beliefs_of_lengths_follow_the_size_of_chunks():
    estimates = Estimates(2, 1.0)
    for demand_s in (1.0, 3.0):
        estimates.finished(demand_s)

    estimates.resize(2.0)

    assert estimates.mean_s == 4.0  # of 2 and 6
    assert estimates.expected_s == 2.0
    assert estimates.rest_s(4.0) == 2.0  # the longer one's
    with pytest.raises(StealingError, match=r"chunks 0\.0 times as long"):
        estimates.resize(0.0)


def test_episodes_are_what_they_are_whatever_chunk_they_are_in(server):
    federation = server(stealing=AUTO, **SIZE)
    client = federation.clients[1]
    order = Order(2, True, federation.vectors, None, None)

    found = [np.concatenate([client.worlds_of(c) for c in client.chunks(order, most)]) for most in (0, 1, 5)]

    assert all(np.array_equal(each, found[0]) for each in found)
    assert [c.index for c in client.chunks(order, 5)] == [0, 4, 8]
    assert isinstance(federation.collector, Collector)
    assert len(execute([client], [])) == 0


def test_models_that_depend_on_company_are_refused(server):
    with pytest.raises(ConfigError, match="chunk_episodes = auto with module shared"):
        server(stealing=AUTO, scenario="mec_2es_3md_v1", over={"model": "target_mlp"}, **SIZE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"least_chunk_s": 0.0}, "least_s=0.0"),
        ({"least_chunk_s": 0.5}, "most_s=0.2"),
        ({"least_latencies": -1.0}, "=-1"),
    ],
)
def test_limits_out_of_range_are_refused(changes, message):
    with pytest.raises(StealingError, match=message):
        replace(DEFAULTS.stealing, **changes)
