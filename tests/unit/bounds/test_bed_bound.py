"""The bound of the testbed's twin: by hand, and below whatever is played."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import play
from envs.bounds.base import NoBound
from envs.bounds.choose import bound_for
from envs.scenario import make

SHORT = {"params.horizon_slots": 12}


@pytest.mark.parametrize("kind", ["cuts", "shares"])
def test_no_rule_costs_less(kind):
    noise = {"params.randomise.work_frac": 0.3, "params.randomise.device_speed_frac": 0.3}
    scenario = load_scenario("twin_5", {**SHORT, **noise, "params.decision.kind": kind})
    bound = bound_for("auto", scenario, "return", 16, 2, 7)
    for rule in ("local", "random", "edge_only", "least_response_time"):
        played = play(make(scenario, 16, 2), load_rule(rule), 7 + np.arange(16), 2)
        assert (played.returns.sum(1) < -bound.cost).all(), rule  # type: ignore[attr-defined]


def test_lanes_take_what_saves_most_until_their_time_is_used_up():
    one = {
        "topology.n_devices": 1,
        "topology.device_cores": [0.1],
        "topology.core_hz": 1e9,
        "workload.frames": [5, 5],
        "workload.stage_cycles": [1.0, 0.1e9, 1.0, 1.0],  # half a gigacycle a task
        "workload.work_spread_frac": 0.0,
        "workload.period_s": 1.0,
        "workload.deadline_s": 3.0,
        "params.horizon_slots": 10,
    }
    scenario = load_scenario("twin_5", one)
    # 12 s at 0.1 of a core are 1.2 of the 5 gigacycles, at 0.025; the rest is served at 0.05
    expected = 1.2 * 0.025 + 3.8 * 0.05
    assert bound_for("auto", scenario, "episode_cost", 1, 0, 0).of_all("episode_cost") == pytest.approx(expected)
    cheap_lateness = load_scenario("twin_5", {**one, "params.cost.late": 0.02})  # below 0.5 gigacycles at the edge
    bound = bound_for("auto", cheap_lateness, "return", 1, 0, 0)
    assert bound.of_all("return") == pytest.approx(-(1.2 * 0.025 + 3.8 / 0.5 * 0.02))


def test_other_figures_have_no_bound():
    with pytest.raises(NoBound, match="full_lanes bounds return, episode_cost, cost_per_task; not late_frac"):
        bound_for("auto", load_scenario("twin_5", SHORT), "late_frac", 2, 0, 0)
