"""The events of a PeersimGym world: a calendar of slots to come, and the drawn order of those of the current slot.

An event is a number: a task in transit, a report on its way to a neighbour, the turn of a client, the turn of a node,
or the instant at which agents look and decide. At the start of a slot each event gets a place of 256, PeersimGym's 8
random bits; equals go in a fixed order. PeersimGym draws them when it schedules an event: the law is the same.
"""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined, kernel
from envs.fog.peersim.state import N_ORDERS, PeersimState, Rules, Setup
from envs.rng import philox

# Random streams of a world; an order's blocks are numbered from 0.
CLIENT_STREAMS = 2**20  # two for each entry of the neighbour lists: gaps and types, deadlines
_BITS = np.uint64(N_ORDERS - 1)
_8, _32 = np.uint64(8), np.uint64(32)
_IN_HALF = 8  # orders in 64 random bits

# Fixed order: agents look and decide, then messages arrive, then clients and then nodes have their turns.
_FIXED_LOOK, _FIXED_MESSAGE, _FIXED_CLIENT, _FIXED_NODE = 0, 64, 128, 192


@inlined
def first_report(state: PeersimState) -> int:
    """Return the number of the first event that is a report; lower ones are tasks."""
    return state.task.shape[1]


@inlined
def first_client(state: PeersimState) -> int:
    """Return the number of the first event that is a client's turn; nodes' turns follow, then the look."""
    return state.task.shape[1] + state.entry.shape[1] * state.report.shape[1]


@inlined
def _place_of(state: PeersimState, slot: int) -> int:
    """Return where the events of a slot to come are listed."""
    return N_ORDERS + slot % (state.first_event.shape[1] - N_ORDERS)


@inlined
def _put(state: PeersimState, b: int, event: int, place: int) -> None:
    """Put an event first at a place."""
    state.following[b, event] = state.first_event[b, place]
    state.first_event[b, place] = event


@inlined
def schedule(state: PeersimState, rules: Rules, b: int, event: int, delay_slots: int) -> None:
    """Let an event happen in a later slot, or next in this one; what would happen after the last slot never does."""
    slot = state.world[b].slot + delay_slots
    if delay_slots == 0:
        _put(state, b, event, state.world[b].order)
    elif slot < rules.horizon_slots:
        _put(state, b, event, _place_of(state, slot))


@kernel
def open_slot(state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Put the events of the current slot in order: its messages, the turns of clients and nodes, the look."""
    slot = state.world[b].slot
    world_id, episode = np.uint64(state.world[b].world_id), np.uint64(state.world[b].episode)
    n_nodes = state.node.shape[1]
    look = first_client(state) + 2 * n_nodes
    place = _place_of(state, slot)
    message = state.first_event[b, place]
    state.first_event[b, place] = -1
    next_turn = look if slot % rules.slots_per_step == 0 else look - 1
    n_drawn = 0
    half, other_half = np.uint64(0), np.uint64(0)
    while message >= 0 or next_turn > look - 1 - 2 * n_nodes:
        if message >= 0:
            event, fixed = message, _FIXED_MESSAGE
            message = state.following[b, message]
        else:
            event = next_turn
            next_turn -= 1
            fixed = _FIXED_LOOK if event == look else (_FIXED_NODE if event >= look - n_nodes else _FIXED_CLIENT)
            if fixed == _FIXED_CLIENT and setup.node[event - (look - 2 * n_nodes)].is_client == 0:
                continue
        if rules.is_random_order:
            if n_drawn % _IN_HALF == 0:
                if n_drawn % (2 * _IN_HALF) == 0:
                    block = np.uint64(n_drawn // (2 * _IN_HALF))
                    words = philox(np.uint64(slot), block, world_id, episode, rules.key)
                    half, other_half = words[0] | (words[1] << _32), words[2] | (words[3] << _32)
                else:
                    half = other_half
            n_drawn += 1
            fixed = int(np.int64(half & _BITS))
            half = half >> _8
        _put(state, b, event, fixed)
    state.world[b].order = 0


@inlined
def next_event(state: PeersimState, b: int) -> int:
    """Take the next event out of the slot's order and return it, -1 where the slot is over."""
    place = state.world[b].order
    while place < N_ORDERS and state.first_event[b, place] < 0:
        place += 1
    state.world[b].order = place
    if place == N_ORDERS:
        return -1
    event = state.first_event[b, place]
    state.first_event[b, place] = state.following[b, event]
    return int(event)
