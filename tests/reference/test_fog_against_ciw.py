"""The same tasks through Ciw 3 (G. Palmer et al., 2019): a network of queues with priorities and a finite one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import ciw
import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.fog import state as s
from envs.scenario import Scenario, make
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import TopologyBuilder
from envs.workloads.workload import TaskTable, Workload

N_TASKS = 3000
PLACES = 5
# Device a runs its own tasks on one core, five at most; device b sends its own to c, which has two cores. Work and size
# depend on the class alone but for the work of b's tasks, which is drawn; all in seconds.
CLASSES = {"a0": 0.9, "a1": 1.5, "b0": None, "b1": None}
SENDING_S = {"b0": 0.25, "b1": 0.75}


@dataclass(frozen=True)
class Network(TopologyBuilder):
    def build(self, rng):
        places = (("a", 0, 1, PLACES), ("b", 0, 1, 10), ("c", 1, 2, 2000))
        nodes = [
            Node(name, "x", tier, tier == 0, NodeSettings(n_cores, 1.0, n, 0.0, 0.0, 0.0, math.inf), (0.0, 0.0))
            for name, tier, n_cores, n in places
        ]
        return assemble("three", nodes, [Link(*ends, 1.0, 0.0, ends) for ends in ((0, 1), (1, 0), (1, 2), (2, 1))])


@dataclass(frozen=True)
class Drawn(Workload):
    seed: int

    def tasks(self, draws, topology, horizon_s):
        rng = np.random.default_rng(self.seed)
        node, priority = rng.integers(0, 2, (2, N_TASKS))
        work_s = np.select([node == 1, priority == 0], [rng.exponential(2.0, N_TASKS), CLASSES["a0"]], CLASSES["a1"])
        size_s = np.where(node == 1, np.where(priority == 0, SENDING_S["b0"], SENDING_S["b1"]), 0.0)
        created_s = np.cumsum(rng.exponential(0.55, N_TASKS))
        return TaskTable(created_s, node, size_s, 0.0 * size_s, work_s, created_s + np.inf, priority)

    def mean_rate_hz(self, topology):
        return 2.0


def play(workload):
    """Return (created_s, left_s, drop_reason) of every task, in order of creation."""
    params = replace(
        load_scenario("fog_ring_8").params,
        slot_s=1000.0,
        slots_per_step=1,
        horizon_slots=4,
        decide_on="events",
        undecided="hold",
        agent_nodes=("b",),
        max_hops=1,
        discipline="priority",
        contention="none",
        max_alive_tasks=2000,
        task_log_places=N_TASKS,
    )
    world = make(Scenario("three", "fog", Network(), 0, workload, params), 1)
    world.reset(None, world.outcome())
    sums = world.play_static(np.eye(3)[[2]], 0)[0]  # targets of b: itself, a, c
    assert sums[s.COMPLETED] + sums[s.DROPPED] == N_TASKS
    log = world.task_log(0)[:, [s.LOG_COLUMNS.index(name) for name in ("created_s", "left_s", "drop_reason")]]
    return log[np.argsort(log[:, 0])]


def simulate(table):
    """Return the same from Ciw; its nodes: a, the way of b's tasks (a server each), c."""
    arrivals, services = {}, {}
    for name in CLASSES:
        mine = (table.node == "ab".index(name[0])) & (table.priority == int(name[1]))
        gaps = ciw.dists.Sequential([*np.diff(table.created_s[mine], prepend=0.0).tolist(), math.inf])
        arrivals[name] = [gaps, None, None] if name[0] == "a" else [None, gaps, None]
        work = ciw.dists.Sequential(table.work_cycles[mine].tolist())  # a class is served in order of arrival
        own = ciw.dists.Deterministic(CLASSES[name] or 1.0)
        services[name] = [own, ciw.dists.Deterministic(SENDING_S.get(name, 1.0)), work]
    network = ciw.create_network(
        arrival_distributions=arrivals,
        service_distributions=services,
        routing={name: [[0.0] * 3, [0.0, 0.0, 1.0], [0.0] * 3] for name in CLASSES},
        number_of_servers=[1, math.inf, 2],
        queue_capacities=[PLACES - 1, math.inf, math.inf],
        priority_classes={name: int(name[1]) for name in CLASSES},
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(4000.0)
    rows = []
    for record in simulation.get_all_records():
        if record.record_type == "rejection":
            rows.append((record.arrival_date, record.arrival_date, s.QUEUE_FULL))
        elif record.node == 1:
            rows.append((record.arrival_date, record.exit_date, -1))
    first = {record.id_number: record.arrival_date for record in simulation.get_all_records() if record.node == 2}
    for record in simulation.get_all_records():
        if record.node == 3:
            rows.append((first[record.id_number], record.exit_date, -1))
    return np.array(sorted(rows))


@pytest.mark.parametrize("seed", [0, 1])
def test_every_task_leaves_as_in_ciw(seed):
    ours = play(Drawn(seed))
    theirs = simulate(Drawn(seed).tasks(None, None, 0.0))
    assert len(ours) == len(theirs) == N_TASKS
    np.testing.assert_array_equal(ours[:, 2], theirs[:, 2])
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9)
    assert 100 < (ours[:, 2] == s.QUEUE_FULL).sum() < 1000
