"""What devices, links and servers do one after another: jobs of a lane, uploads, tasks of a server's lanes."""

from __future__ import annotations

import math

from envs.accelerate import kernel
from envs.testbed.state import (
    BY_NOBODY,
    CONFIRMING,
    IDLE,
    NOBODY,
    SENDING,
    SENT_BYTES,
    BedState,
    BedTables,
    Rules,
)

N_STAGES, DETECT = 4, 1
NEW_WEIGHT = 0.3  # of the newest value in every moving average of the testbed
LEAST_MEASURED_BYTES = 4096.0  # smaller uploads tell the delay, not the rate
_CODE = 8  # base of the numbers in a lane's queue


@kernel
def cycles_of(state: BedState, tables: BedTables, b: int, n: int, epoch: int, first: int, last: int) -> float:
    """Return the cycles of stages ``first`` to ``last - 1`` of a task."""
    task, cycles = state.task[b, n, epoch], 0.0
    for stage in range(first, last):
        cycles += tables.stage_cycles[stage]
    return cycles * task.frames * task.work_factor * state.world[b].work_factor


@kernel
def sent_bytes_of(state: BedState, tables: BedTables, b: int, n: int, epoch: int) -> float:
    """Return the bytes that a task has at its cut."""
    task = state.task[b, n, epoch]
    factor = 1.0 if task.cut == 0 else task.bytes_factor * state.world[b].bytes_factor
    return tables.cut_bytes[task.cut] * task.frames * factor


@kernel
def submit_job(
    state: BedState, tables: BedTables, rules: Rules, b: int, n: int, epoch: int, first: int, last: int
) -> None:
    """Put stages of a task at the end of the queue of a device's lane."""
    device = state.device[b, n]
    state.lane_queue[b, n, device.tail] = (epoch * _CODE + first) * _CODE + last
    device.tail += 1
    device.waiting_frames += state.task[b, n, epoch].frames
    start_job(state, tables, rules, b, n)


@kernel
def start_job(state: BedState, tables: BedTables, rules: Rules, b: int, n: int) -> None:
    """Let an idle lane begin with the next job whose task is not finished."""
    device, now_s = state.device[b, n], state.world[b].now_s
    while device.task == NOBODY and device.head < device.tail:
        code = state.lane_queue[b, n, device.head]
        device.head += 1
        epoch, first, last = code // (_CODE * _CODE), code // _CODE % _CODE, code % _CODE
        frames = state.task[b, n, epoch].frames
        device.waiting_frames -= frames
        if state.task[b, n, epoch].by != BY_NOBODY:
            continue
        device.task, device.first, device.last = epoch, first, last
        device.start_s = now_s
        took_s = cycles_of(state, tables, b, n, epoch, first, last) / device.hz
        if first <= DETECT < last:
            took_s += rules.overhead_s * frames
        device.end_s = now_s + took_s


@kernel
def submit_upload(state: BedState, tables: BedTables, rules: Rules, b: int, n: int, epoch: int) -> None:
    """Put a task at the end of the queue of the link to its server."""
    m = state.task[b, n, epoch].target - 1
    link = state.link[b, n, m]
    state.link_queue[b, n, m, link.tail] = epoch
    link.tail += 1
    start_upload(state, tables, rules, b, n, m)


@kernel
def start_upload(state: BedState, tables: BedTables, rules: Rules, b: int, n: int, m: int) -> None:
    """Let an idle link begin with the next task that was not given up."""
    link, now_s = state.link[b, n, m], state.world[b].now_s
    while link.phase == IDLE and link.head < link.tail:
        epoch = state.link_queue[b, n, m, link.head]
        link.head += 1
        task = state.task[b, n, epoch]
        if task.has_fallback == 1:
            continue
        link.phase, link.task = SENDING, epoch
        link.left_bits = 8.0 * sent_bytes_of(state, tables, b, n, epoch)
        link.start_s, link.since_s, link.now_bps = now_s, now_s, link.bps
        link.end_s = now_s + link.left_bits / link.bps + state.world[b].delay_s
        task.upload_start_s = now_s
        if rules.is_shared_air:
            share_air(state, b, m)


@kernel
def share_air(state: BedState, b: int, m: int) -> None:
    """Divide the air of a server among those who send to it, from now on."""
    now_s, n_sending = state.world[b].now_s, 0
    for n in range(state.device.shape[1]):
        n_sending += 1 if state.link[b, n, m].phase == SENDING else 0
    for n in range(state.device.shape[1]):
        link = state.link[b, n, m]
        if link.phase != SENDING:
            continue
        link.left_bits -= (now_s - link.since_s) * link.now_bps
        link.since_s, link.now_bps = now_s, link.bps / n_sending
        if link.left_bits > 0.0:  # else the last bit is on its way
            link.end_s = now_s + link.left_bits / link.now_bps + state.world[b].delay_s


@kernel
def end_upload(state: BedState, tables: BedTables, rules: Rules, b: int, n: int, m: int) -> None:
    """Hand a task over to its server, or free the link once the confirmation is back."""
    link, now_s = state.link[b, n, m], state.world[b].now_s
    if link.phase == CONFIRMING:
        link.phase, link.end_s = IDLE, math.inf
        start_upload(state, tables, rules, b, n, m)
        return
    epoch = link.task
    task, server = state.task[b, n, epoch], state.server[b, m]
    task.upload_end_s = now_s
    n_bytes = sent_bytes_of(state, tables, b, n, epoch)
    state.sums[b, SENT_BYTES] += n_bytes
    if n_bytes >= LEAST_MEASURED_BYTES and now_s > link.start_s:
        link.seen_bps += NEW_WEIGHT * (8.0 * n_bytes / (now_s - link.start_s) - link.seen_bps)
    link.phase, link.end_s = CONFIRMING, now_s + state.world[b].delay_s
    if rules.is_shared_air:
        share_air(state, b, m)
    state.server_queue[b, m, server.tail] = n * state.task.shape[2] + epoch
    server.tail += 1
    server.waiting_frames += task.frames
    start_lanes(state, tables, rules, b, m)


@kernel
def lane_speed_hz(state: BedState, tables: BedTables, rules: Rules, b: int, m: int) -> float:
    """Return how fast each busy lane of a server is."""
    server, slowdown = state.server[b, m], 1.0
    if tables.is_shared[m] == 1:
        crowd = server.n_busy / max(tables.server_cores[m], 1.0)
        slowdown += rules.crowding * max(crowd - 1.0, 0.0)
    return tables.lane_hz[m] * server.factor / slowdown


@kernel
def settle_lanes(state: BedState, tables: BedTables, rules: Rules, b: int, m: int) -> None:
    """Take off what a server's lanes have done since they last changed."""
    server, now_s = state.server[b, m], state.world[b].now_s
    hz = lane_speed_hz(state, tables, rules, b, m)
    for j in range(tables.first_lane[m], tables.first_lane[m + 1]):
        if state.lane[b, j].task != NOBODY:
            state.lane[b, j].left_cycles -= (now_s - server.since_s) * hz
    server.since_s = now_s


@kernel
def start_lanes(state: BedState, tables: BedTables, rules: Rules, b: int, m: int) -> None:
    """Let a server's idle lanes begin with the next tasks that were not given up, and time all its lanes."""
    server, now_s, n_epochs = state.server[b, m], state.world[b].now_s, state.task.shape[2]
    settle_lanes(state, tables, rules, b, m)
    for j in range(tables.first_lane[m], tables.first_lane[m + 1]):
        lane = state.lane[b, j]
        while lane.task == NOBODY and server.head < server.tail:
            code = state.server_queue[b, m, server.head]
            server.head += 1
            n, epoch = code // n_epochs, code % n_epochs
            task = state.task[b, n, epoch]
            server.waiting_frames -= task.frames
            if task.has_fallback == 1:
                continue
            lane.device, lane.task, lane.start_s = n, epoch, now_s
            lane.left_cycles = cycles_of(state, tables, b, n, epoch, task.cut, N_STAGES)
            if task.cut <= DETECT:
                lane.left_cycles += rules.overhead_s * task.frames * tables.lane_hz[m]
            server.n_busy += 1
    hz = lane_speed_hz(state, tables, rules, b, m)
    for j in range(tables.first_lane[m], tables.first_lane[m + 1]):
        if state.lane[b, j].task != NOBODY:
            state.lane[b, j].end_s = now_s + max(state.lane[b, j].left_cycles, 0.0) / hz


@kernel
def end_service(state: BedState, tables: BedTables, rules: Rules, b: int, m: int, j: int) -> None:
    """Send the result of a task that a server's lane has done back to its device."""
    lane, server, world = state.lane[b, j], state.server[b, m], state.world[b]
    settle_lanes(state, tables, rules, b, m)
    n, epoch = lane.device, lane.task
    task = state.task[b, n, epoch]
    task.serve_start_s, task.serve_end_s = lane.start_s, world.now_s
    if task.cut <= DETECT:
        server.frame_s += NEW_WEIGHT * ((world.now_s - lane.start_s) / task.frames - server.frame_s)
    bits = 8.0 * rules.result_bytes * task.frames
    task.result_s = world.now_s + world.delay_s + bits / tables.down_bps[n, m]
    state.device[b, n].result_s = min(state.device[b, n].result_s, task.result_s)
    lane.device, lane.task, lane.end_s = NOBODY, NOBODY, math.inf
    server.n_busy -= 1
    start_lanes(state, tables, rules, b, m)
