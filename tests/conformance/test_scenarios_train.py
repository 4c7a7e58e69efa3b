"""Every algorithm trains on every scenario: a cross of one row and one column, and the full product as a slow test."""

from __future__ import annotations

import math

import pytest

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.paths import config_names
from edge_rllib.config.source import Source
from envs import registry
from envs.errors import ConfigError
from envs.scenario import make

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCENARIOS, ALGORITHMS = config_names("scenario"), registry.names("algorithm")
PAPER_BASELINES = ("cmoff", "mdoff", "mpoff", "mtoff")  # other values of algorithms that are listed, for MEC scenarios
N_STEPS = 10
N_CLIENTS = 2
SITES_LEARN_WITH = ("fragment_steps", "warm_up_steps", "minibatch_steps", "replay_steps", "updates_per_step")
MANY_AMOUNTS = 5  # beyond, COMA's counterfactual mean takes too many nodes
MANY_AGENTS = 50  # from here on a critic for each agent, of all agents' decisions, is gigabytes large


def assert_trains(scenario_name, algorithm_name):
    """Check that the smallest configuration of an algorithm trains on ten steps of one world."""
    scenario, source = load_scenario(scenario_name, {"params.horizon_slots": 20}), Source(None)
    n_agents = make(scenario, 1).spec.n_agents
    smallest = {
        "fragment_steps": N_STEPS,
        "train_on": "all",  # in ten steps of one world there may be one decision, or none
        "epochs": 1,
        "minibatch_rows": 5 * n_agents,  # two minibatches
        "warm_up_rows": 5 * n_agents,
        "replay_rows": 20 * n_agents,
        "replay_ratio": 1.0,
        "warm_up_steps": 5,
        "minibatch_steps": 5,
        "replay_steps": 20,
        "updates_per_step": 0.5,
        "critic": "attention" if n_agents >= MANY_AGENTS else "per_agent",
        "n_clients": N_CLIENTS,
        "n_sites": 2,
        "generation_steps": N_STEPS,
        "fitness_worlds": 2,
    }
    smallest["learner"] = {"name": "ddpg", **{key: smallest[key] for key in SITES_LEARN_WITH}}
    keys = vars(load_part("algorithm", algorithm_name, source)).keys()
    values = {"name": algorithm_name} | {key: value for key, value in smallest.items() if key in keys}
    params = load_part("algorithm", values, source)
    model = load_part("model", {"name": "mlp", "hidden": [4], "critic_hidden": [4]}, source)
    algorithm = params.to_config(RunSettings(scenario, n_worlds=1), model).build_algo()
    result = algorithm.train()
    algorithm.stop()
    if algorithm_name in ("federated", "collective"):
        (assert_federated if algorithm_name == "federated" else assert_collective)(result)
        return
    assert result["env_runners"]["num_env_steps_sampled"] == N_STEPS
    (logged,) = (values for module, values in result["learners"].items() if module != "__all_modules__")
    losses = [value for name, value in logged.items() if name.endswith("loss")]
    assert losses
    assert all(map(math.isfinite, losses))
    assert logged.get("gradient_steps", 1) > 0


def assert_federated(result):
    """Check a round, in which clients play whole episodes and there is no loss."""
    figures = result["learners"]["__all_modules__"]["federated"]
    assert result["num_env_steps_sampled_lifetime"] >= N_CLIENTS * 10
    assert figures["rounds"] == 1
    assert math.isfinite(figures["aggregate_norm"])
    assert figures["refused_vectors"] == 0


def assert_collective(result):
    """Check a generation of two sites, and that the master learns."""
    figures = result["learners"]["__all_modules__"]["collective"]
    assert result["num_env_steps_sampled_lifetime"] == 2 * N_STEPS
    assert (figures["version"], figures["members"]) == (1, 3)
    assert math.isfinite(figures["fitness/policy"])
    assert result["learners"]["joint"]["gradient_steps"] > 0


def test_there_is_something_to_train():
    assert len(SCENARIOS) >= 35
    assert len(ALGORITHMS) >= 4


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_trains_one_algorithm(name):
    assert_trains(name, "ippo")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_scenario_trains_every_algorithm(algorithm):
    assert_trains("ether_12_v1", algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in ("ippo", *PAPER_BASELINES)])
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_trains_every_algorithm(name, algorithm):
    n_amounts = make(load_scenario(name), 1).spec.n_amounts
    if (algorithm == "ddqn" and n_amounts) or (algorithm == "coma" and n_amounts > MANY_AMOUNTS):
        with pytest.raises(ConfigError, match="discrete decisions"):
            assert_trains(name, algorithm)
        return
    assert_trains(name, algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", PAPER_BASELINES)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("mec")])
def test_every_mec_scenario_trains_the_baselines_of_the_paper(name, algorithm):
    assert_trains(name, algorithm)
