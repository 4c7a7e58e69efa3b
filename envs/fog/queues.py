"""Queues of nodes: who is served next.

- fifo: in order of arrival at the node; lifo: the newest first.
- priority: by ``TaskTable.priority``, 0 first, and in order of arrival within a class; service is not interrupted.
- edf: the earliest deadline first; service is not interrupted.
- sharing: nobody waits, all decided tasks share the cores; see envs/fog/service.py.

A queue is kept in this order, so the first task is the next one on a core and the next one to be decided on.
"""

from __future__ import annotations

from envs.accelerate import inlined
from envs.fog.state import EDF, LIFO, PRIORITY, FogState, Rules


@inlined
def _goes_before(state: FogState, rules: Rules, b: int, task: int, other: int) -> bool:
    """Return whether a task that arrives now is served before one that waits."""
    if rules.discipline == PRIORITY:
        return bool(state.task[b, task].priority < state.task[b, other].priority)
    if rules.discipline == EDF:
        return bool(state.task[b, task].due_s < state.task[b, other].due_s)
    return rules.discipline == LIFO


@inlined
def enqueue(state: FogState, rules: Rules, b: int, node: int, task: int) -> None:
    """Put a task into a queue, at its place in the order of service."""
    before = state.node[b, node].last
    while before >= 0 and _goes_before(state, rules, b, task, before):
        before = state.task[b, before].preceding
    behind = state.node[b, node].first if before < 0 else state.task[b, before].following
    state.task[b, task].preceding = before
    state.task[b, task].following = behind
    if before >= 0:
        state.task[b, before].following = task
    else:
        state.node[b, node].first = task
    if behind >= 0:
        state.task[b, behind].preceding = task
    else:
        state.node[b, node].last = task
    state.node[b, node].n_waiting += 1
    state.node[b, node].waiting_cycles += state.task[b, task].work_cycles
    if state.task[b, task].is_decided == 0:
        state.world[b].n_to_decide += 1
        undecided = state.node[b, node].undecided
        if undecided < 0 or _goes_before(state, rules, b, task, undecided):
            state.node[b, node].undecided = task


@inlined
def dequeue(state: FogState, b: int, node: int, task: int, now_s: float) -> None:
    """Take a task out of its queue, wherever it stands, and book its waiting."""
    settle_decision(state, b, node, task)
    before, behind = state.task[b, task].preceding, state.task[b, task].following
    if before >= 0:
        state.task[b, before].following = behind
    else:
        state.node[b, node].first = behind
    if behind >= 0:
        state.task[b, behind].preceding = before
    else:
        state.node[b, node].last = before
    state.node[b, node].n_waiting -= 1
    state.node[b, node].waiting_cycles -= state.task[b, task].work_cycles
    if state.node[b, node].n_waiting == 0:
        state.node[b, node].waiting_cycles = 0.0  # no rounding is carried from one busy period to the next
    state.task[b, task].wait_s += now_s - state.task[b, task].entered_s


@inlined
def settle_decision(state: FogState, b: int, node: int, task: int) -> None:
    """Let no agent decide any more on a task in a node's queue."""
    if state.task[b, task].is_decided == 1:
        return
    state.task[b, task].is_decided = 1
    state.world[b].n_to_decide -= 1
    if state.node[b, node].undecided == task:
        state.node[b, node].undecided = next_undecided(state, b, task)


@inlined
def next_undecided(state: FogState, b: int, task: int) -> int:
    """Return the next task behind this one that may be decided on, -1 for none."""
    task = state.task[b, task].following
    while task >= 0 and state.task[b, task].is_decided == 1:
        task = state.task[b, task].following
    return task


@inlined
def release(state: FogState, b: int, node: int, task: int) -> None:
    """Give back the memory of a task that has left its node's queue and cores."""
    state.node[b, node].held_bits -= state.task[b, task].size_bits
    if state.node[b, node].n_waiting + state.node[b, node].n_busy == 0:
        state.node[b, node].held_bits = 0.0
