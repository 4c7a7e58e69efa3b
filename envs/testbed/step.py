"""The drivers: one call advances, or begins, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F8, I8, ROWS
from envs.testbed import state as s
from envs.testbed.decode import cut_of, target_of
from envs.testbed.draws import draw_factors, draw_task
from envs.testbed.events import book_work, run_until
from envs.testbed.observe import BedView, expect_targets, view_world, write_observations, write_state
from envs.testbed.state import BedState, BedTables, Rules
from envs.world import Outcome


@kernel
def step_worlds(
    out: Outcome,
    view: BedView,
    ended: ROWS,
    state: BedState,
    decision: I8,
    amounts: F8,
    tables: BedTables,
    rules: Rules,
    key: np.uint64,
) -> None:
    """Advance all worlds by an epoch; those that end keep their tasks in ``ended`` (B, N, T) and begin anew.

    ``decision`` and ``amounts`` are (B, N); the view is that of the present epoch, and becomes that of the next.
    """
    for b in range(state.world.size):
        world = state.world[b]
        _decide(state, view, rules, b, decision, amounts)
        is_last = world.epoch == rules.horizon_epochs - 1
        end_s = (world.epoch + 1) * rules.epoch_s
        run_until(state, tables, rules, b, end_s + rules.drain_s if is_last else end_s)
        _judge(state, rules, b, is_last)
        if is_last:
            _give_up(state, tables, rules, b)
        _reward(out, state, rules, b)
        world.epoch += 1
        out.terminated[b], out.truncated[b] = is_last, False
        if is_last:
            _end(out, view, ended, state, tables, rules, b)
            world.episode += 1
            begin_world(state, tables, rules, key, b)
        else:
            _create(state, tables, rules, key, b)
        _show(out, view, state, tables, rules, b)


@inlined
def _end(out: Outcome, view: BedView, ended: ROWS, state: BedState, tables: BedTables, rules: Rules, b: int) -> None:
    """Keep what belongs to the episode that ended."""
    state.sums[b, s.EPISODES] = 1.0
    for i in range(state.sums.shape[1]):
        out.final_sums[b, i] = state.sums[b, i]
    for n in range(state.device.shape[1]):
        for epoch in range(rules.horizon_epochs):
            ended[b, n, epoch] = state.task[b, n, epoch]
    view_world(view, state, tables, rules, b)
    write_observations(out.final_observation[b], view, rules.kind, rules.deadline_s, b)
    write_state(out.final_state[b], view, rules.deadline_s, b)
    out.final_target_mask[b] = True


@kernel
def begin_worlds(out: Outcome, view: BedView, state: BedState, tables: BedTables, rules: Rules, key: np.uint64) -> None:
    """Begin an episode in every world and write what is seen of it."""
    for b in range(state.world.size):
        begin_world(state, tables, rules, key, b)
        _show(out, view, state, tables, rules, b)


@inlined
def _show(out: Outcome, view: BedView, state: BedState, tables: BedTables, rules: Rules, b: int) -> None:
    """Write what is seen of world ``b``."""
    view_world(view, state, tables, rules, b)
    write_observations(out.observation[b], view, rules.kind, rules.deadline_s, b)
    write_state(out.state[b], view, rules.deadline_s, b)
    out.target_mask[b] = True  # every server is up


@kernel
def begin_world(state: BedState, tables: BedTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Empty world ``b``, draw its speeds and its first tasks."""
    draw_factors(state, tables, rules, key, b)
    world, cycles = state.world[b], 0.0
    world.epoch, world.now_s = 0, 0.0
    world.bits_1, world.bits_2 = 8.0 * tables.cut_bytes[1], 8.0 * tables.cut_bytes[2]
    world.bits_3 = 8.0 * tables.cut_bytes[3]
    for stage in range(tables.stage_cycles.size):
        cycles += tables.stage_cycles[stage]
    for i in range(state.sums.shape[1]):
        state.sums[b, i] = 0.0
    for n in range(state.device.shape[1]):
        device = state.device[b, n]
        device.frame_s = cycles / tables.device_hz[n]
        device.waiting_frames, device.head, device.tail = 0, 0, 0
        device.task, device.first, device.last = s.NOBODY, 0, 0
        device.start_s, device.end_s, device.begin_s, device.result_s = 0.0, math.inf, math.inf, math.inf
        device.patient, device.judged = 0, 0
        for m in range(state.server.shape[1]):
            link = state.link[b, n, m]
            link.phase, link.task, link.head, link.tail = s.IDLE, s.NOBODY, 0, 0
            link.left_bits, link.since_s, link.start_s, link.end_s = 0.0, 0.0, 0.0, math.inf
            link.now_bps, link.seen_bps = link.bps, tables.up_bps[n, m]
    for m in range(state.server.shape[1]):
        server = state.server[b, m]
        n_lanes = tables.first_lane[m + 1] - tables.first_lane[m]
        server.frame_s = cycles / tables.lane_hz[m]
        if tables.is_shared[m] == 1:  # a guess for when all lanes work
            server.frame_s *= max(n_lanes / max(tables.server_cores[m], 1.0), 1.0)
        server.waiting_frames, server.head, server.tail, server.n_busy, server.since_s = 0, 0, 0, 0, 0.0
    for j in range(state.lane.shape[1]):
        lane = state.lane[b, j]
        lane.device, lane.task = s.NOBODY, s.NOBODY
        lane.left_cycles, lane.start_s, lane.end_s = 0.0, 0.0, math.inf
    _create(state, tables, rules, key, b)


@inlined
def _create(state: BedState, tables: BedTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Create the tasks of the epoch that begins."""
    epoch = state.world[b].epoch
    for n in range(state.device.shape[1]):
        task = state.task[b, n, epoch]
        draw_task(state, tables, rules, key, b, n, epoch)
        task.created_s = epoch * rules.epoch_s
        task.target, task.cut, task.done, task.has_fallback, task.by = 0, 4, 0, 0, s.BY_NOBODY
        task.upload_start_s, task.upload_end_s = math.nan, math.nan
        task.own_start_s, task.own_s, task.rest_start_s, task.rest_s = math.nan, 0.0, math.nan, 0.0
        task.serve_start_s, task.serve_end_s, task.result_s = math.nan, math.nan, math.inf
        task.done_s, task.cost = math.nan, 0.0


@inlined
def _decide(state: BedState, view: BedView, rules: Rules, b: int, decision: I8, amounts: F8) -> None:
    """Take the decisions on the newest tasks, which are in range."""
    world, sums = state.world[b], state.sums[b]
    for n in range(state.device.shape[1]):
        task, device = state.task[b, n, world.epoch], state.device[b, n]
        task.target = target_of(rules.kind, decision[b, n])
        task.cut = cut_of(rules.kind, decision[b, n], amounts[b, n])
        device.begin_s = world.now_s + rules.decision_delay_s
        device.local_cost, device.edge_cost, device.transmit_cost, device.late_cost = 0.0, 0.0, 0.0, 0.0
        sums[s.TASKS] += 1.0
        sums[s.OFFLOADED] += 1.0 if task.target > 0 else 0.0
        sums[s.LOCAL_BACKLOG_S] += view.local_backlog_s[b, n]
    for m in range(state.server.shape[1]):
        sums[s.SERVER_BACKLOG_S] += view.server_backlog_s[b, m] / state.server.shape[1]


@inlined
def _judge(state: BedState, rules: Rules, b: int, is_last: bool) -> None:
    """Book the penalty of tasks whose deadline has passed in this step; in the last one of all that are left."""
    world = state.world[b]
    for n in range(state.device.shape[1]):
        device = state.device[b, n]
        while device.judged <= world.epoch:
            task = state.task[b, n, device.judged]
            if not is_last and task.created_s + rules.deadline_s > world.now_s:
                break
            device.judged += 1
            if task.by == s.BY_NOBODY or task.done_s - task.created_s > rules.deadline_s:
                task.cost += rules.late_cost
                device.late_cost += rules.late_cost
                state.sums[b, s.LATE] += 1.0


@inlined
def _give_up(state: BedState, tables: BedTables, rules: Rules, b: int) -> None:
    """Book what tasks in flight have cost so far: the run is over."""
    for n in range(state.device.shape[1]):
        for epoch in range(rules.horizon_epochs):
            task = state.task[b, n, epoch]
            if task.by == s.BY_NOBODY:
                book_work(state, tables, rules, b, n, epoch, task.done, False)


@inlined
def _reward(out: Outcome, state: BedState, rules: Rules, b: int) -> None:
    """Write the rewards of the step, and add its costs and backlogs to the sums."""
    n_devices, total, sums = state.device.shape[1], 0.0, state.sums[b]
    for n in range(n_devices):
        device = state.device[b, n]
        cost = device.local_cost + device.edge_cost + device.transmit_cost + device.late_cost
        out.reward[b, n] = -rules.reward_scale * cost
        total += cost
        sums[s.LOCAL_COST] += device.local_cost
        sums[s.EDGE_COST] += device.edge_cost
        sums[s.TRANSMIT_COST] += device.transmit_cost
        sums[s.LATE_COST] += device.late_cost
    sums[s.COST] += total
    sums[s.EPOCHS] += 1.0
    if rules.is_team:
        for n in range(n_devices):
            out.reward[b, n] = -rules.reward_scale * total / n_devices


@kernel
def observe_reported(out: Outcome, view: BedView, kind: int, deadline_s: float) -> None:
    """Write what policies see of a view that a testbed's reports have filled, (1, N, F), and its mask."""
    expect_targets(view, kind, 0)
    write_observations(out.observation[0], view, kind, deadline_s, 0)
    for n in range(view.target_mask.shape[1]):
        for k in range(view.target_mask.shape[2]):
            out.target_mask[0, n, k] = view.target_mask[0, n, k]
