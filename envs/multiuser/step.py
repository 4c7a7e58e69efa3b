"""The drivers: one call advances, or observes, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F4, F8, I8
from envs.multiuser import state as s
from envs.multiuser.decode import decode
from envs.multiuser.draws import draw_tasks
from envs.multiuser.features import rank_users, write_observation, write_state
from envs.multiuser.kernel import price_slot, settle_slot, write_reward
from envs.multiuser.state import MultiuserState, MultiuserTables, Room, Rules, SlotFigures
from envs.world import Outcome


@kernel
def step_worlds(
    out: Outcome,
    figures: SlotFigures,
    room: Room,
    state: MultiuserState,
    decision: I8,
    amounts: F8,
    tables: MultiuserTables,
    rules: Rules,
    key: np.uint64,
) -> None:
    """Advance all worlds by a slot; those that end begin their next episode.

    ``decision`` is (B, Us) and ``amounts`` (B, 2 Us); which of them counts is the kind's affair.
    """
    for b in range(state.world.size):
        decode(state, rules, b, decision[b], amounts[b])
        cost = price_slot(figures, room, state, tables, rules, b)
        settle_slot(figures, room, state, tables, rules, b)
        write_reward(figures, rules, b, cost)
        for n in range(out.reward.shape[1]):
            out.reward[b, n] = figures.reward[b, n]
        state.world[b].slot += 1
        is_last = state.world[b].slot == rules.horizon_slots
        out.terminated[b] = False
        out.truncated[b] = is_last
        draw_tasks(state, tables, rules, key, b)
        if is_last:
            _end(out, state, tables, rules, b)
            state.world[b].episode += 1
            _begin_episode(state, tables, rules, key, b)
        _look(out.observation[b], out.state[b], state, tables, rules, b)
        out.target_mask[b] = True


@inlined
def _end(out: Outcome, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int) -> None:
    """Keep what belongs to the episode that ended."""
    state.sums[b, s.EPISODES] = 1.0
    for i in range(state.sums.shape[1]):
        out.final_sums[b, i] = state.sums[b, i]
    _look(out.final_observation[b], out.final_state[b], state, tables, rules, b)
    out.final_target_mask[b] = True


@inlined
def _begin_episode(state: MultiuserState, tables: MultiuserTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Empty world ``b`` and draw the first slot of its episode."""
    state.world[b].slot = 0
    state.world[b].edge_backlog_s = 0.0
    for u in range(state.user.shape[1]):
        state.user[b, u].backlog_s = 0.0
    for i in range(state.sums.shape[1]):
        state.sums[b, i] = 0.0
    draw_tasks(state, tables, rules, key, b)


@kernel
def _look(
    observation: F4, global_state: F4, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> None:
    """Write observations (N, F) and the global state (S,) of world ``b``; compiled once for its callers."""
    rank_users(state, tables, b)
    write_state(global_state, state, tables, rules, b)
    write_observation(observation, state, tables, rules, b)


@kernel
def begin_worlds(state: MultiuserState, tables: MultiuserTables, rules: Rules, key: np.uint64) -> None:
    """Begin an episode in every world."""
    for b in range(state.world.size):
        _begin_episode(state, tables, rules, key, b)


@kernel
def observe_worlds(out: Outcome, state: MultiuserState, tables: MultiuserTables, rules: Rules) -> None:
    """Write what is seen of every world."""
    for b in range(state.world.size):
        _look(out.observation[b], out.state[b], state, tables, rules, b)
        out.target_mask[b] = True
