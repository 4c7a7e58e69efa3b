"""The bound of the multi-user world: worked by hand, against exhaustive search, and below every rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import play
from envs.bounds import multiuser
from envs.bounds.base import NoBound
from envs.bounds.choose import bound_for
from envs.bounds.multiuser import MultiuserAlone
from envs.scenario import make

RULES = ("edge_only", "greedy_slot", "local", "random", "round_robin_k", "top_backlog")


def least_by_trying(overrides, n_slots):
    """Return the least cost of one user over all sequences of decisions."""
    world = make(
        load_scenario("multiuser_10", ["topology.n_users=1", f"params.horizon_slots={n_slots}", *overrides]), 1
    )
    out, costs = world.outcome(), []
    for targets in itertools.product((0, 1), repeat=n_slots):
        world.reset(None, out)
        cost = 0.0
        for target in targets:
            world.step(np.array([[target]]), out)
            cost += world.figures.cost[0, 0]
        costs.append(cost)
    return min(costs)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["workload.deadline_s=[1.0, 1.0]"],
        ["params.cost.miss=0.01", "params.semantics.late_uploads=run"],  # it is cheaper to be late now and then
        ["topology.bandwidth_hz=0.5e6"],  # whoever sends is late, and its task lost
        ["topology.bandwidth_hz=0.5e6", "params.cost.miss=0.001", "params.semantics.late_uploads=run"],
        ["workload.work_cycles=[0.2e9, 1.4e9]", "workload.deadline_s=[0.8, 2.0]"],
    ],
)
def test_alone_the_bound_is_what_the_best_sequence_of_decisions_costs(overrides, monkeypatch):
    monkeypatch.setattr(multiuser, "CELLS_A_SLOT", 20_000)
    scenario = load_scenario("multiuser_10", ["topology.n_users=1", "params.horizon_slots=9", *overrides])
    bound = MultiuserAlone(scenario, 1, 0, 0).cost[0]
    best = least_by_trying(overrides, 9)
    assert bound <= best + 1e-9
    assert bound == pytest.approx(best, rel=0.001)


def test_no_rule_costs_less_in_any_world():
    scenario = load_scenario("multiuser_10")
    world, ids = make(scenario, 16), np.arange(16)
    bound = bound_for("auto", scenario, "return", 16, 0, 0)
    assert (bound.name, bound.of_all("cost_mean")) == ("users_alone", pytest.approx(np.nan, nan_ok=True))
    for name in RULES:
        played = play(world, load_rule(name), ids)
        limit = bound.limit("return", played.sums)
        assert (played.returns.sum(axis=1) <= limit.top + 1e-4).all()
        assert world.summarise(played.sums.sum(axis=0))["cost_mean"] >= bound.limit("cost_mean", played.sums).value
    # 10 users * 50 tasks of 0.7 Gcycles: 0.0175 each that stays, 0.041 each that is sent, 28 to 31 % are
    assert bound.of_all("return") == pytest.approx(-12.0, abs=0.1)
    assert bound.of_all("episode_cost") == -bound.of_all("return")


def test_a_coarser_grid_bounds_less_and_never_more(monkeypatch):
    scenario, costs = load_scenario("multiuser_10"), []
    for cells in (10, 50, 200):
        monkeypatch.setattr(multiuser, "CELLS_A_SLOT", cells)
        costs.append(MultiuserAlone(scenario, 4, 0, 0).cost)
    assert (costs[0] <= costs[1] + 1e-9).all()
    assert (costs[1] <= costs[2] + 1e-9).all()
    assert (costs[0] < costs[2]).any()


def test_reward_scale_reaches_the_return_alone():
    scenario = load_scenario("multiuser_10", ["params.reward.scale=0.005"])
    bound = bound_for("zero_queue", scenario, "return", 2, 0, 0)
    assert bound.of_all("return") == pytest.approx(-0.005 * bound.of_all("episode_cost"))


def test_other_figures_have_no_bound():
    with pytest.raises(NoBound, match="users_alone bounds return, episode_cost, cost_mean; not miss_frac"):
        bound_for("auto", load_scenario("multiuser_10"), "miss_frac", 2, 0, 0)
