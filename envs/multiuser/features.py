"""Observations and global states as arrays of features; ``names.py`` says which feature is which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from envs.accelerate import inlined
from envs.multiuser import state as s
from envs.multiuser.state import MultiuserState, MultiuserTables, Rules

Row = npt.NDArray[np.floating]


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
def write_observation(rows: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Fill the observations (N, F) of world ``b``."""
    if rules.is_central:
        _write_vector(rows[0], state, tables, rules, b, rules.is_bounded, rules.sees_gains, rules.sees_ranks)
    else:
        _write_users(rows, state, tables, rules, b)


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
def _write_users(rows: Row, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Fill what each user sees: its own figures, the edge server, the others added up, and its targets."""
    n_users, is_bounded = state.user.shape[1], rules.is_bounded
    edge_s_per_cycle, per_user, per_other = 1.0 / rules.edge_hz, 1.0 / n_users, 1.0 / max(n_users - 1, 1)
    edge_backlog_s = state.world[b].edge_backlog_s
    edge = _backlog(edge_backlog_s, rules.per_edge_backlog_s, is_bounded)
    slot = _part(state.world[b].slot + 1.0, rules.per_slots, is_bounded)
    total_s, largest_s, second_s, n_late = 0.0, 0.0, 0.0, 0
    for u in range(n_users):
        backlog_s = state.user[b, u].backlog_s
        total_s += backlog_s
        second_s = max(second_s, min(backlog_s, largest_s))
        largest_s = max(largest_s, backlog_s)
        n_late += 1 if state.user[b, u].urgency > 1.0 else 0
    for u in range(n_users):
        user, row = state.user[b, u], rows[u]
        others_s = max(0.0, total_s - user.backlog_s) * per_other
        most_s = second_s if user.backlog_s == largest_s else largest_s
        own_urgency = user.urgency / (user.urgency + 1.0)
        edge_urgency = (
            edge_backlog_s + user.work_cycles * edge_s_per_cycle + tables.upload_s_per_bit[u] * user.size_bits
        )
        edge_urgency = edge_urgency / (edge_urgency + user.deadline_s)
        row[0] = _part(tables.user_hz[u], rules.per_user_hz, is_bounded)
        row[1] = _backlog(user.backlog_s, rules.per_user_backlog_s, is_bounded)
        row[2] = _part(user.work_cycles, rules.per_work_cycles, is_bounded)
        row[3] = _part(user.deadline_s, rules.per_deadline_s, is_bounded)
        row[4] = _part(user.size_bits, rules.per_size_bits, is_bounded)
        row[5] = own_urgency
        row[6] = edge
        row[7] = edge_urgency
        row[8] = _backlog(others_s, rules.per_user_backlog_s, is_bounded)
        row[9] = _backlog(most_s, rules.per_user_backlog_s, is_bounded)
        row[10] = (n_late - (1 if user.urgency > 1.0 else 0)) * per_other
        row[11] = slot
        place = 12
        if rules.sees_gains:
            row[place] = tables.gain_frac[u]
            place += 1
        if rules.sees_ranks:
            row[place] = user.rank * per_user
            place += 1
        if rules.kind == s.DISCRETE:
            _write_targets(row, place, rules, user.rank, own_urgency, edge_urgency)


@inlined
def _write_targets(row: Row, place: int, rules: Rules, rank: int, own_urgency: float, edge_urgency: float) -> None:
    """Fill the features of a user's targets: its own processor, and each channel.

    A target has the user's rank where the channels are dealt out by urgency: the most urgent user gets channel 0, and
    whoever is left without a channel its own processor.
    """
    for k in range(1 + rules.n_channels):
        row[place] = 0.0 if k == 0 else 1.0
        row[place + 1] = own_urgency if k == 0 else edge_urgency
        place += 2
        if rules.sees_ranks:
            has_rank = rank >= rules.n_channels if k == 0 else rank == k - 1
            row[place] = 1.0 if has_rank else 0.0
            place += 1
