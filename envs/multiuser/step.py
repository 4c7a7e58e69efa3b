"""The drivers: one call advances, or observes, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F4, F8, I8
from envs.multiuser import state as s
from envs.multiuser.decode import clear_turns, decide_next, decode
from envs.multiuser.draws import draw_tasks
from envs.multiuser.features import rank_users, write_decided, write_observation, write_state, write_turn
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
        _play_slot(out, figures, room, state, tables, rules, key, b)


@kernel
def step_turns(
    out: Outcome,
    figures: SlotFigures,
    room: Room,
    state: MultiuserState,
    decision: I8,
    tables: MultiuserTables,
    rules: Rules,
    key: np.uint64,
) -> None:
    """Let the next user of each world decide, ``decision`` (B, 1); with the last of them the slot is played."""
    for b in range(state.world.size):
        decide_next(state, tables, rules, b, decision[b, 0])
        if state.world[b].turn == state.user.shape[1]:
            clear_turns(state, b)
            _play_slot(out, figures, room, state, tables, rules, key, b)
        else:
            out.reward[b] = 0.0
            out.terminated[b] = False
            out.truncated[b] = False
            _look(out.observation[b], out.state[b], state, tables, rules, b)
            out.target_mask[b] = True


@inlined
def _play_slot(
    out: Outcome,
    figures: SlotFigures,
    room: Room,
    state: MultiuserState,
    tables: MultiuserTables,
    rules: Rules,
    key: np.uint64,
    b: int,
) -> None:
    """Play the slot of world ``b`` under what its users do; an episode that ends is followed by the next."""
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
    clear_turns(state, b)
    draw_tasks(state, tables, rules, key, b)


@kernel
def _look(
    observation: F4, global_state: F4, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> None:
    """Write observations (N, F) and the global state (S,) of world ``b``; compiled once for its callers."""
    if rules.kind == s.AUTOREGRESSIVE:
        _look_turn(observation, global_state, state, tables, rules, b)
        return
    rank_users(state, tables, b)
    write_state(global_state, state, tables, rules, b)
    write_observation(observation, state, tables, rules, b)


@kernel
def _look_turn(
    observation: F4, global_state: F4, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> None:
    """Write the same where users take turns; apart, for it would make the others' code slower."""
    if state.world[b].turn == 0:  # ranks are those of the slot
        rank_users(state, tables, b)
    write_state(global_state, state, tables, rules, b)
    write_decided(global_state, state, rules, b)
    write_turn(observation[0], state, tables, rules, b)


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
