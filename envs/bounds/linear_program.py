"""A bound from linear programming: known arrivals, a time grid, capacities of nodes and channels, divided tasks.

**The relaxation.** A plan of a task is a route that its agents can choose, the start of each transmission and the start
of service, each not before the one before it can have ended in an empty network. It takes time of a core and of
channels. The linear program mixes the plans of each task, so that tasks are divided among plans at will; in each bin of
the time grid the plans together take no more core-seconds of a node, and no more seconds of a channel, than there are.
(For nodes or channels that are shared, a plan may take its time in pieces.) It is told all arrivals in advance.

**Why it is a bound.** What any policy and discipline does is one plan for each task that it finishes, at exact
instants, so no discretisation enters its cost; and integrated over a bin it keeps the capacities. Beyond this the
program may do what no policy may: divide tasks, know the future, exceed a capacity within a bin, transmit over two
links of a route without keeping their order, send results home without waiting, ignore queue limits and model updates.
So its least total is at most that of any policy.

**Why rounding does no harm.** The program has a column for each plan, too many to list. HiGHS solves it over a growing
subset (column generation), and of each solution only the prices of capacity are used: for *any* prices p >= 0

    sum over tasks of min over plans (seconds + charges at p)  -  sum over bins and resources of p * capacity

is at most the optimum (weak duality: the charges of a policy's plans are at most p * capacity). The inner minimum is
found exactly for each task (envs/bounds/pricing.py). The best of these values over the iterations is the bound;
a solver that stops early or errs makes it weaker, never wrong. At p = 0 it is the zero-queue bound, so it is never
below that.

**Unfinished tasks.** The least cost of each task goes into ``limits`` in place of its least response time, and what the
capacities are worth is what all tasks together may save: bounds of the same two kinds, for the same policies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from envs.arrays import F8, I8
from envs.bounds.base import Bound, Limit, episode_tasks
from envs.bounds.limits import ROUNDING_S, Floor, in_time_limit, n_dropped_of, response_limit
from envs.bounds.physics import Physics, physics_of
from envs.bounds.pricing import Plans, Prices, Rules, cheapest_plans
from envs.bounds.routes import Routes, routes_of
from envs.scenario import Scenario
from envs.workloads.workload import TaskTable

N_BINS = 100  # of an episode
MAX_ITERATIONS = 40
CLOSE_FRAC = 0.002  # stop where the program over the known plans is no further above the bound
SMOOTHING = 0.5  # share of the best prices so far in the next ones: prices of few plans jump about


class _Program(NamedTuple):
    """What is the same in every iteration for one world."""

    physics: Physics
    routes: Routes
    rules: Rules
    tasks: TaskTable
    limit_s: F8  # (A,) a plan is home by then
    idle_cost: F8  # (A,) cost of a task without a plan
    n_free: int  # tasks that may be left out at no cost
    bin_s: float
    capacity: F8  # (M + C, T) seconds of cores and channels in each bin


class _Columns(NamedTuple):
    """Plans that the program chooses from."""

    task: I8
    cost: F8
    resource: list[I8]  # of each plan: resource * T + bin
    used_s: list[F8]


class _Found(NamedTuple):
    """The best prices of a world and what they prove."""

    price: F8  # (M + C, T)
    value: float  # least sum of costs
    gap: float  # how far the program over the known plans is above it


class LinearProgram(Bound):
    """The bound by linear programming of worlds with known tasks: response times and tasks in time."""

    name = "linear_program"
    meaning = "tasks divided at will, arrivals known, capacities kept"
    figures = ("response_time_s_mean", "in_time_frac")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Draw the tasks of the worlds' first episodes; the programs are solved when a limit is asked for."""
        topology, params = scenario.network(), scenario.params
        self.physics = physics_of(topology, params)
        self.routes = routes_of(self.physics, topology.device_nodes)
        self.tasks = episode_tasks(scenario, n_worlds, seed, first_world_id)
        self.gap_frac: list[float] = []  # of each solved world: what a better solver could add at most
        self._params = params
        self._prices: dict[str, list[F8]] = {}

    def limits(self, figure: str, sums: Mapping[str, F8]) -> dict[str, Limit]:
        """Return the limit for each policy; prices are sought for the one that dropped least in each world."""
        if figure not in self._prices:
            n_dropped = np.min([n_dropped_of(each) for each in sums.values()], axis=0)
            self._prices[figure] = self._solve(figure, n_dropped)
        return {policy: self.limit(figure, each) for policy, each in sums.items()}

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of a figure for policies with these sums."""
        if figure not in self._prices:
            self._prices[figure] = self._solve(figure, n_dropped_of(sums))
        if figure == "response_time_s_mean":
            none = [price * 0.0 for price in self._prices[figure]]
            priced, unpriced = self._floors(self._prices[figure]), self._floors(none)
            best = np.maximum(response_limit(priced, sums).top, response_limit(unpriced, sums).top)
            return response_limit(priced, sums)._replace(top=best)
        n_in_time = [self._n_in_time(w, price) for w, price in enumerate(self._prices[figure])]
        return in_time_limit(np.array(n_in_time), sums)

    def of_all(self, figure: str) -> float:
        """Return the best value for whoever finishes every task, however late; capacities bind until the horizon."""
        n_tasks = sum(len(table.node) for table in self.tasks)
        if not n_tasks:
            return math.nan
        if figure not in self._prices:
            self._prices[figure] = self._solve(figure, np.zeros(len(self.tasks)))
        best = 0.0
        for w, price in enumerate(self._prices[figure]):
            if figure == "in_time_frac":
                best += self._n_in_time(w, price)
                continue
            program = self._program(w, figure, 0)
            program = program._replace(limit_s=np.full_like(program.limit_s, np.inf))
            best += max(
                float(_plans(program, each).cost.sum()) - _worth(program, each) for each in (price, price * 0.0)
            )
        return best / n_tasks

    def cost_with_drops_s(self, drop_cost_s: float) -> F8:
        """Return a bound on each world's (W,) sum of response times plus ``drop_cost_s`` for each task not finished."""
        totals = []
        for w in range(len(self.tasks)):
            program = self._program(w, "response_time_s_mean", 0)
            totals.append(_solve(program._replace(idle_cost=np.full(len(program.limit_s), drop_cost_s))).value)
        return np.array(totals)

    def _solve(self, figure: str, n_dropped: F8) -> list[F8]:
        found = [_solve(self._program(w, figure, int(n_dropped[w]))) for w in range(len(self.tasks))]
        self.gap_frac = [each.gap for each in found]
        return [each.price for each in found]

    def _floors(self, prices: list[F8]) -> list[Floor]:
        floors = []
        for w, price in enumerate(prices):
            program = self._program(w, "response_time_s_mean", 0)
            plans = _plans(program, price)
            alive_s = np.minimum(plans.cost, program.idle_cost)
            floors.append(Floor(plans.cost, alive_s, _worth(program, price)))
        return floors

    def _n_in_time(self, w: int, price: F8) -> float:
        best = math.inf
        for each in (price, price * 0.0):
            program = self._program(w, "in_time_frac", 0)
            gains = 1.0 - np.minimum(_plans(program, each).cost, 1.0)
            best = min(best, float(gains.sum()) + _worth(program, each))
        return math.floor(best + 1e-6)

    def _program(self, w: int, figure: str, n_free: int) -> _Program:
        params, physics, tasks = self._params, self.physics, self.tasks[w]
        is_time = figure == "response_time_s_mean"
        left_s = physics.horizon_s - tasks.created_s
        bin_s = physics.horizon_s / N_BINS
        n_channels = len(physics.network.channel_rate_bps)
        seconds = np.concatenate((physics.network.n_cores * bin_s, np.full(n_channels, bin_s)))
        if params.contention == "none":
            seconds[len(physics.network.n_cores) :] = np.inf
        return _Program(
            physics=physics,
            routes=self.routes,
            rules=Rules(
                step_slots=physics.step_slots if physics.is_slotted else 0,
                slot_s=physics.slot_s,
                time_weight=1.0 if is_time else 0.0,
                shares_nodes=params.discipline == "sharing",
                shares_channels=params.contention == "fair",
            ),
            tasks=tasks,
            limit_s=np.full(len(left_s), physics.horizon_s) if is_time else np.minimum(tasks.due_s, physics.horizon_s),
            idle_cost=left_s if is_time else np.ones(len(left_s)),
            n_free=n_free if is_time else 0,
            bin_s=bin_s,
            capacity=np.repeat(seconds[:, None], N_BINS, axis=1),
        )


def _solve(program: _Program) -> _Found:
    """Seek prices by column generation: plans at the current prices, then prices of the program over all plans."""
    capacity = program.capacity
    limited = np.isfinite(capacity)
    price: F8 = np.zeros(capacity.shape)
    plans = _plans(program, price)
    best = _Found(price, _value(program, plans, price), math.inf)
    columns = _Columns(np.zeros(0, np.int64), np.zeros(0), [], [])
    for _ in range(MAX_ITERATIONS):
        columns = _with_plans(program, columns, plans, price)
        total, own_price = _master(program, columns, limited)
        gap = (total - best.value) / max(abs(total), 1e-9)
        best = best._replace(gap=gap)
        if gap <= CLOSE_FRAC:
            break
        price = SMOOTHING * best.price + (1.0 - SMOOTHING) * own_price
        plans = _plans(program, price)
        value = _value(program, plans, price)
        if value > best.value:
            best = _Found(price, value, gap)
    return best


def _plans(program: _Program, price: F8) -> Plans:
    """Return the cheapest plan of each task at prices (M + C, T)."""
    n_tasks, n_hops = len(program.tasks.node), program.routes.channel.shape[1]
    n_nodes = len(program.physics.network.n_cores)
    paid = np.concatenate((np.zeros((len(price), 1)), np.cumsum(price * program.bin_s, axis=1)), axis=1)
    plans = Plans(
        cost=np.zeros(n_tasks),
        response_s=np.zeros(n_tasks),
        route=np.zeros(n_tasks, np.int64),
        start_s=np.zeros(n_tasks),
        until_s=np.zeros(n_tasks),
        send_s=np.zeros((n_tasks, n_hops)),
        sent_s=np.zeros((n_tasks, n_hops)),
    )
    parts = [np.ascontiguousarray(part) for part in (price[:n_nodes], price[n_nodes:], paid[:n_nodes], paid[n_nodes:])]
    prices = Prices(program.bin_s, parts[0], parts[1], parts[2], parts[3])
    core_hz = program.physics.network.core_hz
    scratch = np.zeros(3 * n_hops)
    cheapest_plans(plans, scratch, program.routes, prices, program.rules, core_hz, program.tasks, program.limit_s)
    return plans


def _value(program: _Program, plans: Plans, price: F8) -> float:
    """Return what these prices prove: the least sum of costs of all tasks but the ``n_free`` dearest."""
    cost = np.sort(np.minimum(plans.cost, program.idle_cost))
    return float(cost[: len(cost) - program.n_free].sum()) - _worth(program, price)


def _worth(program: _Program, price: F8) -> float:
    """Return what all capacities together are worth; one without limit has no price."""
    return float((price * np.where(price > 0.0, program.capacity, 0.0)).sum())


def _with_plans(program: _Program, columns: _Columns, plans: Plans, price: F8) -> _Columns:
    """Return the columns and those of the plans that cost less than none."""
    rows = np.flatnonzero(plans.route >= 0)
    routes, n_nodes = program.routes, len(program.physics.network.n_cores)
    route = plans.route[rows]
    work, hz = program.tasks.work_cycles[rows], program.physics.network.core_hz[routes.node[route]]
    service_s = np.divide(work, hz, where=work > 0.0, out=np.zeros(len(rows)))
    spans = [(np.arange(len(rows)), routes.node[route], plans.start_s[rows], plans.until_s[rows], service_s)]
    for h in range(routes.channel.shape[1]):
        on = np.flatnonzero(routes.n_hops[route] > h)
        sending_s = program.tasks.size_bits[rows][on] * routes.bit_s[route[on], h]
        sent_s = plans.send_s[rows[on], h], plans.sent_s[rows[on], h]
        spans.append((on, n_nodes + routes.channel[route[on], h], *sent_s, sending_s))
    found = [_cells(program, price, *span) for span in spans]
    owner, cells, used_s = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    cuts = np.searchsorted(owner[order], np.arange(1, len(rows)))
    cost = program.rules.time_weight * plans.response_s[rows]
    return _Columns(
        np.concatenate((columns.task, rows)),
        np.concatenate((columns.cost, cost)),
        columns.resource + np.split(cells[order], cuts),
        columns.used_s + np.split(used_s[order], cuts),
    )


def _cells(
    program: _Program, price: F8, owner: I8, resource: I8, from_s: F8, until_s: F8, duration_s: F8
) -> tuple[I8, I8, F8]:
    """Return (owner, cell, seconds) of each bin that stretches of time on resources use.

    A stretch that has more time than it needs takes it in pieces, the cheapest bins first.
    """
    bin_s, n_bins = program.bin_s, program.capacity.shape[1]
    first = np.floor(from_s / bin_s).astype(np.int64)
    n_cells = np.maximum(np.ceil(until_s / bin_s).astype(np.int64) - first, 0)
    which = np.repeat(np.arange(len(owner)), n_cells)
    begins = np.cumsum(n_cells) - n_cells
    k = first[which] + np.arange(len(which)) - begins[which]
    used_s = np.minimum(until_s[which], (k + 1) * bin_s) - np.maximum(from_s[which], k * bin_s)
    used_s = np.maximum(used_s, 0.0)
    cells = resource[which] * n_bins + np.minimum(k, n_bins - 1)
    for i in np.flatnonzero(until_s - from_s > duration_s + ROUNDING_S):
        own = slice(begins[i], begins[i] + n_cells[i])
        order = np.argsort(price.ravel()[cells[own]], kind="stable")
        before_s = np.cumsum(used_s[own][order]) - used_s[own][order]
        taken_s = np.clip(duration_s[i] - before_s, 0.0, used_s[own][order])
        used_s[own] = taken_s[np.argsort(order)]
    inside = (k < n_bins) & (used_s > 0.0)
    return owner[which][inside], cells[inside], used_s[inside]


def _master(program: _Program, columns: _Columns, limited: Any) -> tuple[float, F8]:
    """Return (least cost, prices) of the program over these columns; a task may also idle, or be left out for free."""
    n_tasks, n_columns = len(program.tasks.node), len(columns.task)
    cells = np.concatenate(columns.resource)
    owner = np.repeat(np.arange(n_columns), [len(each) for each in columns.resource])
    kept = limited.ravel()[cells]
    rows, row_of = np.unique(cells[kept], return_inverse=True)
    # Columns: plans, then a task idle, then a task left out. Rows: capacities, then how many may be left out.
    n_all = n_columns + 2 * n_tasks
    is_out = np.arange(n_columns + n_tasks, n_all)
    usage = csr_array(
        (
            np.concatenate((np.concatenate(columns.used_s)[kept], np.ones(n_tasks))),
            (
                np.concatenate((row_of, np.full(n_tasks, len(rows)))),
                np.concatenate((owner[kept], is_out)),
            ),
        ),
        shape=(len(rows) + 1, n_all),
    )
    each_once = csr_array(
        (np.ones(n_all), (np.concatenate((columns.task, np.tile(np.arange(n_tasks), 2))), np.arange(n_all))),
        shape=(n_tasks, n_all),
    )
    found = linprog(
        np.concatenate((columns.cost, program.idle_cost, np.zeros(n_tasks))),
        A_ub=usage,
        b_ub=np.append(program.capacity.ravel()[rows], float(program.n_free)),
        A_eq=each_once,
        b_eq=np.ones(n_tasks),
        method="highs",
    )
    price = np.zeros(program.capacity.size)
    if found.status != 0:
        return math.inf, price.reshape(program.capacity.shape)
    price[rows] = np.maximum(-found.ineqlin.marginals[:-1], 0.0)
    return float(found.fun), price.reshape(program.capacity.shape)
