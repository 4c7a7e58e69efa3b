"""From a scenario to what the kernels of the testbed's twin read."""

from __future__ import annotations

import numpy as np

from envs.errors import ConfigError
from envs.scenario import Scenario
from envs.testbed.params import KINDS, BedWorldParams
from envs.testbed.state import BedTables, Rules
from envs.topologies.edge_lan import EdgeLan
from envs.workloads.camera_clips import CameraClips


def parts_of(scenario: Scenario) -> tuple[EdgeLan, CameraClips, BedWorldParams]:
    """Return the parts of a scenario of world ``testbed``; refuse others."""
    lan, clips, params = scenario.topology, scenario.workload, scenario.params
    if not isinstance(lan, EdgeLan):
        raise ConfigError(f"topology {type(lan).__name__}: world 'testbed' expects the topology 'edge_lan'")
    if not isinstance(clips, CameraClips):
        raise ConfigError(f"workload {type(clips).__name__}: world 'testbed' expects the workload 'camera_clips'")
    if params.decision_delay_s >= clips.period_s:
        raise ConfigError(
            f"decision_delay_s = {params.decision_delay_s}: expected less than workload.period_s = {clips.period_s}"
        )
    return lan, clips, params


def read_tables(scenario: Scenario) -> BedTables:
    """Return the arrays that do not change."""
    lan, clips, params = parts_of(scenario)
    cores = np.array([server.cores for server in lan.servers], np.float64)
    n_lanes = np.array([server.n_lanes for server in lan.servers], np.int64)
    is_shared = np.array([server.discipline == "processor_sharing" for server in lan.servers], np.int64)
    lane_cores = np.minimum(np.where(is_shared == 1, cores, cores / n_lanes), 1.0)
    return BedTables(
        device_hz=lan.cores() * lan.core_hz,
        up_bps=lan.rates_bps(lan.up_bps),
        down_bps=lan.rates_bps(lan.down_bps) * lan.goodput_frac,
        server_cores=cores,
        lane_hz=lane_cores * lan.core_hz,
        is_shared=is_shared,
        first_lane=np.concatenate([[0], np.cumsum(n_lanes)]).astype(np.int64),
        stage_cycles=np.array(clips.stage_cycles, np.float64),
        cut_bytes=np.array(clips.cut_bytes, np.float64),
        listed_frames=clips.listed(lan.n_devices, params.horizon_slots),
    )


def read_rules(scenario: Scenario) -> Rules:
    """Return the scalars that the kernels read."""
    lan, clips, params = parts_of(scenario)
    cost, random = params.cost, params.randomise
    return Rules(
        kind=KINDS.index(params.decision.kind),
        horizon_epochs=params.horizon_slots,
        epoch_s=float(clips.period_s),
        deadline_s=float(clips.deadline_s),
        patience_s=params.patience_frac * clips.deadline_s,
        drain_s=float(params.drain_s),
        decision_delay_s=float(params.decision_delay_s),
        delay_s=float(lan.delay_s),
        is_shared_air=lan.sharing == "shared",
        goodput_frac=float(lan.goodput_frac),
        crowding=float(lan.crowding),
        least_frames=int(clips.frames[0]),
        range_frames=int(clips.frames[1] - clips.frames[0] + 1),
        overhead_s=float(clips.overhead_s),
        result_bytes=float(clips.result_bytes),
        work_spread=float(clips.work_spread_frac),
        bytes_spread=float(clips.bytes_spread_frac),
        local_per_cycle=float(cost.local_per_cycle),
        edge_per_cycle=float(cost.edge_per_cycle),
        transmit_per_s=float(cost.transmit_w * cost.transmit_per_j),
        late_cost=float(cost.late),
        reward_scale=float(params.reward.scale),
        is_team=params.reward.team,
        device_speed_frac=float(random.device_speed_frac),
        server_speed_frac=float(random.server_speed_frac),
        rate_frac=float(random.rate_frac),
        work_frac=float(random.work_frac),
        bytes_frac=float(random.bytes_frac),
        delay_frac=float(random.delay_frac),
    )
