"""The drivers: one call advances, or observes, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F4, F8, I8
from envs.mec import state as s
from envs.mec.decode import decode
from envs.mec.draws import deal_profiles, draw_tasks
from envs.mec.features import write_observation, write_state
from envs.mec.kernel import close_episode, hear_of_servers, play_slot
from envs.mec.radio import advance_channels, begin_channels
from envs.mec.reward import write_reward
from envs.mec.state import MecState, MecTables, Rules, SlotFigures
from envs.world import Outcome


@kernel
def step_worlds(
    out: Outcome,
    figures: SlotFigures,
    order: I8,
    state: MecState,
    decision: I8,
    amounts: F8,
    tables: MecTables,
    rules: Rules,
    key: np.uint64,
) -> None:
    """Advance all worlds by a slot; those that end begin their next episode. ``order`` (N,) is room to work in."""
    for b in range(state.world.size):
        decode(state, tables, rules, b, decision[b], amounts[b])
        is_missed, cost = play_slot(figures, order, state, tables, rules, b)
        _close_slot(figures, state, rules, b, is_missed, cost)
        is_last = state.world[b].slot == rules.horizon_slots
        fails = is_missed and rules.ends_on_miss
        out.terminated[b] = fails or (is_last and rules.terminates)
        out.truncated[b] = is_last and not out.terminated[b]
        for n in range(state.agent.shape[1]):
            out.reward[b, n] = figures.reward[b, n]
        _begin_slot(state, tables, rules, key, b)
        if fails or is_last:
            _end(out, figures, state, tables, rules, b, is_last)
            state.world[b].episode += 1
            _begin_episode(state, tables, rules, key, b)
        _observe(out, state, tables, rules, b)


@inlined
def _close_slot(figures: SlotFigures, state: MecState, rules: Rules, b: int, is_missed: bool, cost: float) -> None:
    """Count the slot, pay the rewards and tell the devices of the servers."""
    state.world[b].slot += 1
    state.world[b].cost += cost
    state.sums[b, s.SLOTS] += 1.0
    if not is_missed:
        state.sums[b, s.MET_SLOTS] += 1.0
    write_reward(figures, state, rules, b, is_missed)
    if not rules.sees_queues_now:
        hear_of_servers(state, b)


@inlined
def _end(
    out: Outcome, figures: SlotFigures, state: MecState, tables: MecTables, rules: Rules, b: int, is_last: bool
) -> None:
    """Keep what belongs to the episode that ended."""
    n_agents = state.agent.shape[1]
    reported = 0.0
    if is_last:
        reported = state.world[b].cost / (state.world[b].slot * n_agents)
    else:
        for n in range(n_agents):
            reported = max(reported, figures.delay_s[b, n])
    close_episode(state, rules, b, reported)
    for i in range(state.sums.shape[1]):
        out.final_sums[b, i] = state.sums[b, i]
    _look(out.final_observation[b], out.final_state[b], state, tables, rules, b)
    out.final_target_mask[b] = True


@inlined
def _begin_slot(state: MecState, tables: MecTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Draw tasks and channels of the slot that begins."""
    draw_tasks(state, tables, rules, key, b)
    if rules.is_radio:
        advance_channels(state, tables, rules, key, b)


@kernel
def _begin_episode(state: MecState, tables: MecTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Empty world ``b`` and draw the first slot of its episode."""
    state.world[b].slot = 0
    state.world[b].cost = 0.0
    for e in range(state.server.shape[1]):
        state.server[b, e].backlog_s = 0.0
    for n in range(state.agent.shape[1]):
        agent = state.agent[b, n]
        agent.last_server = s.NO_SERVER
        agent.local_backlog_s = 0.0
        agent.energy_j = rules.budget_j
        agent.delay_s = 0.0
        agent.cost = 0.0
        for e in range(state.server.shape[1]):
            pair = state.pair[b, n, e]
            pair.has_started = 0
            pair.known_backlog_s = 0.0
            pair.known_slot = 0
    for i in range(state.sums.shape[1]):
        state.sums[b, i] = 0.0
    deal_profiles(state, rules, key, b)
    draw_tasks(state, tables, rules, key, b)
    if rules.is_radio:
        begin_channels(state, tables, rules, key, b)


@kernel
def _look(observation: F4, global_state: F4, state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Write observations (N, F) and the global state (S,) of world ``b``; compiled once for its callers."""
    write_state(global_state, state, tables, rules, b)
    write_observation(observation, global_state, state, tables, rules, b)


@inlined
def _observe(out: Outcome, state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Write what is seen of world ``b``; every target may always be chosen."""
    _look(out.observation[b], out.state[b], state, tables, rules, b)
    out.target_mask[b] = True


@kernel
def begin_worlds(state: MecState, tables: MecTables, rules: Rules, key: np.uint64) -> None:
    """Begin an episode in every world."""
    for b in range(state.world.size):
        _begin_episode(state, tables, rules, key, b)


@kernel
def observe_worlds(out: Outcome, state: MecState, tables: MecTables, rules: Rules) -> None:
    """Write what is seen of every world."""
    for b in range(state.world.size):
        _observe(out, state, tables, rules, b)


@kernel
def observe_exactly(rows: F8, global_state: F8, state: MecState, tables: MecTables, rules: Rules) -> None:
    """Write the observations (B, N, F) and global states (B, S) of every world in float64."""
    for b in range(state.world.size):
        write_state(global_state[b], state, tables, rules, b)
        write_observation(rows[b], global_state[b], state, tables, rules, b)
