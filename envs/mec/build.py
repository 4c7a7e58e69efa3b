"""From a scenario to what the kernels of the MEC world read."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import j0

from envs.errors import ConfigError
from envs.mec.params import KINDS, REWARDS, SCOPES, MecParams
from envs.mec.state import MecTables, Rules
from envs.scenario import Scenario
from envs.topologies.mec_cell import MecCell
from envs.workloads.mec_profiles import MecProfiles

_WATT_IN_DBM = 30.0


def parts_of(scenario: Scenario) -> tuple[MecCell, MecProfiles, MecParams]:
    """Return the parts of a scenario of world ``mec``; refuse others, and profiles that do not fit the devices."""
    cell, profiles, params = scenario.topology, scenario.workload, scenario.params
    if not isinstance(cell, MecCell):
        raise ConfigError(f"topology {type(cell).__name__}: world 'mec' expects the topology 'mec_cell'")
    if not isinstance(profiles, MecProfiles):
        raise ConfigError(f"workload {type(profiles).__name__}: world 'mec' expects the workload 'mec_profiles'")
    if len(profiles.mean_work_cycles) != len(cell.device_hz):
        raise ConfigError(
            f"{len(profiles.mean_work_cycles)} profiles (workload.mean_work_cycles) for {len(cell.device_hz)} devices "
            "(topology.device_hz); expected as many"
        )
    if params.transfer == "radio" and params.radio.block_m > cell.side_m:
        raise ConfigError(f"radio.block_m = {params.radio.block_m:g}: longer than side_m = {cell.side_m:g} of the cell")
    if params.transfer == "radio" and params.radio.outage_s <= max(profiles.deadline_s):
        raise ConfigError(
            f"radio.outage_s = {params.radio.outage_s:g}: expected more than the longest deadline, "
            f"{max(profiles.deadline_s):g} s, so that a transfer that is given up is a miss"
        )
    return cell, profiles, params


def read_tables(cell: MecCell, profiles: MecProfiles, params: MecParams) -> MecTables:
    """Return the arrays that do not change."""
    return MecTables(
        device_hz=np.array(cell.device_hz),
        server_hz=np.array(cell.server_hz),
        transfer_s=np.array(cell.transfer_s),
        startup_s=np.array(cell.startup_s),
        server_xy_m=np.array(cell.server_position_m),
        mean_work_cycles=np.array(profiles.mean_work_cycles),
        deadline_s=np.array(profiles.deadline_s),
        share_levels=np.array(params.decision.share_levels),
    )


def read_rules(cell: MecCell, profiles: MecProfiles, params: MecParams) -> Rules:
    """Return the scalars that the kernels read."""
    radio, seen, reward = params.radio, params.observation, params.reward
    noise_w = radio.bandwidth_hz * 10.0 ** ((radio.noise_dbm_per_hz - _WATT_IN_DBM) / 10.0)
    step_m = radio.speed_m_per_s * profiles.period_s
    return Rules(
        slot_s=float(profiles.period_s),
        horizon_slots=params.horizon_slots,
        is_radio=params.transfer == "radio",
        overlaps=params.overlap,
        carries_over=params.local_carry_over,
        ends_on_miss=params.on_miss == "end",
        terminates=params.last_slot == "terminates",
        permutes=profiles.permute,
        kind=KINDS.index(params.decision.kind),
        explicit_local=params.decision.explicit_local,
        work_sd_cycles=float(profiles.work_sd_cycles),
        cycles_per_bit=float(profiles.cycles_per_bit),
        time_weight=float(params.cost.time_weight),
        transmit_w=float(cell.transmit_w),
        switching_farad=float(params.energy.switching_farad),
        budget_j=float(params.energy.budget_j),
        reward_form=REWARDS.index(reward.form),
        is_team=reward.team,
        success_numerator=float(reward.success_numerator),
        miss_weight=float(reward.miss_weight),
        forgives_last_slot=reward.forgives_last_slot,
        is_released_layout=seen.layout == "released",
        scope=SCOPES.index(seen.scope),
        sees_queues_now=seen.server_queues == "now",
        sees_slot=seen.slot_index,
        sees_cost=seen.running_cost,
        time_scale_s=float(seen.time_scale_s),
        work_scale_cycles=float(np.mean(profiles.mean_work_cycles)),
        bandwidth_hz=float(radio.bandwidth_hz),
        noise_w=noise_w,
        interference=float(radio.interference),
        intercept_db=float(radio.intercept_db),
        slope_db=float(radio.slope_db),
        shadowing_sd_db=float(radio.shadowing_sd_db),
        shadowing_memory=math.exp(-step_m / radio.shadowing_distance_m),
        fading_memory=float(j0(2.0 * math.pi * radio.doppler_hz * profiles.period_s)),
        server_height_m=float(radio.server_height_m),
        side_m=float(cell.side_m),
        step_m=step_m,
        block_m=float(radio.block_m),
        turn_prob=float(radio.turn_prob),
        outage_s=float(radio.outage_s),
    )
