"""What a decision will lead to, judged with the true state after all decisions of the slot, for the dense reward."""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog.kernel import backlog_s
from envs.fog.network import Network
from envs.fog.state import SERVICE, UPLOAD, FogState, Rules

_LEAST_FREE_FRAC = 1e-3  # so that -log10 / 3 ends at 1, as in PeersimGym's overload term


@inlined
def _wait_at_target_s(
    state: FogState, network: Network, b: int, task: int, node: int, upload_s: float, now_s: float
) -> float:
    """Return the waiting of an offloaded task behind all work that is at its target or on the way there."""
    n_ahead = state.node[b, node].n_busy + state.node[b, node].n_waiting + state.node[b, node].n_inbound - 1
    if n_ahead < network.n_cores[node]:
        return 0.0
    inbound_s = (state.node[b, node].inbound_cycles - state.task[b, task].work_cycles) / network.core_hz[node]
    clears_s = (backlog_s(state, network, b, node, now_s) + max(inbound_s, 0.0)) / network.n_cores[node]
    return float(max(clears_s - upload_s, 0.0))


@inlined
def wait_at_home_s(state: FogState, network: Network, b: int, task: int, node: int, now_s: float) -> float:
    """Return the waiting of a task in its queue behind what is in service and before it."""
    if state.task[b, task].stage == SERVICE:
        return 0.0
    ahead_cycles = 0.0
    other = state.task[b, task].preceding
    while other >= 0:
        ahead_cycles += state.task[b, other].work_cycles
        other = state.task[b, other].preceding
    in_service_s = max(state.node[b, node].service_end_s - state.node[b, node].n_busy * now_s, 0.0)
    ahead_s = ahead_cycles / network.core_hz[node] if ahead_cycles > 0.0 else 0.0
    return float((ahead_s + in_service_s) / network.n_cores[node])


@inlined
def way_home_s(state: FogState, network: Network, b: int, task: int, n_hops: int) -> float:
    """Return the time that a result needs over the first ``n_hops`` links of its task's path, channels idle."""
    total_s = 0.0
    for hop in range(n_hops):
        back = network.link_back[state.path_link[b, task, hop]]
        total_s += state.task[b, task].result_bits / network.link_rate_bps[back] + network.link_delay_s[back]
    return total_s


@kernel
def foresee(state: FogState, network: Network, rules: Rules, b: int, n: int, chosen: I8) -> None:
    """Add what the tasks (D,) that an agent decided on will meet to the ``expected_`` arrays and ``decided``."""
    now_s = state.world[b].slot * rules.slot_s
    for d in range(chosen.size):
        task = chosen[d]
        if task < 0:
            continue
        node = state.task[b, task].node
        transfer_s = 0.0
        if state.task[b, task].stage == UPLOAD:
            transfer_s = state.event[b, state.task[b, task].heap_place].time_s - now_s
            wait_s = _wait_at_target_s(state, network, b, task, node, transfer_s, now_s)
        else:
            wait_s = wait_at_home_s(state, network, b, task, node, now_s)
        transfer_s += way_home_s(state, network, b, task, state.task[b, task].n_hops)
        work_cycles = state.task[b, task].work_cycles
        service_s = work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0
        places = network.queue_places[node]
        n_tasks = state.node[b, node].n_busy + state.node[b, node].n_waiting + state.node[b, node].n_inbound
        free_frac = max((places - n_tasks) / places, _LEAST_FREE_FRAC)
        state.agent[b, n].decided += 1.0
        state.agent[b, n].expected_wait_s += wait_s
        state.agent[b, n].expected_transfer_s += transfer_s
        state.agent[b, n].expected_service_s += service_s
        state.agent[b, n].expected_overload += -math.log10(free_frac) / 3.0
        if now_s + wait_s + transfer_s + service_s > state.task[b, task].due_s:
            state.agent[b, n].expected_late += 1.0
