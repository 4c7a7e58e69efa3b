"""The course of a PeersimGym world: clients, decisions, and the events of a slot one after the other.

Every function mutates ``state`` of world ``b`` and nothing else. An episode of T slots is looked at in each of them,
at a random point between the turns of its nodes, and decided on at the same point in all but the last.
"""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined, kernel
from envs.constants import PADDING
from envs.fog.peersim import state as s
from envs.fog.peersim.events import CLIENT_STREAMS, first_client, first_report, next_event, open_slot, schedule
from envs.fog.peersim.node import arrive, first_unmarked, hear, lose, n_tasks, offload, serialise, take_cloud_turn
from envs.fog.peersim.node import take_turn as take_node_turn
from envs.fog.peersim.state import APPLICATION, FREE, NEVER_SLOT, PeersimState, Rules, Setup
from envs.rng import unit_pair


@inlined
def _uniforms(state: PeersimState, rules: Rules, b: int, number: int, stream: int) -> tuple[float, float]:
    """Return two uniforms of a stream of a world's clients."""
    world_id, episode = np.uint64(state.world[b].world_id), np.uint64(state.world[b].episode)
    return unit_pair(rules.key, np.uint64(number), np.uint64(CLIENT_STREAMS + stream), world_id, episode)


@inlined
def _gap_slots(state: PeersimState, rules: Rules, b: int, entry: int, per_slot: float) -> float:
    """Draw the time to a stream's next task; infinite without a rate."""
    number = state.entry[b, entry].n_gaps
    state.entry[b, entry].n_gaps = number + 1
    if per_slot <= 0.0:
        return math.inf
    return float(-math.log(_uniforms(state, rules, b, number, 2 * entry)[0]) / per_slot)


@inlined
def _rounded(slots: float) -> float:
    return float(np.floor(slots + 0.5))  # math.floor makes an integer, and infinity is none


@inlined
def _draw_type(setup: Setup, rules: Rules, uniform: float) -> int:
    """Return a type for a uniform number in (0, 1); see the switch type_sampler."""
    n_types = setup.type.size
    if not rules.searches_types:
        kind = 0
        while kind < n_types - 1 and uniform >= setup.type[kind].cumulative:
            kind += 1
        return kind
    wanted = uniform * n_types  # the table ends at 1
    low, high, probed = 0, n_types - 1, 0
    while low <= high:
        probed = (low + high) // 2
        if setup.type[probed].cumulative < wanted:
            low = probed + 1
        else:
            high = probed - 1
    return probed


@inlined
def _send_task(state: PeersimState, setup: Setup, rules: Rules, b: int, entry: int) -> None:
    """Draw a task of a client's stream and send it."""
    number = state.entry[b, entry].n_tasks
    state.entry[b, entry].n_tasks = number + 1
    for_type, for_deadline = _uniforms(state, rules, b, number, 2 * entry + 1)
    kind = _draw_type(setup, rules, for_type)
    slot = state.world[b].slot
    due_slot, give_up_slot = NEVER_SLOT, NEVER_SLOT
    if setup.type[kind].due_low >= 0:
        n_values = setup.type[kind].due_high - setup.type[kind].due_low + 1
        due_slot = slot + setup.type[kind].due_low + int(for_deadline * n_values)
        give_up_slot = due_slot + 1 + (slot if rules.doubles_deadline else 0)
    client, target = setup.entry[entry].source, setup.entry[entry].node
    state.sums[b, s.CREATED] += 1.0
    if setup.node[target].is_cloud == 1:
        lose(state, rules, b, client, give_up_slot, s.LOST_IN_CLOUD)
        return
    if state.world[b].n_free == 0:
        lose(state, rules, b, client, give_up_slot, s.WORLD_FULL)
        return
    state.world[b].n_free -= 1
    task = state.free_task[b, state.world[b].n_free]
    state.task[b, task].left_cycles = setup.type[kind].work_cycles
    state.task[b, task].type = kind
    state.task[b, task].client_entry = entry
    state.task[b, task].handler = target
    state.task[b, task].node = target
    state.task[b, task].sent_slot = slot
    state.task[b, task].due_slot = due_slot
    state.task[b, task].give_up_slot = give_up_slot
    state.task[b, task].entered_slot = slot
    state.task[b, task].upload_slots = 0
    state.task[b, task].wait_slots = 0
    state.task[b, task].stage = APPLICATION
    state.task[b, task].is_marked = 0
    state.task[b, task].n_hops = 0
    schedule(state, rules, b, task, setup.out_slots[entry, kind])


@inlined
def _turn_schedule(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Go on to the piece of the schedule that holds in this slot, and redraw what is due under the new rate."""
    slot = state.world[b].slot
    own = setup.node[m].first_entry
    while slot >= state.piece[b, m, state.node[b, m].piece].until_slot:
        begins = state.piece[b, m, state.node[b, m].piece].until_slot
        state.node[b, m].piece += 1
        per_slot = state.piece[b, m, state.node[b, m].piece].per_slot
        if rules.rounds_arrivals:
            due = _rounded(slot + _gap_slots(state, rules, b, own, per_slot))
            if due < state.entry[b, own].next_slot:
                state.entry[b, own].next_slot = due
        else:  # an exponential gap has no memory
            for entry in range(own, own + setup.node[m].n_entries):
                if state.entry[b, entry].next_slot > begins:
                    state.entry[b, entry].next_slot = begins + _gap_slots(state, rules, b, entry, per_slot)


@inlined
def _take_client_turn(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Let a client send what is due."""
    slot = state.world[b].slot
    own = setup.node[m].first_entry
    state.node[b, m].client_slot = slot
    _turn_schedule(state, setup, rules, b, m)
    per_slot = state.piece[b, m, state.node[b, m].piece].per_slot
    end = own + setup.node[m].n_entries
    if rules.own_first and setup.entry[own].is_stream == 1 and state.entry[b, own].next_slot <= slot:
        end = own + 1
    for entry in range(own, end):
        while setup.entry[entry].is_stream == 1 and state.entry[b, entry].next_slot <= slot:
            _send_task(state, setup, rules, b, entry)
            gap = _gap_slots(state, rules, b, entry, per_slot)
            if rules.rounds_arrivals:
                state.entry[b, entry].next_slot = _rounded(slot + gap)
                break
            state.entry[b, entry].next_slot += gap


@inlined
def _mark(state: PeersimState, rules: Rules, b: int, m: int) -> None:
    """Carry out a decision to stay local."""
    task = state.node[b, m].first
    if not rules.marks_top:
        task = first_unmarked(state, b, task)
    while task >= 0:
        state.task[b, task].is_marked = 1
        if rules.offloads_one:
            break
        task = state.task[b, task].following


@inlined
def _send_away(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, entry: int) -> None:
    """Carry out a decision to offload."""
    serialise(state, rules, b, m)
    task = first_unmarked(state, b, state.node[b, m].first)
    while task >= 0:
        behind = state.task[b, task].following
        offload(state, setup, rules, b, m, task, entry)
        if rules.offloads_one:
            break
        task = first_unmarked(state, b, behind)


@kernel
def decide(state: PeersimState, setup: Setup, rules: Rules, b: int, n: int, target: int) -> int:
    """Carry out a decision; return the target that was played, -1 where the agent is penalised for it."""
    m = setup.node_of_agent[n]
    has_task = state.agent[b, n].has_task == 1
    is_known = 0 <= target < setup.target_node.shape[1] and setup.target_node[n, target] >= 0
    if not is_known or (target != 0 and not has_task and not rules.offers_without_task):
        state.sums[b, s.REFUSED] += 1.0
        if rules.penalises:
            return PADDING
        target = 0
    if has_task:
        state.sums[b, s.DECISIONS] += 1.0
        state.sums[b, s.TO_TIER + setup.node[setup.target_node[n, target]].tier] += 1.0
    if state.node[b, m].n_queued == 0:
        serialise(state, rules, b, m)
    if target == 0:
        _mark(state, rules, b, m)
    else:
        _send_away(state, setup, rules, b, m, setup.node[m].first_entry + target)
    return target


@kernel
def run_to_look(state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Let events happen until agents look again."""
    n_nodes = state.node.shape[1]
    a_report, a_client = first_report(state), first_client(state)
    while True:
        event = next_event(state, b)
        if event < 0:
            state.world[b].slot += 1
            open_slot(state, setup, rules, b)
        elif event < a_report:
            arrive(state, setup, rules, b, event)
        elif event < a_client:
            hear(state, setup, b, event)
        elif event < a_client + n_nodes:
            _take_client_turn(state, setup, rules, b, event - a_client)
        elif event < a_client + 2 * n_nodes:
            m = event - a_client - n_nodes
            if setup.node[m].is_cloud == 1:
                take_cloud_turn(state, setup, rules, b, m)
            else:
                take_node_turn(state, setup, rules, b, m)
        else:
            return


@kernel
def look_around(state: PeersimState, setup: Setup, b: int) -> int:
    """Find out what each agent can decide on, and count the tasks in nodes; return their number."""
    for n in range(setup.node_of_agent.size):
        m = setup.node_of_agent[n]
        task = first_unmarked(state, b, state.node[b, m].first)
        state.agent[b, n].has_task = 1 if task >= 0 or state.node[b, m].n_received > 0 else 0
        state.agent[b, n].n_tasks = n_tasks(state, b, m)
    total, n_seen = 0, 0
    for m in range(state.node.shape[1]):
        if setup.node[m].is_cloud == 0:
            total += n_tasks(state, b, m)
            n_seen += 1
    state.sums[b, s.SEEN_TASKS] += total
    state.sums[b, s.SEEN_NODES] += n_seen
    return total


@kernel
def clear_world(state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Empty world ``b`` and open its first slot."""
    state.world[b].slot = 0
    state.world[b].n_free = state.task.shape[1]
    for task in range(state.task.shape[1]):
        state.task[b, task].stage = FREE
        state.free_task[b, task] = state.task.shape[1] - 1 - task
    state.first_event[b, :] = -1
    state.machine[b, :] = -1
    state.sums[b, :] = 0.0
    for m in range(state.node.shape[1]):
        node = state.node[b, m]
        node.left_cycles = 0.0
        node.first = -1
        node.last = -1
        node.n_queued = 0
        node.first_received = -1
        node.last_received = -1
        node.n_received = 0
        node.current = -1
        node.has_changed = 0
        node.n_concluded = 0
        node.n_dropped = 0
        node.client_slot = -1
        node.n_lost_at_end = 0
        node.piece = 0
        node.n_reached = 0
        node.n_refused = 0
        node.n_processed = 0
        first = setup.node[m].first_entry
        for entry in range(first, first + setup.node[m].n_entries):
            state.entry[b, entry].n_gaps = 0
            state.entry[b, entry].n_tasks = 0
            state.entry[b, entry].seen_tasks = 0
            state.entry[b, entry].seen_received = 0
            state.entry[b, entry].seen_cycles = 0.0
            due = _gap_slots(state, rules, b, entry, state.piece[b, m, 0].per_slot)
            state.entry[b, entry].next_slot = _rounded(due) if rules.rounds_arrivals else due
    for n in range(state.agent.shape[1]):
        state.agent[b, n].decided = 0.0
    open_slot(state, setup, rules, b)


@kernel
def end_episode(state: PeersimState, setup: Setup, rules: Rules, b: int, in_nodes: int) -> None:
    """Close the sums of an episode: what is in flight, and what clients gave up of it."""
    sums = state.sums
    for task in range(state.task.shape[1]):
        if state.task[b, task].stage != FREE:
            sums[b, s.IN_FLIGHT] += 1.0
            client = setup.entry[state.task[b, task].client_entry].source
            if state.node[b, client].client_slot >= state.task[b, task].give_up_slot:
                sums[b, s.CLIENT_DROPPED] += 1.0
    elapsed_s = state.world[b].slot * rules.slot_s
    sums[b, s.EPISODES] = 1.0
    sums[b, s.ELAPSED_S] = elapsed_s
    sums[b, s.IN_NODES] = in_nodes
    for m in range(state.node.shape[1]):
        machines = state.machine.shape[1] if setup.node[m].is_cloud == 1 else 1
        sums[b, s.CORE_S_TIER + setup.node[m].tier] += machines * elapsed_s
        if state.node[b, m].client_slot >= rules.horizon_slots - 1:
            sums[b, s.CLIENT_DROPPED] += state.node[b, m].n_lost_at_end
