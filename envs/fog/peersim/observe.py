"""What agents of a PeersimGym world see, and the same for rules.

PeersimGym's vectors as features in [-1, 1]: its Q and freeSpaces are divided by the places of the node; Q is halved,
since it can count a task twice; both are -1 past the end of the neighbour list, as there. A cloud shows no tasks. What
has no bound, x, becomes x / (x + scale): cycles per second on the scale of the mean node, work in seconds on the mean
node and the scale time_scale_s, sizes on the scale of 1 MB.
"""

from __future__ import annotations

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4
from envs.fog.observe import View
from envs.fog.peersim.node import first_unmarked, n_tasks
from envs.fog.peersim.state import PeersimState, Rules, Setup

OWN_FEATURES = ("node_id", "fill_frac", "speed", "neighbours_frac")
TASK_FEATURES = ("is_local", "progress_frac", "work", "size", "result")
TOTAL_FEATURES = ("total_work", "total_local_work")
TARGET_FEATURES = ("queue", "free_frac")
NODE_FEATURES = ("fill_frac", "is_busy", "work", "received_frac")  # of the global state
_N_OWN, _N_TASK, _N_TARGET, _N_NODE = map(len, (OWN_FEATURES, TASK_FEATURES, TARGET_FEATURES, NODE_FEATURES))
_SIZE_SCALE_MB = 1.0
_CLOUD_SCALE_TASKS = 10.0


@inlined
def _squash(value: float, scale: float) -> float:
    return value / (value + scale)


@inlined
def next_task(state: PeersimState, b: int, m: int) -> int:
    """Return the task that an offload would take, -1 for none."""
    if state.node[b, m].n_received > 0 and state.node[b, m].n_queued == 0:
        return int(state.node[b, m].last_received)
    return first_unmarked(state, b, state.node[b, m].first)


@inlined
def _seen_tasks(state: PeersimState, setup: Setup, rules: Rules, b: int, m: int, k: int) -> float:
    """Return the tasks at a neighbour as the agent of a node sees them."""
    if k == 0:
        return float(n_tasks(state, b, m) + (rules.received_weight - 1) * state.node[b, m].n_received)
    entry = setup.node[m].first_entry + k
    if setup.node[setup.entry[entry].node].is_cloud == 1:
        return 0.0
    return float(state.entry[b, entry].seen_tasks + (rules.received_weight - 1) * state.entry[b, entry].seen_received)


@inlined
def _write_task(row: F4, state: PeersimState, setup: Setup, rules: Rules, b: int, task: int) -> None:
    """Fill the features of a task, zeros for none."""
    if task < 0:
        row[:] = 0.0
        return
    kind = setup.type[state.task[b, task].type]
    row[0] = state.task[b, task].is_marked
    row[1] = 1.0 - state.task[b, task].left_cycles / kind.work_cycles
    row[2] = _squash(kind.work_cycles / rules.mean_hz, rules.time_scale_s)
    row[3] = _squash(kind.size_mb, _SIZE_SCALE_MB)
    row[4] = _squash(kind.result_mb, _SIZE_SCALE_MB)


@inlined
def _write_tasks(row: F4, state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Fill the list of a node's queue."""
    task = state.node[b, m].first
    for place in range(rules.n_listed):
        cells = row[place * _N_TASK : (place + 1) * _N_TASK]
        shown = task
        if rules.repeats_next and task >= 0:
            shown = next_task(state, b, m)
        _write_task(cells, state, setup, rules, b, shown)
        if task >= 0:
            task = state.task[b, task].following


@inlined
def _write_totals(row: F4, state: PeersimState, setup: Setup, rules: Rules, b: int, m: int) -> None:
    """Fill the work in the queue, and that of its tasks that stay."""
    total, local = 0.0, 0.0
    task = state.node[b, m].first
    while task >= 0:
        work_s = setup.type[state.task[b, task].type].work_cycles / rules.mean_hz
        total += work_s
        local += work_s * state.task[b, task].is_marked
        task = state.task[b, task].following
    row[0] = _squash(total, rules.time_scale_s)
    row[1] = _squash(local, rules.time_scale_s)


@kernel
def write_observation(
    observation: F4, target_mask: BOOL, state: PeersimState, setup: Setup, rules: Rules, b: int
) -> None:
    """Fill ``observation`` (N, F) and ``target_mask`` (N, K) of world ``b``."""
    n_nodes = setup.node.size
    for n in range(setup.node_of_agent.size):
        m = setup.node_of_agent[n]
        row = observation[n]
        row[0] = (m + 1) / n_nodes
        row[1] = n_tasks(state, b, m) / setup.node[m].queue_places
        row[2] = _squash(setup.node[m].hz, rules.mean_hz)
        row[3] = setup.node[m].n_entries / n_nodes
        at = _N_OWN
        if rules.shows_next:
            _write_task(row[at : at + _N_TASK], state, setup, rules, b, next_task(state, b, m))
            at += _N_TASK
        if rules.n_listed > 0:
            _write_tasks(row[at : at + rules.n_listed * _N_TASK], state, setup, rules, b, m)
            at += rules.n_listed * _N_TASK
        if rules.shows_total:
            _write_totals(row[at : at + 2], state, setup, rules, b, m)
            at += 2
        for k in range(setup.target_node.shape[1]):
            node = setup.target_node[n, k]
            target_mask[n, k] = k == 0 or (node >= 0 and (rules.offers_without_task or state.agent[b, n].has_task == 1))
            row[at], row[at + 1] = -1.0, -1.0
            if node >= 0:
                places = setup.node[node].queue_places
                held = n_tasks(state, b, m) if k == 0 else state.entry[b, setup.node[m].first_entry + k].seen_tasks
                row[at] = _seen_tasks(state, setup, rules, b, m, k) / (2.0 * places)
                row[at + 1] = 1.0 if setup.node[node].is_cloud == 1 else 1.0 - held / places
            at += _N_TARGET


@kernel
def write_global_state(row: F4, state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Fill the global state (4 M,), NODE_FEATURES of each node; a cloud's tasks are squashed on the scale of ten."""
    for m in range(setup.node.size):
        places = setup.node[m].queue_places
        held = float(n_tasks(state, b, m))
        work_s = max(state.node[b, m].left_cycles, 0.0) / setup.node[m].hz
        is_cloud = setup.node[m].is_cloud == 1
        row[_N_NODE * m] = _squash(held, _CLOUD_SCALE_TASKS) if is_cloud else held / places
        row[_N_NODE * m + 1] = 1.0 if work_s > 0.0 else 0.0
        row[_N_NODE * m + 2] = _squash(work_s, rules.time_scale_s)
        row[_N_NODE * m + 3] = 0.0 if is_cloud else state.node[b, m].n_received / places


@kernel
def write_view(view: View, state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Fill the view of world ``b`` for rules: queues as agents see them, times of the next task from them."""
    for n in range(setup.node_of_agent.size):
        m = setup.node_of_agent[n]
        task = next_task(state, b, m)
        has_task = state.agent[b, n].has_task == 1
        view.has_task[b, n] = has_task
        for k in range(setup.target_node.shape[1]):
            node = setup.target_node[n, k]
            view.target_mask[b, n, k] = k == 0 or (node >= 0 and (rules.offers_without_task or has_task))
            upload_s, wait_s, service_s, return_s = np.inf, np.inf, np.inf, np.inf
            tasks, fill_frac = np.inf, np.inf
            if node >= 0:
                entry = setup.node[m].first_entry + k
                upload_s, wait_s, service_s, return_s = 0.0, 0.0, 0.0, 0.0
                tasks = _seen_tasks(state, setup, rules, b, m, k)
                fill_frac = 0.0 if setup.node[node].is_cloud == 1 else tasks / setup.node[node].queue_places
                if task >= 0:
                    kind = state.task[b, task].type
                    wait_s = tasks * rules.mean_cycles / setup.node[node].hz
                    service_s = setup.type[kind].work_cycles / setup.node[node].hz
                    if k > 0:
                        upload_s = setup.out_slots[entry, kind] * rules.slot_s
                        return_s = setup.back_slots[setup.entry[entry].back, kind] * rules.slot_s
            view.upload_s[b, n, k] = upload_s
            view.wait_s[b, n, k] = wait_s
            view.service_s[b, n, k] = service_s
            view.return_s[b, n, k] = return_s
            view.queue_tasks[b, n, k] = tasks
            view.fill_frac[b, n, k] = fill_frac
