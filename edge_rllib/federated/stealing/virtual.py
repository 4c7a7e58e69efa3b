"""A round in virtual time: clients of given speeds execute chunks of given demands under a policy.

A discrete-event simulation: the same arguments give the same events. Who sends what arrives after the network's delay;
a thief may find less than it asked for. A crashed client's chunks are found missing ``detect_s`` later and go to their
owner, or to the server while that is down.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_rllib.federated.stealing.accounting import Kind, RoundAccount, Timeline, Traffic
from edge_rllib.federated.stealing.bounds import static_ends_s, trace_bound_s
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import Network
from edge_rllib.federated.stealing.policies import Pool, Running, Scheduler, Steal
from edge_rllib.federated.stealing.speeds import SpeedTrace

REQUEST_BYTES = 64.0  # of a request to steal, and of a refusal: a few identifiers
AFTER = (Kind.TRANSFER, Kind.AGGREGATION, Kind.AGREEMENT, Kind.OPTIMISATION)  # phases behind the barrier, in order


@dataclass(frozen=True)
class Crash:
    """A client is down from one time to another."""

    client: int
    at_s: float
    back_s: float = math.inf


@dataclass(frozen=True)
class RoundSetting:
    """What a simulated round is, but for the demands and the policy."""

    traces: Sequence[SpeedTrace]  # of each client, from the round's beginning
    network: Network
    may_execute: Sequence[Sequence[bool]] | None = None  # [executor][owner]; None: everybody everything
    part_s: float = math.inf  # work at speed 1 after which a chunk can be handed over; infinite: only whole ones
    cuts_s: Sequence[Sequence[float]] | None = None  # of each chunk, rising: the same where parts are not all alike
    chunk_bytes: float = 0.0  # of an answer, a chunk
    crashes: Sequence[Crash] = ()
    detect_s: float = 1.0  # from a crash until the chunks are issued again
    after_s: Mapping[Kind, float] = field(default_factory=dict)  # phases behind the barrier, the same for all
    seed: int = 0


@dataclass(frozen=True)
class VirtualRound:
    """What happened."""

    account: RoundAccount
    executors: NDArray[np.int64]  # (chunks,) who finished each; -1 where nobody did
    ends_s: NDArray[np.float64]  # (chunks,) NaN where nobody did
    missing: list[int]  # chunks without a result

    @property
    def bound_ratio(self) -> float:
        """Return the makespan over its lower bound."""
        return 1.0 / self.account.efficiency


def simulate(
    demands_s: ArrayLike,
    owners: Sequence[int],
    scheduler: Scheduler,
    setting: RoundSetting,
    estimates: Estimates | None = None,
) -> VirtualRound:
    """Play a round; demands (chunks,) are the time of each chunk at speed 1. ``estimates`` learn from it."""
    demand = np.atleast_1d(np.asarray(demands_s, float))
    n = len(setting.traces)
    if demand.shape != (len(owners),) or not np.all(np.isfinite(demand)) or np.any(demand <= 0.0):
        raise StealingError(f"{demand.shape} demands, {len(owners)} owners: expected positive seconds for each chunk")
    if setting.network.n_clients != n:
        raise StealingError(f"{n} speeds, a network of {setting.network.n_clients} clients: expected the same number")
    if not setting.part_s > 0.0 or not setting.detect_s >= 0.0:
        raise StealingError(f"part_s = {setting.part_s}, detect_s = {setting.detect_s}: expected positive seconds")
    for crash in setting.crashes:
        if not (0 <= crash.client < n and 0.0 <= crash.at_s < crash.back_s):
            raise StealingError(f"{crash}: expected a client below {n} that comes back after it went")
    if setting.cuts_s is not None and len(setting.cuts_s) != len(demand):
        raise StealingError(f"cuts_s of {len(setting.cuts_s)} chunks: expected those of {len(demand)}")
    unknown = [kind for kind in setting.after_s if kind not in AFTER]
    if unknown or any(not length_s >= 0.0 for length_s in setting.after_s.values()):
        raise StealingError(f"after_s = {setting.after_s}: expected seconds of {[kind.value for kind in AFTER]}")
    believed = Estimates(n, float(demand.mean()) if len(demand) else 1.0) if estimates is None else estimates
    return _Round(demand, owners, scheduler, setting, believed).play()


class _Round:
    """The simulation's state. Events are (time, number, method, arguments); equal times keep their order."""

    def __init__(
        self,
        demand: NDArray[np.float64],
        owners: Sequence[int],
        scheduler: Scheduler,
        setting: RoundSetting,
        estimates: Estimates,
    ) -> None:
        n = len(setting.traces)
        may = setting.may_execute
        generator = np.random.default_rng(setting.seed)
        self.pool = Pool(owners, estimates, setting.network, may, generator, setting.part_s, setting.chunk_bytes)
        self.demand, self.scheduler, self.setting = demand.tolist(), scheduler, setting
        self.lines = [Timeline(k, 0.0) for k in range(n)]
        self.executors = np.full(len(demand), -1, np.int64)
        self.ends_s = np.full(len(demand), np.nan)
        self.n_left = len(demand)
        self.events: list[tuple[float, int, str, tuple[int, ...]]] = []
        self.n_events = 0
        self.epochs = [0] * n  # of what a client runs; an event of an older one is void
        self.lives = [0] * n  # how often a client has crashed; answers to an earlier life are lost
        self.asked: list[Steal | None] = [None] * n
        self.answers: dict[int, tuple[list[int], bool]] = {}  # chunks under way, and whether that is a copy
        self.n_messages, self.n_bytes, self.n_steals, self.n_refused = 0, 0.0, 0, 0
        self.idle = set(range(n))
        self.progress_s: dict[int, float] = {}  # work done of chunks that were handed over
        self.cut_s = [0.0] * n  # work after which a client's chunk will be handed over
        self.copied: set[int] = set()  # chunks that two may execute
        self.trips_s = setting.network.longest_round_trips_s(setting.chunk_bytes).tolist()  # of a steal
        self.lost: list[deque[int]] = [deque() for _ in range(n)]  # what a crash took, until it is detected

    def play(self) -> VirtualRound:
        for k, chunks in enumerate(self.scheduler.deal(self.pool)):
            self.pool.deques[k].extend(chunks)
        if sorted(chunk for waiting in self.pool.deques for chunk in waiting) != list(range(len(self.demand))):
            raise StealingError(f"{self.scheduler} did not deal each chunk to exactly one place")
        for crash in self.setting.crashes:
            self._push(crash.at_s, "_crash", crash.client)
            if math.isfinite(crash.back_s):
                self._push(crash.back_s, "_back", crash.client)
        self._occupy()
        while self.events and self.n_left:
            now_s, _, method, arguments = heapq.heappop(self.events)
            self.pool.at(now_s)
            getattr(self, method)(*arguments)
            if self.idle and self.n_left:
                self._occupy()
        return self._result()

    def _result(self) -> VirtualRound:
        end_s = float(np.nanmax(self.ends_s)) if self.n_left < len(self.demand) else 0.0
        end_s = max([end_s, *(line.end_s for line in self.lines)])
        for k, line in enumerate(self.lines):
            running = self.pool.running[k]
            if running is not None:
                line.fill(Kind.WAITING, running.start_s)
                self._book(k, running, end_s, is_wasted=True)
            line.fill(Kind.BARRIER if self.pool.is_up[k] else Kind.CRASHED, end_s)
        for kind in AFTER:
            length_s = self.setting.after_s.get(kind, 0.0)
            for line in self.lines:
                line.add(kind, end_s, end_s + length_s)
            end_s += length_s
        traffic = Traffic(self.n_messages, self.n_bytes, self.n_steals, self.n_refused)
        traces, owners = self.setting.traces, self.pool.owners
        static_s = float(static_ends_s(self.demand, owners, traces).max())
        account = RoundAccount(0.0, end_s, self.lines, trace_bound_s(self.demand, traces), traffic, static_s)
        missing = np.flatnonzero(self.executors < 0).tolist()
        return VirtualRound(account, self.executors, self.ends_s, missing)

    def _push(self, time_s: float, method: str, *arguments: int) -> None:
        self.n_events += 1
        heapq.heappush(self.events, (time_s, self.n_events, method, arguments))

    def _occupy(self) -> None:
        """Give each idle client its next chunk, or let it ask for some."""
        for k in sorted(self.idle):
            if self.pool.deques[k]:
                self._start(k, self.pool.deques[k].pop())
            elif self.asked[k] is None:
                self._ask(k)

    def _start(self, k: int, chunk: int, is_copy: bool = False) -> None:
        if self.executors[chunk] >= 0:
            return
        pool, now_s = self.pool, self.pool.now_s
        done_s = 0.0 if is_copy else self.progress_s.get(chunk, 0.0)
        self.idle.discard(k)
        self.lines[k].fill(Kind.WAITING, now_s)
        pool.running[k] = Running(chunk, now_s, done_s, is_copy)
        pool.at(now_s)
        self.epochs[k] += 1
        end_s = self.setting.traces[k].end_s(now_s, self.demand[chunk] - done_s)
        self._push(end_s, "_finish", k, self.epochs[k])
        asks = self.scheduler.asks_ahead and self.asked[k] is None
        if asks and len(pool.deques[k]) * pool.chunk_s(k) <= self.trips_s[k]:
            ask_s = now_s + max(0.0, pool.rest_s(k) - self.trips_s[k])
            self._push(ask_s, "_ask_ahead", k, self.epochs[k])

    def _book(self, k: int, running: Running, end_s: float, is_wasted: bool = False) -> None:
        owner = self.pool.owners[running.chunk]
        kind = Kind.OWN if owner == k else Kind.STOLEN
        self.lines[k].add(kind, running.start_s, end_s, owner, is_wasted)

    def _stop(self, k: int, is_wasted: bool) -> Running:
        """End what a client runs, at this moment."""
        running = self.pool.running[k]
        assert running is not None
        self._book(k, running, self.pool.now_s, is_wasted)
        self.pool.running[k] = None
        self.epochs[k] += 1
        self.idle.add(k)
        return running

    def _finish(self, k: int, epoch: int) -> None:
        if epoch != self.epochs[k]:
            return
        pool = self.pool
        current = pool.running[k]
        running = self._stop(k, is_wasted=current is not None and self.executors[current.chunk] >= 0)
        chunk, now_s = running.chunk, pool.now_s
        if self.executors[chunk] >= 0:
            return
        pool.estimates.worked(k, self.demand[chunk] - running.done_s, now_s - running.start_s)
        pool.estimates.finished(self.demand[chunk])
        self.executors[chunk], self.ends_s[chunk] = k, now_s
        self.n_left -= 1
        pool.at(now_s)
        if chunk in self.copied:
            for other, entry in enumerate(pool.running):
                if entry is not None and entry.chunk == chunk:
                    self.n_messages += 1
                    self._push(now_s + pool.network.message_s(k, other), "_cancel", other, self.epochs[other])

    def _cancel(self, k: int, epoch: int) -> None:
        if epoch == self.epochs[k]:
            self._stop(k, is_wasted=True)

    def _ask_ahead(self, k: int, epoch: int) -> None:
        if epoch == self.epochs[k] and self.asked[k] is None:
            self._ask(k)

    def _ask(self, k: int) -> None:
        pool = self.pool
        steal = self.scheduler.steal(pool, k)
        if steal is None:
            return
        self.asked[k] = steal
        pool.asked_for[steal.victim] += steal.n_chunks
        running = pool.running[steal.victim] if steal.n_chunks == 0 else None
        if running is not None:
            running.is_leaving = True
        self._send(REQUEST_BYTES)
        arrival_s = pool.now_s + pool.network.message_s(k, steal.victim, REQUEST_BYTES)
        self._push(arrival_s, "_asked", k, self.lives[k], running.chunk if running else -1)

    def _asked(self, thief: int, life: int, chunk: int) -> None:
        """A request arrives at the victim, which sends what it has."""
        steal = self.asked[thief]
        if life != self.lives[thief] or steal is None:
            return
        pool, victim = self.pool, steal.victim
        pool.asked_for[victim] -= steal.n_chunks
        if victim < pool.n_clients and not pool.is_up[victim]:
            self._push(pool.now_s + self.setting.detect_s, "_arrive", thief, life, -1)
            return
        if steal.n_chunks:
            self._answer(thief, victim, self._taken(thief, victim, steal.n_chunks))
            return
        running = pool.running[victim]
        if running is None or running.chunk != chunk:
            self._answer(thief, victim, [])
        elif steal.how == "copy":
            running.is_copy, running.is_leaving = True, False
            self.copied.add(chunk)
            self._answer(thief, victim, [chunk], is_copy=True)
        else:
            self._hand_over(thief, victim, running)

    def _taken(self, thief: int, victim: int, n_chunks: int) -> list[int]:
        """Take chunks from the left end of a deque, those that the thief may execute."""
        waiting, may = self.pool.deques[victim], self.pool.may[thief]
        taken = [chunk for chunk in waiting if may[self.pool.owners[chunk]]][:n_chunks]
        if len(taken) == len(waiting) or taken == [waiting[i] for i in range(len(taken))]:
            for _ in taken:
                waiting.popleft()
        else:
            for chunk in taken:
                waiting.remove(chunk)
        return taken

    def _hand_over(self, thief: int, victim: int, running: Running) -> None:
        """Let the victim go on to the end of the part, then send the rest; not if it ends within the part."""
        trace, now_s = self.setting.traces[victim], self.pool.now_s
        done_s = running.done_s + trace.work_s(running.start_s, now_s)
        cut_s = self._next_cut_s(running.chunk, done_s)
        if cut_s <= running.done_s or cut_s >= self.demand[running.chunk]:
            self._answer(thief, victim, [])
            return
        self.epochs[victim] += 1
        self.cut_s[victim] = cut_s
        end_s = trace.end_s(running.start_s, cut_s - running.done_s)
        self._push(end_s, "_cut", victim, self.epochs[victim], thief, self.lives[thief])

    def _next_cut_s(self, chunk: int, done_s: float) -> float:
        """Return the work of a chunk at the end of its part; infinite where that is its end."""
        if self.setting.cuts_s is None:
            part_s = self.setting.part_s
            return part_s * max(1, math.ceil(done_s / part_s - 1e-9))
        cuts_s = self.setting.cuts_s[chunk]
        place = bisect_left(cuts_s, done_s * (1.0 - 1e-9))
        return float(cuts_s[place]) if place < len(cuts_s) else math.inf

    def _cut(self, victim: int, epoch: int, thief: int, life: int) -> None:
        """An episode's part ends, and the next one is the thief's."""
        if epoch != self.epochs[victim]:
            self._push(self.pool.now_s + self.setting.detect_s, "_arrive", thief, life, -1)
            return
        running = self._stop(victim, is_wasted=False)
        done_s = running.done_s + self.setting.traces[victim].work_s(running.start_s, self.pool.now_s)
        self.pool.estimates.worked(victim, done_s - running.done_s, self.pool.now_s - running.start_s)
        self.progress_s[running.chunk] = self.cut_s[victim]
        self._answer(thief, victim, [running.chunk])

    def _answer(self, thief: int, victim: int, chunks: list[int], is_copy: bool = False) -> None:
        n_bytes = self.setting.chunk_bytes * len(chunks) if chunks else REQUEST_BYTES
        self._send(n_bytes)
        self.n_steals += bool(chunks)
        self.n_refused += not chunks
        self.answers[self.n_events] = (chunks, is_copy)
        arrival_s = self.pool.now_s + self.pool.network.message_s(victim, thief, n_bytes)
        self._push(arrival_s, "_arrive", thief, self.lives[thief], self.n_events)

    def _arrive(self, thief: int, life: int, answer: int) -> None:
        chunks, is_copy = self.answers.pop(answer, ([], False))
        if life != self.lives[thief]:
            self._issue_again([] if is_copy else chunks)
            return
        self.asked[thief] = None
        if not is_copy:
            self.pool.deques[thief].extendleft(reversed(chunks))
        elif self.pool.running[thief] is None:
            self._start(thief, chunks[0], is_copy)

    def _send(self, n_bytes: float) -> None:
        self.n_messages += 1
        self.n_bytes += n_bytes

    def _crash(self, k: int) -> None:
        pool = self.pool
        if pool.running[k] is not None:
            running = self._stop(k, is_wasted=True)
            others = [r for r in pool.running if r is not None and r.chunk == running.chunk]
            if not others:
                self.lost[k].append(running.chunk)
        self.lines[k].fill(Kind.WAITING, pool.now_s)
        self.lost[k].extend(pool.deques[k])
        pool.deques[k].clear()
        asked = self.asked[k]
        if asked is not None:
            pool.asked_for[asked.victim] = max(0, pool.asked_for[asked.victim] - asked.n_chunks)
        self.asked[k], pool.is_up[k] = None, False
        self.lives[k] += 1
        self.idle.discard(k)
        self._push(pool.now_s + self.setting.detect_s, "_detect", k)

    def _detect(self, k: int) -> None:
        chunks = list(self.lost[k])
        self.lost[k].clear()
        self._issue_again(chunks)

    def _issue_again(self, chunks: list[int]) -> None:
        """Put chunks that a crash took back: to their owner if it is up, otherwise to the server."""
        pool = self.pool
        for chunk in chunks:
            owner = pool.owners[chunk]
            pool.deques[owner if pool.is_up[owner] else pool.n_clients].append(chunk)

    def _back(self, k: int) -> None:
        """A client is up again and gets those of its chunks that wait at the server."""
        pool = self.pool
        self.lines[k].fill(Kind.CRASHED, pool.now_s)
        pool.is_up[k] = True
        self.idle.add(k)
        own = [chunk for chunk in pool.deques[pool.n_clients] if pool.owners[chunk] == k]
        for chunk in own:
            pool.deques[pool.n_clients].remove(chunk)
        pool.deques[k].extend(own)
