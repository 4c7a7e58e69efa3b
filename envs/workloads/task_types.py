"""Tasks of some types, each kind of device with a schedule of rates: PeersimGym's way to describe them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.arrivals import poisson_instants
from envs.workloads.checks import check_choice, check_positive, check_within, refuse
from envs.workloads.laws import draw_choices
from envs.workloads.workload import TaskTable, Workload

Pieces = tuple[tuple[float, float], ...]
PATTERNS = ("linear", "zigzag", "uniform", "hetero_uniform", "hetero_zigzag")


@dataclass(frozen=True)
class TaskType:
    """One kind of task; all tasks of a type are equal but for their deadlines."""

    name: str
    share: float  # of the tasks, relative to the other types; > 0
    size_bits: float  # input that travels with the task, >= 0
    result_bits: float  # output that returns, >= 0
    work_cycles: float  # cycles on one core, > 0
    deadline_low_s: float  # shortest time from creation to the deadline; both 0: no deadline
    deadline_high_s: float  # longest one; the law between them is uniform
    priority: int  # 0 is served first, where nodes serve by priority

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "share", "work_cycles")
        for field in ("size_bits", "result_bits", "deadline_low_s", "deadline_high_s"):
            check_within(self, field, 0.0)
        if self.deadline_high_s < self.deadline_low_s or (self.deadline_high_s > 0.0 and self.deadline_low_s == 0.0):
            raise refuse(
                self, "deadline_low_s", f"a number > 0 and <= deadline_high_s = {self.deadline_high_s}, or both 0"
            )
        if isinstance(self.priority, bool) or not isinstance(self.priority, int) or self.priority < 0:
            raise refuse(self, "priority", "an integer >= 0")


@dataclass(frozen=True)
class NodeSchedule:
    """Rates of the devices of one node type, piece after piece; the last piece holds for ever."""

    node_type: str  # node type of the devices; empty: all that no other schedule names
    pieces: Pieces  # (duration in seconds > 0, tasks per second of each device >= 0); none where a pattern makes them

    def __post_init__(self) -> None:
        """Check the pieces."""
        expected = "a list of pairs: duration in seconds > 0, tasks per second >= 0"
        try:
            pieces = np.array(self.pieces, np.float64).reshape(len(self.pieces), 2)
        except (TypeError, ValueError):
            raise refuse(self, "pieces", expected) from None
        if not np.isfinite(pieces).all() or (pieces[:, 0] <= 0.0).any() or (pieces[:, 1] < 0.0).any():
            raise refuse(self, "pieces", expected)


@dataclass(frozen=True)
class RatePattern:
    """PeersimGym's schedules: rates between two bounds that change by a step, or by a draw, after each piece.

    ``linear`` rises from the lower bound and stays at the upper one; ``zigzag`` rises and falls, a piece longer at each
    bound; ``uniform`` draws each piece's rate. With ``hetero_`` each schedule draws: its rates, or where its zigzag
    begins. Drawn rates are drawn for each world and episode.
    """

    name: Literal["linear", "zigzag", "uniform", "hetero_uniform", "hetero_zigzag"]
    low_hz: float  # tasks per second of each device, >= 0
    high_hz: float  # > low_hz
    step_hz: float  # change from piece to piece where rates are not drawn, > 0
    piece_s: float  # seconds of a piece, > 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_choice(self, "name", PATTERNS)
        check_within(self, "low_hz", 0.0)
        check_positive(self, "high_hz", "step_hz", "piece_s")
        if self.high_hz <= self.low_hz:
            raise refuse(self, "high_hz", f"more than low_hz = {self.low_hz}")

    def pieces(self, draws: Draws, schedule: int, horizon_s: float) -> Pieces:
        """Return the pieces that cover the horizon for the schedule of a number."""
        n_pieces = int(np.ceil(horizon_s / self.piece_s))
        first = schedule * n_pieces if self.name.startswith("hetero_") else 0
        drawn = self.low_hz + (self.high_hz - self.low_hz) * draws.uniform(streams.MODULATION, n_pieces, first)
        if self.name.endswith("uniform"):
            rates = drawn.tolist()
        else:
            rates = self._walk(drawn[0] if self.name.startswith("hetero_") else self.low_hz, n_pieces)
        return tuple((self.piece_s, float(rate)) for rate in rates)

    def mean_hz(self) -> float:
        """Return the rate of a device averaged over a rise, or over draws."""
        return 0.5 * (self.low_hz + self.high_hz)

    def _walk(self, rate: float, n_pieces: int) -> list[float]:
        rates, step = [], self.step_hz
        for _ in range(n_pieces):
            rates.append(rate)
            rate += step
            if not self.low_hz <= rate <= self.high_hz:
                rate = self.high_hz if step > 0.0 else self.low_hz
                step = step if self.name == "linear" else -step
        return rates


@dataclass(frozen=True)
class TaskTypes(Workload):
    """Poisson tasks of given types, each device at the rates of its node type's schedule.

    Types are drawn by their shares, independently; deadlines uniformly.
    """

    types: tuple[TaskType, ...]  # at least one
    schedules: tuple[NodeSchedule, ...]  # at least one; each device has exactly one
    pattern: RatePattern | None  # null: the schedules' own pieces

    def __post_init__(self) -> None:
        """Check that there is something to draw, and that either schedules or a pattern have the rates."""
        if not self.types:
            raise refuse(self, "types", "at least one type")
        names = [schedule.node_type for schedule in self.schedules]
        if not names or len(set(names)) < len(names):
            raise refuse(self, "schedules", "at least one schedule, and one for a node type")
        for schedule in self.schedules:
            if bool(schedule.pieces) == (self.pattern is not None):
                raise refuse(self, "pattern", f"a pattern or the pieces of schedule {schedule.node_type!r}, not both")
        if self.pattern is None and not any(rate for each in self.schedules for _, rate in each.pieces):
            raise refuse(self, "schedules", "a rate > 0")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        devices = topology.device_nodes
        end_s, rate_hz = self.rates(draws, topology, horizon_s)
        created_s = poisson_instants(draws, end_s, rate_hz.sum(axis=0))
        node = devices[self._owners(draws, created_s, end_s, rate_hz)] if len(created_s) else np.empty(0, np.int64)
        columns = [
            [t.share, t.size_bits, t.result_bits, t.work_cycles, t.deadline_low_s, t.deadline_high_s]
            for t in self.types
        ]
        shares, size_bits, result_bits, work_cycles, low_s, high_s = np.array(columns, np.float64).T
        kind = draw_choices(draws, streams.APPLICATION, len(node), np.arange(len(self.types)), shares)
        given_s = low_s[kind] + (high_s - low_s)[kind] * draws.uniform(streams.DEADLINE, len(node))
        return TaskTable(
            created_s=created_s,
            node=node,
            size_bits=size_bits[kind],
            result_bits=result_bits[kind],
            work_cycles=work_cycles[kind],
            due_s=np.where(high_s[kind] > 0.0, created_s + given_s, np.inf),
            priority=np.array([t.priority for t in self.types], np.int64)[kind],
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, over the listed pieces or over the pattern."""
        if self.pattern is not None:
            self.schedule_of(topology)
            return self.pattern.mean_hz() * int(topology.is_device.sum())
        each_hz = [
            np.average([rate for _, rate in s.pieces], weights=[length for length, _ in s.pieces])
            for s in self.schedules
        ]
        return float(np.array(each_hz)[self.schedule_of(topology)].sum())

    def pieces(self, draws: Draws, horizon_s: float) -> tuple[Pieces, ...]:
        """Return the pieces of each schedule; those of a pattern are made or drawn."""
        if self.pattern is None:
            return tuple(schedule.pieces for schedule in self.schedules)
        return tuple(self.pattern.pieces(draws, number, horizon_s) for number in range(len(self.schedules)))

    def schedule_of(self, topology: Topology) -> I8:
        """Return the number of each device's schedule, in the order of node ids; ConfigError where one has none."""
        numbers = {schedule.node_type: number for number, schedule in enumerate(self.schedules)}
        types = [topology.node_type[node] for node in topology.device_nodes]
        for name in numbers:
            if name and name not in types:
                raise ConfigError(
                    _no_match(f"TaskTypes.schedules has node_type {name!r}, but {topology.name}", name, types)
                )
        for name in types:
            if name not in numbers and "" not in numbers:
                label = f"{topology.name} has devices of type {name!r}, but TaskTypes.schedules"
                raise ConfigError(_no_match(label, name, list(numbers)))
        return np.array([numbers.get(name, numbers.get("")) for name in types], np.int64)

    def rates(self, draws: Draws, topology: Topology, horizon_s: float) -> tuple[F8, F8]:
        """Return the ends of the intervals in which no rate changes, (R,), and each device's rates in them, (D, R)."""
        pieces = [np.array(each, np.float64) for each in self.pieces(draws, horizon_s)]
        ends = [np.cumsum(each[:, 0]) for each in pieces]
        # the last piece holds for ever: its end is none
        end_s = np.unique(np.concatenate([*(each[:-1] for each in ends), [horizon_s]]))
        end_s = end_s[end_s <= horizon_s]
        start_s = np.concatenate([[0.0], end_s[:-1]])
        table = [
            each[np.minimum(np.searchsorted(end, start_s, side="right"), len(each) - 1), 1]
            for each, end in zip(pieces, ends, strict=True)
        ]
        return end_s, np.array(table)[self.schedule_of(topology)]

    def _owners(self, draws: Draws, created_s: F8, end_s: F8, rate_hz: F8) -> I8:
        """Return whose tasks are created at the given instants: each device's share is that of its rate at the time."""
        interval = np.minimum(np.searchsorted(end_s, created_s, side="right"), len(end_s) - 1)
        total_hz = rate_hz.sum(axis=0)
        upper = np.cumsum(rate_hz / np.where(total_hz > 0.0, total_hz, 1.0), axis=0).T  # (R, D), last one 1
        # interval r occupies [r, r + 1) of one ascending list
        stacked = (upper + np.arange(len(end_s))[:, None]).ravel()
        place = np.searchsorted(stacked, interval + draws.uniform(streams.DEVICE, len(created_s)), side="right")
        return np.asarray(np.clip(place - interval * len(rate_hz), 0, len(rate_hz) - 1), np.int64)


def _no_match(label: str, name: str, options: list[str]) -> str:
    known = sorted(set(options))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{label} has {', '.join(map(repr, known)) or 'none'}{hint}"
