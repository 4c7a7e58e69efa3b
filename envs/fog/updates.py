"""Model updates of federated training: messages with a size that travel beside the tasks and share their channels.

What an update holds stays with the caller; the world moves its size over the quickest way, whole over one link after
the other, and says when it has arrived.
"""

from __future__ import annotations

from envs.accelerate import inlined, kernel
from envs.fog import state as s
from envs.fog.links import send
from envs.fog.network import Network
from envs.fog.state import DELIVERED, FREE, UPDATE, FogState, Rules


@kernel
def post_update(
    state: FogState, network: Network, rules: Rules, b: int, source: int, target: int, size_bits: float
) -> int:
    """Send an update from node ``source`` to node ``target``; return its number, -1 where the world has no room."""
    if state.world[b].n_free == 0:
        return -1
    now_s = state.world[b].now_s
    number = state.world[b].n_posted
    state.world[b].n_posted += 1
    state.world[b].n_free -= 1
    task = state.free_task[b, state.world[b].n_free]
    state.task[b, task].stage = UPDATE
    state.task[b, task].created_s = now_s
    state.task[b, task].completed_s = -1.0
    state.task[b, task].size_bits = size_bits
    state.task[b, task].origin = source
    state.task[b, task].node = source
    state.task[b, task].target = target
    state.task[b, task].number = number
    state.sums[b, s.UPDATES_SENT] += 1.0
    agent = network.agent_of_node[source]
    before_j = state.term[b, agent, s.ENERGY_J] if agent >= 0 else 0.0
    _move(state, network, rules, b, task, now_s)
    if agent >= 0:  # between two steps: it belongs to the next one
        state.agent[b, agent].posted_j += state.term[b, agent, s.ENERGY_J] - before_j
        state.term[b, agent, s.ENERGY_J] = before_j
    return int(number)


@inlined
def forward_update(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Let an update arrive at the end of a link."""
    state.task[b, task].node = network.link_target[state.task[b, task].link]
    _move(state, network, rules, b, task, now_s)


@inlined
def _move(state: FogState, network: Network, rules: Rules, b: int, task: int, now_s: float) -> None:
    """Send an update over the next link of its way, or keep it where it is to be fetched."""
    node, target = state.task[b, task].node, state.task[b, task].target
    if node == target:
        state.task[b, task].stage = DELIVERED
        state.task[b, task].completed_s = now_s
        state.sums[b, s.UPDATES_ARRIVED] += 1.0
        state.sums[b, s.UPDATE_S] += now_s - state.task[b, task].created_s
        return
    send(state, network, rules, b, task, network.next_link[node, target], state.task[b, task].size_bits, now_s)


@kernel
def free_update(state: FogState, b: int, task: int) -> None:
    """Free the slot of an update that was fetched."""
    state.task[b, task].stage = FREE
    state.free_task[b, state.world[b].n_free] = task
    state.world[b].n_free += 1
