"""What one task is like: laws of work, sizes, deadlines and devices that every kind of arrivals shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.rng import Draws, unit_pair
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_choice, check_positive, check_weights, check_within, refuse
from envs.workloads.workload import TaskTable

AMOUNT_LAWS = ("fixed", "uniform", "exponential", "lognormal")
DEADLINE_LAWS = ("none", "factor", "absolute")
_FIXED, _UNIFORM, _EXPONENTIAL, _LOGNORMAL = range(4)
_NONE, _FACTOR, _ABSOLUTE = range(3)


@dataclass(frozen=True)
class Amount:
    """Law of a positive quantity, given by its mean; the unit is that of the field that holds it."""

    law: str  # fixed, uniform, exponential or lognormal
    mean: float  # > 0 (fixed: >= 0)
    spread: float  # uniform: half width over mean, in [0, 1]; lognormal: sd of the logarithm; the others: 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_choice(self, "law", AMOUNT_LAWS)
        if self.law == "fixed":
            check_within(self, "mean", 0.0)
        else:
            check_positive(self, "mean")
        check_within(self, "spread", 0.0, 1.0 if self.law == "uniform" else math.inf)
        if self.law in ("fixed", "exponential") and self.spread != 0.0:
            raise refuse(self, "spread", f"0, because law {self.law} has no spread of its own")

    def draw(self, draws: Draws, stream: int, n: int) -> F8:
        """Return the amounts number 0 to n - 1 of a stream."""
        out = np.empty(n, np.float64)
        first = math.log(self.mean) - 0.5 * self.spread**2 if self.law == "lognormal" else self.mean
        law = AMOUNT_LAWS.index(self.law)
        fill_amounts(out, law, first, float(self.spread), draws.key, np.uint64(stream), draws.world_id, draws.episode)
        return out


@dataclass(frozen=True)
class Deadline:
    """Law of the time that a task has from its creation.

    ``factor``: k times the time that the task takes alone on its own device (work_cycles / core_hz), k uniform in
    [low, high]. Absolute deadlines make the share in time a constant where work has a heavy tail.
    """

    law: str  # none, factor or absolute
    low: float  # factor: smallest k; absolute: shortest time in seconds; none: 0
    high: float  # factor: largest k; absolute: longest time in seconds; none: 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_choice(self, "law", DEADLINE_LAWS)
        if self.law == "none":
            for field in ("low", "high"):
                check_within(self, field, 0.0, 0.0)
            return
        check_positive(self, "low", "high")
        if self.high < self.low:
            raise refuse(self, "high", f"a number >= low = {self.low}")

    def due_s(self, draws: Draws, topology: Topology, created_s: F8, node: I8, work_cycles: F8) -> F8:
        """Return each task's deadline, seconds since the episode's start; infinite for none."""
        out = np.empty(len(node), np.float64)
        fill_due(
            out, DEADLINE_LAWS.index(self.law), float(self.low), float(self.high), created_s, node, work_cycles,
            topology.core_hz, draws.key, np.uint64(streams.DEADLINE), draws.world_id, draws.episode,
        )  # fmt: skip
        return out


@dataclass(frozen=True)
class SizeProfile:
    """Data sizes of one application; both are exponential."""

    name: str
    share: float  # of the jobs, relative to the other profiles, > 0
    size_bits: float  # mean input of a task, >= 0
    result_bits: float  # mean output of a task, >= 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "share")
        check_within(self, "size_bits", 0.0)
        check_within(self, "result_bits", 0.0)


@dataclass(frozen=True)
class TaskLaw:
    """Laws of a task's work, sizes and deadline, and of the device that creates it; all independent."""

    work_cycles: Amount  # cycles on one core
    size_bits: Amount  # input that travels with the task
    result_bits: Amount  # output that returns
    deadline: Deadline
    device_weights: tuple[float, ...]  # share of the tasks of each device, by node id; empty: equal shares

    def __post_init__(self) -> None:
        """Check the weights."""
        check_weights(self, "device_weights")

    def table(self, draws: Draws, topology: Topology, created_s: F8, node: I8 | None = None) -> TaskTable:
        """Return the tasks created at the given instants; without nodes, each draws its device."""
        n = len(created_s)
        if node is None:
            node = draw_devices(draws, topology, n, self.device_weights)
        work_cycles = self.work_cycles.draw(draws, streams.WORK, n)
        return TaskTable(
            created_s=created_s,
            node=node,
            size_bits=self.size_bits.draw(draws, streams.SIZE, n),
            result_bits=self.result_bits.draw(draws, streams.RESULT, n),
            work_cycles=work_cycles,
            due_s=self.deadline.due_s(draws, topology, created_s, node, work_cycles),
            priority=np.zeros(n, np.int64),
        )


def draw_sizes(draws: Draws, profiles: tuple[SizeProfile, ...], scale: float, job: I8, n_jobs: int) -> tuple[F8, F8]:
    """Return size_bits and result_bits of tasks that belong to the given jobs; each job draws one profile."""
    share, size_bits, result_bits = np.array([[p.share, p.size_bits, p.result_bits] for p in profiles]).T
    of_task = draw_choices(draws, streams.APPLICATION, n_jobs, np.arange(len(profiles)), share)[job]
    exponential = Amount(law="exponential", mean=1.0, spread=0.0)
    return (
        exponential.draw(draws, streams.SIZE, len(job)) * (scale * size_bits)[of_task],
        exponential.draw(draws, streams.RESULT, len(job)) * (scale * result_bits)[of_task],
    )


def draw_devices(draws: Draws, topology: Topology, n: int, weights: tuple[float, ...]) -> I8:
    """Return n independent devices, equally likely or by weights (in the order of node ids)."""
    devices = topology.device_nodes
    return draw_choices(draws, streams.DEVICE, n, devices, device_shares(topology, weights))


def device_shares(topology: Topology, weights: tuple[float, ...]) -> F8:
    """Return each device's share of the tasks, in the order of node ids; they add up to 1."""
    n_devices = int(topology.is_device.sum())
    if weights and len(weights) != n_devices:
        raise ConfigError(
            f"device_weights has {len(weights)} numbers, but {topology.name} has {n_devices} devices; "
            "expected one for each device, or none for equal shares"
        )
    shares = np.array(weights or np.ones(n_devices), np.float64)
    return shares / shares.sum()


def draw_choices(draws: Draws, stream: int, n: int, options: I8, shares: F8) -> I8:
    """Return n independent options of the given probabilities, which are scaled to add up to 1."""
    upper = np.cumsum(shares)
    out = np.empty(n, np.int64)
    fill_choices(out, options, upper / upper[-1], draws.key, np.uint64(stream), draws.world_id, draws.episode)
    return out


@kernel
def fill_amounts(
    out: F8,
    law: int,
    first: float,
    spread: float,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> None:
    """Fill ``out`` with amounts of one law; ``first`` is the mean, for the log-normal law that of the logarithm."""
    if law == _FIXED:
        out[:] = first
        return
    for i in range(out.size):
        u, v = unit_pair(key, np.uint64(i), stream, world_id, episode)
        if law == _UNIFORM:
            out[i] = first * (1.0 + spread * (2.0 * u - 1.0))
        elif law == _EXPONENTIAL:
            out[i] = -first * math.log(u)
        else:
            out[i] = math.exp(first + spread * math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v))


@kernel
def fill_due(
    out: F8,
    law: int,
    low: float,
    high: float,
    created_s: F8,
    node: I8,
    work_cycles: F8,
    core_hz: F8,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> None:
    """Fill ``out`` with deadlines; a task whose own device has no clock gets none under the factor law."""
    for i in range(out.size):
        if law == _NONE or (law == _FACTOR and core_hz[node[i]] <= 0.0):
            out[i] = math.inf
            continue
        u, _ = unit_pair(key, np.uint64(i), stream, world_id, episode)
        given = low + (high - low) * u
        if law == _FACTOR:
            given *= work_cycles[i] / core_hz[node[i]]
        out[i] = created_s[i] + given


@kernel
def fill_choices(
    out: I8,
    options: I8,
    upper: F8,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> None:
    """Fill ``out`` with independent options; ``upper`` holds their cumulated probabilities, the last one 1."""
    for i in range(out.size):
        u, _ = unit_pair(key, np.uint64(i), stream, world_id, episode)
        low, high = 0, upper.size - 1
        while low < high:
            middle = (low + high) // 2
            if u < upper[middle]:
                high = middle
            else:
                low = middle + 1
        out[i] = options[low]
