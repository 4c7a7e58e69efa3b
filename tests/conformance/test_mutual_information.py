"""The mutual-information reward with algorithms as they run: remote runners, several learners, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.callbacks.mutual_information import add_mutual_information
from edge_rllib.callbacks.scalars import scalars
from edge_rllib.config.load import load_run
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.modules.mlp import MlpModel
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.slow,
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HORIZON_STEPS = 20
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, HORIZON_STEPS, 0.5, 0.6, 0, 0))
MODEL = MlpModel((32, 32), (32, 32), "relu", True)
REWARD = {
    "name": "explaboff",
    "estimator": {"n_negatives": 31},
    "batch_rows": 64,
    "start_rows": 64,
    "buffers": {"least_episodes": 4, "rows_per_episode": 0},
}


def config_of(algorithm: str = "mappo", **settings: Any) -> Any:
    params = load_part("algorithm", {"name": algorithm, "fragment_steps": 10}, Source(None))
    config = params.to_config(RunSettings(SCENARIO, **{"n_worlds": 8, **settings}), MODEL)
    return add_mutual_information(config, load_part("mutual_information", REWARD, Source(None)))


def build(algorithm: str = "mappo", **settings: Any) -> Any:
    return config_of(algorithm, **settings).build_algo()


def figures(result: dict[str, Any]) -> dict[str, float]:
    found = scalars(result)
    return {
        tag.removeprefix("mutual_information/"): found[tag] for tag in found if tag.startswith("mutual_information")
    }


def term_states(algorithm: Any) -> list[dict[str, Any]]:
    """Return the state of the reward term on each learner."""
    results = algorithm.learner_group.foreach_learner(lambda learner: learner.reward_terms[0].get_state())
    return [result.get() for result in results]


def trained(algorithm: Any, iterations: int = 8) -> dict[str, float]:
    found: dict[str, float] = {}
    for _ in range(iterations):
        found |= figures(algorithm.train())
    return found


def network_weights(state: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(key, name): np.asarray(v) for key, m in state["models"].items() for name, v in m["network"].items()}


def test_episodes_of_two_remote_runners_reach_the_estimators() -> None:
    algorithm = build(n_env_runners=2)
    try:
        found = trained(algorithm)
        (state,) = term_states(algorithm)
    finally:
        algorithm.stop()

    worlds = {world_id for _, _, (_, _, world_id, _) in state["buffers"]["all"]["heap"]}
    assert worlds == set(range(16))  # eight of each runner
    # 8 updates of 10 steps of 16 worlds; an episode ends with every second one
    assert state["counters"][:2] == (8 * 10 * 16, 4 * 16)
    assert len(state["buffers"]["all"]["heap"]) == 4 * 16
    assert {"share_of_reward", "lower_on_batch_nats", "upper_on_batch_nats", "superior_rows"} <= set(found)
    assert 0.0 < found["share_of_reward"] < 0.3


@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
def test_learners_hold_equal_copies() -> None:
    algorithm = build(n_learners=2)
    try:
        found = trained(algorithm)
        first, second = term_states(algorithm)
    finally:
        algorithm.stop()

    assert first["counters"] == second["counters"]
    assert first["buffers"]["all"]["n_pushed"] == second["buffers"]["all"]["n_pushed"] > 0
    ours, theirs = network_weights(first), network_weights(second)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert "lower_on_batch_nats" in found


def test_a_checkpoint_holds_estimators_buffers_and_open_episodes(tmp_path: Path) -> None:
    first, second = build(), build()
    try:
        trained(first)
        second.restore_from_path(first.save_to_path(str(tmp_path / "saved")))
        (saved,), (restored,) = term_states(first), term_states(second)
        assert saved["counters"] == restored["counters"]
        assert saved["cutter"]["open"].keys() == restored["cutter"]["open"].keys()

        trained(first, 3)
        trained(second, 3)
        ours, theirs = (network_weights(state) for (state,) in (term_states(first), term_states(second)))
    finally:
        first.stop()
        second.stop()

    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("algorithm", ["ippo", "a2c", "ddqn"])
def test_the_reward_is_added_to_any_algorithm(algorithm: str) -> None:
    built = build(algorithm)
    try:
        found = trained(built)
    finally:
        built.stop()

    assert found["bonus_std"] > 0.0


def test_the_reward_needs_a_learner_that_makes_batches() -> None:
    run = load_run("run/federated_cartpole", {"mutual_information": "explaboff"})

    with pytest.raises(ConfigError, match="where a Learner makes batches; federated training has none"):
        algorithm_config(run).build_algo()


# RLlib registers its environment anew for each stock runner of a process
@pytest.mark.filterwarnings("ignore:.*already in registry:UserWarning")
def test_the_reward_needs_the_batched_runner() -> None:
    config = config_of().use_stock_runner()

    with pytest.raises(ConfigError, match="does not work with RLlib's stock runner"):
        config.build_algo()
