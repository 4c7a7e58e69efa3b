"""A binary heap of pending events for one world: a task has at most one, at ``heap_place``; the earliest is on top."""

from __future__ import annotations

from envs.accelerate import inlined
from envs.fog.state import FogState


@inlined
def _put(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Write an event to a place of the heap."""
    state.heap_time_s[b, place] = time_s
    state.heap_task[b, place] = task
    state.heap_place[b, task] = place


@inlined
def _rise(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Move an event up from an empty place until its parent is not later."""
    while place > 0:
        parent = (place - 1) >> 1
        if state.heap_time_s[b, parent] <= time_s:
            break
        _put(state, b, place, state.heap_time_s[b, parent], state.heap_task[b, parent])
        place = parent
    _put(state, b, place, time_s, task)


@inlined
def _sink(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Move an event down from an empty place until no child is earlier."""
    size = state.heap_size[b]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and state.heap_time_s[b, child + 1] < state.heap_time_s[b, child]:
            child += 1
        if state.heap_time_s[b, child] >= time_s:
            break
        _put(state, b, place, state.heap_time_s[b, child], state.heap_task[b, child])
        place = child
    _put(state, b, place, time_s, task)


@inlined
def push(state: FogState, b: int, time_s: float, task: int) -> None:
    """Add the pending event of a task that has none."""
    place = state.heap_size[b]
    state.heap_size[b] = place + 1
    _rise(state, b, place, time_s, task)


@inlined
def cancel(state: FogState, b: int, task: int) -> None:
    """Remove the pending event of a task, if it has one."""
    place = state.heap_place[b, task]
    if place < 0:
        return
    state.heap_place[b, task] = -1
    size = state.heap_size[b] - 1
    state.heap_size[b] = size
    if place == size:
        return
    time_s, moved = state.heap_time_s[b, size], state.heap_task[b, size]
    if place > 0 and time_s < state.heap_time_s[b, (place - 1) >> 1]:
        _rise(state, b, place, time_s, moved)
    else:
        _sink(state, b, place, time_s, moved)
