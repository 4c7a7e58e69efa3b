"""Observations and global states as arrays of features; ``names.py`` says which feature is which."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from envs.accelerate import inlined
from envs.mec.radio import rate_bps
from envs.mec.state import DISCRETE, FULL, LOCAL_SCOPE, MecState, MecTables, Rules

Row = npt.NDArray[np.floating]

# Divisors of the released observation.
HZ_SERVER, HZ_DEVICE, CYCLES, DEADLINE_S, TRANSFER_S = 25e9, 3e9, 20e9, 5.0, 0.5


@inlined
def squash(value: float, scale: float) -> float:
    """Map 0 .. infinity to 0 .. 1."""
    return value / (value + scale)


@inlined
def write_observation(rows: Row, global_state: Row, state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Fill the observations (N, F) of world ``b``; its global state (S,) is part of them in scope full."""
    for n in range(state.agent.shape[1]):
        if rules.is_released_layout:
            place = _write_released(rows[n], state, tables, rules, b, n)
            _write_progress(rows[n], place, state, rules, b, n)
        else:
            _write_by_target(rows[n], global_state, state, tables, rules, b, n)


@inlined
def _write_released(row: Row, state: MecState, tables: MecTables, rules: Rules, b: int, n: int) -> int:
    """Fill the released features of a device; return how many there are."""
    n_agents, n_servers = state.agent.shape[1], tables.server_hz.size
    agent = state.agent[b, n]
    for e in range(n_servers):
        row[e] = tables.server_hz[e] / HZ_SERVER
    row[n_servers] = tables.device_hz[n] / HZ_DEVICE
    row[n_servers + 1] = agent.work_cycles / CYCLES
    row[n_servers + 2] = agent.deadline_s / DEADLINE_S
    place = n_servers + 3
    for other in range(n_agents):
        row[place + state.agent[b, other].profile] = state.agent[b, other].work_cycles / CYCLES
    place += n_agents
    for profile in range(n_agents):
        row[place + profile] = 1.0 if profile == agent.profile else 0.0
    place += n_agents
    for e in range(n_servers):
        row[place + e] = whole_transfer_s(state, tables, rules, b, n, e) / TRANSFER_S
        row[place + n_servers + e] = known_backlog_s(state, rules, b, n, e)
    place += 2 * n_servers
    row[place] = agent.last_server
    return place + 1


@inlined
def _write_progress(row: Row, place: int, state: MecState, rules: Rules, b: int, n: int) -> int:
    """Fill the features of time and running cost, if there are any; return the next place."""
    if rules.sees_slot:
        row[place] = state.world[b].slot / rules.horizon_slots
        place += 1
    if rules.sees_cost:
        n_slots = max(state.world[b].slot, 1)
        n_agents = state.agent.shape[1]
        total = state.world[b].cost / n_agents if rules.is_team else state.agent[b, n].cost
        row[place] = squash(total / n_slots, rules.time_scale_s)
        place += 1
    return place


@inlined
def _write_by_target(
    row: Row, global_state: Row, state: MecState, tables: MecTables, rules: Rules, b: int, n: int
) -> None:
    """Fill the features of a device: its own, what it knows of others, and those of each target."""
    n_agents, n_servers = state.agent.shape[1], tables.server_hz.size
    agent = state.agent[b, n]
    row[0] = squash(agent.work_cycles, rules.work_scale_cycles)
    row[1] = squash(agent.deadline_s, rules.time_scale_s)
    row[2] = squash(agent.work_cycles / tables.device_hz[n], rules.time_scale_s)
    row[3] = squash(agent.local_backlog_s, rules.time_scale_s)
    row[4] = energy_left(rules, agent.energy_j)
    place = _write_progress(row, 5, state, rules, b, n)
    if rules.scope > LOCAL_SCOPE:
        for other in range(n_agents):
            other_row = state.agent[b, other]
            row[place + other_row.profile] = squash(other_row.work_cycles, rules.work_scale_cycles)
            row[place + n_agents + other] = 1.0 if other == agent.profile else 0.0
        place += 2 * n_agents
    if rules.scope == FULL:
        for i in range(global_state.size):
            row[place + i] = global_state[i]
        place += global_state.size
    n_levels = tables.share_levels.size if rules.kind == DISCRETE else 1
    first = -1 if rules.explicit_local else 0  # -1 // n_levels is -1, the own device
    for column in range(first, n_servers * n_levels):
        share = tables.share_levels[column % n_levels] if rules.kind == DISCRETE else 1.0
        place = _write_target(row, place, state, tables, rules, b, n, column // n_levels, share)


@inlined
def _write_target(
    row: Row, place: int, state: MecState, tables: MecTables, rules: Rules, b: int, n: int, e: int, share: float
) -> int:
    """Fill the features of sending a share to server ``e``, -1 for the own device; return the next place."""
    agent, scale_s = state.agent[b, n], rules.time_scale_s
    if e < 0:
        hz, backlog_s, age, transfer_s, startup_s = tables.device_hz[n], agent.local_backlog_s, 0.0, 0.0, 0.0
        service_s = agent.work_cycles / hz
    else:
        hz, backlog_s = tables.server_hz[e], known_backlog_s(state, rules, b, n, e)
        age = 0.0 if rules.sees_queues_now else (state.world[b].slot - state.pair[b, n, e].known_slot) * 1.0
        transfer_s = whole_transfer_s(state, tables, rules, b, n, e)
        transfer_s = share * transfer_s if rules.is_radio else transfer_s
        startup_s = 0.0 if state.pair[b, n, e].has_started == 1 else tables.startup_s[n, e]
        service_s = share * agent.work_cycles / hz
    wait_s = max(0.0, backlog_s - transfer_s) if rules.overlaps else backlog_s
    row[place] = 0.0 if e < 0 else 1.0
    row[place + 1] = 0.0 if e < 0 else share
    row[place + 2] = squash(hz * scale_s, rules.work_scale_cycles)
    row[place + 3] = squash(backlog_s, scale_s)
    row[place + 4] = squash(age, 1.0)
    row[place + 5] = squash(transfer_s, scale_s)
    row[place + 6] = squash(startup_s, scale_s)
    row[place + 7] = squash(service_s, scale_s)
    row[place + 8] = squash(transfer_s + wait_s + startup_s + service_s, scale_s)
    row[place + 9] = 1.0 if e == agent.last_server and e >= 0 else 0.0
    return place + 10


@inlined
def write_state(row: Row, state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Fill the global state (S,) of world ``b``: all that the next slot depends on."""
    n_agents, n_servers, scale_s = state.agent.shape[1], tables.server_hz.size, rules.time_scale_s
    n_slots = state.world[b].slot
    row[0] = n_slots / rules.horizon_slots
    row[1] = squash(state.world[b].cost / (max(n_slots, 1) * n_agents), scale_s)
    place = 2
    for e in range(n_servers):
        row[place + e] = squash(state.server[b, e].backlog_s, scale_s)
    place += n_servers
    for n in range(n_agents):
        agent = state.agent[b, n]
        row[place] = squash(agent.work_cycles, rules.work_scale_cycles)
        row[place + 1] = squash(tables.mean_work_cycles[agent.profile], rules.work_scale_cycles)
        row[place + 2] = squash(agent.deadline_s, scale_s)
        row[place + 3] = squash(agent.local_backlog_s, scale_s)
        row[place + 4] = energy_left(rules, agent.energy_j)
        row[place + 5] = squash(agent.cost / max(n_slots, 1), scale_s)
        place += 6
        for e in range(n_servers):
            row[place + e] = state.pair[b, n, e].has_started
        place += n_servers
        if rules.is_radio:
            place = _write_channels(row, place, state, tables, rules, b, n)


@inlined
def _write_channels(row: Row, place: int, state: MecState, tables: MecTables, rules: Rules, b: int, n: int) -> int:
    """Fill where a device is and goes, and its channels; return the next place."""
    agent = state.agent[b, n]
    row[place] = agent.x_m / rules.side_m
    row[place + 1] = agent.y_m / rules.side_m
    for heading in range(4):
        row[place + 2 + heading] = 1.0 if heading == agent.heading else 0.0
    place += 6
    for e in range(tables.server_hz.size):
        pair = state.pair[b, n, e]
        row[place] = squash(pair.fading_re * pair.fading_re + pair.fading_im * pair.fading_im, 1.0)
        row[place + 1] = math.tanh(pair.shadowing_db / 10.0)
        row[place + 2] = squash(whole_transfer_s(state, tables, rules, b, n, e), rules.time_scale_s)
        place += 3
    return place


@inlined
def energy_left(rules: Rules, energy_j: float) -> float:
    """Return the share of the budget that is left, 1 without a budget; 0 once it is overdrawn."""
    return max(0.0, energy_j / rules.budget_j) if rules.budget_j < math.inf else 1.0


@inlined
def known_backlog_s(state: MecState, rules: Rules, b: int, n: int, e: int) -> float:
    """Return the backlog of a server as a device knows it."""
    if rules.sees_queues_now:
        return float(state.server[b, e].backlog_s)
    return float(state.pair[b, n, e].known_backlog_s)


@inlined
def whole_transfer_s(state: MecState, tables: MecTables, rules: Rules, b: int, n: int, e: int) -> float:
    """Return the time to send a device's whole task at the present rate, nobody else sending."""
    if rules.is_radio:
        return state.agent[b, n].size_bits / rate_bps(rules, state.pair[b, n, e].gain, 0.0)
    return float(tables.transfer_s[n, e])
