"""What happens at a node: its queue, its turn, what arrives, and the way of results. Mutates world ``b`` only."""

from __future__ import annotations

import math

from envs.accelerate import inlined
from envs.fog.peersim import state as s
from envs.fog.peersim.events import first_report, schedule
from envs.fog.peersim.state import (
    APPLICATION,
    FREE,
    OFFLOADED,
    QUEUED,
    RECEIVED,
    RESULT,
    SERVICE,
    TO_CLIENT,
    PeersimState,
    Rules,
    Setup,
)
from envs.metrics import BINS_PER_DECADE, FIRST_BIN_S, N_BINS


@inlined
def n_tasks(state: PeersimState, b: int, m: int) -> int:
    """Return the tasks in a node, the one in service and those not in its queue yet included."""
    in_service = 1 if state.node[b, m].current >= 0 else 0
    return state.node[b, m].n_queued + state.node[b, m].n_received + in_service


@inlined
def enqueue(state: PeersimState, rules: Rules, b: int, m: int, task: int, at_front: bool) -> None:
    """Put a task at the front or at the back of a queue."""
    state.task[b, task].stage = QUEUED
    state.task[b, task].is_marked = 0
    front, back = state.node[b, m].first, state.node[b, m].last
    if at_front:
        state.task[b, task].preceding = -1
        state.task[b, task].following = front
        if front >= 0:
            state.task[b, front].preceding = task
        else:
            state.node[b, m].last = task
        state.node[b, m].first = task
    else:
        state.task[b, task].following = -1
        state.task[b, task].preceding = back
        if back >= 0:
            state.task[b, back].following = task
        else:
            state.node[b, m].first = task
        state.node[b, m].last = task
    state.node[b, m].n_queued += 1


@inlined
def unlink(state: PeersimState, b: int, m: int, task: int) -> None:
    """Take a task out of its queue, wherever it stands."""
    before, behind = state.task[b, task].preceding, state.task[b, task].following
    if before >= 0:
        state.task[b, before].following = behind
    else:
        state.node[b, m].first = behind
    if behind >= 0:
        state.task[b, behind].preceding = before
    else:
        state.node[b, m].last = before
    state.node[b, m].n_queued -= 1


@inlined
def serialise(state: PeersimState, rules: Rules, b: int, m: int) -> None:
    """Let the received tasks enter the queue in the order of their arrival."""
    task = state.node[b, m].first_received
    while task >= 0:
        behind = state.task[b, task].following
        enqueue(state, rules, b, m, task, rules.is_lifo)
        task = behind
    state.node[b, m].first_received = -1
    state.node[b, m].last_received = -1
    state.node[b, m].n_received = 0


@inlined
def first_unmarked(state: PeersimState, b: int, task: int) -> int:
    """Return the first task from this one on whose agent may decide on it, -1 for none."""
    while task >= 0 and (state.task[b, task].is_marked == 1 or state.task[b, task].n_hops >= state.path.shape[2]):
        task = state.task[b, task].following
    return task


@inlined
def release(state: PeersimState, b: int, task: int) -> None:
    """Free the place of a task that left."""
    state.task[b, task].stage = FREE
    state.free_task[b, state.world[b].n_free] = task
    state.world[b].n_free += 1


@inlined
def lose(state: PeersimState, rules: Rules, b: int, client: int, give_up_slot: int, reason: int) -> None:
    """Count a task that left unfinished; its client does not know and gives it up in its time."""
    state.sums[b, s.DROPPED + reason] += 1.0
    if give_up_slot < rules.horizon_slots - 1:  # the client has a turn in every slot but perhaps the last
        state.sums[b, s.CLIENT_DROPPED] += 1.0
    elif give_up_slot == rules.horizon_slots - 1:
        state.node[b, client].n_lost_at_end += 1


@inlined
def _drop(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int, reason: int) -> None:
    """Let a task leave unfinished at a node; its work must be taken off the node before."""
    state.node[b, m].n_dropped += 1
    client = setup.entry[state.task[b, task].client_entry].source
    lose(state, rules, b, client, state.task[b, task].give_up_slot, reason)
    release(state, b, task)


@inlined
def _send_result(state: PeersimState, setup: Setup, rules: Rules, b: int, task: int, entry: int, stage: int) -> None:
    """Send a result along an entry of the sender's list."""
    kind = state.task[b, task].type
    if setup.node[setup.entry[entry].source].is_cloud == 0:
        state.sums[b, s.RESULTS] += 1.0
        state.sums[b, s.ENERGY] += setup.type[kind].result_mb * rules.mb_price
    state.task[b, task].node = setup.entry[entry].node
    state.task[b, task].stage = stage
    schedule(state, rules, b, task, setup.back_slots[entry, kind])


@inlined
def _step_back(state: PeersimState, setup: Setup, rules: Rules, b: int, task: int) -> None:
    """Send a result back over the last link that its task crossed and that it has not."""
    state.task[b, task].hops_left -= 1
    entry = setup.entry[state.path[b, task, state.task[b, task].hops_left]].back
    _send_result(state, setup, rules, b, task, entry, RESULT)


@inlined
def _close(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int) -> None:
    """Tell the agent of the node that had the task first, and send the result to the client."""
    state.node[b, m].n_concluded += 1
    _send_result(state, setup, rules, b, task, setup.entry[state.task[b, task].client_entry].back, TO_CLIENT)


@inlined
def _conclude(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int) -> None:
    """End the service of a task and send its result on its way."""
    slot = state.world[b].slot
    state.task[b, task].finished_slot = slot
    state.node[b, m].n_processed += 1
    state.sums[b, s.RUN_ON_TIER + setup.node[m].tier] += 1.0
    state.sums[b, s.HOPS] += state.task[b, task].n_hops
    state.task[b, task].hops_left = state.task[b, task].n_hops
    if setup.node[m].is_cloud == 0:
        state.sums[b, s.PROCESSED] += 1.0
    if m == state.task[b, task].handler:
        _close(state, setup, rules, b, m, task)
    elif rules.self_hop and setup.node[m].is_cloud == 0:
        _send_result(state, setup, rules, b, task, setup.node[m].first_entry, RESULT)
    else:
        _step_back(state, setup, rules, b, task)


@inlined
def _start(state: PeersimState, b: int, m: int, task: int) -> None:
    """Take a task out of the queue into service."""
    slot = state.world[b].slot
    unlink(state, b, m, task)
    state.task[b, task].stage = SERVICE
    state.task[b, task].is_marked = 0
    state.task[b, task].wait_slots += slot - state.task[b, task].entered_slot
    state.task[b, task].started_slot = slot


@inlined
def _work(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> float:
    """Serve with the cycles of a slot, task after task; return the cycles used."""
    budget = setup.node[m].slot_cycles
    while budget > 0.0:
        task = state.node[b, m].current
        if task < 0:
            if state.node[b, m].n_queued == 0:
                if state.node[b, m].n_received == 0:
                    break
                serialise(state, rules, b, m)
            task = state.node[b, m].first
            if rules.holds and setup.node[m].agent >= 0:
                while task >= 0 and state.task[b, task].is_marked == 0:
                    task = state.task[b, task].following
                if task < 0:
                    break
            _start(state, b, m, task)
            state.node[b, m].current = task
        progress = min(state.task[b, task].left_cycles, budget)
        state.task[b, task].left_cycles -= progress
        state.node[b, m].left_cycles -= progress
        budget -= progress
        if state.task[b, task].left_cycles <= 0.0:
            state.node[b, m].current = -1
            _conclude(state, setup, rules, b, m, task)
    return float(setup.node[m].slot_cycles - budget)


@inlined
def _expire_list(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, is_queue: bool) -> None:
    """Drop the tasks of the queue, or those that have not entered it, whose deadline is past."""
    latest = state.world[b].slot - rules.grace_slots
    task = state.node[b, m].first if is_queue else state.node[b, m].first_received
    before = -1
    while task >= 0:
        behind = state.task[b, task].following
        if state.task[b, task].due_slot <= latest:
            if is_queue:
                unlink(state, b, m, task)
            else:
                if before >= 0:
                    state.task[b, before].following = behind
                else:
                    state.node[b, m].first_received = behind
                if behind < 0:
                    state.node[b, m].last_received = before
                state.node[b, m].n_received -= 1
            state.node[b, m].left_cycles -= state.task[b, task].left_cycles
            _drop(state, setup, rules, b, m, task, s.EXPIRED)
        else:
            before = task
        task = behind


@inlined
def _expire(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Drop what a deadline ends."""
    _expire_list(state, setup, rules, b, m, True)
    if rules.expires_received:
        _expire_list(state, setup, rules, b, m, False)
    task = state.node[b, m].current
    latest = state.world[b].slot - rules.grace_slots
    if rules.expires_current and task >= 0 and state.task[b, task].due_slot <= latest:
        state.node[b, m].current = -1
        state.node[b, m].left_cycles -= state.task[b, task].left_cycles
        _drop(state, setup, rules, b, m, task, s.EXPIRED)


@inlined
def _report(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Send what the node holds to all of its list; only agents keep it, and each knows its own node anyway."""
    n_places = state.report.shape[1]
    place = state.world[b].slot % n_places
    state.report[b, place, m].tasks = n_tasks(state, b, m)
    state.report[b, place, m].received = state.node[b, m].n_received
    state.report[b, place, m].left_cycles = state.node[b, m].left_cycles
    n_entries = setup.node[m].n_entries
    state.sums[b, s.REPORTS] += n_entries
    state.sums[b, s.ENERGY] += n_entries * rules.report_mb * rules.mb_price
    for entry in range(setup.node[m].first_entry + 1, setup.node[m].first_entry + n_entries):
        if setup.node[setup.entry[entry].node].agent >= 0:
            event = first_report(state) + entry * n_places + place
            schedule(state, rules, b, event, setup.entry[entry].report_slots)


@inlined
def hear(state: PeersimState, setup: Setup, b: int, event: int) -> None:
    """Let a report arrive."""
    n_places = state.report.shape[1]
    number = event - first_report(state)
    entry, place = number // n_places, number % n_places
    sender, back = setup.entry[entry].source, setup.entry[entry].back
    state.entry[b, back].seen_tasks = state.report[b, place, sender].tasks
    state.entry[b, back].seen_received = state.report[b, place, sender].received
    state.entry[b, back].seen_cycles = state.report[b, place, sender].left_cycles


@inlined
def take_turn(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Let a node work for a slot, drop what expired, open its queue to what it received, and report."""
    held = n_tasks(state, b, m)
    places = setup.node[m].queue_places
    tier = setup.node[m].tier
    if held >= places:
        state.sums[b, s.FULL_NODE_SLOTS] += 1.0
    state.sums[b, s.NODE_SLOTS] += 1.0
    state.sums[b, s.OCCUPANCY_TIER + tier] += held / places
    state.sums[b, s.OCCUPANCY_SLOTS_TIER + tier] += 1.0
    used_cycles = _work(state, setup, rules, b, m)
    state.sums[b, s.ENERGY] += used_cycles * rules.cycle_price
    state.sums[b, s.BUSY_S_TIER + tier] += used_cycles / setup.node[m].hz
    if rules.expires:
        _expire(state, setup, rules, b, m)
    if state.node[b, m].n_received > 0 and (state.world[b].slot % 2 == 0 or state.node[b, m].n_queued == 0):
        serialise(state, rules, b, m)
    if state.node[b, m].has_changed == 1 or rules.reports_always:
        _report(state, setup, rules, b, m)
        state.node[b, m].has_changed = 0


@inlined
def take_cloud_turn(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Let each machine of the cloud work for a slot."""
    for machine in range(state.machine.shape[1]):
        budget = setup.node[m].slot_cycles
        while budget > 0.0:
            task = state.machine[b, machine]
            if task < 0:
                task = state.node[b, m].first
                if task < 0:
                    break
                _start(state, b, m, task)
                state.machine[b, machine] = task
            progress = min(state.task[b, task].left_cycles, budget)
            state.task[b, task].left_cycles -= progress
            state.node[b, m].left_cycles -= progress
            state.sums[b, s.BUSY_S_TIER + setup.node[m].tier] += progress / setup.node[m].hz
            if state.task[b, task].left_cycles > 0.0:
                break
            if not rules.cloud_is_unlimited:
                budget -= progress
            state.machine[b, machine] = -1
            _conclude(state, setup, rules, b, m, task)


@inlined
def _arrive_from_client(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int) -> None:
    """Let a client's task arrive: it waits beside the queue, or in it where that is the rule."""
    state.sums[b, s.ARRIVED] += 1.0
    state.node[b, m].n_reached += 1
    if n_tasks(state, b, m) >= setup.node[m].queue_places:
        state.node[b, m].n_refused += 1
        _drop(state, setup, rules, b, m, task, s.QUEUE_FULL)
        return
    state.node[b, m].left_cycles += state.task[b, task].left_cycles
    state.node[b, m].has_changed = 1
    if not rules.serialises_late:
        enqueue(state, rules, b, m, task, rules.is_lifo)
        return
    state.task[b, task].stage = RECEIVED
    state.task[b, task].is_marked = 0
    state.task[b, task].following = -1
    last = state.node[b, m].last_received
    if last >= 0:
        state.task[b, last].following = task
    else:
        state.node[b, m].first_received = task
    state.node[b, m].last_received = task
    state.node[b, m].n_received += 1


@inlined
def _arrive_from_node(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int) -> None:
    """Let an offloaded task arrive: straight into the queue."""
    if setup.node[m].is_cloud == 1:
        state.node[b, m].left_cycles += state.task[b, task].left_cycles
        enqueue(state, rules, b, m, task, False)
        return
    state.node[b, m].has_changed = 1
    if n_tasks(state, b, m) >= setup.node[m].queue_places:
        state.node[b, m].n_refused += 1
        _drop(state, setup, rules, b, m, task, s.QUEUE_FULL)
        return
    state.node[b, m].left_cycles += state.task[b, task].left_cycles
    state.sums[b, s.ACCEPTED] += 1.0
    enqueue(state, rules, b, m, task, rules.is_lifo)


@inlined
def _receive_result(state: PeersimState, setup: Setup, rules: Rules, b: int, client: int, task: int) -> None:
    """Let a client receive a result; one that it gave up counts for nothing."""
    slot = state.world[b].slot
    row = state.task[b, task]
    if state.node[b, client].client_slot >= row.give_up_slot:
        state.sums[b, s.UNCLAIMED] += 1.0
        state.sums[b, s.CLIENT_DROPPED] += 1.0
    else:
        response_s = (slot - row.sent_slot) * rules.slot_s
        state.sums[b, s.COMPLETED] += 1.0
        state.sums[b, s.IN_TIME] += 1.0 if slot <= row.due_slot else 0.0
        state.sums[b, s.RESPONSE_S] += response_s
        state.sums[b, s.UPLOAD_S] += row.upload_slots * rules.slot_s
        state.sums[b, s.WAIT_S] += row.wait_slots * rules.slot_s
        state.sums[b, s.SERVICE_S] += (row.finished_slot - row.started_slot) * rules.slot_s
        state.sums[b, s.RETURN_S] += (slot - row.finished_slot) * rules.slot_s
        bin_index = 0
        if response_s > FIRST_BIN_S:
            bin_index = min(int(math.log10(response_s / FIRST_BIN_S) * BINS_PER_DECADE), N_BINS - 1)
        state.sums[b, s.HISTOGRAM + bin_index] += 1.0
    release(state, b, task)


@inlined
def arrive(state: PeersimState, setup: Setup, rules: Rules, b: int, task: int) -> None:
    """Let a task, or its result, arrive where it was sent."""
    slot = state.world[b].slot
    m = state.task[b, task].node
    stage = state.task[b, task].stage
    if stage in (APPLICATION, OFFLOADED):
        state.task[b, task].upload_slots += slot - state.task[b, task].entered_slot
        state.task[b, task].entered_slot = slot
        if stage == APPLICATION:
            _arrive_from_client(state, setup, rules, b, m, task)
        else:
            _arrive_from_node(state, setup, rules, b, m, task)
    elif stage == RESULT:
        if m == state.task[b, task].handler:
            _close(state, setup, rules, b, m, task)
        else:
            _step_back(state, setup, rules, b, task)
    elif stage == TO_CLIENT:
        _receive_result(state, setup, rules, b, m, task)


@inlined
def offload(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, task: int, entry: int) -> None:
    """Take a task out of the queue and send it along an entry of the node's list."""
    slot = state.world[b].slot
    kind = state.task[b, task].type
    unlink(state, b, m, task)
    state.node[b, m].left_cycles -= state.task[b, task].left_cycles
    state.path[b, task, state.task[b, task].n_hops] = entry
    state.task[b, task].n_hops += 1
    state.task[b, task].wait_slots += slot - state.task[b, task].entered_slot
    state.task[b, task].entered_slot = slot
    state.task[b, task].node = setup.entry[entry].node
    state.task[b, task].stage = OFFLOADED
    state.sums[b, s.OFFLOADS] += 1.0
    state.node[b, m].has_changed = 1
    schedule(state, rules, b, task, setup.out_slots[entry, kind])
