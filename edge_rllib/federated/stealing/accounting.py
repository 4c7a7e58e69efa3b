"""Where the time of a round went: one gap-free row of intervals for each client, checked to add up.

Idle is what is neither own nor stolen work that counted, and no crash: waiting for stolen work, the barrier, transfers,
and work whose result was thrown away. [specs/federated.md, 5.4]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from edge_rllib.federated.stealing.errors import AccountingError

TOLERANCE_S = 1e-3  # by which a client's intervals may miss the round


class Kind(Enum):
    """What a client does in an interval."""

    OWN = "own"  # executes a chunk of its own
    STOLEN = "stolen"  # executes a chunk of another's
    WAITING = "waiting"  # for stolen work
    BARRIER = "barrier"  # has nothing to do until the others are ready
    TRANSFER = "transfer"  # receives parameters or chunks, sends results
    AGGREGATION = "aggregation"
    AGREEMENT = "agreement"
    OPTIMISATION = "optimisation"
    CRASHED = "crashed"


WORK = (Kind.OWN, Kind.STOLEN)


@dataclass(frozen=True)
class Interval:
    """A stretch of a client's round; times in seconds since any one moment."""

    kind: Kind
    start_s: float
    end_s: float
    owner: int = -1  # of the chunk, in intervals of work; otherwise -1
    is_wasted: bool = False  # work whose result did not count

    @property
    def length_s(self) -> float:
        """Return its duration."""
        return self.end_s - self.start_s


class Timeline:
    """Intervals of one client in one round, added in order."""

    def __init__(self, client: int, start_s: float) -> None:
        if client < 0 or not math.isfinite(start_s):
            raise AccountingError(f"timeline of client {client} from {start_s} s: expected a client and a time")
        self.client, self.start_s = client, start_s
        self.intervals: list[Interval] = []

    @property
    def end_s(self) -> float:
        """Return the end of the last interval."""
        return self.intervals[-1].end_s if self.intervals else self.start_s

    def add(self, kind: Kind, start_s: float, end_s: float, owner: int = -1, is_wasted: bool = False) -> None:
        """Append an interval; one of length 0 is left out, one that ends before it begins raises AccountingError."""
        if not end_s >= start_s:
            raise AccountingError(f"client {self.client}: {kind.value} from {start_s:.6f} s to {end_s:.6f} s runs back")
        if end_s > start_s:
            self.intervals.append(Interval(kind, start_s, end_s, owner, is_wasted))

    def fill(self, kind: Kind, end_s: float) -> None:
        """Say what the client did since its last interval; nothing where that reaches so far."""
        if end_s > self.end_s:
            self.add(kind, self.end_s, end_s)

    def check(self, end_s: float) -> None:
        """Raise AccountingError, which says where, unless the intervals fill the time up to ``end_s``."""
        time_s, missed_s = self.start_s, 0.0
        for interval in (*self.intervals, Interval(Kind.BARRIER, end_s, end_s)):
            step_s = interval.start_s - time_s
            missed_s += abs(step_s)
            if missed_s > TOLERANCE_S:
                what = "gap" if step_s > 0.0 else "overlap"
                place = f"between {time_s:.6f} s and {interval.start_s:.6f} s"
                last = interval.start_s == end_s == interval.end_s
                behind = "the round's end" if last else interval.kind.value
                raise AccountingError(
                    f"client {self.client}: {what} of {abs(step_s):.6f} s {place}, before {behind}; "
                    f"intervals miss the round by {missed_s:.6f} s, allowed {TOLERANCE_S} s"
                )
            time_s = interval.end_s

    def spent_s(self, kind: Kind) -> float:
        """Return the time spent on a kind."""
        return sum(entry.length_s for entry in self.intervals if entry.kind is kind)


@dataclass(frozen=True)
class Traffic:
    """What was sent in a round."""

    n_messages: int = 0
    n_bytes: float = 0.0
    n_steals: int = 0  # moves of work, of any number of chunks
    n_refused: int = 0  # of attempts to steal


@dataclass(frozen=True)
class RoundAccount:
    """A round's checked intervals, and what follows from them."""

    start_s: float
    end_s: float
    timelines: Sequence[Timeline]
    bound_s: float  # no schedule of the same work is shorter; NaN if unknown
    traffic: Traffic = field(default_factory=Traffic)
    static_s: float = math.nan  # what the same work had taken without stealing

    def __post_init__(self) -> None:
        if not self.timelines:
            raise AccountingError("a round of no clients; expected a timeline for each")
        if not self.end_s >= self.start_s:
            raise AccountingError(f"round from {self.start_s} s to {self.end_s} s runs back")
        for line in self.timelines:
            if abs(line.start_s - self.start_s) > TOLERANCE_S:
                raise AccountingError(
                    f"client {line.client}: begins at {line.start_s} s, the round at {self.start_s} s"
                )
            line.check(self.end_s)

    @property
    def round_s(self) -> float:
        """Return the round's duration, with aggregation, agreement and optimisation."""
        return self.end_s - self.start_s

    @property
    def makespan_s(self) -> float:
        """Return the time from the round's beginning to the end of its last work that counted."""
        ends = [entry.end_s for entry in self._entries() if entry.kind in WORK and not entry.is_wasted]
        return max(ends, default=self.start_s) - self.start_s

    @property
    def useful_s(self) -> float:
        """Return the clients' time with work that counted, summed."""
        return sum(entry.length_s for entry in self._entries() if entry.kind in WORK and not entry.is_wasted)

    @property
    def wasted_s(self) -> float:
        """Return the clients' time with work that did not count, summed."""
        return sum(entry.length_s for entry in self._entries() if entry.kind in WORK and entry.is_wasted)

    @property
    def idle_frac(self) -> float:
        """Return the share of the makespan without work that counted; crashes are apart, wasted work is in it."""
        whole_s = len(self.timelines) * self.makespan_s
        return max(0.0, 1.0 - (self.useful_s + self._crashed_s()) / whole_s) if whole_s else 0.0

    @property
    def crashed_frac(self) -> float:
        """Return the share of the makespan in which clients were down."""
        whole_s = len(self.timelines) * self.makespan_s
        return self._crashed_s() / whole_s if whole_s else 0.0

    @property
    def stolen_frac(self) -> float:
        """Return the share of the useful time that went into other clients' chunks."""
        stolen = sum(e.length_s for e in self._entries() if e.kind is Kind.STOLEN and not e.is_wasted)
        return stolen / self.useful_s if self.useful_s else 0.0

    @property
    def wasted_frac(self) -> float:
        """Return wasted over all work."""
        work_s = self.useful_s + self.wasted_s
        return self.wasted_s / work_s if work_s else 0.0

    @property
    def efficiency(self) -> float:
        """Return the bound over the makespan, at most 1."""
        return self.bound_s / self.makespan_s if self.makespan_s else math.nan

    @property
    def saved_frac(self) -> float:
        """Return by which share the makespan is shorter than without stealing; negative where it is longer."""
        return 1.0 - self.makespan_s / self.static_s

    def followed_by(self, phases_s: Mapping[Kind, float]) -> RoundAccount:
        """Return the account of a round that ends with phases behind the barrier, the same for all clients."""
        lines = []
        for line in self.timelines:
            longer = Timeline(line.client, line.start_s)
            longer.intervals = list(line.intervals)
            end_s = self.end_s
            for kind, length_s in phases_s.items():
                longer.add(kind, end_s, end_s + length_s)
                end_s += length_s
            lines.append(longer)
        return replace(self, end_s=self.end_s + sum(phases_s.values()), timelines=lines)

    def spent_s(self, kind: Kind) -> float:
        """Return the clients' time with a kind, summed."""
        return sum(line.spent_s(kind) for line in self.timelines)

    def metrics(self) -> dict[str, float]:
        """Return all figures by name, with units; shares of kinds are of the whole round."""
        whole_s = len(self.timelines) * self.round_s
        shares = {f"{kind.value}_frac": self.spent_s(kind) / whole_s if whole_s else 0.0 for kind in Kind}
        return {
            **{f"round_{name}": share for name, share in shares.items()},
            "round_s": self.round_s,
            "makespan_s": self.makespan_s,
            "bound_s": self.bound_s,
            "static_s": self.static_s,
            "efficiency": self.efficiency,
            "saved_frac": self.saved_frac,
            "idle_frac": self.idle_frac,
            "crashed_frac": self.crashed_frac,
            "stolen_frac": self.stolen_frac,
            "wasted_frac": self.wasted_frac,
            "wasted_s": self.wasted_s,
            "steals": float(self.traffic.n_steals),
            "refused_steals": float(self.traffic.n_refused),
            "messages": float(self.traffic.n_messages),
            "sent_bytes": float(self.traffic.n_bytes),
        }

    def _entries(self) -> list[Interval]:
        return [entry for line in self.timelines for entry in line.intervals]

    def _crashed_s(self) -> float:
        """Return the time that clients were down within the makespan, summed."""
        end_s = self.start_s + self.makespan_s
        down = [entry for entry in self._entries() if entry.kind is Kind.CRASHED]
        return sum(max(0.0, min(entry.end_s, end_s) - entry.start_s) for entry in down)
