"""Zero-queue bound: the least response time of each task in a network that is otherwise empty.

No policy and no discipline beats it, task by task. A response is the sum of its stages. A transmission takes at least
bits / rate + delay, however channels are shared; a service at least work / speed of one server, however the node is
shared; a task leaves a node at a decision of that node's agent, and under ``hold`` starts only after one. All these
are least when nothing else is there, each stage begins the earlier the earlier the last one ended, and the way is
the best of all that agents can choose within ``max_hops``. In an empty network under ``hold`` a policy reaches it.
(Under ``run`` a lone task starts on its device at once, so that the bound is reached there if that is best.)
"""

from __future__ import annotations

import numpy as np

from envs.arrays import F8, I8
from envs.bounds.base import Bound, Limit, episode_tasks, pooled_tasks, rows_of
from envs.bounds.limits import ROUNDING_S, Floor, floor_of, in_time_limit, response_limit
from envs.bounds.physics import Physics, physics_of
from envs.scenario import Scenario
from envs.workloads.workload import TaskTable


def least_response_s(physics: Physics, tasks: TaskTable) -> F8:
    """Return the zero-queue response time of every task, (A,) seconds."""
    least_s = np.full(len(tasks.node), np.inf)
    for origin in np.unique(tasks.node):
        rows = np.flatnonzero(tasks.node == origin)
        search = _Search(physics, int(origin), rows_of(tasks, rows))
        least_s[rows] = search.run()
    return least_s


class _Search:
    """Depth-first search over the ways from one origin, for all its tasks at once.

    A task leaves the search where the way so far takes longer than its best response already found. Ways that visit
    a node twice are left out: they come back later, with a longer way home.
    """

    def __init__(self, physics: Physics, origin: int, tasks: TaskTable) -> None:
        self.physics, self.origin, self.tasks = physics, origin, tasks
        self.best_s: F8 = np.full(len(tasks.node), np.inf)
        self.home_s = physics.routed_home_s(origin, tasks.result_bits) if physics.is_routed_home else None

    def run(self) -> F8:
        """Return the least response times of the tasks."""
        rows = np.arange(len(self.best_s))
        self._visit(self.origin, (), rows, self.tasks.created_s, np.zeros(len(rows)))
        return self.best_s

    def _visit(self, node: int, passed: tuple[int, ...], rows: I8, at_s: F8, home_s: F8) -> None:
        """Let the tasks ``rows`` be at a node since ``at_s``; ``home_s`` is the way back over the links so far."""
        physics, created_s = self.physics, self.tasks.created_s[rows]
        may_decide = physics.may_decide(node, len(passed))
        leave_s = physics.next_decision_s(at_s) if may_decide else at_s
        start_s = leave_s if physics.holds else at_s
        back_s = home_s if self.home_s is None else self.home_s[node, rows]
        response_s = start_s + physics.service_s(node, self.tasks.work_cycles[rows]) + back_s - created_s
        self.best_s[rows] = np.minimum(self.best_s[rows], response_s)
        if not may_decide:
            return
        hopeful = leave_s + home_s - created_s < self.best_s[rows]
        if not hopeful.any():
            return
        rows, leave_s, home_s = rows[hopeful], leave_s[hopeful], home_s[hopeful]
        network = physics.network
        for link in physics.out_links(node):
            target = int(network.link_target[link])
            if target == self.origin or target in passed:
                continue
            there_s = leave_s + self.tasks.size_bits[rows] / network.link_rate_bps[link] + network.link_delay_s[link]
            way_home_s = home_s
            if self.home_s is None:
                back = network.link_back[link]
                result_s = self.tasks.result_bits[rows] / network.link_rate_bps[back] + network.link_delay_s[back]
                way_home_s = home_s + result_s
            self._visit(target, (*passed, target), rows, there_s, way_home_s)


class ZeroQueue(Bound):
    """The zero-queue bound of worlds with known tasks: response times, tasks in time, and a cost with drops."""

    name = "zero_queue"
    meaning = "every task at its best node in an empty network"
    figures = ("response_time_s_mean", "in_time_frac")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Draw the tasks of the worlds' first episodes and bound each."""
        self.physics = physics_of(scenario.network(), scenario.params)
        self.tasks = episode_tasks(scenario, n_worlds, seed, first_world_id)
        counts = np.cumsum([len(table.node) for table in self.tasks])[:-1]
        pooled = pooled_tasks(self.tasks)
        self.least_s: list[F8] = np.split(least_response_s(self.physics, pooled), counts)

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of a figure for policies with these sums; see ``response_limit`` and ``in_time_limit``."""
        if figure == "response_time_s_mean":
            return response_limit(self.floors(), sums)
        return in_time_limit(self.n_in_time(), sums)

    def of_all(self, figure: str) -> float:
        """Return the best value for whoever finishes every task, however late."""
        least_s = np.concatenate(self.least_s)
        if not len(least_s):
            return float("nan")
        return float(least_s.mean() if figure == "response_time_s_mean" else self.n_in_time().sum() / len(least_s))

    def n_in_time(self) -> F8:
        """Return how many tasks of each world (W,) can be home by their deadline and by the horizon."""
        counts = []
        for least_s, table in zip(self.least_s, self.tasks, strict=True):
            home_s = table.created_s + least_s
            counts.append(float((home_s <= np.minimum(table.due_s, self.physics.horizon_s) + ROUNDING_S).sum()))
        return np.array(counts)

    def cost_with_drops_s(self, drop_cost_s: float) -> F8:
        """Return a bound on each world's (W,) sum of response times plus ``drop_cost_s`` for each task not finished.

        It holds for every policy, whatever it drops: a task costs its response time, or ``drop_cost_s``.
        """
        return np.array([np.minimum(floor.finished_s, drop_cost_s).sum() for floor in self.floors()])

    def floors(self) -> list[Floor]:
        """Return the least times of the tasks of each world."""
        pairs = zip(self.least_s, self.tasks, strict=True)
        return [floor_of(least_s, table, self.physics.horizon_s) for least_s, table in pairs]
