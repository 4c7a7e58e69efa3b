"""A binary heap of pending events for one world: a task has at most one, at ``heap_place``; the earliest is on top."""

from __future__ import annotations

from envs.accelerate import inlined
from envs.fog.state import FogState


@inlined
def _put(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Write an event to a place of the heap."""
    state.event[b, place].time_s = time_s
    state.event[b, place].task = task
    state.task[b, task].heap_place = place


@inlined
def _rise(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Move an event up from an empty place until its parent is not later."""
    while place > 0:
        parent = (place - 1) >> 1
        if state.event[b, parent].time_s <= time_s:
            break
        _put(state, b, place, state.event[b, parent].time_s, state.event[b, parent].task)
        place = parent
    _put(state, b, place, time_s, task)


@inlined
def _sink(state: FogState, b: int, place: int, time_s: float, task: int) -> None:
    """Move an event down from an empty place until no child is earlier."""
    size = state.world[b].heap_size
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and state.event[b, child + 1].time_s < state.event[b, child].time_s:
            child += 1
        if state.event[b, child].time_s >= time_s:
            break
        _put(state, b, place, state.event[b, child].time_s, state.event[b, child].task)
        place = child
    _put(state, b, place, time_s, task)


@inlined
def push(state: FogState, b: int, time_s: float, task: int) -> None:
    """Add the pending event of a task that has none."""
    place = state.world[b].heap_size
    state.world[b].heap_size = place + 1
    _rise(state, b, place, time_s, task)


@inlined
def cancel(state: FogState, b: int, task: int) -> None:
    """Remove the pending event of a task, if it has one."""
    place = state.task[b, task].heap_place
    if place < 0:
        return
    state.task[b, task].heap_place = -1
    size = state.world[b].heap_size - 1
    state.world[b].heap_size = size
    if place == size:
        return
    time_s, moved = state.event[b, size].time_s, state.event[b, size].task
    if place > 0 and time_s < state.event[b, (place - 1) >> 1].time_s:
        _rise(state, b, place, time_s, moved)
    else:
        _sink(state, b, place, time_s, moved)
