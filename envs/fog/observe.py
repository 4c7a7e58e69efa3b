"""What agents know: their own node exactly, their neighbours as last reported, their links as they are.

One estimate of upload, wait, service and return for each target serves the observations, and the rules through
``View``. Times are observed as t / (t + time_scale), in [0, 1).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4, F8, I8
from envs.fog.foresee import slowdown_s, wait_at_home_s, way_home_s
from envs.fog.links import channel_backlog_s, channel_wait_s
from envs.fog.network import Network
from envs.fog.service import backlog_s
from envs.fog.state import SHARING, FogState, Rules

OWN_FEATURES = (
    "has_task",
    "fill_frac",
    "busy_frac",
    "backlog",
    "task_work",
    "task_size",
    "task_result",
    "task_slack",
    "task_age",
    "task_hops_frac",
    "is_device",
    "is_edge",
    "is_cloud",
)
TARGET_FEATURES = (
    "is_target",
    "fill_frac",
    "backlog",
    "is_edge",
    "is_cloud",
    "upload",
    "wait",
    "service",
    "return",
    "response",
    "margin",
)
_N_OWN, _N_TARGET = len(OWN_FEATURES), len(TARGET_FEATURES)
_N_WITHOUT_TASK = 5  # target features that do not speak of a task
_SIZE_SCALE_BITS = 1e6  # bits that are observed as 1/2
_FAR = 1e12  # seconds: "never"


class View(NamedTuple):
    """What a rule may know, in SI units: the same facts as in the observation, for the next task of each agent."""

    target_mask: Annotated[BOOL, "B N K", "targets that may be chosen"]
    has_task: Annotated[BOOL, "B N", "there is a task to decide on"]
    upload_s: Annotated[F8, "B N K", "waiting for the channel, transmission and delay; infinite for no target"]
    wait_s: Annotated[F8, "B N K", "waiting after arrival, from the last reported backlog"]
    service_s: Annotated[F8, "B N K", "service on one core of the target"]
    return_s: Annotated[F8, "B N K", "way of the result to the origin, channels idle"]
    queue_tasks: Annotated[F8, "B N K", "tasks at the target as last reported, infinite for no target"]
    fill_frac: Annotated[F8, "B N K", "the same as a share of the target's places"]
    target_tier: Annotated[I8, "N K", "tier of each target, -1 for no target"]


@inlined
def _squash(value: float, scale: float) -> float:
    """Map 0 .. infinity to 0 .. 1."""
    return value / (value + scale) if value < _FAR else 1.0


@kernel
def read_reports(state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Fill the ``seen_`` arrays of world ``b``: the queues as agents at each report lag see them."""
    now_s = state.world[b].now_s
    for u in range(network.report_lag_slots.size):
        lag = network.report_lag_slots[u]
        sent = max(state.world[b].slot - lag, 0)  # before the first report has arrived: the empty network of slot 0
        sent -= sent % rules.report_every_slots
        place = sent % state.report.shape[1]
        age_s = now_s - sent * rules.slot_s
        for m in range(network.tier.size):
            if lag == 0:
                tasks = float(state.node[b, m].n_waiting + state.node[b, m].n_busy)
                wait_s = backlog_s(state, network, rules, b, m, now_s) / network.n_cores[m]
            else:
                tasks = state.report[b, place, m].tasks
                wait_s = max(state.report[b, place, m].backlog_s / network.n_cores[m] - age_s, 0.0)
            state.seen[b, u, m].tasks = tasks
            state.seen[b, u, m].wait_s = wait_s
            state.seen[b, u, m].fill_frac = tasks / network.queue_places[m]
            state.seen[b, u, m].wait = _squash(wait_s, rules.time_scale_s)


@inlined
def _estimate(
    state: FogState, network: Network, rules: Rules, b: int, task: int, n: int, k: int, now_s: float, home_s: float
) -> tuple[float, float, float, float]:
    """Return (upload, wait, service, return to the origin) of a task at a target, in seconds.

    ``home_s`` is what a result needs from the agent's own node.
    """
    node = network.target_node[n, k]
    link = network.target_link[n, k]
    work_cycles = state.task[b, task].work_cycles
    service_s = work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0
    if link < 0:
        return 0.0, wait_at_home_s(state, network, rules, b, task, node, now_s), service_s, home_s
    size_bits = state.task[b, task].size_bits
    queued_s = channel_wait_s(state, network, rules, b, network.link_channel[link], size_bits, now_s)
    upload_s = queued_s + size_bits / network.link_rate_bps[link] + network.link_delay_s[link]
    if rules.by_shortest_way:
        return_s = way_home_s(state, network, rules, b, task, node)
    else:
        back = network.link_back[link]
        return_s = state.task[b, task].result_bits / network.link_rate_bps[back] + network.link_delay_s[back] + home_s
    u = network.report_lag[n, k]
    wait_s = 0.0
    if state.seen[b, u, node].tasks >= network.n_cores[node]:
        wait_s = max(state.seen[b, u, node].wait_s - upload_s, 0.0)
        if rules.discipline == SHARING:
            wait_s = slowdown_s(
                wait_s * network.n_cores[node], state.seen[b, u, node].tasks, service_s, network.n_cores[node]
            )
    return upload_s, wait_s, service_s, return_s


@inlined
def _write_own(row: F4, state: FogState, network: Network, rules: Rules, b: int, n: int, now_s: float) -> None:
    """Fill the features (own,) of an agent's own node and next task."""
    node = network.node_of_agent[n]
    scale_s = rules.time_scale_s
    task = state.agent[b, n].next_task
    row[1] = state.seen[b, 0, node].fill_frac
    row[2] = min(state.node[b, node].n_busy / network.n_cores[node], 1.0)
    row[3] = state.seen[b, 0, node].wait
    tier = network.tier[node]
    row[10] = 1.0 if tier == 0 else 0.0
    row[11] = 1.0 if tier == 1 else 0.0
    row[12] = 1.0 if tier == 2 else 0.0
    if task < 0:
        row[0] = 0.0
        for i in range(4, 10):
            row[i] = 0.0
        return
    row[0] = 1.0
    work_cycles = state.task[b, task].work_cycles
    row[4] = _squash(work_cycles / network.core_hz[node] if work_cycles > 0.0 else 0.0, scale_s)
    row[5] = _squash(state.task[b, task].size_bits, _SIZE_SCALE_BITS)
    row[6] = _squash(state.task[b, task].result_bits, _SIZE_SCALE_BITS)
    slack_s = min(max(state.task[b, task].due_s - now_s, -_FAR), _FAR)
    row[7] = slack_s / (abs(slack_s) + scale_s)
    row[8] = _squash(now_s - state.task[b, task].created_s, scale_s)
    row[9] = state.task[b, task].n_hops / max(rules.max_hops, 1)


@inlined
def _write_target(
    row: F4, start: int, state: FogState, network: Network, rules: Rules, b: int, n: int, k: int, now_s: float,
    home_s: float,
) -> None:  # fmt: skip
    """Fill the features (target,) of one target of an agent, from ``start`` in its row."""
    node = network.target_node[n, k]
    scale_s = rules.time_scale_s
    u = network.report_lag[n, k]
    row[start] = 1.0
    row[start + 1] = state.seen[b, u, node].fill_frac
    row[start + 2] = state.seen[b, u, node].wait
    row[start + 3] = 1.0 if network.tier[node] == 1 else 0.0
    row[start + 4] = 1.0 if network.tier[node] == 2 else 0.0
    task = state.agent[b, n].next_task
    if task < 0:
        for i in range(start + _N_WITHOUT_TASK, start + _N_TARGET):
            row[i] = 0.0
        return
    upload_s, wait_s, service_s, return_s = _estimate(state, network, rules, b, task, n, k, now_s, home_s)
    response_s = upload_s + wait_s + service_s + return_s
    row[start + 5] = _squash(upload_s, scale_s)
    row[start + 6] = _squash(wait_s, scale_s)
    row[start + 7] = _squash(service_s, scale_s)
    row[start + 8] = _squash(return_s, scale_s)
    row[start + 9] = _squash(response_s, scale_s)
    margin_s = min(max(state.task[b, task].due_s - now_s - response_s, -_FAR), _FAR)
    row[start + 10] = margin_s / (abs(margin_s) + scale_s)


@kernel
def write_observation(
    observation: F4, target_mask: BOOL, state: FogState, network: Network, rules: Rules, b: int
) -> None:
    """Fill ``observation`` (N, F) and ``target_mask`` (N, K) of world ``b``."""
    now_s = state.world[b].now_s
    for n in range(network.node_of_agent.size):
        task = state.agent[b, n].next_task
        n_targets = network.n_targets[n]
        row = observation[n]
        home_s = way_home_s(state, network, rules, b, task, network.node_of_agent[n]) if task >= 0 else 0.0
        _write_own(row, state, network, rules, b, n, now_s)
        for k in range(n_targets):
            _write_target(row, _N_OWN + k * _N_TARGET, state, network, rules, b, n, k, now_s, home_s)
            target_mask[n, k] = k == 0 or task >= 0
        for i in range(_N_OWN + n_targets * _N_TARGET, row.size):
            row[i] = 0.0
        for k in range(n_targets, network.target_node.shape[1]):
            target_mask[n, k] = False


@kernel
def write_global_state(row: F4, state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Fill the global state (4 M + C,): share of places, of cores, backlog, work on its way; backlog of channels."""
    now_s = state.world[b].now_s
    n_nodes = network.tier.size
    for m in range(n_nodes):
        cores_hz = network.core_hz[m] * network.n_cores[m]
        inbound_s = state.node[b, m].inbound_cycles / cores_hz if state.node[b, m].inbound_cycles > 0.0 else 0.0
        row[4 * m] = state.seen[b, 0, m].fill_frac
        row[4 * m + 1] = min(state.node[b, m].n_busy / network.n_cores[m], 1.0)
        row[4 * m + 2] = state.seen[b, 0, m].wait
        row[4 * m + 3] = _squash(inbound_s, rules.time_scale_s)
    for c in range(state.channel.shape[1]):
        queued_s = channel_backlog_s(state, network, rules, b, c, now_s)
        row[4 * n_nodes + c] = _squash(queued_s, rules.time_scale_s)


@kernel
def write_view(view: View, state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Fill the view of world ``b``; times are infinite where there is no target, 0 where there is no task."""
    now_s = state.world[b].now_s
    for n in range(network.node_of_agent.size):
        task = state.agent[b, n].next_task
        view.has_task[b, n] = task >= 0
        home_s = way_home_s(state, network, rules, b, task, network.node_of_agent[n]) if task >= 0 else 0.0
        for k in range(network.target_node.shape[1]):
            node = network.target_node[n, k]
            view.target_mask[b, n, k] = k == 0 or (task >= 0 and node >= 0)
            times = (np.inf, np.inf, np.inf, np.inf)
            tasks, fill = np.inf, np.inf
            if node >= 0:
                u = network.report_lag[n, k]
                tasks, fill = state.seen[b, u, node].tasks, state.seen[b, u, node].fill_frac
                times = (0.0, 0.0, 0.0, 0.0)
                if task >= 0:
                    times = _estimate(state, network, rules, b, task, n, k, now_s, home_s)
            view.upload_s[b, n, k] = times[0]
            view.wait_s[b, n, k] = times[1]
            view.service_s[b, n, k] = times[2]
            view.return_s[b, n, k] = times[3]
            view.queue_tasks[b, n, k] = tasks
            view.fill_frac[b, n, k] = fill
