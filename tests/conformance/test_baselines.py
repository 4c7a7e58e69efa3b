"""Every registered rule: its yaml, its purity, and an episode in the fog world."""

import dataclasses

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from edge_rllib.config.paths import config_names
from envs import registry
from envs.baselines.base import play
from envs.scenario import make
from envs.testing import check_baseline

ALL = registry.names("baseline")
MEC_NAMES = [name for name in ALL if "mec" in registry.resolve("baseline", name).worlds]
NAMES = [name for name in ALL if "fog" in registry.resolve("baseline", name).worlds]
URBAN = {"name": "ether_urban", "clusters": 2}
BUSY = {"name": "poisson", "tasks_per_s": 20.0}


def test_there_are_rules_and_each_has_its_yaml():
    assert len(NAMES) >= 7
    assert config_names("baseline") == ALL


@pytest.mark.parametrize("name", ALL)
def test_rule_is_frozen_and_has_no_defaults(name):
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(registry.resolve("baseline", name)))


@pytest.mark.parametrize("name", NAMES)
def test_rule_keeps_its_contract_and_is_never_refused(part, scenario, name):
    report = check_baseline(part("baseline", name), scenario(URBAN, BUSY))
    assert report.n_steps == 40
    assert report.n_decisions > 500
    assert (report.n_offloads > 0) == (name != "local")


@pytest.mark.parametrize("name", NAMES)
def test_rule_keeps_its_contract_where_an_agent_decides_three_tasks_at_once(part, scenario, name):
    # what the mask allows is not refused, even where fewer than three tasks wait
    report = check_baseline(part("baseline", name), scenario(URBAN, BUSY, decisions_per_step=3, debug=True))
    assert report.n_steps == 40


@pytest.mark.parametrize("name", NAMES)
def test_rule_plays_the_same_episode_alone_and_in_a_batch(part, scenario, name):
    rule, urban = part("baseline", name), scenario(URBAN, BUSY)
    batch = play(make(urban, 4), rule, [5, 6, 7, 2**31], seed=3)
    alone = play(make(urban, 1), rule, [2**31], seed=3)
    np.testing.assert_array_equal(batch.sums[3:], alone.sums)
    np.testing.assert_array_equal(batch.returns[3:], alone.returns)
    assert batch.sums[3, make(urban, 1).spec.sum_names.index("created")] > 0


def test_rules_that_look_at_the_load_beat_chance_and_staying(part, scenario):
    # not a claim on learning: it shows that what the rules read means what they think it does
    world = make(scenario(URBAN, BUSY, horizon_slots=200), 16)
    mean_s = {}
    for name in NAMES:
        sums = play(world, part("baseline", name), np.arange(16)).sums.sum(axis=0)
        mean_s[name] = world.summarise(sums)["response_time_s_mean"]
    assert mean_s["least_response_time"] < min(mean_s["random"], mean_s["local"], mean_s["round_robin"])
    assert mean_s["least_queue"] < mean_s["local"]


def test_there_are_rules_for_the_mec_world():
    assert set(MEC_NAMES) >= {"best_assignment", "local", "myopic_oracle", "one_server", "random", "size_rank"}


@pytest.mark.parametrize("name", MEC_NAMES)
def test_mec_rule_keeps_its_contract_and_plays_whole_episodes(part, name):
    report = check_baseline(part("baseline", name), load_scenario("mec_2es_3md_v1", {"params": {"on_miss": "go_on"}}))
    assert report.n_steps == 10
    assert report.n_decisions > 500
    assert (report.n_offloads > 0) == (name != "local")


@pytest.mark.parametrize("name", MEC_NAMES)
def test_mec_rule_plays_the_same_episode_alone_and_in_a_batch(part, name):
    rule, scenario = part("baseline", name), load_scenario("mec_2es_3md_v1")
    batch = play(make(scenario, 4), rule, [5, 6, 7, 2**31], seed=3)
    alone = play(make(scenario, 1), rule, [2**31], seed=3)
    np.testing.assert_array_equal(batch.sums[3:], alone.sums)
    np.testing.assert_array_equal(batch.returns[3:], alone.returns)


def test_mec_rules_that_weigh_more_cost_less():
    # as published for these settings: 1.10 (size rank), 0.907 (oracle); one assignment of whole tasks in time at least
    world = make(load_scenario("mec_2es_3md_v1"), 64)
    cost = {
        name: world.summarise(play(world, load_rule(name), np.arange(64)).sums.sum(axis=0))["reported_cost"]
        for name in MEC_NAMES
    }
    assert cost["myopic_oracle"] < cost["size_rank"] < cost["one_server"] < cost["random"] < cost["local"]
    assert cost["myopic_oracle"] < cost["best_assignment"] < cost["one_server"]
