"""The MEC world refuses what is impossible or meaningless, in one line that says where and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.errors import ConfigError, DecisionError, TopologyError, WorkloadError
from envs.mec.start import MecStart
from envs.scenario import make

SCENARIO, PAPER = "mec_2es_3md_v1", "mec_paper_2es_3md_v1"


def refused(*overrides, name=SCENARIO):
    with pytest.raises((ConfigError, TopologyError, WorkloadError)) as error:
        make(load_scenario(name, list(overrides)), 1)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("params.decision.kind=hybird", "hybrid"),
        ("params.decision.share_levels=[0.5, 0.2]", "ascending shares in [0, 1]"),
        ("params.decision.share_levels=[0.5, 1.2]", "ascending shares in [0, 1]"),
        ("params.decision.share_levels=[]", "ascending shares in [0, 1]"),
        ("params.observation.scope=global", "near_global"),
        ("params.observation.layout=release", "released"),
        ("params.observation.time_scale_s=0.0", "observation.time_scale_s = 0.0; expected a finite number > 0"),
        ("params.reward.form=dense", "terminal"),
        ("params.reward.miss_weight=-1.0", "reward.miss_weight = -1.0; expected a finite number of at least 0"),
        ("params.reward.success_numerator=-60.0", "reward.success_numerator"),
        ("params.cost.time_weight=1.5", "cost.time_weight = 1.5; expected a finite number in [0, 1]"),
        ("params.energy.budget_j=-3.0", "energy.budget_j = -3.0"),
        ("params.energy.switching_farad=-1.0e-27", "energy.switching_farad"),
        ("params.radio.bandwidth_hz=0.0", "radio.bandwidth_hz = 0.0; expected a finite number > 0"),
        ("params.radio.interference=2.0", "radio.interference = 2.0; expected a finite number in [0, 1]"),
        ("params.radio.speed_m_per_s=-1.0", "radio.speed_m_per_s"),
        ("params.horizon_slots=0", "horizon_slots = 0; expected a whole number of at least 1"),
        ("params.transfer=cable", "constant"),
        ("params.on_miss=stop", "go_on"),
        ("topology.device_hz=[1e9, -1e9, 1e9]", "device_hz"),
        ("topology.server_hz=[]", "server_hz"),
        ("topology.transfer_s=[[0.3, 0.3], [0.3, 0.3]]", "transfer_s: expected 3 rows (devices) of 2 times (servers)"),
        ("topology.startup_s=[[-0.1, 0.1], [0.1, 0.1], [0.1, 0.1]]", "startup_s"),
        ("topology.server_position_m=[[0.0, 0.0], [600.0, 0.0]]", "2 places within 0 .. side_m = 500"),
        ("topology.transmit_w=-0.2", "transmit_w"),
        ("topology=ring", "world 'mec' expects the topology 'mec_cell'"),
        ("workload=poisson", "world 'mec' expects the workload 'mec_profiles'"),
        ("workload.mean_work_cycles=[7e9, 6e9]", "2 means and 3 deadlines"),
        ("workload.work_sd_cycles=1e9", "so that no task has negative work"),
        ("workload.mean_work_cycles=[7e9, -6e9, 3e9]", "-6000000000.0; expected more than"),
        ("workload.deadline_s=[1.8, -1.8, 1.8]", "-1.8; expected numbers > 0"),
        ("workload.period_s=0.0", "period_s"),
    ],
)
def test_impossible_values_are_refused(override, told):
    assert told in refused(override)


def test_a_box_has_no_local_target():
    text = refused("params.decision.kind=box", "params.decision.explicit_local=true")
    assert "decision.explicit_local = True; expected false for kind box" in text


def test_the_released_layout_has_the_released_scope():
    assert "near_global" in refused("params.observation.layout=released", "params.observation.scope=full")


def test_profiles_and_devices_must_be_as_many():
    text = refused("workload.mean_work_cycles=[7e9, 6e9]", "workload.deadline_s=[1.8, 1.8]")
    assert "2 profiles (workload.mean_work_cycles) for 3 devices (topology.device_hz)" in text


def test_a_deadline_below_the_fastest_possible_time_is_refused_and_one_above_is_not():
    # profile 0, 7 Gcycles, device 0 and the server of 12 GHz: share r with (1 - r) 7 = 0.303 + r 7 / 12
    # r = (7 - 0.303) / (7 + 0.58333) = 0.88312, delay 0.81816 s; to the slow server it takes 1.258 s
    text = refused("workload.deadline_s=[0.81, 1.806, 1.805]")
    assert "deadline_s[0] = 0.81: device 0 needs at least 0.8182 s" in text
    make(load_scenario(SCENARIO, ["workload.deadline_s=[0.82, 1.806, 1.805]"]), 1)


def test_without_permutation_only_the_holder_of_a_profile_must_be_able_to_meet_it():
    # device 2 is ten times slower and far away, but holds a task that is small enough for it
    slow = ["topology.device_hz=[1e9, 1e9, 1e8]", "topology.transfer_s=[[0.3, 0.3], [0.3, 0.3], [3.0, 3.0]]"]
    small = ["workload.mean_work_cycles=[7e9, 6e9, 1e8]", "workload.work_sd_cycles=1e6"]
    assert "device 2 needs at least" in refused(*slow, *small)
    make(load_scenario(SCENARIO, [*slow, *small, "workload.permute=false"]), 1)


def test_an_energy_budget_that_nobody_can_meet_is_refused_and_one_above_is_not():
    # constant transfers: the cheapest decision sends everything, at 0.2 W for 0.3011 s: 0.6022 J in ten slots
    assert "device 0 spends at least 0.6022 J in 10 slots" in refused("params.energy.budget_j=0.6")
    make(load_scenario(SCENARIO, ["params.energy.budget_j=0.61"]), 1)
    assert "device 0 spends at least" in refused("params.energy.budget_j=1.0e-4", name=PAPER)


def test_a_cost_of_nothing_cannot_be_divided_by():
    text = refused("params.cost.time_weight=0.0", "topology.transmit_w=0.0")
    assert "a reward of 1 / cost ** 2 is infinite" in text


def test_blocks_longer_than_the_square_are_refused_where_devices_move():
    assert "radio.block_m = 600" in refused("params.radio.block_m=600.0", name=PAPER)


def test_giving_a_transfer_up_before_the_deadline_is_refused():
    assert "radio.outage_s = 4: expected more than the longest deadline, 5 s" in refused(
        "params.radio.outage_s=4.0", name=PAPER
    )


@pytest.mark.parametrize(
    ("decision", "share", "told"),
    [
        ([[0, 2, 0]], 0.5, "agent 'device_1': target 2 does not exist; expected 0 .. 1"),
        ([[0, 0, -1]], 0.5, "agent 'device_2': target -1 does not exist"),
        ([[0, 0, 0]], 1.5, "share = 1.5; expected a number in [0, 1]"),
        ([[0, 0, 0]], -0.1, "share = -0.1; expected a number in [0, 1]"),
        ([[0, 0, 0]], float("nan"), "share = nan; expected a number in [0, 1]"),
    ],
)
def test_servers_out_of_range_and_shares_outside_0_to_1_are_refused_and_change_nothing(decision, share, told):
    world = make(load_scenario(SCENARIO), 1)
    out = world.outcome()
    world.reset(None, out)
    before = world.snapshot()["state"]
    with pytest.raises(DecisionError) as error:
        world.step(np.array(decision), out, np.full((1, 3, 1), share))
    assert told in str(error.value)
    for name, array in world.snapshot()["state"].items():
        assert array.tobytes() == before[name].tobytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"profile": np.array([[0, 0, 1]])}, "permutation of 0 .. 2"),
        ({"slot": np.array([10])}, "numbers in 0 .. 9"),
        ({"server_backlog_s": np.zeros((1, 3))}, "MecStart.server_backlog_s: expected an array of shape (1, 2)"),
        ({"work_cycles": np.zeros((2, 3))}, "MecStart.work_cycles"),
    ],
)
def test_an_impossible_start_is_refused(changes, told):
    world = make(load_scenario(SCENARIO), 1)
    out = world.outcome()
    world.reset(None, out)
    start = MecStart(np.full((1, 3), 5e9), np.array([[0, 1, 2]]))
    with pytest.raises(ConfigError) as error:
        world.load(start._replace(**changes), out)
    assert told in str(error.value)
