"""The physics of one fog world: queues, service, transmissions, deadlines, at exact instants inside a slot.

Every function mutates ``state`` of world ``b`` and nothing else. The order of a step: the decisions, then the events of
``slots_per_step`` slots in order of time, each slot closed by a report of the nodes' queues.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog import state as s
from envs.fog.arrivals import Arrivals
from envs.fog.heap import cancel, push
from envs.fog.network import Network
from envs.fog.state import FREE, RETURN, SERVICE, UPLOAD, WAITING, FogState, Rules
from envs.metrics import BINS_PER_DECADE, FIRST_BIN_S, N_BINS


@inlined
def _append(state: FogState, b: int, node: int, task: int) -> None:
    """Put a task at the tail of a queue."""
    tail = state.last[b, node]
    state.preceding[b, task] = tail
    state.following[b, task] = -1
    if tail >= 0:
        state.following[b, tail] = task
    else:
        state.first[b, node] = task
    state.last[b, node] = task
    state.n_waiting[b, node] += 1
    state.waiting_cycles[b, node] += state.work_cycles[b, task]


@inlined
def _unlink(state: FogState, b: int, node: int, task: int, now_s: float) -> None:
    """Take a task out of its queue, wherever it stands, and book its waiting."""
    before, behind = state.preceding[b, task], state.following[b, task]
    if before >= 0:
        state.following[b, before] = behind
    else:
        state.first[b, node] = behind
    if behind >= 0:
        state.preceding[b, behind] = before
    else:
        state.last[b, node] = before
    state.n_waiting[b, node] -= 1
    state.waiting_cycles[b, node] -= state.work_cycles[b, task]
    if state.n_waiting[b, node] == 0:
        state.waiting_cycles[b, node] = 0.0  # no rounding is carried from one busy period to the next
    state.wait_s[b, task] += now_s - state.entered_s[b, task]


@inlined
def _leave(state: FogState, network: Network, b: int, task: int, now_s: float, slot_start_s: float) -> int:
    """Free the slot of a task that left the system and return its agent."""
    agent = network.agent_of_node[state.origin[b, task]]
    state.stage[b, task] = FREE
    state.free_task[b, state.n_free[b]] = task
    state.n_free[b] += 1
    state.n_alive[b, agent] -= 1
    state.step_alive_s[b, agent] += now_s - slot_start_s
    state.sums[b, s.ALIVE_TASK_S] += now_s - state.created_s[b, task]
    return int(agent)


@inlined
def _log(state: FogState, b: int, task: int, now_s: float, reason: int, return_s: float) -> None:
    """Write a row of the task log, if there is room."""
    row = state.n_logged[b]
    state.n_logged[b] = row + 1
    if row >= state.log.shape[1]:
        return
    state.log[b, row, 0] = state.created_s[b, task]
    state.log[b, row, 1] = now_s
    state.log[b, row, 2] = state.origin[b, task]
    state.log[b, row, 3] = state.node[b, task]
    state.log[b, row, 4] = reason
    state.log[b, row, 5] = state.n_hops[b, task]
    state.log[b, row, 6] = state.upload_s[b, task]
    state.log[b, row, 7] = state.wait_s[b, task]
    state.log[b, row, 8] = state.service_s[b, task]
    state.log[b, row, 9] = return_s
    state.log[b, row, 10] = state.due_s[b, task]
    state.log[b, row, 11] = state.started_s[b, task]


@inlined
def _drop(state: FogState, network: Network, b: int, task: int, reason: int, now_s: float, slot_start_s: float) -> None:
    """Let a task leave unfinished."""
    state.sums[b, s.DROPPED + reason] += 1.0
    _log(state, b, task, now_s, reason, 0.0)
    state.step_dropped[b, _leave(state, network, b, task, now_s, slot_start_s)] += 1.0


@inlined
def _finish(
    state: FogState, network: Network, b: int, task: int, completed_s: float, now_s: float, slot_start_s: float
) -> None:
    """Let a task leave finished; its result is at its origin."""
    sums = state.sums
    response_s = now_s - state.created_s[b, task]
    sums[b, s.COMPLETED] += 1.0
    sums[b, s.RESPONSE_S] += response_s
    sums[b, s.UPLOAD_S] += state.upload_s[b, task]
    sums[b, s.WAIT_S] += state.wait_s[b, task]
    sums[b, s.SERVICE_S] += state.service_s[b, task]
    sums[b, s.RETURN_S] += now_s - completed_s
    bin_index = 0
    if response_s > FIRST_BIN_S:
        bin_index = min(int(math.log10(response_s / FIRST_BIN_S) * BINS_PER_DECADE), N_BINS - 1)
    sums[b, s.HISTOGRAM + bin_index] += 1.0
    _log(state, b, task, now_s, -1, now_s - completed_s)
    is_in_time = now_s <= state.due_s[b, task]
    agent = _leave(state, network, b, task, now_s, slot_start_s)
    if is_in_time:
        sums[b, s.IN_TIME] += 1.0
        state.step_in_time[b, agent] += 1.0
    else:
        state.step_late[b, agent] += 1.0


@inlined
def _book_service(state: FogState, network: Network, b: int, node: int, duration_s: float) -> None:
    """Book the time and the energy of a core."""
    energy_j = network.core_w[node] * duration_s
    state.sums[b, s.COMPUTE_J] += energy_j
    state.sums[b, s.BUSY_S_TIER + network.tier[node]] += duration_s
    agent = network.agent_of_node[node]
    if agent >= 0:
        state.step_energy_j[b, agent] += energy_j


@inlined
def _send(state: FogState, network: Network, b: int, task: int, link: int, bits: float, now_s: float) -> None:
    """Give a task or its result to a link: it waits for the channel, is transmitted, and arrives after the delay."""
    channel = network.link_channel[link]
    transmission_s = bits / network.link_rate_bps[link]
    end_s = max(now_s, state.channel_free_s[b, channel]) + transmission_s
    state.channel_free_s[b, channel] = end_s
    sender = network.link_source[link]
    energy_j = network.transmit_w[sender] * transmission_s
    state.sums[b, s.TRANSMIT_J] += energy_j
    agent = network.agent_of_node[sender]
    if agent >= 0:
        state.step_energy_j[b, agent] += energy_j
    push(state, b, end_s + network.link_delay_s[link], task)


@inlined
def _start(state: FogState, network: Network, b: int, node: int, task: int, now_s: float) -> None:
    """Put a task on a free core of its node."""
    work_cycles = state.work_cycles[b, task]
    duration_s = work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0
    state.stage[b, task] = SERVICE
    state.is_decided[b, task] = 1
    state.entered_s[b, task] = now_s
    state.started_s[b, task] = now_s
    state.n_busy[b, node] += 1
    state.service_end_s[b, node] += now_s + duration_s
    push(state, b, now_s + duration_s, task)


@inlined
def _start_waiting(state: FogState, network: Network, rules: Rules, b: int, node: int, now_s: float) -> None:
    """Fill the free cores of a node from the head of its queue; a held task lets the decided ones behind it pass."""
    task = state.first[b, node]
    while task >= 0 and state.n_busy[b, node] < network.n_cores[node]:
        behind = state.following[b, task]
        if not rules.holds or state.is_decided[b, task] == 1:
            cancel(state, b, task)
            _unlink(state, b, node, task, now_s)
            _start(state, network, b, node, task, now_s)
        task = behind


@inlined
def _join(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let a task enter its node: onto a core, into the queue, or out where the queue is full."""
    node = state.node[b, task]
    if state.n_waiting[b, node] + state.n_busy[b, node] >= network.queue_places[node]:
        _drop(state, network, b, task, s.QUEUE_FULL, now_s, slot_start_s)
        return
    may_decide = network.agent_of_node[node] >= 0 and state.n_hops[b, task] < rules.max_hops
    state.is_decided[b, task] = 0 if may_decide else 1
    state.entered_s[b, task] = now_s
    if state.n_busy[b, node] < network.n_cores[node] and not (rules.holds and may_decide):
        _start(state, network, b, node, task, now_s)
        return
    state.stage[b, task] = WAITING
    _append(state, b, node, task)
    if rules.drops_expired and state.due_s[b, task] < math.inf:
        push(state, b, state.due_s[b, task], task)


@inlined
def _create(
    state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int, row: int, slot_start_s: float
) -> None:
    """Create the task of a row of the table at its device."""
    now_s = arrivals.created_s[b, row]
    origin = arrivals.node[b, row]
    agent = network.agent_of_node[origin]
    state.sums[b, s.CREATED] += 1.0
    if state.n_free[b] == 0:
        state.sums[b, s.DROPPED + s.WORLD_FULL] += 1.0
        state.step_dropped[b, agent] += 1.0
        return
    state.n_free[b] -= 1
    task = state.free_task[b, state.n_free[b]]
    state.created_s[b, task] = now_s
    state.due_s[b, task] = arrivals.due_s[b, row]
    state.size_bits[b, task] = arrivals.size_bits[b, row]
    state.result_bits[b, task] = arrivals.result_bits[b, row]
    state.work_cycles[b, task] = arrivals.work_cycles[b, row]
    state.upload_s[b, task] = 0.0
    state.wait_s[b, task] = 0.0
    state.service_s[b, task] = 0.0
    state.started_s[b, task] = -1.0
    state.origin[b, task] = origin
    state.node[b, task] = origin
    state.n_hops[b, task] = 0
    state.n_alive[b, agent] += 1
    state.step_alive_s[b, agent] -= now_s - slot_start_s
    _join(state, network, rules, b, task, now_s, slot_start_s)


@inlined
def _arrive(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let an offloaded task arrive at the end of a link."""
    node = state.node[b, task]
    state.upload_s[b, task] += now_s - state.entered_s[b, task]
    state.n_inbound[b, node] -= 1
    state.inbound_cycles[b, node] -= state.work_cycles[b, task]
    if state.n_inbound[b, node] == 0:
        state.inbound_cycles[b, node] = 0.0
    if rules.drops_expired and state.due_s[b, task] <= now_s:
        _drop(state, network, b, task, s.EXPIRED, now_s, slot_start_s)
        return
    _join(state, network, rules, b, task, now_s, slot_start_s)


@inlined
def _step_back(state: FogState, network: Network, b: int, task: int, now_s: float, slot_start_s: float) -> None:
    """Send a result over the next link of its way back, or finish the task where it is at home."""
    hops_left = state.hops_left[b, task]
    if hops_left == 0:
        _finish(state, network, b, task, state.entered_s[b, task], now_s, slot_start_s)
        return
    state.hops_left[b, task] = hops_left - 1
    back = network.link_back[state.path_link[b, task, hops_left - 1]]
    _send(state, network, b, task, back, state.result_bits[b, task], now_s)


@inlined
def _complete(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let a task leave its core and give the core to the next one."""
    node = state.node[b, task]
    duration_s = now_s - state.entered_s[b, task]
    state.service_s[b, task] = duration_s
    _book_service(state, network, b, node, duration_s)
    state.n_busy[b, node] -= 1
    state.service_end_s[b, node] -= now_s
    if state.n_busy[b, node] == 0:
        state.service_end_s[b, node] = 0.0
    state.sums[b, s.RUN_ON_TIER + network.tier[node]] += 1.0
    state.sums[b, s.HOPS] += state.n_hops[b, task]
    state.stage[b, task] = RETURN
    state.hops_left[b, task] = state.n_hops[b, task]
    state.entered_s[b, task] = now_s
    _step_back(state, network, b, task, now_s, slot_start_s)
    _start_waiting(state, network, rules, b, node, now_s)


@inlined
def _happen(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let the pending event of a task happen."""
    cancel(state, b, task)
    stage = state.stage[b, task]
    if stage == SERVICE:
        _complete(state, network, rules, b, task, now_s, slot_start_s)
    elif stage == UPLOAD:
        _arrive(state, network, rules, b, task, now_s, slot_start_s)
    elif stage == RETURN:
        _step_back(state, network, b, task, now_s, slot_start_s)
    else:
        _unlink(state, b, state.node[b, task], task, now_s)
        _drop(state, network, b, task, s.EXPIRED, now_s, slot_start_s)


@kernel
def run_slot(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int) -> None:
    """Let every event of the current slot happen in order of time; at one instant, events go before creations."""
    slot_start_s = state.slot[b] * rules.slot_s
    end_s = (state.slot[b] + 1) * rules.slot_s
    row = state.next_arrival[b]
    while True:
        arrival_s = arrivals.created_s[b, row]
        event_s = state.heap_time_s[b, 0] if state.heap_size[b] > 0 else math.inf
        if event_s <= arrival_s:
            if event_s >= end_s:
                break
            _happen(state, network, rules, b, state.heap_task[b, 0], event_s, slot_start_s)
        else:
            if arrival_s >= end_s:
                break
            _create(state, network, rules, arrivals, b, row, slot_start_s)
            row += 1
    state.next_arrival[b] = row
    state.slot[b] += 1
    _close_slot(state, network, rules, b, end_s)


@inlined
def backlog_s(state: FogState, network: Network, b: int, node: int, now_s: float) -> float:
    """Return the core-seconds of work at a node, the rest of the tasks in service included."""
    hz = network.core_hz[node]
    waiting = state.waiting_cycles[b, node]
    queued_s = waiting / hz if waiting > 0.0 else 0.0
    in_service_s = state.service_end_s[b, node] - state.n_busy[b, node] * now_s if state.n_busy[b, node] > 0 else 0.0
    return float(queued_s + max(in_service_s, 0.0))


@inlined
def _close_slot(state: FogState, network: Network, rules: Rules, b: int, now_s: float) -> None:
    """Report the queues and add up what is measured by slot."""
    slot = state.slot[b]
    if slot % rules.report_every_slots == 0:
        place = slot % state.report_tasks.shape[1]
        for m in range(network.tier.size):
            state.report_tasks[b, place, m] = state.n_waiting[b, m] + state.n_busy[b, m]
            state.report_backlog_s[b, place, m] = backlog_s(state, network, b, m, now_s)
    n_full = 0
    for m in range(network.tier.size):
        n_tasks = state.n_waiting[b, m] + state.n_busy[b, m]
        if n_tasks >= network.queue_places[m]:
            n_full += 1
        state.sums[b, s.OCCUPANCY_TIER + network.tier[m]] += n_tasks / network.queue_places[m]
    state.sums[b, s.FULL_NODE_SLOTS] += n_full
    for n in range(network.node_of_agent.size):
        state.step_alive_s[b, n] += state.n_alive[b, n] * rules.slot_s


@kernel
def find_next(state: FogState, network: Network, b: int) -> None:
    """Find the oldest waiting task of each agent's node that may be decided on."""
    for n in range(network.node_of_agent.size):
        task = state.first[b, network.node_of_agent[n]]
        while task >= 0 and state.is_decided[b, task] == 1:
            task = state.following[b, task]
        state.next_task[b, n] = task


@inlined
def _next_undecided(state: FogState, b: int, task: int) -> int:
    """Return the next task behind this one that may be decided on, -1 for none."""
    task = state.following[b, task]
    while task >= 0 and state.is_decided[b, task] == 1:
        task = state.following[b, task]
    return task


@inlined
def _offload(state: FogState, network: Network, b: int, task: int, link: int, now_s: float) -> None:
    """Take a task out of its queue and give it to a link."""
    cancel(state, b, task)
    _unlink(state, b, state.node[b, task], task, now_s)
    target = network.link_target[link]
    state.path_link[b, task, state.n_hops[b, task]] = link
    state.n_hops[b, task] += 1
    state.node[b, task] = target
    state.stage[b, task] = UPLOAD
    state.entered_s[b, task] = now_s
    state.n_inbound[b, target] += 1
    state.inbound_cycles[b, target] += state.work_cycles[b, task]
    state.sums[b, s.OFFLOADS] += 1.0
    _send(state, network, b, task, link, state.size_bits[b, task], now_s)


@kernel
def decide(state: FogState, network: Network, rules: Rules, b: int, n: int, decision: I8, chosen: I8) -> None:
    """Carry out the decisions (D,) of an agent on its next tasks; ``chosen`` (D,) gets the tasks, -1 for none."""
    now_s = state.slot[b] * rules.slot_s
    node = network.node_of_agent[n]
    task = state.next_task[b, n]
    may_offload = task >= 0  # as the mask has it; more decisions than tasks are not refused
    for d in range(decision.size):
        chosen[d] = task
        target = decision[d]
        is_known = 0 <= target < network.target_node.shape[1] and network.target_node[n, target] >= 0
        if not is_known or (target != 0 and not may_offload):
            state.sums[b, s.REFUSED] += 1.0
            target = 0
        if task < 0:
            continue
        behind = _next_undecided(state, b, task)
        state.is_decided[b, task] = 1
        state.sums[b, s.DECISIONS] += 1.0
        state.sums[b, s.TO_TIER + network.tier[network.target_node[n, target]]] += 1.0
        if target > 0:
            _offload(state, network, b, task, network.target_link[n, target], now_s)
        task = behind
    if rules.holds:
        _start_waiting(state, network, rules, b, node, now_s)


@kernel
def end_episode(state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Close the sums of an episode: what is in flight, and the service given to it."""
    now_s = state.slot[b] * rules.slot_s
    sums = state.sums
    for task in range(state.stage.shape[1]):
        if state.stage[b, task] == FREE:
            continue
        sums[b, s.IN_FLIGHT] += 1.0
        sums[b, s.ALIVE_TASK_S] += now_s - state.created_s[b, task]
        if state.stage[b, task] == SERVICE:
            _book_service(state, network, b, state.node[b, task], now_s - state.entered_s[b, task])
    sums[b, s.EPISODES] = 1.0
    sums[b, s.ELAPSED_S] = now_s
    for m in range(network.tier.size):
        sums[b, s.IDLE_J] += network.idle_w[m] * now_s
        sums[b, s.CORE_S_TIER + network.tier[m]] += network.n_cores[m] * now_s
        sums[b, s.OCCUPANCY_SLOTS_TIER + network.tier[m]] += state.slot[b]
    sums[b, s.NODE_SLOTS] = network.tier.size * state.slot[b]
