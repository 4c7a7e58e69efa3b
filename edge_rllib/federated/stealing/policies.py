"""Who executes what: how a round's chunks are dealt out, and who takes how many from whom when idle.

Names of the registry's kind ``scheduler``. A policy sees a ``Pool``: deques, beliefs, costs of messages; never a demand
that is not known. Clients take from the right end of their own deque, thieves from the left.
[Blumofe and Leiserson, Scheduling Multithreaded Computations by Work Stealing, 1999; Polychronopoulos and Kuck, Guided
Self-Scheduling, 1987; specs/federated.md 5.3]
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import Network
from edge_rllib.federated.stealing.whitelist import Whitelist, whitelist

FEWEST_CHUNKS = 4  # of a client in a round, where they take no less than a latency
Start = Literal["own", "proportional"]
Amount = Literal["one", "half", "balanced"]


@dataclass(slots=True)
class Running:
    """A chunk in execution."""

    chunk: int
    start_s: float
    done_s: float = 0.0  # work that others had done before, of an episode that was handed over
    is_copy: bool = False  # somebody else executes it, too
    is_leaving: bool = False  # has been asked for, or will end too soon


@dataclass(frozen=True)
class Steal:
    """A request: so many chunks that wait, or, with 0, the running one."""

    victim: int  # K is the server
    n_chunks: int
    how: Literal["waiting", "hand_over", "copy"] = "waiting"


@dataclass
class Pool:
    """What is known of a round in progress; the driver keeps it."""

    owners: Sequence[int]  # of each chunk
    estimates: Estimates
    network: Network
    may_execute: Sequence[Sequence[bool]] | None  # [executor][owner]; None: everybody everything
    generator: np.random.Generator
    part_s: float = math.inf  # work after which an episode can be handed over; infinite: only whole ones
    chunk_bytes: float = 0.0  # size of an answer, a chunk
    now_s: float = 0.0
    deques: list[deque[int]] = field(default_factory=list)  # K + 1, the server's last
    running: list[Running | None] = field(default_factory=list)
    asked_for: list[int] = field(default_factory=list)  # chunks of a deque that requests under way will take
    is_up: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.n_clients
        unknown = sorted({owner for owner in self.owners if not 0 <= owner < n})
        if unknown:
            raise StealingError(f"chunks of clients {unknown}: expected owners 0 to {n - 1}")
        self._with_waiting: list[tuple[float, int]] | None = None
        self._with_running: list[tuple[float, int]] | None = None
        self.may: Whitelist = whitelist(self.may_execute, n)
        self.all_may = all(all(row) for row in self.may)
        self.deques = [deque() for _ in range(n + 1)]
        self.running, self.asked_for, self.is_up = [None] * n, [0] * (n + 1), [True] * n

    @property
    def n_clients(self) -> int:
        """Return the number of clients."""
        return self.network.n_clients

    def n_stealable(self, thief: int, victim: int) -> int:
        """Return how many chunks wait at a victim that the thief may execute and nobody has asked for."""
        waiting = self.deques[victim]
        if not waiting:
            return 0
        may = self.may[thief]
        n = len(waiting) if self.all_may else sum(may[self.owners[chunk]] for chunk in waiting)
        return max(0, n - self.asked_for[victim])

    def done_s(self, client: int) -> float:
        """Return the work that is believed to be done of a client's running chunk."""
        running = self.running[client]
        assert running is not None
        return running.done_s + (self.now_s - running.start_s) * self.estimates.speed(client)

    def at(self, now_s: float) -> None:
        """Set the time; to be called after each change of deques, running chunks or beliefs, too."""
        self.now_s, self._with_waiting, self._with_running = now_s, None, None

    def with_waiting(self) -> list[tuple[float, int]]:
        """Return (time left, place) of all places where chunks wait, the longest time first."""
        if self._with_waiting is None:
            self._with_waiting = self._ranked([v for v, waiting in enumerate(self.deques) if waiting])
        return self._with_waiting

    def with_running(self) -> list[tuple[float, int]]:
        """Return (time left, client) of all that execute their last chunk, the longest time first."""
        if self._with_running is None:
            busy = [v for v, running in enumerate(self.running) if running is not None and not self.deques[v]]
            self._with_running = self._ranked(busy)
        return self._with_running

    def _ranked(self, places: list[int]) -> list[tuple[float, int]]:
        rests = sorted(((self.rest_s(v), -v) for v in places), reverse=True)
        return [(rest_s, -v) for rest_s, v in rests]

    def rest_s(self, client: int) -> float:
        """Return after which time a client is believed to have nothing left; the server never has."""
        if client == self.n_clients:
            return math.inf if self.deques[client] else 0.0
        work_s = self.estimates.mean_s * len(self.deques[client])
        if self.running[client] is not None:
            work_s += self.estimates.rest_s(self.done_s(client))
        return work_s / self.estimates.speed(client)

    def round_trip_s(self, thief: int, victim: int, n_chunks: int = 1) -> float:
        """Return the time from a request until the chunks are there."""
        return self.network.round_trip_s(thief, victim, n_chunks * self.chunk_bytes)

    def chunk_s(self, client: int) -> float:
        """Return how long a client is believed to need for a chunk."""
        return self.estimates.mean_s / self.estimates.speed(client)


class Scheduler(ABC):
    """A policy. A subclass is a frozen dataclass whose fields are its settings."""

    asks_ahead = False  # whether it asks for work before it has none left

    @abstractmethod
    def deal(self, pool: Pool) -> list[list[int]]:
        """Return the chunks that each client begins with, and the server's last."""

    def steal(self, pool: Pool, thief: int) -> Steal | None:
        """Return what a client without work asks for; None where nothing pays."""
        return None


def deal_to_owners(pool: Pool) -> list[list[int]]:
    """Return each chunk at its owner."""
    dealt: list[list[int]] = [[] for _ in range(pool.n_clients + 1)]
    for chunk, owner in enumerate(pool.owners):
        dealt[owner].append(chunk)
    return dealt


def deal_by_speed(pool: Pool) -> list[list[int]]:
    """Return chunks in proportion to believed speeds: as many as possible stay at their owners.

    Who executes a chunk changes, not whose it is; a chunk moves only to a client that may execute it.
    """
    dealt = deal_to_owners(pool)
    speeds = np.array([pool.estimates.speed(k) for k in range(pool.n_clients)])
    exact = len(pool.owners) * speeds / speeds.sum()
    quota = np.floor(exact).astype(int)
    missing = len(pool.owners) - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:missing]] += 1
    for receiver in np.argsort(-speeds, kind="stable").tolist():
        for giver in np.argsort(speeds, kind="stable").tolist():
            excess = len(dealt[giver]) - int(quota[giver])
            wanted = int(quota[receiver]) - len(dealt[receiver])
            for chunk in dealt[giver][::-1]:
                if min(excess, wanted) <= 0:
                    break
                if pool.may[receiver][pool.owners[chunk]]:
                    dealt[giver].remove(chunk)
                    dealt[receiver].append(chunk)
                    excess, wanted = excess - 1, wanted - 1
    return dealt


@dataclass(frozen=True)
class Static(Scheduler):
    """Each client executes its own chunks."""

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return each chunk at its owner."""
        return deal_to_owners(pool)


@dataclass(frozen=True)
class Proportional(Scheduler):
    """Chunks are dealt in proportion to believed speeds, and stay."""

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return chunks by speed."""
        return deal_by_speed(pool)


@dataclass(frozen=True)
class CentralQueue(Scheduler):
    """All chunks wait at the server; who is idle takes the same number."""

    n_chunks: int = 1

    def __post_init__(self) -> None:
        if self.n_chunks < 1:
            raise StealingError(f"central_queue: n_chunks = {self.n_chunks}: expected 1 or more")

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return all chunks at the server, the owners' in turn."""
        return _deal_to_server(pool)

    def steal(self, pool: Pool, thief: int) -> Steal | None:
        """Return a request to the server while it has chunks."""
        left = pool.n_stealable(thief, pool.n_clients)
        return Steal(pool.n_clients, min(self.n_chunks, left)) if left else None


@dataclass(frozen=True)
class Guided(Scheduler):
    """All chunks wait at the server; who is idle takes a share of what is left, so ever fewer."""

    share: float = 1.0  # of an equal part of what is left

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise StealingError(f"guided: share = {self.share}: expected above 0, at most 1")

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return all chunks at the server, the owners' in turn."""
        return _deal_to_server(pool)

    def steal(self, pool: Pool, thief: int) -> Steal | None:
        """Return a request to the server while it has chunks."""
        left = pool.n_stealable(thief, pool.n_clients)
        return Steal(pool.n_clients, math.ceil(self.share * left / pool.n_clients)) if left else None


@dataclass(frozen=True)
class RandomVictim(Scheduler):
    """Who is idle takes from a client drawn among those with waiting chunks."""

    amount: Literal["one", "half"] = "half"
    start: Start = "own"

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return chunks at their owners, or by speed."""
        return deal_to_owners(pool) if self.start == "own" else deal_by_speed(pool)

    def steal(self, pool: Pool, thief: int) -> Steal | None:
        """Return a request to a victim that is drawn."""
        victims = [v for v in range(pool.n_clients + 1) if v != thief and pool.n_stealable(thief, v)]
        if not victims:
            return None
        victim = victims[int(pool.generator.integers(len(victims)))]
        left = pool.n_stealable(thief, victim)
        return Steal(victim, 1 if self.amount == "one" else max(1, left // 2))


@dataclass(frozen=True)
class StealHalf(Scheduler):
    """Who is idle takes half of what waits at the client with the longest time left, where that pays.

    It pays if the thief is done with it before the victim would have been done with everything. Where nothing waits,
    the running chunk of the slowest may be handed over at its next part, or executed a second time from its beginning:
    the first result counts.
    """

    amount: Amount = "half"  # balanced: so many that both end together
    start: Start = "own"
    asks_ahead: bool = True  # asks one round trip before it has nothing left
    hand_over: bool = True  # only where episodes are cut into parts
    copy: bool = False

    def deal(self, pool: Pool) -> list[list[int]]:
        """Return chunks at their owners, or by speed."""
        return deal_to_owners(pool) if self.start == "own" else deal_by_speed(pool)

    def steal(self, pool: Pool, thief: int) -> Steal | None:
        """Return the request that pays with the victim that has the longest time left."""
        own_s = pool.chunk_s(thief)
        for rest_s, victim in pool.with_waiting():
            if rest_s <= own_s:
                break
            n = self._n_paying(pool, thief, victim, rest_s) if victim != thief else 0
            if n:
                return Steal(victim, n)
        if pool.running[thief] is not None or pool.deques[thief]:
            return None
        if not (self.copy or (self.hand_over and math.isfinite(pool.part_s))):
            return None
        for rest_s, victim in pool.with_running():
            found = self._running(pool, thief, victim, rest_s)
            if found:
                return found
        return None

    def _n_paying(self, pool: Pool, thief: int, victim: int, rest_s: float) -> int:
        """Return how many of a victim's waiting chunks to take; 0 where none pays."""
        left = pool.n_stealable(thief, victim)
        if not left:
            return 0
        begin_s = max(pool.rest_s(thief), pool.round_trip_s(thief, victim))
        own_s = pool.chunk_s(thief)
        if begin_s + own_s >= rest_s:
            return 0
        if victim == pool.n_clients:
            return max(1, left // (2 * pool.n_clients))
        if self.amount == "one":
            return 1
        n = left // 2 if self.amount == "half" else int((rest_s - begin_s) / (own_s + pool.chunk_s(victim)))
        return max(1, min(n, left, math.ceil((rest_s - begin_s) / own_s) - 1))

    def _running(self, pool: Pool, thief: int, victim: int, rest_s: float) -> Steal | None:
        """Return a request for a victim's running chunk, where that pays."""
        if victim == pool.n_clients or pool.deques[victim]:
            return None
        running = pool.running[victim]
        if running is None or running.is_leaving or not pool.may[thief][pool.owners[running.chunk]]:
            return None
        trip_s, speed = pool.round_trip_s(thief, victim), pool.estimates.speed(thief)
        work_s = rest_s * pool.estimates.speed(victim)
        if self.hand_over and math.isfinite(pool.part_s) and not running.is_copy:
            wait_s = trip_s + min(0.5 * pool.part_s / pool.estimates.speed(victim), rest_s)
            if wait_s + max(0.0, work_s - 0.5 * pool.part_s) / speed < rest_s:
                return Steal(victim, 0, "hand_over")
        if self.copy and not running.is_copy and trip_s + (pool.done_s(victim) + work_s) / speed < rest_s:
            return Steal(victim, 0, "copy")
        return None


def _deal_to_server(pool: Pool) -> list[list[int]]:
    """Return all chunks at the server, first the owners' first ones."""
    seen: dict[int, int] = {}
    turns = []
    for chunk, owner in enumerate(pool.owners):
        seen[owner] = seen.get(owner, -1) + 1
        turns.append((seen[owner], owner, chunk))
    return [*([] for _ in range(pool.n_clients)), [chunk for _, _, chunk in sorted(turns)]]


@dataclass(frozen=True)
class ChunkPlan:
    """How a round's work is cut, the same for all clients, so that learning does not depend on who is fast."""

    n_episodes: int  # of a chunk
    part_steps: int | None  # after which an episode can be handed over; None: never


@dataclass(frozen=True)
class ChunkSizes:
    """Keeps the time of a chunk long against messages, and short against the round.

    Where so many latencies would leave less than a few chunks of a client, one latency is enough: else a slow network,
    or a busy machine, would leave nothing to be stolen.
    """

    least_s: float = 0.02
    most_s: float = 0.2
    latencies: float = 10.0  # a chunk takes at least so many of them

    def __post_init__(self) -> None:
        if not (0.0 < self.least_s <= self.most_s < math.inf and self.latencies >= 0.0):
            raise StealingError(f"{self}: expected 0 < least_s <= most_s and latencies of 0 or more")

    def target_s(self, latency_s: float) -> float:
        """Return how long a chunk should take, at least."""
        return max(self.least_s, self.latencies * latency_s)

    def part_steps(self, step_s: float, latency_s: float, n_episodes: int, horizon: int) -> int | None:
        """Return after how many steps of its episodes a chunk can be handed over; None where it is too short for that.

        Episodes are played side by side, so that a step of theirs takes ``n_episodes`` steps' time.
        """
        target_s, side_s = self.target_s(latency_s), step_s * n_episodes
        part_steps = max(1, math.ceil(target_s / side_s))
        return part_steps if horizon * side_s > max(self.most_s, target_s) and part_steps < horizon else None

    def plan(self, step_s: float, mean_steps: float, latency_s: float, n_episodes: int, horizon: int) -> ChunkPlan:
        """Return the plan for a step's time at the average speed, and n episodes a client."""
        if not (step_s > 0.0 and mean_steps > 0.0 and latency_s >= 0.0 and n_episodes >= 1 and horizon >= 1):
            raise StealingError(
                f"chunk sizes: step_s = {step_s}, mean_steps = {mean_steps}, latency_s = {latency_s}, "
                f"n_episodes = {n_episodes}, horizon = {horizon}: expected positive numbers"
            )
        target_s, episode_s = self.target_s(latency_s), step_s * mean_steps
        short = math.ceil(max(self.least_s, latency_s) / episode_s)
        most = max(short, math.ceil(n_episodes / FEWEST_CHUNKS))
        episodes = min(n_episodes, most, max(1, math.ceil(target_s / episode_s)))
        return ChunkPlan(episodes, self.part_steps(step_s, latency_s, episodes, horizon))
