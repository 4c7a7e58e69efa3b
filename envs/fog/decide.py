"""Decisions of agents: which task is decided on, and carrying the decision out."""

from __future__ import annotations

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog import state as s
from envs.fog.heap import cancel
from envs.fog.links import send
from envs.fog.network import Network
from envs.fog.queues import dequeue, next_undecided, release, settle_decision
from envs.fog.service import start_waiting
from envs.fog.state import UPLOAD, FogState, Rules


@kernel
def find_next(state: FogState, network: Network, b: int) -> None:
    """Find the next task of each agent, the first of its queue in the order of service."""
    for n in range(network.node_of_agent.size):
        state.agent[b, n].next_task = state.node[b, network.node_of_agent[n]].undecided


@inlined
def _offload(state: FogState, network: Network, rules: Rules, b: int, task: int, link: int, now_s: float) -> None:
    """Take a task out of its queue and give it to a link."""
    cancel(state, b, task)
    dequeue(state, b, state.task[b, task].node, task, now_s)
    release(state, b, state.task[b, task].node, task)
    target = network.link_target[link]
    state.path_link[b, task, state.task[b, task].n_hops] = link
    state.task[b, task].n_hops += 1
    state.task[b, task].node = target
    state.task[b, task].stage = UPLOAD
    state.task[b, task].entered_s = now_s
    state.node[b, target].n_inbound += 1
    state.node[b, target].inbound_cycles += state.task[b, task].work_cycles
    state.sums[b, s.OFFLOADS] += 1.0
    send(state, network, rules, b, task, link, state.task[b, task].size_bits, now_s)


@kernel
def decide(state: FogState, network: Network, rules: Rules, b: int, n: int, decision: I8, chosen: I8) -> None:
    """Carry out the decisions (D,) of an agent on its next tasks; ``chosen`` (D,) gets the tasks, -1 for none."""
    now_s = state.world[b].now_s
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
        behind = next_undecided(state, b, task)
        state.sums[b, s.DECISIONS] += 1.0
        state.sums[b, s.TO_TIER + network.tier[network.target_node[n, target]]] += 1.0
        if target > 0:
            _offload(state, network, rules, b, task, network.target_link[n, target], now_s)
        else:
            settle_decision(state, b, node, task)
        task = behind
    if rules.holds:
        start_waiting(state, network, rules, b, node, now_s)
