"""From a scenario to what the kernels of the multi-user world read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.arrays import F8
from envs.errors import ConfigError
from envs.multiuser.params import INTERFERENCES, KINDS, SERVICES, MultiuserParams
from envs.multiuser.state import MultiuserTables, Rules
from envs.radio.shannon import capacity_bps
from envs.scenario import Scenario
from envs.topologies.multiuser_cell import MultiuserCell
from envs.workloads.multiuser_tasks import MultiuserTasks
from envs.workloads.vision_clips import VisionClips

MOST_BPS_PER_HZ = 40.0  # shown as 1: a signal of 120 dB over the noise
_DEAREST = 1e30  # cost of a slot beyond which a reward might not fit into float32
_DECIBEL = 10.0


class Site(NamedTuple):
    """What the number of a site stands for, beside its places."""

    work_factor: float
    size_factor: float
    noise_factor: float


def parts_of(scenario: Scenario) -> tuple[MultiuserCell, MultiuserTasks | VisionClips, MultiuserParams]:
    """Return the parts of a scenario of world ``multiuser``; refuse others."""
    cell, tasks, params = scenario.topology, scenario.workload, scenario.params
    if not isinstance(cell, MultiuserCell):
        raise ConfigError(f"topology {type(cell).__name__}: world 'multiuser' expects the topology 'multiuser_cell'")
    if not isinstance(tasks, MultiuserTasks | VisionClips):
        raise ConfigError(
            f"workload {type(tasks).__name__}: world 'multiuser' expects the workload 'multiuser_tasks' or "
            "'vision_clips'"
        )
    return cell, tasks, params


def site_of(scenario: Scenario) -> Site:
    """Return the factors of the scenario's site, a function of its number ``topology_seed``."""
    spread = scenario.params.site
    work, size, noise = np.random.default_rng([scenario.topology_seed, 1]).uniform(-1.0, 1.0, 3)
    return Site(
        1.0 + spread.work_spread_frac * float(work),
        1.0 + spread.size_spread_frac * float(size),
        10.0 ** (spread.noise_spread_db * float(noise) / _DECIBEL),
    )


def read_tables(scenario: Scenario) -> MultiuserTables:
    """Return the arrays that do not change."""
    cell, tasks, _ = parts_of(scenario)
    site = site_of(scenario)
    places = cell.places_m(np.random.default_rng(scenario.topology_seed))
    received_w = cell.received_w(places)
    bps_per_hz = capacity_bps(1.0, received_w / (cell.noise_w * site.noise_factor))
    no_clips: F8 = np.zeros(0)
    return MultiuserTables(
        user_hz=cell.hz(),
        s_per_cycle=1.0 / cell.hz(),
        received_w=received_w,
        x_frac=(places[:, 0] / cell.reach_m + 1.0) / 2.0,
        y_frac=(places[:, 1] / cell.reach_m + 1.0) / 2.0,
        gain_frac=np.minimum(bps_per_hz / MOST_BPS_PER_HZ, 1.0),
        upload_s_per_bit=1.0 / (cell.bandwidth_hz * bps_per_hz),
        clip_cycles=tasks.clip_cycles() * site.work_factor if isinstance(tasks, VisionClips) else no_clips,
        clip_bits=tasks.clip_bits() * site.size_factor if isinstance(tasks, VisionClips) else no_clips,
    )


def read_rules(scenario: Scenario) -> Rules:
    """Return the scalars that the kernels read."""
    cell, tasks, params = parts_of(scenario)
    site, cost, seen = site_of(scenario), params.cost, params.observation
    work, size, deadline = _ranges(tasks, site)
    return Rules(
        slot_s=float(tasks.period_s),
        horizon_slots=params.horizon_slots,
        is_central=params.is_central,
        kind=KINDS.index(params.decision.kind),
        by_urgency=params.decision.order == "urgency",
        interference=INTERFERENCES.index(params.semantics.interference),
        has_phantom=params.semantics.phantom_channel,
        is_sequential=params.semantics.users == "sequential",
        service=SERVICES.index(params.semantics.service),
        stops_late=params.semantics.late_uploads == "stop",
        n_channels=cell.n_channels,
        bandwidth_hz=float(cell.bandwidth_hz),
        noise_w=float(cell.noise_w) * site.noise_factor,
        transmit_w=float(cell.transmit_w),
        edge_hz=float(cell.edge_hz),
        local_per_cycle=float(cost.local_per_cycle),
        edge_per_cycle=float(cost.edge_per_cycle),
        transmit_per_j=float(cost.transmit_per_j),
        miss_cost=float(cost.miss),
        reward_scale=float(params.reward.scale),
        is_team=params.reward.team,
        is_bounded=seen.bounded,
        sees_gains=seen.gains,
        sees_ranks=seen.ranks,
        work_low_cycles=work[0],
        work_range_cycles=work[1] - work[0],
        size_low_bits=size[0],
        size_range_bits=size[1] - size[0],
        deadline_low_s=deadline[0],
        deadline_range_s=deadline[1] - deadline[0],
        draws_clips=isinstance(tasks, VisionClips) and tasks.order == "random",
        per_user_hz=1.0 / float(seen.scale.user_hz),
        per_edge_hz=1.0 / float(seen.scale.edge_hz),
        per_work_cycles=1.0 / float(seen.scale.work_cycles),
        per_size_bits=1.0 / float(seen.scale.size_bits),
        per_deadline_s=1.0 / float(seen.scale.deadline_s),
        per_user_backlog_s=1.0 / float(seen.scale.user_backlog_s),
        per_edge_backlog_s=1.0 / float(seen.scale.edge_backlog_s),
        per_slots=1.0 / float(seen.scale.slots),
    )


def _ranges(tasks: MultiuserTasks | VisionClips, site: Site) -> tuple[tuple[float, float], ...]:
    """Return the least and the most of work, size and deadline."""
    low, high = (float(value) * site.work_factor for value in tasks.work_cycles)
    small, large = (float(value) * site.size_factor for value in tasks.size_bits)
    first, last = (float(value) for value in tasks.deadline_s)
    return (low, high), (small, large), (first, last)


def check_finite(tables: MultiuserTables, rules: Rules) -> None:
    """Raise ConfigError where a slot in which all send on one channel costs more than a reward can say."""
    heard_w = tables.received_w.sum() + rules.noise_w
    slowest_bps = float(capacity_bps(rules.bandwidth_hz, tables.received_w.min() / heard_w))
    bits = rules.size_low_bits + rules.size_range_bits
    longest_s = rules.deadline_low_s + rules.deadline_range_s if rules.stops_late else bits / slowest_bps
    dearest = len(tables.received_w) * (rules.transmit_w * longest_s * rules.transmit_per_j + rules.miss_cost)
    if not dearest * rules.reward_scale < _DEAREST:
        raise ConfigError(
            f"a slot in which all users send on one channel may cost {dearest:.3g}; expected less than "
            f"{_DEAREST:g} over reward.scale = {rules.reward_scale:g}"
        )
