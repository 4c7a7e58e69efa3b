"""Rules of the multi-user world: who sends, on which channel, and that the greedy one is the cheapest there is."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from edge_rllib.experiment.evaluation import rule_names
from envs.baselines.base import play
from envs.baselines.draws import RuleDraws
from envs.baselines.edge_only import EdgeOnly
from envs.baselines.greedy_slot import GreedySlot
from envs.baselines.random import Random
from envs.baselines.round_robin_k import RoundRobinK
from envs.baselines.top_backlog import TopBacklog
from envs.errors import ConfigError
from envs.multiuser.search import cheapest_slot
from envs.multiuser.start import MultiuserStart
from envs.scenario import make
from envs.testing import check_baseline

RULES = ("edge_only", "greedy_slot", "local", "random", "round_robin_k", "top_backlog")
OWN = ("edge_only", "greedy_slot", "round_robin_k", "top_backlog")


def begun(*overrides, n_worlds=1, name="multiuser_10"):
    world = make(load_scenario(name, list(overrides)), n_worlds)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def decide(rule, view, step=0):
    return rule.decide(view, step, RuleDraws(0, range(len(view.has_task)), view.has_task.shape[1]))


def test_edge_only_deals_the_channels_out_in_turn():
    world, _ = begun()
    assert decide(EdgeOnly(), world.view()).tolist() == [[1, 2, 3, 4, 5, 1, 2, 3, 4, 5]]


def test_users_take_turns_k_at_a_time():
    world, _ = begun()
    rule = RoundRobinK(4)
    assert decide(rule, world.view(), 0).tolist() == [[1, 2, 3, 4, 0, 0, 0, 0, 0, 0]]
    assert decide(rule, world.view(), 1).tolist() == [[0, 0, 0, 0, 1, 2, 3, 4, 0, 0]]
    assert decide(rule, world.view(), 2).tolist() == [[3, 4, 0, 0, 0, 0, 0, 0, 1, 2]]


def test_full_is_what_the_server_does_in_a_slot():
    # 0.6 s * 5 GHz / 0.7 Gcycles = 4.29 tasks
    world, _ = begun()
    assert (decide(RoundRobinK("full"), world.view()) > 0).sum() == 4
    assert (decide(TopBacklog("full"), begun("topology.edge_hz=9.0e9")[0].view()) > 0).sum() == 7


def test_the_longest_backlogs_send_and_of_equals_the_lower_number():
    world, out = begun("topology.n_users=5")
    backlogs = np.array([[0.5, 2.0, 0.5, 0.1, 3.0]])
    tasks = (np.full((1, 5), 0.7e9), np.full((1, 5), 5e7), np.full((1, 5), 2.0))
    world.load(MultiuserStart(*tasks, user_backlog_s=backlogs), out)
    assert decide(TopBacklog(3), world.view()).tolist() == [[3, 2, 0, 0, 1]]


def test_random_stays_in_half_of_the_slots_and_takes_every_channel_equally_often():
    world, _ = begun("topology.n_users=1000", n_worlds=20)
    shares = np.bincount(decide(Random(), world.view()).ravel(), minlength=6) / 20_000
    # a share of a half has a standard deviation of 0.0035, one of a tenth 0.0021
    np.testing.assert_allclose(shares, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], atol=0.015)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("overrides", [[], ["params.agents=central"], ["params.decision.kind=box"]])
def test_rule_keeps_its_contract_whoever_the_agents_are(name, overrides):
    report = check_baseline(load_rule(name), load_scenario("multiuser_10", overrides))
    assert report.n_steps == 50
    assert report.n_decisions > 2000  # 50 steps and some 50 random slots, 10 and 6 users, 3 worlds
    assert (report.n_offloads > 0) == (name != "local")


@pytest.mark.parametrize("name", RULES)
def test_rule_costs_the_same_whoever_the_agents_are(name):
    ids, costs = np.arange(3), []
    for agents, kind in itertools.product(("users", "central"), ("discrete", "box")):
        world, _ = begun(f"params.agents={agents}", f"params.decision.kind={kind}", n_worlds=3)
        costs.append(play(world, load_rule(name), ids).returns.sum(axis=1))
    np.testing.assert_allclose(costs, [costs[0]] * 4, rtol=1e-6)  # rewards are float32


@pytest.mark.parametrize("name", OWN)
def test_rules_of_this_world_are_refused_elsewhere(name):
    with pytest.raises(ConfigError, match=f"{name} cannot be played in world fog, only in multiuser"):
        rule_names([name], "fog")
    assert name in rule_names(["all"], "multiuser")


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match=r"round_robin_k: senders = -1: expected full or a number of users from 0"):
        RoundRobinK(-1)
    with pytest.raises(ConfigError, match=r"top_backlog: senders = True"):
        TopBacklog(True)
    with pytest.raises(ConfigError, match=r"greedy_slot: max_priced = 0"):
        GreedySlot(0)


def random_slots(world, out, rng):
    """Load states in which staying is late for some, the server has something to do, and works differ."""
    shape = world.state.user.shape
    start = MultiuserStart(
        rng.uniform(0.3e9, 1.2e9, shape),
        rng.uniform(1e7, 8e7, shape),
        rng.uniform(0.5, 2.5, shape),
        rng.uniform(0.0, 2.5, shape),
        rng.uniform(0.0, 1.5, shape[:1]),
    )
    world.load(start, out)
    return start


@pytest.mark.parametrize("service", ["sharing", "k_fold"])
@pytest.mark.parametrize("interference", ["none", "others"])
def test_the_greedy_slot_is_the_cheapest_of_all_decisions(service, interference):
    # four users, two channels: 81 decisions. With this radio, two that share a channel are both late: one of them has a
    # signal below the interference, and so less than 5 Mbit/s for at least 10 Mbit within 2.5 s
    # (and who is late would rather stay, as long as no upload is cut off: a task that is lost is cheap)
    switches = [f"params.semantics.service={service}", f"params.semantics.interference={interference}"]
    switches.append("params.semantics.late_uploads=run")
    world, out = begun("topology.n_users=4", "topology.n_channels=2", *switches, n_worlds=40)
    start = random_slots(world, out, np.random.default_rng(3))
    start = start._replace(size_bits=np.maximum(start.size_bits, 1.3e7))
    world.load(start, out)
    found = cheapest_slot(world.view(), 10_000)
    assert found.is_proven.all()
    costs = []
    for targets in itertools.product(range(3), repeat=4):
        world.load(start, out)
        world.step(np.tile(targets, (40, 1)), out)
        costs.append(world.figures.cost.sum(axis=1))
    np.testing.assert_allclose(found.cost, np.min(costs, axis=0), rtol=1e-12)
    world.load(start, out)
    world.step(found.target, out)
    np.testing.assert_allclose(world.figures.cost.sum(axis=1), found.cost, rtol=1e-12)
    assert 0.1 < (found.target > 0).mean() < 0.9


def test_the_search_says_where_it_gave_up():
    world, out = begun(n_worlds=20)
    random_slots(world, out, np.random.default_rng(4))
    hasty, patient = cheapest_slot(world.view(), 1), cheapest_slot(world.view(), 20_000)
    assert patient.is_proven.all()
    assert not hasty.is_proven.all()
    assert (hasty.cost >= patient.cost - 1e-12).all()


def test_returns_order_the_rules():
    # k = 4 of 10: nobody falls behind and the server keeps up; greedy lets all backlogs grow to the limit together
    world, _ = begun(n_worlds=32)
    mean = {name: play(world, load_rule(name), np.arange(32)).returns.sum(axis=1).mean() for name in RULES}
    assert mean["local"] < mean["edge_only"] < mean["random"] < mean["greedy_slot"] < mean["round_robin_k"]
    assert mean["round_robin_k"] == pytest.approx(-13.54, abs=0.05)
    assert mean["top_backlog"] == pytest.approx(-13.54, abs=0.05)


def test_rules_are_frozen_parts_with_settings_of_their_own():
    assert [field.name for field in dataclasses.fields(RoundRobinK)] == ["senders"]
    assert [field.name for field in dataclasses.fields(GreedySlot)] == ["max_priced"]
