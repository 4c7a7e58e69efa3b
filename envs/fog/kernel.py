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
    tail = state.node[b, node].last
    state.task[b, task].preceding = tail
    state.task[b, task].following = -1
    if tail >= 0:
        state.task[b, tail].following = task
    else:
        state.node[b, node].first = task
    state.node[b, node].last = task
    state.node[b, node].n_waiting += 1
    state.node[b, node].waiting_cycles += state.task[b, task].work_cycles


@inlined
def _unlink(state: FogState, b: int, node: int, task: int, now_s: float) -> None:
    """Take a task out of its queue, wherever it stands, and book its waiting."""
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
def _leave(state: FogState, network: Network, b: int, task: int, now_s: float, slot_start_s: float) -> int:
    """Free the slot of a task that left the system and return its agent."""
    agent = network.agent_of_node[state.task[b, task].origin]
    state.task[b, task].stage = FREE
    state.free_task[b, state.world[b].n_free] = task
    state.world[b].n_free += 1
    state.agent[b, agent].n_alive -= 1
    state.agent[b, agent].step_alive_s += now_s - slot_start_s
    state.sums[b, s.ALIVE_TASK_S] += now_s - state.task[b, task].created_s
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


@inlined
def _drop(state: FogState, network: Network, b: int, task: int, reason: int, now_s: float, slot_start_s: float) -> None:
    """Let a task leave unfinished."""
    state.sums[b, s.DROPPED + reason] += 1.0
    _log(state, b, task, now_s, reason, 0.0)
    state.agent[b, _leave(state, network, b, task, now_s, slot_start_s)].step_dropped += 1.0


@inlined
def _finish(
    state: FogState, network: Network, b: int, task: int, completed_s: float, now_s: float, slot_start_s: float
) -> None:
    """Let a task leave finished; its result is at its origin."""
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
    is_in_time = now_s <= state.task[b, task].due_s
    agent = _leave(state, network, b, task, now_s, slot_start_s)
    if is_in_time:
        sums[b, s.IN_TIME] += 1.0
        state.agent[b, agent].step_in_time += 1.0
    else:
        state.agent[b, agent].step_late += 1.0


@inlined
def _book_service(state: FogState, network: Network, b: int, node: int, duration_s: float) -> None:
    """Book the time and the energy of a core."""
    energy_j = network.core_w[node] * duration_s
    state.sums[b, s.COMPUTE_J] += energy_j
    state.sums[b, s.BUSY_S_TIER + network.tier[node]] += duration_s
    agent = network.agent_of_node[node]
    if agent >= 0:
        state.agent[b, agent].step_energy_j += energy_j


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
        state.agent[b, agent].step_energy_j += energy_j
    push(state, b, end_s + network.link_delay_s[link], task)


@inlined
def _start(state: FogState, network: Network, b: int, node: int, task: int, now_s: float) -> None:
    """Put a task on a free core of its node."""
    work_cycles = state.task[b, task].work_cycles
    duration_s = work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0
    state.task[b, task].stage = SERVICE
    state.task[b, task].is_decided = 1
    state.task[b, task].entered_s = now_s
    state.task[b, task].started_s = now_s
    state.node[b, node].n_busy += 1
    state.node[b, node].service_end_s += now_s + duration_s
    push(state, b, now_s + duration_s, task)


@inlined
def _start_waiting(state: FogState, network: Network, rules: Rules, b: int, node: int, now_s: float) -> None:
    """Fill the free cores of a node from the head of its queue; a held task lets the decided ones behind it pass."""
    task = state.node[b, node].first
    while task >= 0 and state.node[b, node].n_busy < network.n_cores[node]:
        behind = state.task[b, task].following
        if not rules.holds or state.task[b, task].is_decided == 1:
            cancel(state, b, task)
            _unlink(state, b, node, task, now_s)
            _start(state, network, b, node, task, now_s)
        task = behind


@inlined
def _join(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let a task enter its node: onto a core, into the queue, or out where the queue is full."""
    node = state.task[b, task].node
    if state.node[b, node].n_waiting + state.node[b, node].n_busy >= network.queue_places[node]:
        _drop(state, network, b, task, s.QUEUE_FULL, now_s, slot_start_s)
        return
    may_decide = network.agent_of_node[node] >= 0 and state.task[b, task].n_hops < rules.max_hops
    state.task[b, task].is_decided = 0 if may_decide else 1
    state.task[b, task].entered_s = now_s
    if state.node[b, node].n_busy < network.n_cores[node] and not (rules.holds and may_decide):
        _start(state, network, b, node, task, now_s)
        return
    state.task[b, task].stage = WAITING
    _append(state, b, node, task)
    if rules.drops_expired and state.task[b, task].due_s < math.inf:
        push(state, b, state.task[b, task].due_s, task)


@inlined
def _create(
    state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int, row: int, slot_start_s: float
) -> None:
    """Create the task of a row of the table at its device."""
    now_s = arrivals.created_s[b, row]
    origin = arrivals.node[b, row]
    agent = network.agent_of_node[origin]
    state.sums[b, s.CREATED] += 1.0
    if state.world[b].n_free == 0:
        state.sums[b, s.DROPPED + s.WORLD_FULL] += 1.0
        state.agent[b, agent].step_dropped += 1.0
        return
    state.world[b].n_free -= 1
    task = state.free_task[b, state.world[b].n_free]
    state.task[b, task].created_s = now_s
    state.task[b, task].due_s = arrivals.due_s[b, row]
    state.task[b, task].size_bits = arrivals.size_bits[b, row]
    state.task[b, task].result_bits = arrivals.result_bits[b, row]
    state.task[b, task].work_cycles = arrivals.work_cycles[b, row]
    state.task[b, task].upload_s = 0.0
    state.task[b, task].wait_s = 0.0
    state.task[b, task].service_s = 0.0
    state.task[b, task].started_s = -1.0
    state.task[b, task].origin = origin
    state.task[b, task].node = origin
    state.task[b, task].n_hops = 0
    state.agent[b, agent].n_alive += 1
    state.agent[b, agent].step_alive_s -= now_s - slot_start_s
    _join(state, network, rules, b, task, now_s, slot_start_s)


@inlined
def _arrive(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let an offloaded task arrive at the end of a link."""
    node = state.task[b, task].node
    state.task[b, task].upload_s += now_s - state.task[b, task].entered_s
    state.node[b, node].n_inbound -= 1
    state.node[b, node].inbound_cycles -= state.task[b, task].work_cycles
    if state.node[b, node].n_inbound == 0:
        state.node[b, node].inbound_cycles = 0.0
    if rules.drops_expired and state.task[b, task].due_s <= now_s:
        _drop(state, network, b, task, s.EXPIRED, now_s, slot_start_s)
        return
    _join(state, network, rules, b, task, now_s, slot_start_s)


@inlined
def _step_back(state: FogState, network: Network, b: int, task: int, now_s: float, slot_start_s: float) -> None:
    """Send a result over the next link of its way back, or finish the task where it is at home."""
    hops_left = state.task[b, task].hops_left
    if hops_left == 0:
        _finish(state, network, b, task, state.task[b, task].entered_s, now_s, slot_start_s)
        return
    state.task[b, task].hops_left = hops_left - 1
    back = network.link_back[state.path_link[b, task, hops_left - 1]]
    _send(state, network, b, task, back, state.task[b, task].result_bits, now_s)


@inlined
def _complete(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let a task leave its core and give the core to the next one."""
    node = state.task[b, task].node
    duration_s = now_s - state.task[b, task].entered_s
    state.task[b, task].service_s = duration_s
    _book_service(state, network, b, node, duration_s)
    state.node[b, node].n_busy -= 1
    state.node[b, node].service_end_s -= now_s
    if state.node[b, node].n_busy == 0:
        state.node[b, node].service_end_s = 0.0
    state.sums[b, s.RUN_ON_TIER + network.tier[node]] += 1.0
    state.sums[b, s.HOPS] += state.task[b, task].n_hops
    state.task[b, task].stage = RETURN
    state.task[b, task].hops_left = state.task[b, task].n_hops
    state.task[b, task].entered_s = now_s
    _step_back(state, network, b, task, now_s, slot_start_s)
    _start_waiting(state, network, rules, b, node, now_s)


@inlined
def _happen(
    state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float, slot_start_s: float
) -> None:
    """Let the pending event of a task happen."""
    cancel(state, b, task)
    stage = state.task[b, task].stage
    if stage == SERVICE:
        _complete(state, network, rules, b, task, now_s, slot_start_s)
    elif stage == UPLOAD:
        _arrive(state, network, rules, b, task, now_s, slot_start_s)
    elif stage == RETURN:
        _step_back(state, network, b, task, now_s, slot_start_s)
    else:
        _unlink(state, b, state.task[b, task].node, task, now_s)
        _drop(state, network, b, task, s.EXPIRED, now_s, slot_start_s)


@kernel
def run_slot(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int) -> None:
    """Let every event of the current slot happen in order of time; at one instant, events go before creations."""
    slot_start_s = state.world[b].slot * rules.slot_s
    end_s = (state.world[b].slot + 1) * rules.slot_s
    row = state.world[b].next_arrival
    while True:
        arrival_s = arrivals.created_s[b, row]
        event_s = state.event[b, 0].time_s if state.world[b].heap_size > 0 else math.inf
        if event_s <= arrival_s:
            if event_s >= end_s:
                break
            _happen(state, network, rules, b, state.event[b, 0].task, event_s, slot_start_s)
        else:
            if arrival_s >= end_s:
                break
            _create(state, network, rules, arrivals, b, row, slot_start_s)
            row += 1
    state.world[b].next_arrival = row
    state.world[b].slot += 1
    _close_slot(state, network, rules, b, end_s)


@inlined
def backlog_s(state: FogState, network: Network, b: int, node: int, now_s: float) -> float:
    """Return the core-seconds of work at a node, the rest of the tasks in service included."""
    hz = network.core_hz[node]
    waiting = state.node[b, node].waiting_cycles
    queued_s = waiting / hz if waiting > 0.0 else 0.0
    in_service_s = (
        state.node[b, node].service_end_s - state.node[b, node].n_busy * now_s
        if state.node[b, node].n_busy > 0
        else 0.0
    )
    return float(queued_s + max(in_service_s, 0.0))


@inlined
def _close_slot(state: FogState, network: Network, rules: Rules, b: int, now_s: float) -> None:
    """Report the queues and add up what is measured by slot."""
    slot = state.world[b].slot
    if slot % rules.report_every_slots == 0:
        place = slot % state.report.shape[1]
        for m in range(network.tier.size):
            state.report[b, place, m].tasks = state.node[b, m].n_waiting + state.node[b, m].n_busy
            state.report[b, place, m].backlog_s = backlog_s(state, network, b, m, now_s)
    n_full = 0
    for m in range(network.tier.size):
        n_tasks = state.node[b, m].n_waiting + state.node[b, m].n_busy
        if n_tasks >= network.queue_places[m]:
            n_full += 1
        state.sums[b, s.OCCUPANCY_TIER + network.tier[m]] += n_tasks / network.queue_places[m]
    state.sums[b, s.FULL_NODE_SLOTS] += n_full
    for n in range(network.node_of_agent.size):
        state.agent[b, n].step_alive_s += state.agent[b, n].n_alive * rules.slot_s


@kernel
def find_next(state: FogState, network: Network, b: int) -> None:
    """Find the oldest waiting task of each agent's node that may be decided on."""
    for n in range(network.node_of_agent.size):
        task = state.node[b, network.node_of_agent[n]].first
        while task >= 0 and state.task[b, task].is_decided == 1:
            task = state.task[b, task].following
        state.agent[b, n].next_task = task


@inlined
def _next_undecided(state: FogState, b: int, task: int) -> int:
    """Return the next task behind this one that may be decided on, -1 for none."""
    task = state.task[b, task].following
    while task >= 0 and state.task[b, task].is_decided == 1:
        task = state.task[b, task].following
    return task


@inlined
def _offload(state: FogState, network: Network, b: int, task: int, link: int, now_s: float) -> None:
    """Take a task out of its queue and give it to a link."""
    cancel(state, b, task)
    _unlink(state, b, state.task[b, task].node, task, now_s)
    target = network.link_target[link]
    state.path_link[b, task, state.task[b, task].n_hops] = link
    state.task[b, task].n_hops += 1
    state.task[b, task].node = target
    state.task[b, task].stage = UPLOAD
    state.task[b, task].entered_s = now_s
    state.node[b, target].n_inbound += 1
    state.node[b, target].inbound_cycles += state.task[b, task].work_cycles
    state.sums[b, s.OFFLOADS] += 1.0
    _send(state, network, b, task, link, state.task[b, task].size_bits, now_s)


@kernel
def decide(state: FogState, network: Network, rules: Rules, b: int, n: int, decision: I8, chosen: I8) -> None:
    """Carry out the decisions (D,) of an agent on its next tasks; ``chosen`` (D,) gets the tasks, -1 for none."""
    now_s = state.world[b].slot * rules.slot_s
    node = network.node_of_agent[n]
    task = state.agent[b, n].next_task
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
        state.task[b, task].is_decided = 1
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
    now_s = state.world[b].slot * rules.slot_s
    sums = state.sums
    for task in range(state.task.shape[1]):
        if state.task[b, task].stage == FREE:
            continue
        sums[b, s.IN_FLIGHT] += 1.0
        sums[b, s.ALIVE_TASK_S] += now_s - state.task[b, task].created_s
        if state.task[b, task].stage == SERVICE:
            _book_service(state, network, b, state.task[b, task].node, now_s - state.task[b, task].entered_s)
    sums[b, s.EPISODES] = 1.0
    sums[b, s.ELAPSED_S] = now_s
    for m in range(network.tier.size):
        sums[b, s.IDLE_J] += network.idle_w[m] * now_s
        sums[b, s.CORE_S_TIER + network.tier[m]] += network.n_cores[m] * now_s
        sums[b, s.OCCUPANCY_SLOTS_TIER + network.tier[m]] += state.world[b].slot
    sums[b, s.NODE_SLOTS] = network.tier.size * state.world[b].slot
