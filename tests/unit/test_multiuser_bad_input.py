"""The multi-user world refuses what is impossible or meaningless, in one line that says where and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.errors import ConfigError, DecisionError, TopologyError, WorkloadError
from envs.multiuser.start import MultiuserStart
from envs.scenario import make

SCENARIO = "multiuser_10"


def refused(*overrides, name=SCENARIO):
    with pytest.raises((ConfigError, TopologyError, WorkloadError)) as error:
        make(load_scenario(name, list(overrides)), 1)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("params.horizon_slots=0", "horizon_slots = 0; expected a whole number of at least 1"),
        ("params.agents=user", "users"),
        ("params.decision.kind=hybrid", "discrete"),
        ("params.decision.kind=autoregresive", "'discrete', 'box', 'autoregressive'"),
        ("params.decision.order=rank", "'index', 'urgency'"),
        (
            "params.decision.kind=autoregressive",
            "agents = 'users'; expected central for decision.kind autoregressive: one agent, user after user",
        ),
        ("params.semantics.interference=other", "others"),
        ("params.semantics.service=shared", "sharing"),
        ("params.semantics.users=sequential", "simultaneous for service sharing, which has no order"),
        ("params.semantics.service=whole", "sequential for service whole: one task after the other"),
        ("params.semantics.late_uploads=halt", "stop"),
        ("params.cost.miss=-1.0", "cost.miss = -1.0; expected a finite number of at least 0"),
        ("params.cost.transmit_per_j=.inf", "cost.transmit_per_j = inf; expected a finite number of at least 0"),
        ("params.reward.scale=0.0", "reward.scale = 0.0; expected a finite number > 0"),
        ("params.observation.scale.slots=0.0", "observation.scale.slots = 0.0; expected a finite number > 0"),
        ("params.site.work_spread_frac=1.0", "site.work_spread_frac = 1.0; expected a finite number in [0, 0.95]"),
        ("topology=mec_cell", "world 'multiuser' expects the topology 'multiuser_cell'"),
        ("workload=poisson", "expects the workload 'multiuser_tasks' or 'vision_clips'"),
        ("topology.n_users=0", "MultiuserCell.n_users = 0; expected an integer >= 1"),
        ("topology.n_channels=0", "MultiuserCell.n_channels = 0; expected an integer >= 1"),
        ("topology.user_hz=[1e9, 1e9]", "one finite number > 0 for all users, or n_users = 10"),
        ("topology.user_hz=[-1e9]", "one finite number > 0 for all users, or n_users = 10"),
        ("topology.noise_w=0.0", "MultiuserCell.noise_w = 0.0; expected a finite number > 0"),
        ("topology.reach_m=0.5", "MultiuserCell.reach_m = 0.5; expected at least 1: users stand at whole metres"),
        ("topology.position_m=[[1.0, 1.0]]", "n_users = 10 places, or none to draw them"),
        (
            "topology.path_loss_exponent=400.0",
            "path_loss_exponent = 400.0; expected less: the signal of a user is lost in rounding",
        ),
        ("workload.work_cycles=[2e9, 1e9]", "MultiuserTasks.work_cycles"),
        ("workload.deadline_s=[0.0, 1.0]", "two finite numbers > 0, the least and the most"),
        ("workload.period_s=0.0", "MultiuserTasks.period_s"),
        ("workload={name: vision_clips, order: sorted}", "listed"),
        ("workload={name: vision_clips, bits_per_cycle: -1.0}", "VisionClips.bits_per_cycle = -1.0"),
    ],
)
def test_impossible_values_are_refused(override, told):
    assert told in refused(override)


@pytest.mark.parametrize("place", [[0.0, 0.0], [81.0, 0.0]])
def test_users_stand_within_reach_and_not_in_the_server(place):
    text = refused("topology.n_users=2", f"topology.position_m=[[1.0, 1.0], {place}]")
    assert "places within 80 m of the server, and not in it" in text


def test_a_slot_that_no_reward_can_say_is_refused():
    assert "may cost" in refused(
        "topology.path_loss_exponent=14.0", "params.cost.transmit_per_j=1e22", "params.semantics.late_uploads=run"
    )


def test_decisions_that_do_not_exist_are_refused_with_the_agents_name():
    world = make(load_scenario(SCENARIO), 2)
    out = world.outcome()
    world.reset(None, out)
    decision = np.zeros((2, 10), np.int64)
    decision[1, 3] = 6
    with pytest.raises(DecisionError, match=r"world 1, agent 'user_3': target 6 does not exist; expected 0 \.\. 5"):
        world.step(decision, out)
    central = make(load_scenario(SCENARIO, ["params.agents=central"]), 1)
    with pytest.raises(DecisionError, match=r"world 0, agent 'controller': target -1 does not exist"):
        central.step(np.full((1, 1, 10), -1), central.outcome())
    turns = make(load_scenario("multiuser_10_autoregressive"), 2)
    with pytest.raises(DecisionError, match=r"world 1, agent 'controller': target 6 does not exist; expected 0 \.\. 5"):
        turns.step(np.array([[0], [6]]), turns.outcome())
    box = make(load_scenario("multiuser_released_10"), 1)
    amounts = np.zeros((1, 1, 20))
    amounts[0, 0, 3] = 1.5
    with pytest.raises(DecisionError, match=r"user_1/channel = 1\.5; expected a number in \[-1, 1\]"):
        box.step(np.zeros((1, 1), np.int64), box.outcome(), amounts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"work_cycles": np.zeros((1, 10))}, r"work_cycles: expected numbers > 0"),
        ({"work_cycles": np.ones((1, 9))}, r"work_cycles: expected an array of shape \(1, 10\), got \(1, 9\)"),
        ({"edge_backlog_s": np.array([-1.0])}, r"edge_backlog_s: expected finite numbers of at least 0"),
        ({"user_backlog_s": np.full((1, 10), np.nan)}, r"user_backlog_s: expected finite numbers of at least 0"),
        ({"slot": np.array([50])}, r"slot: expected numbers in 0 \.\. 49, got \[50\]"),
    ],
)
def test_starts_that_cannot_be_are_refused(change, told):
    world = make(load_scenario(SCENARIO), 1)
    start = MultiuserStart(*(np.ones((1, 10)) for _ in range(3)))._replace(**change)
    with pytest.raises(ConfigError, match=told):
        world.load(start, world.outcome())


def test_snapshots_of_other_scenarios_are_refused():
    one, other = (make(load_scenario(name), 1) for name in (SCENARIO, "multiuser_20"))
    with pytest.raises(ConfigError, match="a snapshot is of scenario 'multiuser_20'; expected 'multiuser_10'"):
        one.restore(other.snapshot())
