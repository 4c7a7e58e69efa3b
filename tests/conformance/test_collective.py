"""Collective training: the same numbers in one process and in several, resumed or not, whoever dies meanwhile."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import ray

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.collective.errors import PushError
from edge_rllib.collective.mutation import NoMutation
from edge_rllib.collective.population import Population
from edge_rllib.collective.vectors import vector_of
from edge_rllib.compat import local_learner
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.modules.mlp import MlpModel
from envs.errors import ConfigError

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LEARNER = {"name": "ddpg", "warm_up_steps": 80, "minibatch_steps": 32, "save_replay": True}
SHORT = {"learner": LEARNER, "n_sites": 3, "generation_steps": 160, "fitness_worlds": 4, "fitness_rule": "one_server"}
MLP = MlpModel((16,), (16,), "relu", False)


def values_of(**values):
    return load_part("algorithm", {"name": "collective", **SHORT, **values}, Source(None))


def build(n_learners=0, **values):
    scenario = load_scenario("mec_2es_3md_v1")
    settings = RunSettings(scenario, seed=3, n_worlds=8, total_env_steps=10_000, n_learners=n_learners)
    return values_of(**values).to_config(settings, MLP).build_algo()


def train(algorithm, iterations):
    return [figures_of(algorithm.train()) for _ in range(iterations)]


def figures_of(result):
    found = result["learners"]["__all_modules__"]["collective"]
    timed = {"push_s_median", "pull_s_median", "train_s_mean"}
    return {name: float(value) for name, value in found.items() if name not in timed}


def policies(algorithm):
    return algorithm.team.ask(lambda population: {site: population.last_of(site)[1] for site in population.present})


def optimizers_of(site):
    return [optimizer for _, optimizer in local_learner(site.algorithm).get_optimizers_for_module()]


def learnt(algorithm):
    """Return what each learner of the master knows."""
    found = algorithm.learner_group.foreach_learner(lambda learner: vector_of(learner.module))
    return [each.get() for each in found]


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for site, vector in first.items():
        np.testing.assert_array_equal(vector, second[site], err_msg=site)


def test_sites_explore_share_and_are_judged():
    algorithm = build(pull="always")
    first, second = train(algorithm, 2)
    assert (first["members"], first["version"], second["version"]) == (4.0, 1.0, 2.0)  # the master is one
    assert (first["pulled_frac"], second["pulled_frac"]) == (0.0, 1.0)
    assert second["sites_env_steps"] == 2 * 3 * 160
    assert second["exploration_cost"] > first["exploration_cost"] > 0.0
    n_numbers = len(next(iter(policies(algorithm).values())))
    assert second["bytes/site_to_population"] == second["bytes/population_to_site"] == 3 * 4 * n_numbers
    assert second["bytes/experience_to_master"] == second["bytes/site_to_experience"] > 0.0
    best = max(second["fitness/master"], second["fitness/joined"], second["fitness/fittest"])
    assert second["fitness/policy"] == best
    logged = algorithm.train()["learners"]["joint"]
    assert logged["gradient_steps"] > 0  # of the master
    algorithm.stop()


def test_sites_begin_alike_in_worlds_of_their_own():
    algorithm = build(pull="never", mutation="none", experience={"share": False})
    sites = algorithm.team.sites
    ids = np.concatenate([site.algorithm.env_runner.world_ids for site in sites.values()])
    assert len(np.unique(ids)) == 24
    train(algorithm, 1)
    sent = policies(algorithm)
    assert "master" not in sent
    assert not np.array_equal(sent["site_0"], sent["site_1"])
    algorithm.stop()


@pytest.mark.slow
def test_sites_may_have_a_geometry_of_their_own():
    settings = RunSettings(load_scenario("multiuser_sites_10"), n_worlds=4)
    values = values_of(topology_seeds="own", fitness_rule="local", generation_steps=100)
    algorithm = values.to_config(settings, MLP).build_algo()
    sites = algorithm.team.sites.values()
    seeds = [site.algorithm.config.env_config["scenario"].topology_seed for site in sites]
    assert seeds == [1, 2, 3]
    seen = [site._judging.rule_return for site in sites]
    assert len(set(seen)) == 3  # the same random numbers, in worlds that differ
    algorithm.stop()


def test_actors_make_the_same_policies_as_one_process():
    one, several = build(), build(n_actors=2)
    first, second = train(one, 3), train(several, 3)
    assert first == second
    assert_equal(policies(one), policies(several))
    one.stop()
    several.stop()


@pytest.mark.parametrize("n_actors", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_population_is_the_one_that_was_not_interrupted(n_actors, tmp_path):
    values = {"joining": "cem", "mutation": "safe(prob=0.5)", "n_actors": n_actors}
    algorithm, resumed = build(**values), build(**values)
    train(algorithm, 2)
    algorithm.save_to_path(str(tmp_path))
    expected = train(algorithm, 2)
    resumed.restore_from_path(str(tmp_path))
    assert train(resumed, 2) == expected
    assert_equal(policies(resumed), policies(algorithm))
    algorithm.stop()
    resumed.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
def test_a_master_with_a_remote_learner_is_the_local_one_resumed_or_not(tmp_path):
    local, remote, resumed = build(), build(n_learners=1), build(n_learners=1)
    assert not remote.learner_group.is_local
    expected = train(local, 2)
    assert train(remote, 2) == expected
    assert any(each["master_replaced"] for each in expected)  # it was given a vector, too
    remote.save_to_path(str(tmp_path))
    resumed.restore_from_path(str(tmp_path))
    expected = train(local, 2)
    assert train(remote, 2) == expected
    assert train(resumed, 2) == expected
    for other in (remote, resumed):
        assert_equal(policies(local), policies(other))
        np.testing.assert_array_equal(learnt(local), learnt(other))
        other.stop()
    local.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # as above
def test_a_master_with_two_learners_is_one_up_to_the_order_of_additions(tmp_path):
    values = {"learner": {**LEARNER, "save_replay": False}}
    one, two, resumed = build(**values), build(n_learners=2, **values), build(n_learners=2, **values)
    expected, found = train(one, 2), train(two, 2)
    assert any(each["master_replaced"] for each in expected)
    for first, second in zip(expected, found, strict=True):
        assert first == pytest.approx(second, rel=1e-3, abs=1e-3)
    (alone,), both = learnt(one), learnt(two)
    np.testing.assert_array_equal(*both)
    np.testing.assert_allclose(both[0], alone, rtol=0, atol=1e-3)  # as in test_off_policy.py
    two.save_to_path(str(tmp_path))
    resumed.restore_from_path(str(tmp_path))
    np.testing.assert_array_equal(learnt(resumed), both)
    assert_equal(policies(resumed), policies(two))
    for _ in range(2):  # without the replays' contents the warm-up comes again
        result = resumed.train()
    assert figures_of(result)["sites_env_steps"] == 4 * 3 * 160
    assert result["learners"]["joint"]["gradient_steps"] > 0
    np.testing.assert_array_equal(*learnt(resumed))
    assert not np.array_equal(learnt(resumed)[0], both[0])
    for algorithm in (one, two, resumed):
        algorithm.stop()


def test_a_policy_that_is_not_finite_is_refused_by_name_and_the_others_go_on(caplog):
    algorithm = build(mode={"kind": "quorum"})
    train(algorithm, 1)
    site = algorithm.team.sites["site_1"]
    broken = site._judging.layout.n_numbers
    site.values = site.values._replace(mutator=lambda vector, *_: np.full(broken, np.nan, np.float32))
    (after,) = train(algorithm, 1)
    assert after["population/refused"] == 1.0
    assert "site 'site_1', generation 1" in caplog.text
    assert after["sites_env_steps"] == 2 * 3 * 160  # what it paid is booked all the same
    assert not any(optimizer.state for optimizer in optimizers_of(site))  # they may have learnt what is not finite
    site.values = site.values._replace(mutator=NoMutation())
    (recovered,) = train(algorithm, 1)
    assert recovered["population/refused"] == 1.0
    assert np.isfinite(recovered["site_fitness/site_1"])
    site.values = site.values._replace(mutator=lambda vector, *_: np.full(broken, np.nan, np.float32))
    (after,) = train(algorithm, 1)
    assert after["version"] > 2.0  # half of four make a policy, twice in an iteration
    sent = policies(algorithm)
    np.testing.assert_array_equal(site._sent, sent["site_1"])  # of generation 1, and where it goes on
    np.testing.assert_array_equal(vector_of(site.modules), sent["site_1"])
    assert algorithm.team.ask(lambda population: population.last_of("site_1")[0]) == 1
    algorithm.stop()


def test_sites_come_and_go():
    algorithm = build(mode={"kind": "unawaited"})
    train(algorithm, 1)
    algorithm.team.add("site_7")
    algorithm.team.remove("site_0")
    (after,) = train(algorithm, 1)
    assert after["members"] == 4.0
    assert set(policies(algorithm)) == {"master", "site_1", "site_2", "site_7"}
    assert after["sites_env_steps"] == 6 * 160
    with pytest.raises(ConfigError, match="no site 'site_0'; known: site_1, site_2, site_7"):
        algorithm.team.remove("site_0")
    with pytest.raises(ConfigError, match="site 'site_7' is there"):
        algorithm.team.add("site_7")
    algorithm.stop()


@pytest.mark.slow
def test_a_killed_actor_of_sites_is_started_again_and_its_sites_go_on():
    algorithm = build(n_actors=2)
    train(algorithm, 1)
    ray.kill(algorithm.team._islands[0])
    (during,) = train(algorithm, 1)
    assert during["lost_sites"] == 2.0  # sites 0 and 2
    (after,) = train(algorithm, 1)
    assert after["members"] == 4.0
    assert {"site_fitness/site_0", "site_fitness/site_1", "site_fitness/site_2"} <= after.keys()
    algorithm.stop()


@pytest.mark.slow
def test_a_killed_population_is_started_again_and_its_version_does_not_fall():
    algorithm = build(n_actors=2, pull="always")
    before = train(algorithm, 3)[-1]["version"]
    ray.kill(algorithm.team._server, no_restart=False)
    versions = [each["version"] for each in train(algorithm, 2)]
    assert before <= versions[0] < versions[1]
    algorithm.stop()


@pytest.mark.slow
def test_nobody_is_waited_for_where_sites_go_on_at_once():
    algorithm = build(n_actors=3, mode={"kind": "unawaited"}, n_sites=3)
    figures = train(algorithm, 4)[-1]
    assert figures["version"] >= 12.0  # a policy with each push
    algorithm.stop()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_sites": 0}, "n_sites = 0: expected a positive number"),
        ({"n_actors": 4}, "n_actors = 4: more than n_sites = 3"),
        ({"fitness_worlds": 1}, "fitness_worlds = 1: expected 2 or more"),
        ({"joining": "ranks"}, "no joining_rule named 'ranks'; did you mean 'rank'"),
        ({"mutation": "isotropic(sd=1)"}, "'sd=1'; expected values of prob, std"),
        ({"pull": "below_mean(prob=2)"}, r"prob = 2.0: expected a value in \[0, 1\]"),
        ({"mode": {"kind": "sync"}}, "expected one of 'unawaited', 'quorum', 'barrier', got 'sync'"),
        ({"learner": {"name": "ippo"}}, "learner ippo learns from its own decisions alone; expected one with a replay"),
        ({"learner": {"name": "ddpg", "gama": 1}}, "unknown key 'gama'; did you mean 'gamma'"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises((ConfigError, LookupError), match=message):
        values_of(**values)


def test_sites_that_show_something_else_are_refused():
    with pytest.raises(ConfigError, match=r"algorithm\.scenarios: site 0, mec_2es_5md_v1 with topology_seed 1, shows"):
        build(scenarios=["mec_2es_5md_v1"])
    settings = RunSettings(load_scenario("mec_2es_3md_v1"), n_env_runners=2)
    with pytest.raises(ConfigError, match="save_replay = true with n_learners = 2: expected one learner"):
        build(n_learners=2)
    with pytest.raises(ConfigError, match="collective: sites are its runners; expected n_env_runners = 0"):
        values_of().to_config(settings, MLP)


@pytest.mark.slow
def test_far_populations_refuse_as_near_ones_do():
    algorithm = build(n_actors=1)
    train(algorithm, 1)
    entry = algorithm.team.ask(lambda population: population._entries["site_0"])
    with pytest.raises(PushError, match="site 'site_0', generation 0: generation 0 is there"):
        algorithm.team.push(entry._replace(vector=entry.vector + 1.0))
    assert isinstance(algorithm.team.ask(Population.get_state), dict)
    assert dataclasses.is_dataclass(algorithm.config.collective)
    algorithm.stop()
