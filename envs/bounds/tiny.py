"""Fog scenarios that are small enough to be solved exactly, and the rule that plays their optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.arrays import F8, I8
from envs.baselines.base import Rule, play
from envs.baselines.draws import RuleDraws
from envs.bounds.backlogs import BacklogOptimum, TwoNodes, solve_backlogs
from envs.bounds.base import Bound, Limit, NoBound
from envs.bounds.value_iteration import MAX_NODES, MAX_STATES, Optimum, TinyNetwork, TinyNode, solve
from envs.fog import state as s
from envs.fog.network import Network, build_network
from envs.fog.observe import View
from envs.fog.params import FogParams
from envs.scenario import Scenario, make
from envs.workloads.laws import Amount
from envs.workloads.poisson import Poisson

NEGLIGIBLE_FRAC = 1e-4  # a way may take this share of the mean service at its end and count as none
NEVER_FULL = 50  # queue places that do not run out at a load that two nodes can serve
# What a dropped task costs, in seconds of a task in the system: so much that the optimum drops only what it must.
DROP_COST_SERVICES = 1000.0


def tiny_network(scenario: Scenario) -> TinyNetwork:
    """Return the decision process of a fog scenario by numbers of tasks; raise NoBound where it is none.

    One device's agent decides on each task when it arrives, seeing all queues as they are; all its targets are one
    quick link away; work is exponential and the only thing that takes time.
    """
    network = _one_agent(scenario, ("fifo", "lifo", "sharing"), ("exponential",))
    served = [int(node) for node in network.target_node[0] if node >= 0]
    places = [int(network.queue_places[node]) for node in served]
    if len(served) > MAX_NODES or math.prod(each + 1 for each in places) > MAX_STATES:
        raise NoBound(
            f"value_iteration: expected up to {MAX_NODES} nodes with up to {MAX_STATES} states of their queues"
        )
    service_hz = network.core_hz / _work_law(scenario).mean
    return TinyNetwork(
        arrivals_hz=scenario.workload.mean_rate_hz(scenario.network()),
        drop_cost_s=DROP_COST_SERVICES / float(service_hz.min()),
        nodes=tuple(
            TinyNode(int(network.n_cores[node]), float(service_hz[node]), room, math.inf, 0)
            for node, room in zip(served, places, strict=True)
        ),
        entry=0,  # the own node, at which a task must find a place to be decided on
    )


def two_nodes(scenario: Scenario) -> TwoNodes:
    """Return the decision process of a fog scenario by backlogs; raise NoBound where it is none.

    As for ``tiny_network``, but with two single servers in order of arrival, whose queues are never full.
    """
    network = _one_agent(scenario, ("fifo",), ("exponential", "fixed"))
    if len(network.n_cores) != 2 or (network.n_cores != 1).any() or (network.queue_places < NEVER_FULL).any():
        raise NoBound(f"value_iteration: expected two nodes with one core and at least {NEVER_FULL} queue places each")
    work = _work_law(scenario)
    served = network.target_node[0]
    return TwoNodes(
        arrivals_hz=scenario.workload.mean_rate_hz(scenario.network()),
        service_s=(float(work.mean / network.core_hz[served[0]]), float(work.mean / network.core_hz[served[1]])),
        is_exponential=work.law == "exponential",
    )


def _work_law(scenario: Scenario) -> Amount:
    """Return the law of the work of a Poisson workload."""
    assert isinstance(scenario.workload, Poisson)
    return scenario.workload.task.work_cycles


def _one_agent(scenario: Scenario, disciplines: tuple[str, ...], laws: tuple[str, ...]) -> Network:
    """Return the network of a scenario with one agent that knows all and has all nodes next to it; else raise."""
    params: FogParams = scenario.params
    expected = {
        "decide_on": ("events",),
        "information": ("exact",),
        "undecided": ("hold",),
        "deadlines": ("soft",),
        "discipline": disciplines,
        "decisions_per_step": (1,),
    }
    for name, values in expected.items():
        if getattr(params, name) not in values:
            wanted = " or ".join(map(str, values))
            raise NoBound(f"value_iteration: expected {name}: {wanted}, not {getattr(params, name)}")
    workload = scenario.workload
    if not isinstance(workload, Poisson) or workload.task.work_cycles.law not in laws:
        raise NoBound(f"value_iteration: expected the workload poisson with work_cycles of law {' or '.join(laws)}")
    topology = scenario.network()
    network = build_network(topology, params)
    if not np.array_equal(network.node_of_agent, topology.device_nodes) or len(network.node_of_agent) != 1:
        raise NoBound("value_iteration: expected one device that decides, and no other agent")
    if int(network.n_targets[0]) != topology.n_nodes or params.max_hops < 1 or np.isfinite(topology.queue_bits).any():
        raise NoBound("value_iteration: expected all nodes next to the device, and queues without a limit in bits")
    bits = max(workload.task.size_bits.mean, workload.task.result_bits.mean)
    way_s = float((bits / network.link_rate_bps + network.link_delay_s).max(initial=0.0))
    if way_s * float(network.core_hz.max()) > NEGLIGIBLE_FRAC * workload.task.work_cycles.mean:
        raise NoBound(f"value_iteration: expected links that take no time; one takes {way_s:g} s")
    return network


@dataclass(frozen=True, eq=False)
class OptimalTable(Rule):
    """Plays the optimum of ``tiny_network``: the target by the numbers of tasks at all nodes.

    It knows what its table is for, so it is made by ``optimal_table`` for a scenario and has no name of its own.
    """

    table: I8  # target by the tasks at each target, the one to decide on left out

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the target of the table for every agent."""
        queues = view.queue_tasks[:, :, : self.table.ndim].astype(np.int64)
        queues[:, :, 0] -= view.has_task  # the task to decide on waits at home
        return np.asarray(self.table[tuple(np.moveaxis(np.maximum(queues, 0), 2, 0))] * view.has_task, np.int64)


@dataclass(frozen=True, eq=False)
class OptimalBacklog(Rule):
    """Plays the optimum of ``two_nodes``: the target of least response and cost to come; see ``optimal_backlog``."""

    after_s: F8  # cost to come (X, Y) by the backlogs after the decision
    width_s: float  # between two points of it

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the better target for every agent, (B, N)."""
        wait_s, service_s = view.wait_s[:, :, :2], view.service_s[:, :, :2]
        cost_s = []
        for target in range(2):
            backlog_s = wait_s + service_s * (np.arange(2) == target)
            cost_s.append(wait_s[:, :, target] + service_s[:, :, target] + self._to_come_s(backlog_s))
        return np.asarray((cost_s[1] < cost_s[0]) & view.has_task, np.int64)

    def _to_come_s(self, backlog_s: F8) -> F8:
        """Return the cost to come (B, N) of backlogs (B, N, 2), linear between the points."""
        place = np.minimum(backlog_s / self.width_s, len(self.after_s) - 1.001)
        i, j = np.floor(place).astype(np.int64).transpose(2, 0, 1)
        x, y = (place - np.floor(place)).transpose(2, 0, 1)
        low = (1.0 - y) * self.after_s[i, j] + y * self.after_s[i, j + 1]
        high = (1.0 - y) * self.after_s[i + 1, j] + y * self.after_s[i + 1, j + 1]
        return np.asarray((1.0 - x) * low + x * high, np.float64)


def optimal_table(scenario: Scenario) -> tuple[OptimalTable, Optimum]:
    """Return the best rule that knows the numbers of tasks, and what it costs; raise NoBound where there is none."""
    best = solve(tiny_network(scenario))
    return OptimalTable(best.table.reshape(best.table.shape[best.table.ndim // 2 :])), best


def optimal_backlog(scenario: Scenario) -> tuple[OptimalBacklog, BacklogOptimum]:
    """Return the best rule of all, and what it costs; raise NoBound where there is none."""
    best = solve_backlogs(two_nodes(scenario))
    return OptimalBacklog(best.after, best.width_s), best


class ValueIteration(Bound):
    """The exact optimum of a scenario of two nodes, as it plays the same worlds as the policies.

    It is best in expectation and in the long run; over few episodes a policy can be luckier.
    """

    name = "value_iteration"
    meaning = "the exact optimum, as it plays the same worlds"
    figures = ("response_time_s_mean",)

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Solve the scenario and play its optimum."""
        rule, self.optimum = optimal_backlog(scenario)
        world = make(scenario, n_worlds, seed, first_world_id)
        ids = first_world_id + np.arange(n_worlds, dtype=np.int64)
        self.sums: F8 = play(world, rule, ids).sums

    def of_all(self, figure: str) -> float:
        """Return what the optimum takes in the long run."""
        return self.optimum.response_s_mean

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return what the optimum takes in these worlds, whatever the policy left unfinished."""
        return Limit(self.sums[:, s.RESPONSE_S].copy(), self.sums[:, s.COMPLETED].copy())
