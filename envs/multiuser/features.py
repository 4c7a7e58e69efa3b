"""Observations and global states as arrays of features; ``names.py`` says which feature is which."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.accelerate import inlined
from envs.multiuser import state as s
from envs.multiuser.build import MOST_BPS_PER_HZ
from envs.multiuser.decode import next_user
from envs.multiuser.state import MultiuserState, MultiuserTables, Rules

Row = npt.NDArray[np.floating]
_LN2 = math.log(2.0)


class _Common(NamedTuple):
    """What the features of every user of a world are made of."""

    total_s: float  # of the backlogs
    largest_s: float
    second_s: float
    n_late: int  # users that would be late by themselves
    per_user: float
    per_other: float
    s_per_cycle: float  # of the edge server
    wait_s: float  # work that it has, or gets of users that have decided
    edge: float  # as shown, its backlog
    slot: float  # as shown


@inlined
def _backlog(backlog_s: float, per_s: float, is_bounded: bool) -> float:
    """Return a backlog over its scale, x, or x / (x + 1) where features are bounded."""
    share = backlog_s * per_s
    return share / (share + 1.0) if is_bounded else share


@inlined
def _part(value: float, per_unit: float, is_bounded: bool) -> float:
    """Return a value over its scale, at most 1 where features are bounded."""
    share = value * per_unit
    return min(share, 1.0) if is_bounded else share


@inlined
def rank_users(state: MultiuserState, tables: MultiuserTables, b: int) -> None:
    """Fill how urgent it is for each user of world ``b`` not to work alone, and its place in that order."""
    n_users = state.user.shape[1]
    for u in range(n_users):
        user = state.user[b, u]
        user.urgency = (user.backlog_s + user.work_cycles * tables.s_per_cycle[u]) / user.deadline_s
        user.rank = 0
    for u in range(n_users):
        for v in range(u + 1, n_users):
            if state.user[b, v].urgency > state.user[b, u].urgency:
                state.user[b, u].rank += 1
            else:
                state.user[b, v].rank += 1


@inlined
def write_state(row: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Fill the global state (S,) of world ``b``, in [-1, 1]: all that the next slot depends on."""
    _write_vector(row, state, tables, rules, b, True, True, False)


@inlined
def write_decided(row: Row, state: MultiuserState, rules: Rules, b: int) -> None:
    """Fill, at the end of a global state (S,), which users have decided in this slot, and what."""
    n_users, turn = state.user.shape[1], state.world[b].turn
    place = row.size - 2 * n_users
    for u in range(n_users):
        user = state.user[b, u]
        has_decided = (user.rank if rules.by_urgency else u) < turn
        row[place] = 1.0 if has_decided else 0.0
        row[place + 1] = (1.0 + user.channel) / rules.n_channels if has_decided else 0.0
        place += 2


@inlined
def write_observation(rows: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Fill the observations (N, F) of world ``b``."""
    if rules.is_central:
        _write_vector(rows[0], state, tables, rules, b, rules.is_bounded, rules.sees_gains, rules.sees_ranks)
    else:
        common = _look_round(state, rules, b)
        for u in range(state.user.shape[1]):
            place = _write_user(rows[u], state, tables, rules, b, u, common)
            if rules.kind == s.DISCRETE:
                _write_targets(rows[u], place, state, rules, b, u, False)


@inlined
def write_turn(row: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Fill what is seen of the user of world ``b`` whose turn it is (F,)."""
    u = next_user(state, rules, b)
    place = _write_user(row, state, tables, rules, b, u, _look_round(state, rules, b))
    row[place] = _backlog(state.world[b].sent_s, rules.per_edge_backlog_s, rules.is_bounded)
    row[place + 1] = state.world[b].turn / state.user.shape[1]
    _write_targets(row, place + 2, state, rules, b, u, True)


@inlined
def _write_vector(
    row: Row,
    state: MultiuserState,
    tables: MultiuserTables,
    rules: Rules,
    b: int,
    is_bounded: bool,
    has_gains: bool,
    has_ranks: bool,
) -> None:
    """Fill the released vector, in its order and with its divisors, and what may follow it."""
    n_users, place = state.user.shape[1], 0
    for u in range(n_users):
        user = state.user[b, u]
        row[place] = _part(tables.user_hz[u], rules.per_user_hz, is_bounded)
        row[place + 1] = _backlog(user.backlog_s, rules.per_user_backlog_s, is_bounded)
        row[place + 2] = tables.x_frac[u]
        row[place + 3] = tables.y_frac[u]
        row[place + 4] = _part(user.work_cycles, rules.per_work_cycles, is_bounded)
        row[place + 5] = _part(user.deadline_s, rules.per_deadline_s, is_bounded)
        row[place + 6] = _part(user.size_bits, rules.per_size_bits, is_bounded)
        place += 7
    row[place] = _part(rules.edge_hz, rules.per_edge_hz, is_bounded)
    row[place + 1] = _backlog(state.world[b].edge_backlog_s, rules.per_edge_backlog_s, is_bounded)
    row[place + 2] = _part(state.world[b].slot + 1.0, rules.per_slots, is_bounded)
    place += 3
    if has_gains:
        for u in range(n_users):
            row[place + u] = tables.gain_frac[u]
        place += n_users
    if has_ranks:
        for u in range(n_users):
            row[place + u] = state.user[b, u].rank / n_users


@inlined
def _look_round(state: MultiuserState, rules: Rules, b: int) -> _Common:
    """Return what is the same for all users of world ``b``."""
    total_s, largest_s, second_s, n_late = 0.0, 0.0, 0.0, 0
    n_users, world = state.user.shape[1], state.world[b]
    for u in range(n_users):
        backlog_s = state.user[b, u].backlog_s
        total_s += backlog_s
        second_s = max(second_s, min(backlog_s, largest_s))
        largest_s = max(largest_s, backlog_s)
        n_late += 1 if state.user[b, u].urgency > 1.0 else 0
    return _Common(
        total_s,
        largest_s,
        second_s,
        n_late,
        1.0 / n_users,
        1.0 / max(n_users - 1, 1),
        1.0 / rules.edge_hz,
        world.edge_backlog_s + world.sent_s,
        _backlog(world.edge_backlog_s, rules.per_edge_backlog_s, rules.is_bounded),
        _part(world.slot + 1.0, rules.per_slots, rules.is_bounded),
    )


@inlined
def _write_user(
    row: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int, u: int, common: _Common
) -> int:
    """Fill what a user sees: its own figures, the edge server, the others added up. Return how many there are."""
    user, is_bounded = state.user[b, u], rules.is_bounded
    others_s = max(0.0, common.total_s - user.backlog_s) * common.per_other
    most_s = common.second_s if user.backlog_s == common.largest_s else common.largest_s
    edge_s = common.wait_s + user.work_cycles * common.s_per_cycle + tables.upload_s_per_bit[u] * user.size_bits
    row[0] = _part(tables.user_hz[u], rules.per_user_hz, is_bounded)
    row[1] = _backlog(user.backlog_s, rules.per_user_backlog_s, is_bounded)
    row[2] = _part(user.work_cycles, rules.per_work_cycles, is_bounded)
    row[3] = _part(user.deadline_s, rules.per_deadline_s, is_bounded)
    row[4] = _part(user.size_bits, rules.per_size_bits, is_bounded)
    row[5] = user.urgency / (user.urgency + 1.0)
    row[6] = common.edge
    row[7] = edge_s / (edge_s + user.deadline_s)
    row[8] = _backlog(others_s, rules.per_user_backlog_s, is_bounded)
    row[9] = _backlog(most_s, rules.per_user_backlog_s, is_bounded)
    row[10] = (common.n_late - (1 if user.urgency > 1.0 else 0)) * common.per_other
    row[11] = common.slot
    place = 12
    if rules.sees_gains:
        row[place] = tables.gain_frac[u]
        place += 1
    if rules.sees_ranks:
        row[place] = user.rank * common.per_user
        place += 1
    return place


@inlined
def _write_targets(
    row: Row, place: int, state: MultiuserState, rules: Rules, b: int, u: int, takes_turns: bool
) -> None:
    """Fill the features of a user's targets: its own processor, and each channel.

    A target has the user's rank where the channels are dealt out by urgency: the most urgent user gets channel 0, and
    whoever is left without a channel its own processor. Who has decided for a target counts where users take turns.
    """
    rank, own_urgency, edge_urgency = state.user[b, u].rank, row[5], row[7]
    for k in range(1 + rules.n_channels):
        row[place] = 0.0 if k == 0 else 1.0
        row[place + 1] = own_urgency if k == 0 else edge_urgency
        place += 2
        if rules.sees_ranks:
            has_rank = rank >= rules.n_channels if k == 0 else rank == k - 1
            row[place] = 1.0 if has_rank else 0.0
            place += 1
        if takes_turns:
            row[place], row[place + 1] = _decided(state, rules, b, k)
            place += 2


@inlined
def _decided(state: MultiuserState, rules: Rules, b: int, k: int) -> tuple[float, float]:
    """Return the share of users that have decided for a target in this slot, and their power as a rate is shown."""
    per_user = 1.0 / state.user.shape[1]
    if k > 0:
        channel = state.channel[b, k - 1]
        bps_per_hz = math.log1p(channel.received_w / rules.noise_w) / _LN2
        return channel.n_sending * per_user, min(bps_per_hz / MOST_BPS_PER_HZ, 1.0)
    n_stay = state.world[b].turn
    for channel in range(rules.n_channels):
        n_stay -= state.channel[b, channel].n_sending
    return n_stay * per_user, 0.0
