"""What a decision will lead to, judged with the true state after all decisions of the step, for the expected rewards.

Also the estimates of waiting that observations and rules share.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog import state as s
from envs.fog.network import Network
from envs.fog.service import backlog_s, core_time_so_far_s, in_service_s
from envs.fog.state import SERVICE, SHARING, UPLOAD, FogState, Rules

_LEAST_FREE_FRAC = 1e-3  # so that -log10 / 3 ends at 1, as in PeersimGym's overload term


@inlined
def slowdown_s(backlog: float, n_others: float, service_s: float, n_cores: int) -> float:
    """Return the seconds that a task of ``service_s`` loses to ``n_others`` with which it shares the cores.

    Beside it each of them gets at most what it still needs (``backlog`` core-seconds together), and at most as much as
    the task itself; no more come.
    """
    if n_others < n_cores:
        return 0.0
    others_s = min(max(backlog, 0.0), n_others * service_s)
    return float(max((others_s + service_s) / n_cores - service_s, 0.0))


@inlined
def _wait_at_target_s(
    state: FogState, network: Network, rules: Rules, b: int, task: int, node: int, upload_s: float, now_s: float
) -> float:
    """Return the waiting of an offloaded task behind all work that is at its target or on the way there."""
    n_ahead = state.node[b, node].n_busy + state.node[b, node].n_waiting + state.node[b, node].n_inbound - 1
    if n_ahead < network.n_cores[node]:
        return 0.0
    inbound_s = (state.node[b, node].inbound_cycles - state.task[b, task].work_cycles) / network.core_hz[node]
    ahead_s = backlog_s(state, network, rules, b, node, now_s) + max(inbound_s, 0.0)
    if rules.discipline == SHARING:
        service_s = state.task[b, task].work_cycles / network.core_hz[node]
        left_s = max(ahead_s - upload_s * network.n_cores[node], 0.0)
        return slowdown_s(left_s, float(n_ahead), service_s, network.n_cores[node])
    return float(max(ahead_s / network.n_cores[node] - upload_s, 0.0))


@inlined
def _cycles_ahead(state: FogState, b: int, node: int, task: int) -> float:
    """Return the work that waits before a task in its queue, added up on the side where fewer tasks are."""
    ahead, behind = state.task[b, task].preceding, state.task[b, task].following
    ahead_cycles, behind_cycles = 0.0, 0.0
    while ahead >= 0 and behind >= 0:
        ahead_cycles += state.task[b, ahead].work_cycles
        behind_cycles += state.task[b, behind].work_cycles
        ahead, behind = state.task[b, ahead].preceding, state.task[b, behind].following
    if ahead < 0:
        return float(ahead_cycles)
    return float(max(state.node[b, node].waiting_cycles - state.task[b, task].work_cycles - behind_cycles, 0.0))


@inlined
def wait_at_home_s(
    state: FogState, network: Network, rules: Rules, b: int, task: int, node: int, now_s: float
) -> float:
    """Return the waiting of a task in its queue behind what is in service and before it."""
    if rules.discipline == SHARING:
        n_others = state.node[b, node].n_busy
        service_s = state.task[b, task].work_cycles / network.core_hz[node]
        others_s = in_service_s(state, network, rules, b, node, now_s)
        if state.task[b, task].stage == SERVICE:
            n_others -= 1
            others_s -= service_s - core_time_so_far_s(state, network, rules, b, task, now_s)
        return slowdown_s(others_s, float(n_others), service_s, network.n_cores[node])
    if state.task[b, task].stage == SERVICE:
        return 0.0
    ahead_cycles = _cycles_ahead(state, b, node, task)
    ahead_s = ahead_cycles / network.core_hz[node] if ahead_cycles > 0.0 else 0.0
    return float((ahead_s + in_service_s(state, network, rules, b, node, now_s)) / network.n_cores[node])


@inlined
def way_home_s(state: FogState, network: Network, rules: Rules, b: int, task: int, node: int) -> float:
    """Return the time that the result of a task needs from ``node``, where its path ends, channels idle."""
    bits = state.task[b, task].result_bits
    total_s = 0.0
    if rules.by_shortest_way:
        while node != state.task[b, task].origin:
            link = network.next_link[node, state.task[b, task].origin]
            total_s += bits / network.link_rate_bps[link] + network.link_delay_s[link]
            node = network.link_target[link]
        return total_s
    for hop in range(state.task[b, task].n_hops):
        back = network.link_back[state.path_link[b, task, hop]]
        total_s += bits / network.link_rate_bps[back] + network.link_delay_s[back]
    return total_s


@inlined
def _arrival_s(state: FogState, network: Network, rules: Rules, b: int, task: int) -> float:
    """Return the instant at which a task on its way out arrives, if the channel's rates stay as they are."""
    if state.task[b, task].is_sending == 0:
        return float(state.event[b, state.task[b, task].heap_place].time_s)
    link = state.task[b, task].link
    channel = network.link_channel[link]
    sending_s = state.task[b, task].left_bits / state.task[b, task].rate_bps
    return float(state.channel[b, channel].since_s + sending_s + network.link_delay_s[link])


@kernel
def foresee(state: FogState, network: Network, rules: Rules, b: int, n: int, chosen: I8) -> None:
    """Add what the tasks (D,) that an agent decided on will meet to the ``expected_`` terms and ``decided``."""
    now_s = state.world[b].now_s
    for d in range(chosen.size):
        task = chosen[d]
        if task < 0:
            continue
        node = state.task[b, task].node
        transfer_s = 0.0
        if state.task[b, task].stage == UPLOAD:
            transfer_s = _arrival_s(state, network, rules, b, task) - now_s
            wait_s = _wait_at_target_s(state, network, rules, b, task, node, transfer_s, now_s)
        else:
            wait_s = wait_at_home_s(state, network, rules, b, task, node, now_s)
        transfer_s += way_home_s(state, network, rules, b, task, node)
        work_cycles = state.task[b, task].work_cycles
        service_s = work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0
        places = network.queue_places[node]
        n_tasks = state.node[b, node].n_busy + state.node[b, node].n_waiting + state.node[b, node].n_inbound
        free_frac = max((places - n_tasks) / places, _LEAST_FREE_FRAC)
        state.term[b, n, s.DECIDED] += 1.0
        state.term[b, n, s.EXPECTED_WAIT_S] += wait_s
        state.term[b, n, s.EXPECTED_TRANSFER_S] += transfer_s
        state.term[b, n, s.EXPECTED_SERVICE_S] += service_s
        state.term[b, n, s.EXPECTED_OVERLOAD] += -math.log10(free_frac) / 3.0
        if now_s + wait_s + transfer_s + service_s > state.task[b, task].due_s:
            state.term[b, n, s.EXPECTED_LATE] += 1.0
