"""Service: tasks on the cores of a node.

Under every discipline but ``sharing`` a task has a core to itself from start to end. Under ``sharing`` all tasks in
service progress at one speed, a core's while there are no more tasks than cores, else an equal part of all cores
(egalitarian processor sharing). A node then counts the cycles that each task in service got since it was last empty; a
task completes when that count reaches its mark, the count at its start plus its work.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined
from envs.fog import state as s
from envs.fog.heap import cancel, push
from envs.fog.network import Network
from envs.fog.queues import dequeue
from envs.fog.state import HARD, SERVICE, SHARING, FogState, Rules


@inlined
def book_core_time(state: FogState, network: Network, b: int, node: int, duration_s: float) -> None:
    """Book the time and the energy of a core."""
    energy_j = network.core_w[node] * duration_s
    state.sums[b, s.COMPUTE_J] += energy_j
    state.sums[b, s.BUSY_S_TIER + network.tier[node]] += duration_s
    agent = network.agent_of_node[node]
    if agent >= 0:
        state.term[b, agent, s.ENERGY_J] += energy_j


@inlined
def start(state: FogState, network: Network, rules: Rules, b: int, node: int, task: int, now_s: float) -> None:
    """Put a task into service."""
    state.task[b, task].stage = SERVICE
    state.task[b, task].is_decided = 1
    state.task[b, task].entered_s = now_s
    state.task[b, task].started_s = now_s
    if rules.discipline == SHARING:
        _share(state, network, rules, b, node, task, now_s)
        return
    work_cycles = state.task[b, task].work_cycles
    completed_s = now_s + (work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0)
    state.task[b, task].completed_s = completed_s
    state.node[b, node].n_busy += 1
    state.node[b, node].service_end_s += completed_s
    if rules.deadlines == HARD:
        push(state, b, min(completed_s, state.task[b, task].due_s), task)
    else:
        push(state, b, completed_s, task)


@inlined
def start_waiting(state: FogState, network: Network, rules: Rules, b: int, node: int, now_s: float) -> None:
    """Fill the free cores of a node from the head of its queue; a held task lets the decided ones behind it pass."""
    task = state.node[b, node].first
    while task >= 0 and (state.node[b, node].n_busy < network.n_cores[node] or rules.discipline == SHARING):
        behind = state.task[b, task].following
        if not rules.holds or state.task[b, task].is_decided == 1:
            cancel(state, b, task)
            dequeue(state, b, node, task, now_s)
            start(state, network, rules, b, node, task, now_s)
        task = behind


@inlined
def end_service(state: FogState, network: Network, rules: Rules, b: int, node: int, task: int, now_s: float) -> None:
    """Take a task off its core, complete or not, and book what it got."""
    held_s = now_s - state.task[b, task].entered_s
    if rules.discipline == SHARING:
        served_s = _leave_shared(state, network, rules, b, node, task, now_s)
        state.task[b, task].service_s = min(served_s, held_s)
        state.task[b, task].wait_s += max(held_s - served_s, 0.0)
        book_core_time(state, network, b, node, served_s)
        return
    state.task[b, task].service_s = held_s
    book_core_time(state, network, b, node, held_s)
    state.node[b, node].n_busy -= 1
    state.node[b, node].service_end_s -= state.task[b, task].completed_s
    if state.node[b, node].n_busy == 0:
        state.node[b, node].service_end_s = 0.0


@inlined
def core_time_so_far_s(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> float:
    """Return the core-seconds that a task in service has got."""
    if rules.discipline != SHARING:
        return float(now_s - state.task[b, task].entered_s)
    node = state.task[b, task].node
    left_cycles = state.task[b, task].mark_cycles - _served_cycles(state, network, b, node, now_s)
    return float(max(state.task[b, task].work_cycles - max(left_cycles, 0.0), 0.0) / network.core_hz[node])


@inlined
def backlog_s(state: FogState, network: Network, rules: Rules, b: int, node: int, now_s: float) -> float:
    """Return the core-seconds of work at a node, the rest of the tasks in service included."""
    hz = network.core_hz[node]
    waiting = state.node[b, node].waiting_cycles
    queued_s = waiting / hz if waiting > 0.0 else 0.0
    return float(queued_s + in_service_s(state, network, rules, b, node, now_s))


@inlined
def in_service_s(state: FogState, network: Network, rules: Rules, b: int, node: int, now_s: float) -> float:
    """Return the core-seconds that the tasks in service still need."""
    n_busy = state.node[b, node].n_busy
    if n_busy == 0:
        return 0.0
    if rules.discipline == SHARING:
        left = state.node[b, node].mark_cycles - n_busy * _served_cycles(state, network, b, node, now_s)
        return float(max(left, 0.0) / network.core_hz[node])
    return float(max(state.node[b, node].service_end_s - n_busy * now_s, 0.0))


@inlined
def _speed_hz(state: FogState, network: Network, b: int, node: int) -> float:
    """Return the cycles per second of each task in service at a node that shares."""
    n_busy = state.node[b, node].n_busy
    return float(network.core_hz[node] * (network.n_cores[node] / n_busy if n_busy > network.n_cores[node] else 1.0))


@inlined
def _served_cycles(state: FogState, network: Network, b: int, node: int, now_s: float) -> float:
    """Return the cycles that each task in service at a node that shares has got since it was last empty."""
    passed_s = now_s - state.node[b, node].since_s
    return float(state.node[b, node].served_cycles + passed_s * _speed_hz(state, network, b, node))


@inlined
def _share(state: FogState, network: Network, rules: Rules, b: int, node: int, task: int, now_s: float) -> None:
    """Let a task join those in service, which get slower if there are more of them than cores."""
    served = _served_cycles(state, network, b, node, now_s) if state.node[b, node].n_busy > 0 else 0.0
    state.node[b, node].served_cycles = served
    state.node[b, node].since_s = now_s
    mark = served + state.task[b, task].work_cycles
    state.task[b, task].mark_cycles = mark
    state.task[b, task].completed_s = math.inf
    state.node[b, node].mark_cycles += mark
    state.node[b, node].n_busy += 1
    head = state.node[b, node].serving
    before, behind = -1, head
    while behind >= 0 and state.task[b, behind].mark_cycles <= mark:
        before, behind = behind, state.task[b, behind].following
    state.task[b, task].preceding = before
    state.task[b, task].following = behind
    if before >= 0:
        state.task[b, before].following = task
    else:
        state.node[b, node].serving = task
    if behind >= 0:
        state.task[b, behind].preceding = task
    if rules.deadlines == HARD and before >= 0 and state.task[b, task].due_s < math.inf:
        push(state, b, state.task[b, task].due_s, task)
    _rearm(state, network, rules, b, node, head, now_s)


@inlined
def _leave_shared(state: FogState, network: Network, rules: Rules, b: int, node: int, task: int, now_s: float) -> float:
    """Take a task from those in service, which get faster, and return the core-seconds that it got."""
    got_s = core_time_so_far_s(state, network, rules, b, task, now_s)
    if now_s >= state.task[b, task].completed_s:
        got_s = state.task[b, task].work_cycles / network.core_hz[node]
    state.node[b, node].served_cycles = _served_cycles(state, network, b, node, now_s)
    state.node[b, node].since_s = now_s
    before, behind = state.task[b, task].preceding, state.task[b, task].following
    if before >= 0:
        state.task[b, before].following = behind
    else:
        state.node[b, node].serving = behind
    if behind >= 0:
        state.task[b, behind].preceding = before
    state.node[b, node].mark_cycles -= state.task[b, task].mark_cycles
    state.node[b, node].n_busy -= 1
    if state.node[b, node].n_busy == 0:
        state.node[b, node].served_cycles = 0.0
        state.node[b, node].mark_cycles = 0.0
    _rearm(state, network, rules, b, node, -1, now_s)
    return float(got_s)


@inlined
def _rearm(state: FogState, network: Network, rules: Rules, b: int, node: int, former: int, now_s: float) -> None:
    """Give the task that completes first its event, and the one that was first before its deadline's."""
    head = state.node[b, node].serving
    if former >= 0 and former != head:
        cancel(state, b, former)
        state.task[b, former].completed_s = math.inf
        if rules.deadlines == HARD and state.task[b, former].due_s < math.inf:
            push(state, b, state.task[b, former].due_s, former)
    if head < 0:
        return
    left_cycles = max(state.task[b, head].mark_cycles - state.node[b, node].served_cycles, 0.0)
    completed_s = now_s + left_cycles / _speed_hz(state, network, b, node)
    state.task[b, head].completed_s = completed_s
    cancel(state, b, head)
    if rules.deadlines == HARD:
        push(state, b, min(completed_s, state.task[b, head].due_s), head)
    else:
        push(state, b, completed_s, head)
