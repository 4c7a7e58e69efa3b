"""The random numbers of the multi-user world: by world, episode, slot and user, never by order of drawing."""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined
from envs.multiuser.state import MultiuserState, MultiuserTables, Rules
from envs.rng import philox

# Streams, one a quantity.
TASK, DEADLINE = range(2)

_TO_UNIT = 2.0**-32


@inlined
def draw_tasks(state: MultiuserState, tables: MultiuserTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Draw the task of each user for the slot that begins, or take the clip of the slot."""
    n_users, n_clips = state.user.shape[1], tables.clip_cycles.size
    world = state.world[b]
    world_id, episode = np.uint64(world.world_id), np.uint64(world.episode)
    first = world.slot * ((n_users + 3) // 4)
    size_unit, work_ahead, size_ahead = 0.0, 0.0, 0.0
    for u in range(n_users):
        user = state.user[b, u]
        if u % 2 == 0:
            index = np.uint64(2 * first + u // 2)
            a0, a1, a2, a3 = philox(index, np.uint64(TASK), world_id, episode, key)
            work_unit, size_unit = (float(a0) + 0.5) * _TO_UNIT, (float(a1) + 0.5) * _TO_UNIT
            work_ahead, size_ahead = (float(a2) + 0.5) * _TO_UNIT, (float(a3) + 0.5) * _TO_UNIT
        else:
            work_unit, size_unit = work_ahead, size_ahead
        user.work_cycles = rules.work_low_cycles + rules.work_range_cycles * work_unit
        user.size_bits = rules.size_low_bits + rules.size_range_bits * size_unit
        user.deadline_s = rules.deadline_low_s
        if n_clips > 0:
            clip = int(work_unit * n_clips) if rules.draws_clips else world.slot % n_clips
            user.work_cycles = tables.clip_cycles[clip]
            user.size_bits = tables.clip_bits[clip]
    if rules.deadline_range_s > 0.0:
        _draw_deadlines(state, rules, key, b, first)


@inlined
def _draw_deadlines(state: MultiuserState, rules: Rules, key: np.uint64, b: int, first: int) -> None:
    """Draw the deadlines of the slot that begins."""
    world = state.world[b]
    world_id, episode = np.uint64(world.world_id), np.uint64(world.episode)
    d1, d2, d3 = np.uint64(0), np.uint64(0), np.uint64(0)
    for u in range(state.user.shape[1]):
        if u % 4 == 0:
            d0, d1, d2, d3 = philox(np.uint64(first + u // 4), np.uint64(DEADLINE), world_id, episode, key)
        else:
            d0, d1, d2 = d1, d2, d3
        state.user[b, u].deadline_s = rules.deadline_low_s + rules.deadline_range_s * (float(d0) + 0.5) * _TO_UNIT
