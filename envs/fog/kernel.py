"""The physics of one fog world: queues, service, transmissions, deadlines, at exact instants inside a slot.

Every function mutates ``state`` of world ``b`` and nothing else. A step is the decisions and then the events, in order
of time, of ``slots_per_step`` slots or until some agent has a task to decide on; each slot is closed by a report of the
nodes' queues. The parts: queues.py, service.py, links.py, updates.py, decide.py.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.fog import state as s
from envs.fog.arrivals import Arrivals
from envs.fog.heap import cancel, push
from envs.fog.links import end_sending, send
from envs.fog.network import Network
from envs.fog.queues import dequeue, enqueue, release
from envs.fog.service import backlog_s, book_core_time, core_time_so_far_s, end_service, start, start_waiting
from envs.fog.state import (
    DELIVERED,
    FREE,
    HARD,
    RETURN,
    SERVICE,
    SHARING,
    SOFT,
    UPDATE,
    UPLOAD,
    WAITING,
    FogState,
    Rules,
)
from envs.fog.updates import forward_update
from envs.metrics import BINS_PER_DECADE, FIRST_BIN_S, N_BINS


@inlined
def _leave(state: FogState, network: Network, b: int, task: int, now_s: float) -> int:
    """Free the slot of a task that left the system and return its agent, -1 for none."""
    agent = network.agent_of_node[state.task[b, task].origin]
    state.task[b, task].stage = FREE
    state.free_task[b, state.world[b].n_free] = task
    state.world[b].n_free += 1
    state.sums[b, s.ALIVE_TASK_S] += now_s - state.task[b, task].created_s
    if agent >= 0:
        state.agent[b, agent].n_alive -= 1
        state.term[b, agent, s.ALIVE_S] += now_s
    return int(agent)


@inlined
def _log(state: FogState, b: int, task: int, now_s: float, reason: int, return_s: float) -> None:
    """Write a row of the task log, if there is room."""
    row = state.world[b].n_logged
    state.world[b].n_logged = row + 1
    if row >= state.log.shape[1]:
        return
    state.log[b, row, 0] = state.task[b, task].created_s
    state.log[b, row, 1] = now_s
    state.log[b, row, 2] = state.task[b, task].origin
    state.log[b, row, 3] = state.task[b, task].node
    state.log[b, row, 4] = reason
    state.log[b, row, 5] = state.task[b, task].n_hops
    state.log[b, row, 6] = state.task[b, task].upload_s
    state.log[b, row, 7] = state.task[b, task].wait_s
    state.log[b, row, 8] = state.task[b, task].service_s
    state.log[b, row, 9] = return_s
    state.log[b, row, 10] = state.task[b, task].due_s
    state.log[b, row, 11] = state.task[b, task].started_s
    state.log[b, row, 12] = state.task[b, task].priority


@inlined
def _drop(state: FogState, network: Network, b: int, task: int, reason: int, now_s: float) -> None:
    """Let a task leave unfinished."""
    state.sums[b, s.DROPPED + reason] += 1.0
    _log(state, b, task, now_s, reason, 0.0)
    agent = _leave(state, network, b, task, now_s)
    if agent >= 0:
        state.term[b, agent, s.TERM_DROPPED] += 1.0


@inlined
def _finish(
    state: FogState, network: Network, rules: Rules, b: int, task: int, completed_s: float, now_s: float
) -> None:
    """Let a task leave; its result is at its origin, where a hard deadline that has passed makes it worthless."""
    late_s = now_s - state.task[b, task].due_s
    if rules.deadlines == HARD and late_s > 0.0:
        _drop(state, network, b, task, s.EXPIRED, now_s)
        return
    sums = state.sums
    response_s = now_s - state.task[b, task].created_s
    sums[b, s.COMPLETED] += 1.0
    sums[b, s.RESPONSE_S] += response_s
    sums[b, s.UPLOAD_S] += state.task[b, task].upload_s
    sums[b, s.WAIT_S] += state.task[b, task].wait_s
    sums[b, s.SERVICE_S] += state.task[b, task].service_s
    sums[b, s.RETURN_S] += now_s - completed_s
    bin_index = 0
    if response_s > FIRST_BIN_S:
        bin_index = min(int(math.log10(response_s / FIRST_BIN_S) * BINS_PER_DECADE), N_BINS - 1)
    sums[b, s.HISTOGRAM + bin_index] += 1.0
    _log(state, b, task, now_s, -1, now_s - completed_s)
    if late_s <= 0.0:
        sums[b, s.IN_TIME] += 1.0
    else:
        sums[b, s.SUM_LATENESS_S] += late_s
    agent = _leave(state, network, b, task, now_s)
    if agent >= 0:
        state.term[b, agent, s.FINISHED] += 1.0
        if late_s <= 0.0:
            state.term[b, agent, s.TERM_IN_TIME] += 1.0
        else:
            state.term[b, agent, s.LATE] += 1.0
            state.term[b, agent, s.LATENESS_S] += late_s


@inlined
def _join(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Let a task enter its node: onto a core, into the queue, or out where there is no place or memory for it."""
    node = state.task[b, task].node
    if state.node[b, node].n_waiting + state.node[b, node].n_busy >= network.queue_places[node]:
        _drop(state, network, b, task, s.QUEUE_FULL, now_s)
        return
    held_bits = state.node[b, node].held_bits + state.task[b, task].size_bits
    if held_bits > network.queue_bits[node]:
        _drop(state, network, b, task, s.MEMORY_FULL, now_s)
        return
    state.node[b, node].held_bits = held_bits
    may_decide = network.agent_of_node[node] >= 0 and state.task[b, task].n_hops < rules.max_hops
    state.task[b, task].is_decided = 0 if may_decide else 1
    state.task[b, task].entered_s = now_s
    has_core = state.node[b, node].n_busy < network.n_cores[node] or rules.discipline == SHARING
    if has_core and not (rules.holds and may_decide):
        start(state, network, rules, b, node, task, now_s)
        return
    state.task[b, task].stage = WAITING
    enqueue(state, rules, b, node, task)
    if rules.deadlines != SOFT and state.task[b, task].due_s < math.inf:
        push(state, b, state.task[b, task].due_s, task)


@inlined
def _create(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int, row: int) -> None:
    """Create the task of a row of the table at its device."""
    now_s = arrivals.created_s[b, row]
    origin = arrivals.node[b, row]
    agent = network.agent_of_node[origin]
    state.sums[b, s.CREATED] += 1.0
    if state.world[b].n_free == 0:
        state.sums[b, s.DROPPED + s.WORLD_FULL] += 1.0
        if agent >= 0:
            state.term[b, agent, s.TERM_DROPPED] += 1.0
        return
    state.world[b].n_free -= 1
    task = state.free_task[b, state.world[b].n_free]
    state.task[b, task].created_s = now_s
    state.task[b, task].due_s = arrivals.due_s[b, row]
    state.task[b, task].size_bits = arrivals.size_bits[b, row]
    state.task[b, task].result_bits = arrivals.result_bits[b, row]
    state.task[b, task].work_cycles = arrivals.work_cycles[b, row]
    state.task[b, task].priority = arrivals.priority[b, row]
    state.task[b, task].upload_s = 0.0
    state.task[b, task].wait_s = 0.0
    state.task[b, task].service_s = 0.0
    state.task[b, task].started_s = -1.0
    state.task[b, task].completed_s = -1.0
    state.task[b, task].is_sending = 0
    state.task[b, task].origin = origin
    state.task[b, task].node = origin
    state.task[b, task].n_hops = 0
    if agent >= 0:
        state.agent[b, agent].n_alive += 1
        state.term[b, agent, s.ALIVE_S] -= now_s
    _join(state, network, rules, b, task, now_s)


@inlined
def _arrive(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Let an offloaded task arrive at the end of a link."""
    node = state.task[b, task].node
    state.task[b, task].upload_s += now_s - state.task[b, task].entered_s
    state.node[b, node].n_inbound -= 1
    state.node[b, node].inbound_cycles -= state.task[b, task].work_cycles
    if state.node[b, node].n_inbound == 0:
        state.node[b, node].inbound_cycles = 0.0
    if rules.deadlines != SOFT and state.task[b, task].due_s <= now_s:
        _drop(state, network, b, task, s.EXPIRED, now_s)
        return
    _join(state, network, rules, b, task, now_s)


@inlined
def _step_back(state: FogState, network: Network, rules: Rules, b: int, task: int, node: int, now_s: float) -> None:
    """Send a result that is at ``node`` over the next link of its way back, or finish the task where it is at home."""
    if node == state.task[b, task].origin and (rules.by_shortest_way or state.task[b, task].hops_left == 0):
        _finish(state, network, rules, b, task, state.task[b, task].entered_s, now_s)
        return
    if rules.by_shortest_way:
        link = network.next_link[node, state.task[b, task].origin]
    else:
        state.task[b, task].hops_left -= 1
        link = network.link_back[state.path_link[b, task, state.task[b, task].hops_left]]
    send(state, network, rules, b, task, link, state.task[b, task].result_bits, now_s)


@inlined
def _end_service(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Let a task leave its core, complete or because its deadline has come, and give the core to the next one."""
    node = state.task[b, task].node
    is_complete = now_s >= state.task[b, task].completed_s
    end_service(state, network, rules, b, node, task, now_s)
    release(state, b, node, task)
    if is_complete:
        state.sums[b, s.RUN_ON_TIER + network.tier[node]] += 1.0
        state.sums[b, s.HOPS] += state.task[b, task].n_hops
        state.task[b, task].stage = RETURN
        state.task[b, task].hops_left = state.task[b, task].n_hops
        state.task[b, task].entered_s = now_s
        _step_back(state, network, rules, b, task, node, now_s)
    else:
        _drop(state, network, b, task, s.EXPIRED, now_s)
    start_waiting(state, network, rules, b, node, now_s)


@inlined
def _happen(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Let the pending event of a task, or of a model update, happen."""
    cancel(state, b, task)
    stage = state.task[b, task].stage
    if stage == SERVICE:
        _end_service(state, network, rules, b, task, now_s)
    elif stage == WAITING:
        node = state.task[b, task].node
        dequeue(state, b, node, task, now_s)
        release(state, b, node, task)
        _drop(state, network, b, task, s.EXPIRED, now_s)
    elif state.task[b, task].is_sending == 1:
        end_sending(state, network, b, task, now_s)
    elif stage == UPLOAD:
        _arrive(state, network, rules, b, task, now_s)
    elif stage == RETURN:
        _step_back(state, network, rules, b, task, network.link_target[state.task[b, task].link], now_s)
    else:
        forward_update(state, network, rules, b, task, now_s)


@inlined
def advance(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int) -> None:
    """Let the events of the current slot happen in order of time; at one instant, events go before creations.

    Where steps end at events, it ends as soon as some agent has a task to decide on.
    """
    end_s = (state.world[b].slot + 1) * rules.slot_s
    row = state.world[b].next_arrival
    while True:
        arrival_s = arrivals.created_s[b, row]
        event_s = state.event[b, 0].time_s if state.world[b].heap_size > 0 else math.inf
        if event_s <= arrival_s:
            if event_s >= end_s:
                break
            state.world[b].now_s = event_s
            _happen(state, network, rules, b, state.event[b, 0].task, event_s)
        else:
            if arrival_s >= end_s:
                break
            state.world[b].now_s = arrival_s
            _create(state, network, rules, arrivals, b, row)
            row += 1
        if rules.on_events and state.world[b].n_to_decide > 0:
            state.world[b].next_arrival = row
            return
    state.world[b].next_arrival = row
    state.world[b].slot += 1
    state.world[b].now_s = end_s
    _close_slot(state, network, rules, b, end_s)


@inlined
def _close_slot(state: FogState, network: Network, rules: Rules, b: int, now_s: float) -> None:
    """Report the queues and add up what is measured by slot."""
    slot = state.world[b].slot
    if slot % rules.report_every_slots == 0:
        place = slot % state.report.shape[1]
        for m in range(network.tier.size):
            state.report[b, place, m].tasks = state.node[b, m].n_waiting + state.node[b, m].n_busy
            state.report[b, place, m].backlog_s = backlog_s(state, network, rules, b, m, now_s)
    n_full = 0
    for m in range(network.tier.size):
        n_tasks = state.node[b, m].n_waiting + state.node[b, m].n_busy
        if n_tasks >= network.queue_places[m]:
            n_full += 1
        state.sums[b, s.OCCUPANCY_TIER + network.tier[m]] += n_tasks / network.queue_places[m]
    state.sums[b, s.FULL_NODE_SLOTS] += n_full


@kernel
def run_slot(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int) -> None:
    """Compile ``advance`` for drivers that call it once a slot."""
    advance(state, network, rules, arrivals, b)


@kernel
def end_episode(state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Close the sums of an episode: what is in flight, and the service given to it."""
    now_s = state.world[b].now_s
    sums = state.sums
    for task in range(state.task.shape[1]):
        stage = state.task[b, task].stage
        if stage in (FREE, UPDATE, DELIVERED):
            continue
        sums[b, s.IN_FLIGHT] += 1.0
        sums[b, s.ALIVE_TASK_S] += now_s - state.task[b, task].created_s
        if stage == SERVICE:
            served_s = core_time_so_far_s(state, network, rules, b, task, now_s)
            book_core_time(state, network, b, state.task[b, task].node, served_s)
    sums[b, s.EPISODES] = 1.0
    sums[b, s.ELAPSED_S] = now_s
    for m in range(network.tier.size):
        sums[b, s.IDLE_J] += network.idle_w[m] * now_s
        sums[b, s.CORE_S_TIER + network.tier[m]] += network.n_cores[m] * now_s
        sums[b, s.OCCUPANCY_SLOTS_TIER + network.tier[m]] += state.world[b].slot
    sums[b, s.NODE_SLOTS] = network.tier.size * state.world[b].slot
