"""Every registered network and every registered workload in whole episodes, through the public checks."""

import pytest

import envs
from edge_rllib.config.paths import config_names
from envs import registry
from envs.matching.world import MatchingParams
from envs.scenario import Scenario
from envs.testing import check_topology, check_workload, check_world

TOPOLOGIES, WORKLOADS = registry.names("topology"), registry.names("workload")
N_STEPS, N_EPISODES, N_WORLDS = 40, 2, 3

# Tasks are rare beside a horizon of 4 s: ten times the rate of the yaml brings every queue to its limit at times.
BUSY = {"name": "poisson", "tasks_per_s": 40.0}


def test_there_is_something_to_check():
    assert len(TOPOLOGIES) >= 11
    assert len(WORKLOADS) >= 8
    assert "fog" in registry.names("world")


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_fog_world_on_every_topology_keeps_the_contract(scenario, name):
    report = check_world(scenario(name, BUSY))
    assert report.n_steps == N_STEPS * N_EPISODES
    assert report.n_episodes == N_WORLDS * N_EPISODES
    # a single node has one target, which is never masked
    assert (report.n_masked > 0, report.raises_in_debug) == ((False, False) if name == "single" else (True, True))


@pytest.mark.parametrize("name", WORKLOADS)
def test_fog_world_under_every_workload_keeps_the_contract(scenario, name):
    report = check_world(scenario({"name": "ether_urban", "clusters": 2}, name))
    assert report.n_steps == N_STEPS * N_EPISODES
    assert report.n_masked > 0


@pytest.mark.parametrize(
    "params",
    [
        {"decisions_per_step": 3},
        {"slots_per_step": 4},
        {"undecided": "hold", "deadlines": "waiting"},
        {"undecided": "hold", "discipline": "sharing", "deadlines": "hard"},
        {"discipline": "priority", "service": "aggregate", "contention": "none"},
        {"discipline": "edf", "deadlines": "hard", "contention": "fair"},
        {"discipline": "lifo", "results": "shortest", "information": "exact"},
        {"decide_on": "events", "undecided": "hold"},
        {"agents": "all", "max_hops": 3, "report_every_slots": 5},
        {"agents": "devices", "max_hops": 0, "max_alive_tasks": 20},
        {"debug": True},
        {"reward": {"preset": "response", "terms": {"energy_j": -0.01}, "team_frac": 0.5}},
        {"reward": {"preset": "sparse", "shaping": {"potential": "load_variance"}}},
    ],
    ids=lambda params: " ".join(params),
)
def test_fog_world_with_every_option_keeps_the_contract(scenario, params):
    report = check_world(scenario("ether_urban", BUSY, **params))
    if params.get("decide_on") == "events":
        assert report.n_episodes >= N_WORLDS * N_EPISODES
    else:
        assert report.n_steps == N_STEPS * N_EPISODES // params.get("slots_per_step", 1)
    assert report.raises_in_debug


@pytest.mark.parametrize("name", config_names("scenario"))
def test_every_named_scenario_keeps_the_contract(named, name):
    assert check_world(named(name)).n_episodes >= N_WORLDS * N_EPISODES


@pytest.mark.parametrize(("lag_steps", "n_amounts"), [(0, 0), (2, 0), (0, 3)])
def test_matching_world_keeps_the_contract(lag_steps, n_amounts):
    params = MatchingParams(4, 5, 20, task_prob=0.5, allowed_prob=0.6, lag_steps=lag_steps, n_amounts=n_amounts)
    report = check_world(Scenario("matching", "matching", None, 0, None, params))
    assert (report.n_steps, report.n_episodes) == (40, 6)
    assert report.n_masked > 0


def test_check_world_is_at_the_front_door(scenario):
    assert envs.check_world is check_world
    assert envs.check_world(lambda n, seed, first: envs.make(scenario(), n, seed, first)).n_steps == 80


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_topology_is_a_function_of_its_generator(part, name):
    report = check_topology(part("topology", name))
    assert report.n_networks == 3
    assert report.n_nodes >= 3


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_is_a_function_of_its_draws(part, scenario, name):
    report = check_workload(part("workload", name), scenario("ether_urban").network())
    assert report.n_tables == report.n_distinct == 8
    assert report.n_tasks > 200  # enough that the declared rate was compared
