"""Federated training on Ray actors: the same numbers as in one process, also where actors die or hang."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray
import torch

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.federated.rounds import StepParams
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.modules.mlp import MlpModel
from envs.errors import ConfigError

pytestmark = pytest.mark.slow

DEFAULTS: Any = load_part("algorithm", "federated", Source(None))
ESTIMATOR: dict[str, Any] = {
    "form": "gpomdp",
    "baseline": "time_mean",
    "normalise": True,
    "gamma": 0.999,
    "correction": "page",
    "is_per_decision": False,
    "most_ratio": 1e6,
    "least_effective_share": 0.0,
    "large_episodes": 12,
    "small_episodes": 4,
    "large_prob": 0.4,
    "epoch_rounds": 4,
}
VALUES: dict[str, Any] = {
    "n_clients": 4,
    "n_faulty": 0,
    "mode": "central",
    "graph": "complete",
    "aggregator": "mean",
    "agreement": "mean",
    "n_agreement_rounds": 2,
    "attack": "none",
    "attackers_move_every_rounds": 0,
    "step": StepParams("adam", 0.02, 0.0, "constant", 1.0, 1),
    "rounds_per_iteration": 1,
}
CUT = {"chunk_episodes": 2}
ACTORS = {**CUT, "collector": "actors", "n_actors": 2, "limit_s": 300.0}  # a loaded machine takes long to start actors
N_LOOKS = 300  # of a second each, until an actor is back


@pytest.fixture
def build(ray_session: None) -> Iterator[Any]:
    """Return a function that builds an algorithm, which is stopped afterwards."""
    built: list[Any] = []

    def make(stealing: dict[str, Any], **changes: Any) -> Any:
        settings = RunSettings(load_scenario("cartpole_v1"), seed=1, n_worlds=1, n_evaluation_worlds=4)
        parts = {
            "estimator": replace(DEFAULTS.estimator, **ESTIMATOR),
            "stealing": replace(DEFAULTS.stealing, **stealing),
        }
        params = replace(DEFAULTS, **{**VALUES, **parts, **changes})
        built.append(params.to_config(settings, MlpModel((16,), (16,), "tanh", False)).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def returns(algorithm: Any, n_iterations: int) -> list[float]:
    return [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(n_iterations)]


def vector(algorithm: Any) -> torch.Tensor:
    return algorithm.federation.vectors["shared"]


@pytest.mark.parametrize("mode", ["central", "decentralised"])
def test_learning_on_actors_is_that_in_one_process_also_when_resumed(build: Any, mode: str, tmp_path: Any) -> None:
    stealing = {**ACTORS, "speed_profile": "linear(ratio=4.0)", "emulated_step_s": 0.0005}
    alone, begun, resumed = build(CUT, mode=mode), build(stealing, mode=mode), build(stealing, mode=mode)

    expected = returns(alone, 6)
    found = returns(begun, 3)
    begun.save_to_path(str(tmp_path))
    resumed.restore_from_path(str(tmp_path))
    found += returns(resumed, 3)

    assert found == expected
    assert torch.equal(vector(resumed), vector(alone))
    figures = resumed.train()["learners"]["__all_modules__"]["federated"]
    assert figures["executors_up"] == 2.0
    assert 0.0 < figures["bound_s"] <= figures["makespan_s"]
    assert figures["clock_error_s"] > 0.0
    assert (
        abs(sum(value for name, value in figures.items() if name.startswith("round_") and name != "round_s") - 1.0)
        < 1e-6
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_episodes": 0, "part_steps": 8},  # a client's batch is one chunk, which others go on with
        {"chunk_episodes": "auto"},
        {"chunk_episodes": "auto", "least_chunk_s": 0.15, "part_steps": "auto"},
    ],
    ids=str,
)
def test_learning_does_not_know_where_actors_cut_batches_and_episodes(build: Any, changes: dict[str, Any]) -> None:
    profile = {"speed_profile": "bimodal(n_slow=1, slowdown=8.0)", "emulated_step_s": 0.0005}
    alone, shared = build({"chunk_episodes": 0}), build({**ACTORS, "n_actors": 4, **profile, **changes})

    expected = returns(alone, 5)

    assert returns(shared, 5) == expected
    assert torch.equal(vector(shared), vector(alone))
    assert shared.federation.figures["stolen_frac"] > 0.0
    if "part_steps" in changes:
        assert shared.federation.figures["handed_over"] >= 1.0


def test_actor_killed_with_the_rest_of_a_chunk_changes_no_gradient(build: Any) -> None:
    stealing = {"chunk_episodes": 0, "part_steps": 8, "n_actors": 4, "emulated_step_s": 0.0005}
    profile = "bimodal(n_slow=1, slowdown=8.0)"
    alone, shared = build({"chunk_episodes": 0}), build({**ACTORS, **stealing, "speed_profile": profile})
    expected = returns(alone, 3)
    team = shared.federation.collector.team
    killed: list[int] = []
    send = team.send

    def killing(member: int, chunk: Any, *arguments: Any) -> int:
        ticket: int = send(member, chunk, *arguments)
        if chunk.part and not killed:
            killed.append(member)
            ray.kill(team.handles[member])
        return ticket

    team.send = killing

    assert returns(shared, 3) == expected
    assert len(killed) == 1
    assert torch.equal(vector(shared), vector(alone))


def test_actor_killed_in_a_round_changes_no_gradient_and_comes_back(build: Any) -> None:
    alone, shared = build(CUT), build({**ACTORS, "emulated_step_s": 0.0005})
    expected = returns(alone, 4)
    found = returns(shared, 1)
    team = shared.federation.collector.team
    sent: list[int] = []
    send = team.send

    def killing(member: int, *arguments: Any) -> int:
        ticket: int = send(member, *arguments)
        sent.append(member)
        if member == 1 and sent.count(1) == 2:
            ray.kill(team.handles[1])  # while it has its second chunk of the round
        return ticket

    team.send = killing
    found += returns(shared, 1)
    figures = shared.federation.figures
    for _ in range(N_LOOKS):
        if team.is_up(1):
            break
        team.wait(1.0)
    sent.clear()
    found += returns(shared, 2)

    assert figures["executors_lost"] == 1.0
    assert figures["ledger_crashed"] in (1.0, 2.0)  # what it had, and what it had been sent ahead
    assert figures["crashed_frac"] > 0.0
    assert 1 in sent  # the one that took its place works again
    assert found == expected
    assert torch.equal(vector(shared), vector(alone))


def test_actor_that_hangs_is_ended_and_its_chunks_are_done_by_others(build: Any) -> None:
    # the first of two actors needs a million times as long, so that its lease ends
    stealing = {**ACTORS, "emulated_step_s": 0.0005, "speed_profile": "bimodal(n_slow=1, slowdown=1e6)", "lease_s": 5.0}
    alone, shared = build(CUT), build(stealing)

    assert returns(shared, 1) == returns(alone, 1)

    assert shared.federation.figures["ledger_expired"] >= 1.0
    assert shared.federation.figures["executors_lost"] >= 1.0
    assert torch.equal(vector(shared), vector(alone))


def test_poisoner_among_actors_spoils_only_its_own_vector(build: Any) -> None:
    # the first client, which lies, is ten times as fast as the others and steals from them
    stealing = {
        **ACTORS,
        "n_actors": 4,
        "emulated_step_s": 0.001,
        "speed_profile": "bimodal(n_slow=1, slowdown=0.1)",
        "attribution": "executor",
    }
    algorithm = build(stealing, n_faulty=1, aggregator="geometric_median", attack="chunk_poisoning")

    figures = algorithm.train()["learners"]["__all_modules__"]["federated"]

    assert figures["steals"] >= 1.0
    assert figures["aggregate_less_honest_mean_norm"] < 5.0


def test_more_actors_than_clients_are_refused(build: Any) -> None:
    with pytest.raises(StealingError, match="n_actors = 5"):
        build({**ACTORS, "n_actors": 5})
    with pytest.raises(ConfigError, match=r"attribution = executor: clients without a server"):
        build({**ACTORS, "attribution": "executor"}, mode="decentralised")
