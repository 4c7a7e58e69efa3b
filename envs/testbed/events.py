"""From event to event: what happens in a world until an instant."""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.testbed import state as s
from envs.testbed.queues import (
    DETECT,
    N_STAGES,
    NEW_WEIGHT,
    cycles_of,
    end_service,
    end_upload,
    start_job,
    submit_job,
    submit_upload,
)
from envs.testbed.state import BedState, BedTables, Rules

_NOTHING, _BEGIN, _JOB, _UPLOAD, _SERVICE, _RESULT, _PATIENCE = range(7)  # kinds of events


@kernel
def run_until(state: BedState, tables: BedTables, rules: Rules, b: int, end_s: float) -> None:
    """Let everything happen in world ``b`` that happens until an instant, that instant included."""
    world = state.world[b]
    while True:
        at_s, kind, i, j = _next_event(state, tables, rules, b)
        if kind == _NOTHING or at_s > end_s:
            break
        world.now_s = at_s
        if kind == _BEGIN:
            _begin(state, tables, rules, b, i)
        elif kind == _JOB:
            _end_job(state, tables, rules, b, i)
        elif kind == _UPLOAD:
            end_upload(state, tables, rules, b, i, j)
        elif kind == _SERVICE:
            end_service(state, tables, rules, b, i, j)
        elif kind == _RESULT:
            _take_result(state, tables, rules, b, i)
        else:
            _lose_patience(state, tables, rules, b, i)
    world.now_s = end_s


@inlined
def _next_event(state: BedState, tables: BedTables, rules: Rules, b: int) -> tuple[float, int, int, int]:
    """Return instant, kind and places of what happens next; of equals what stands first here."""
    at_s, kind, i, j = math.inf, _NOTHING, 0, 0
    n_created = min(state.world[b].epoch + 1, rules.horizon_epochs)
    for n in range(state.device.shape[1]):
        device = state.device[b, n]
        if device.begin_s < at_s:
            at_s, kind, i = device.begin_s, _BEGIN, n
        if device.end_s < at_s:
            at_s, kind, i = device.end_s, _JOB, n
        if device.result_s < at_s:
            at_s, kind, i = device.result_s, _RESULT, n
        for m in range(state.server.shape[1]):
            if state.link[b, n, m].end_s < at_s:
                at_s, kind, i, j = state.link[b, n, m].end_s, _UPLOAD, n, m
        if device.patient < n_created:
            patience_s = state.task[b, n, device.patient].created_s + rules.patience_s
            if patience_s < at_s:
                at_s, kind, i = patience_s, _PATIENCE, n
    for m in range(state.server.shape[1]):
        for lane in range(tables.first_lane[m], tables.first_lane[m + 1]):
            if state.lane[b, lane].end_s < at_s:
                at_s, kind, i, j = state.lane[b, lane].end_s, _SERVICE, m, lane
    return at_s, kind, i, j


@inlined
def _begin(state: BedState, tables: BedTables, rules: Rules, b: int, n: int) -> None:
    """Begin with the newest task as was decided."""
    state.device[b, n].begin_s = math.inf
    epoch = state.world[b].epoch
    cut = state.task[b, n, epoch].cut
    if cut > 0:
        submit_job(state, tables, rules, b, n, epoch, 0, cut)
    else:
        submit_upload(state, tables, rules, b, n, epoch)


@inlined
def _end_job(state: BedState, tables: BedTables, rules: Rules, b: int, n: int) -> None:
    """Go on with a task after the lane of its device has done its part, and let the lane go on."""
    device, now_s = state.device[b, n], state.world[b].now_s
    epoch, first, last = device.task, device.first, device.last
    task, took_s = state.task[b, n, epoch], now_s - device.start_s
    device.task, device.end_s = s.NOBODY, math.inf
    if first <= DETECT < last:
        device.frame_s += NEW_WEIGHT * (took_s / task.frames - device.frame_s)
    if task.by == s.BY_NOBODY:
        task.done = last
        if task.target > 0 and first == task.cut:
            task.rest_start_s, task.rest_s = device.start_s, took_s
        else:
            task.own_start_s, task.own_s = device.start_s, took_s
        if last == N_STAGES:
            finish(state, tables, rules, b, n, epoch, s.BY_DEVICE)
        elif task.has_fallback == 0:
            submit_upload(state, tables, rules, b, n, epoch)
        else:  # patience ended while the lane was at it
            submit_job(state, tables, rules, b, n, epoch, task.cut, N_STAGES)
    start_job(state, tables, rules, b, n)


@inlined
def _take_result(state: BedState, tables: BedTables, rules: Rules, b: int, n: int) -> None:
    """Take a server's result; the first result of a task counts."""
    device, now_s = state.device[b, n], state.world[b].now_s
    device.result_s = math.inf
    for epoch in range(min(state.world[b].epoch + 1, rules.horizon_epochs)):
        task = state.task[b, n, epoch]
        if task.result_s <= now_s:
            task.result_s = math.inf
            if task.by == s.BY_NOBODY:
                finish(state, tables, rules, b, n, epoch, s.BY_SERVER)
        device.result_s = min(device.result_s, task.result_s)


@inlined
def _lose_patience(state: BedState, tables: BedTables, rules: Rules, b: int, n: int) -> None:
    """Stop waiting for a server: what is not served yet is given up there, and the device does the rest."""
    device = state.device[b, n]
    epoch = device.patient
    device.patient += 1
    task = state.task[b, n, epoch]
    if task.target == 0 or task.by != s.BY_NOBODY:
        return
    task.has_fallback = 1
    state.sums[b, s.FALLBACKS] += 1.0
    if task.done == task.cut:  # else the lane is still at the first part, or has it before it
        submit_job(state, tables, rules, b, n, epoch, task.cut, N_STAGES)


@kernel
def finish(state: BedState, tables: BedTables, rules: Rules, b: int, n: int, epoch: int, by: int) -> None:
    """End a task: book its time and its cost, and learn its payloads."""
    task, world = state.task[b, n, epoch], state.world[b]
    task.by, task.done_s = by, world.now_s
    sums = state.sums[b]
    response_s, upload_s, return_s, service_s = task.done_s - task.created_s, 0.0, 0.0, task.own_s + task.rest_s
    if by == s.BY_SERVER:
        upload_s = task.upload_end_s - task.upload_start_s
        return_s = task.done_s - task.serve_end_s
        service_s = task.own_s + task.serve_end_s - task.serve_start_s
        sums[s.DONE_BY_SERVER] += 1.0
    sums[s.FINISHED] += 1.0
    sums[s.RESPONSE_S] += response_s
    sums[s.UPLOAD_S] += upload_s
    sums[s.SERVICE_S] += service_s
    sums[s.RETURN_S] += return_s
    sums[s.WAIT_S] += response_s - upload_s - service_s - return_s
    book_work(state, tables, rules, b, n, epoch, task.cut if by == s.BY_SERVER else N_STAGES, by == s.BY_SERVER)
    factor = 8.0 * task.bytes_factor * world.bytes_factor
    world.bits_1 += NEW_WEIGHT * (tables.cut_bytes[1] * factor - world.bits_1)
    world.bits_2 += NEW_WEIGHT * (tables.cut_bytes[2] * factor - world.bits_2)
    world.bits_3 += NEW_WEIGHT * (tables.cut_bytes[3] * factor - world.bits_3)


@kernel
def book_work(
    state: BedState, tables: BedTables, rules: Rules, b: int, n: int, epoch: int, n_own: int, is_served: bool
) -> None:
    """Book what a task has cost: its first ``n_own`` stages on the device, the others at a server, and its upload."""
    task, device = state.task[b, n, epoch], state.device[b, n]
    local = cycles_of(state, tables, b, n, epoch, 0, n_own) * rules.local_per_cycle
    edge, transmit = 0.0, 0.0
    if is_served:
        edge = cycles_of(state, tables, b, n, epoch, n_own, N_STAGES) * rules.edge_per_cycle
    if not math.isnan(task.upload_end_s):
        transmit = (task.upload_end_s - task.upload_start_s) * rules.transmit_per_s
    task.cost += local + edge + transmit
    device.local_cost += local
    device.edge_cost += edge
    device.transmit_cost += transmit
