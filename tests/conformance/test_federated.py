"""Federated training as an RLlib Algorithm: it learns among liars, is evaluated, and goes on from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.federated.params import RegionsParams
from edge_rllib.federated.rounds import StepParams
from edge_rllib.modules.mlp import MlpModel
from envs.errors import ConfigError, UnknownName

pytestmark = pytest.mark.usefixtures("ray_session")

DEFAULTS: Any = load_part("algorithm", "federated", Source(None))
ESTIMATOR: dict[str, Any] = {
    "form": "gpomdp",
    "baseline": "time_mean",
    "normalise": True,
    "gamma": 0.999,
    "correction": "none",
    "is_per_decision": False,
    "most_ratio": 1e6,
    "least_effective_share": 0.0,
    "large_episodes": 10,
    "small_episodes": 4,
    "large_prob": 0.2,
    "epoch_rounds": 4,
}
VALUES = {
    "n_clients": 4,
    "n_faulty": 1,
    "mode": "central",
    "graph": "complete",
    "aggregator": "nnm > trimmed_mean",
    "agreement": "nnm > trimmed_mean",
    "n_agreement_rounds": 3,
    "attack": "large_noise",
    "attackers_move_every_rounds": 0,
    "step": StepParams("adam", 0.02, 0.0, "constant", 1.0, 1),
    "rounds_per_iteration": 1,
}
OF_MODE: dict[str, dict[str, Any]] = {
    "central": {},
    "decentralised": {},
    "hierarchical": {"n_clients": 6, "regions": RegionsParams(2, "mean", 3, 0)},  # a liar is one of three
    "asynchronous": {},
}
MODES = pytest.mark.parametrize("mode", OF_MODE)


def params(estimator: dict[str, Any] | None = None, **changes: Any) -> Any:
    values = {"estimator": replace(DEFAULTS.estimator, **{**ESTIMATOR, **(estimator or {})})}
    return replace(DEFAULTS, **{**VALUES, **values, **changes})


def build(scenario: str = "cartpole_v1", **changes: Any) -> Any:
    settings = RunSettings(load_scenario(scenario), seed=1, n_worlds=1, n_evaluation_worlds=16)
    return params(**changes).to_config(settings, MlpModel((16, 16), (16,), "tanh", False)).build_algo()


@MODES
def test_poles_are_balanced_with_a_liar_among_four_clients(mode):
    # an untrained policy keeps a pole up for some 20 steps; 500 is the most
    algorithm = build(mode=mode, **OF_MODE[mode])

    for _ in range(35):
        result = algorithm.train()

    figures = result["learners"]["__all_modules__"]["federated"]
    assert result["env_runners"]["episode_return_mean"] > 300.0
    assert figures["rounds"] == 35
    assert result["env_runners"]["num_agent_steps_sampled"]["all"] > 35  # of the last round
    assert figures["aggregate_less_honest_mean_norm"] < 100.0  # lies of 386 numbers up to 1000 are kept away
    assert algorithm.evaluate()["env_runners"]["world"]["balanced_steps_mean"] > 300.0
    algorithm.stop()


@MODES
def test_a_resumed_run_is_the_run_that_was_not_interrupted(mode, tmp_path):
    correction = "none" if mode == "asynchronous" else "page"
    changes = {"mode": mode, "attack": "alie", "attackers_move_every_rounds": 2, **OF_MODE[mode]}
    changes["estimator"] = {"correction": correction}
    algorithm, resumed = build(**changes), build(**changes)
    for _ in range(3):
        algorithm.train()
    algorithm.save_to_path(str(tmp_path))
    resumed.restore_from_path(str(tmp_path))

    for _ in range(3):
        expected, found = algorithm.train(), resumed.train()

    assert found["env_runners"]["episode_return_mean"] == expected["env_runners"]["episode_return_mean"]
    assert found["num_env_steps_sampled_lifetime"] == expected["num_env_steps_sampled_lifetime"]
    algorithm.stop()
    resumed.stop()


def test_clients_learn_in_a_world_with_amounts():
    algorithm = build("mec_2es_3md_v1", attack="random_actions", estimator={"large_episodes": 20})

    result = algorithm.train()

    assert result["num_env_steps_sampled_lifetime"] >= 3 * 20
    assert 0.0 <= result["env_runners"]["world"]["success_frac"] <= 1.0  # under the names that evaluation has
    algorithm.stop()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"aggregator": "krum"}, ConfigError, r"krum: n = 4 clients of which f = 1"),
        ({"aggregator": "kruum"}, UnknownName, "did you mean 'krum'"),
        ({"attack": "dissensus"}, ConfigError, "expected a decentralised run"),
        ({"mode": "decentralised", "graph": "ring", "n_faulty": 2}, ConfigError, "client 0 hears 3 vectors"),
        ({"n_faulty": -1}, ConfigError, "n_faulty"),
        ({"n_faulty": 0}, ConfigError, "nobody attacks"),
        (
            {"mode": "asynchronous", "estimator": {"correction": "page"}},
            ConfigError,
            "correction = page without rounds",
        ),
        ({"mode": "hierarchical", "regions": RegionsParams(3, "mean", 1, 0)}, ConfigError, "region 0 has 1 clients"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(changes, error, message):
    with pytest.raises(error, match=message):
        build(**changes)


def test_remote_runners_are_refused():
    settings = RunSettings(load_scenario("cartpole_v1"), n_env_runners=2)
    with pytest.raises(ConfigError, match="clients are its runners"):
        params().to_config(settings, MlpModel((16,), (16,), "tanh", False))
