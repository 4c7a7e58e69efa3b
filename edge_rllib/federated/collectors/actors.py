"""Chunks on Ray actors: each executes for a client, or for several, on one thread, as slowly as it is told to.

Ray drops the call of an actor that dies; another actor takes its place, and the ledger leases its chunks again. Every
wait has a limit.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from edge_rllib.federated.clients import Client, Order
from edge_rllib.federated.collectors.base import Collector, Liar
from edge_rllib.federated.collectors.live import Latency, LiveRound
from edge_rllib.federated.collectors.sizing import GUESSED_SHARE, Sizing
from edge_rllib.federated.collectors.team import Answer, Back, Event, Gone
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.stealing.accounting import RoundAccount
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.clocks import Offset, Reading, clock_offset
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import ChunkPlan, Pool, Scheduler
from edge_rllib.federated.stealing.records import LedgerRules
from edge_rllib.federated.stealing.speeds import SpeedProfile, SpeedTrace
from edge_rllib.federated.stealing.whitelist import Whitelist
from edge_rllib.federated.vectors import Vectors
from envs.rng import key_from_seed

log = logging.getLogger(__name__)

MOST_STARTS = 4  # of one member between two answers: an actor that cannot be built would start for ever
N_READINGS = 8  # of a member's clock, when it is started
GUESSED_STEP_S = 1e-4  # of an env step on one core, before anything was measured
POLL_S = 0.05  # between two looks where Ray has nothing to wait for


class Done(NamedTuple):
    """What an actor sends; times in seconds of its own clock."""

    result: ChunkResult
    begin_s: float
    end_s: float
    demand_s: float


class Executor:
    """Executes chunks in a process of its own."""

    def __init__(self, clients: Sequence[Client], step_s: float) -> None:
        """Have worlds of all clients. A step takes ``step_s`` at speed 1; 0: as long as it does."""
        torch.set_num_threads(1)
        self._clients, self._step_s = clients, step_s
        self._current: ChunkId | None = None
        self._asked_for: ChunkId | None = None
        self._is_cancelled = threading.Event()
        for client in {id(client.scenario): client for client in clients}.values():  # one for all with the same worlds
            client.prepare()

    def now_s(self) -> float:
        """Return the time of its clock; from another thread, also while it works."""
        return time.monotonic()

    def cancel(self, chunk: ChunkId) -> None:
        """End a chunk that it has; from another thread."""
        if self._current == chunk:
            self._is_cancelled.set()

    def ask_for(self, chunk: ChunkId) -> None:
        """Let a chunk stop at the end of its part; from another thread, maybe before it has begun."""
        self._asked_for = chunk

    def execute(
        self, chunk: Chunk, orders: Sequence[Order], lie: Lie | None, speed: float, state: bytes | None
    ) -> Done:
        """Return a chunk's result, or the state in which it was asked for, when a client of a speed would have it."""
        self._is_cancelled.clear()
        self._current = chunk.id
        client, order, pace = self._clients[chunk.owner], unpacked(orders[chunk.owner]), Pace(self._step_s, speed)

        def stops(n_steps: int) -> bool:
            self._is_cancelled.wait(pace.wait_s(n_steps))
            return self._is_cancelled.is_set() or self._asked_for == chunk.id

        if chunk.part_steps is None:
            result = client.execute(chunk, order, lie)
        else:
            result = client.execute_on(chunk, order, lie, state, stops)
        self._is_cancelled.wait(pace.wait_s(result.n_steps))
        self._current = None
        if self._asked_for == chunk.id:
            self._asked_for = None
        return Done(result, pace.begin_s, time.monotonic(), pace.demand_s)


class Pace:
    """How long work takes a client of a speed: real work, and a wait behind it."""

    def __init__(self, step_s: float, speed: float) -> None:
        """Begin. A step takes ``step_s`` at speed 1, or as long as it does for 0."""
        self.step_s, self.speed, self.begin_s = step_s, speed, time.monotonic()
        self.demand_s = 0.0  # of what was done, at speed 1
        self._worked_s = 0.0
        self._resumed_s = self.begin_s

    def wait_s(self, n_steps: int) -> float:
        """Return how long is to be waited behind so many steps since the beginning, before anything else is done."""
        now_s = time.monotonic()
        self._worked_s += max(0.0, now_s - self._resumed_s)
        self.demand_s = self.step_s * n_steps if self.step_s else self._worked_s
        end_s = self.begin_s + self.demand_s / self.speed
        self._resumed_s = max(now_s, end_s)
        return max(0.0, end_s - now_s)


def packed(orders: Sequence[Order]) -> list[Order]:
    """Return orders without what executors need not know, as arrays, which Ray does not copy; equal ones stay one."""
    found: dict[int, Order] = {}
    for order in orders:
        if id(order) not in found:
            vectors, older = _arrays(order.vectors), None if order.older is None else _arrays(order.older)
            found[id(order)] = Order(order.round, order.is_large, vectors, older, None)
    return [found[id(order)] for order in orders]


def unpacked(order: Order) -> Order:
    """Return an order with copies of its arrays as tensors."""
    return order._replace(vectors=_tensors(order.vectors), older=None if order.older is None else _tensors(order.older))


def _arrays(vectors: Any) -> Any:
    return {name: vector.numpy() for name, vector in vectors.items()}


def _tensors(arrays: Any) -> Vectors:
    return {name: torch.tensor(array) for name, array in arrays.items()}


class RayTeam:
    """Actors as members."""

    def __init__(self, clients: Sequence[Client], n_members: int, cpus: float, step_s: float, limit_s: float) -> None:
        """Start actors, each of which takes a number of Ray's CPUs; none is waited for."""
        if not ray.is_initialized():
            raise StealingError("collector = actors: Ray does not run; call ray.init first, or choose virtual")
        self.n_members, self._limit_s = n_members, limit_s
        actor: Any = ray.remote(num_cpus=cpus, max_restarts=0, concurrency_groups={"control": 1})(Executor)
        shared = ray.put(list(clients))
        self._make: Callable[[], Any] = lambda: actor.remote(shared, step_s)
        self._orders: Any = None
        self.latest_loss = ""
        self.handles: list[Any] = [None] * n_members
        self.offsets: list[Offset | None] = [None] * n_members  # None while it is not up
        self._starts = [0] * n_members
        self._pending: dict[Any, tuple[int, int]] = {}  # by reference: member and ticket, or -1 for the first sign
        self._events: list[Event] = []
        self._n_tickets = 0
        for member in range(n_members):
            self._start(member)

    def _start(self, member: int) -> None:
        if self._starts[member] >= MOST_STARTS:
            log.error("executor %d was started %d times and does not answer: it stays away", member, MOST_STARTS)
            self.handles[member] = None
            return
        self._starts[member] += 1
        self.handles[member] = self._make()
        self._pending[self._control(member).now_s.remote()] = (member, -1)

    def _control(self, member: int) -> Any:
        return _Control(self.handles[member])

    def now_s(self) -> float:
        """Return the driver's time."""
        return time.monotonic()

    def is_up(self, member: int) -> bool:
        """Return whether it has been heard of since it was started."""
        return self.offsets[member] is not None

    def may_come_back(self, member: int) -> bool:
        """Return whether it is being started."""
        return not self.is_up(member) and self.handles[member] is not None

    def n_sent(self, member: int) -> int:
        """Return how many chunks it has not answered."""
        return sum(of == member and ticket >= 0 for of, ticket in self._pending.values())

    def begin(self, orders: Sequence[Order]) -> None:
        """Put orders where all members can read them, once."""
        self._orders = ray.put(packed(orders))

    def send(self, member: int, chunk: Chunk, lie: Lie | None, speed: float, state: bytes | None) -> int:
        """Call an actor."""
        self._n_tickets += 1
        reference = self.handles[member].execute.remote(chunk, self._orders, lie, speed, state)
        self._pending[reference] = (member, self._n_tickets)
        return self._n_tickets

    def cancel(self, member: int, chunk: ChunkId) -> None:
        """Tell an actor that it need not wait any longer."""
        if self.is_up(member):
            self._control(member).cancel.remote(chunk)

    def ask_for(self, member: int, chunk: ChunkId) -> None:
        """Tell an actor to stop at the end of a part."""
        if self.is_up(member):
            self._control(member).ask_for.remote(chunk)

    def kill(self, member: int) -> None:
        """End an actor and start another."""
        if self.handles[member] is not None:
            with contextlib.suppress(RayError):
                ray.kill(self.handles[member])
        self._lost(member)

    def _lost(self, member: int) -> None:
        self._pending = {ref: (of, ticket) for ref, (of, ticket) in self._pending.items() if of != member}
        was_up, self.offsets[member] = self.is_up(member), None
        if was_up:
            self._events.append(Gone(member))
        self._start(member)

    def wait(self, limit_s: float) -> list[Event]:
        """Return answers, deaths and returns."""
        if not self._events:
            self._look(limit_s)
        events, self._events = self._events, []
        return events

    def _look(self, limit_s: float) -> None:
        if not self._pending:
            time.sleep(min(limit_s, POLL_S))
            return
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=limit_s)
        if ready:
            ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        for reference in ready:
            if reference in self._pending:  # otherwise of a member that another reference has told the death of
                self._hear(reference)

    def _hear(self, reference: Any) -> None:
        member, ticket = self._pending[reference]
        try:
            told = ray.get(reference, timeout=self._limit_s)
            if ticket < 0:
                self.offsets[member] = self._offset(member)
        except RayTaskError:
            raise  # a mistake of ours, or a bad value: every member would make it
        except (RayError, GetTimeoutError) as error:
            self.latest_loss = " ".join(str(error).split())
            log.warning("executor %d is lost: %s", member, self.latest_loss)
            self.kill(member)
            return
        del self._pending[reference]
        self._starts[member] = 0
        offset = self.offsets[member]
        assert offset is not None
        if ticket < 0:
            self._events.append(Back(member))
            return
        begin_s, end_s = told.begin_s + offset.offset_s, told.end_s + offset.offset_s
        self._events.append(Answer(member, ticket, told.result, begin_s, end_s, told.demand_s))

    def _offset(self, member: int) -> Offset:
        """Compare an actor's clock with the driver's."""
        readings = []
        for _ in range(N_READINGS):
            asked_s = time.monotonic()
            other_s = ray.get(self._control(member).now_s.remote(), timeout=self._limit_s)
            readings.append(Reading(asked_s, other_s, time.monotonic()))
        return clock_offset(readings)

    def stop(self) -> None:
        """Kill all actors."""
        for handle in self.handles:
            if handle is not None and ray.is_initialized():
                with contextlib.suppress(RayError):
                    ray.kill(handle)
        self.handles = [None] * self.n_members
        self._pending, self.offsets = {}, [None] * self.n_members


class _Control:
    """Calls an actor's methods on its second thread."""

    def __init__(self, handle: Any) -> None:
        self.now_s = handle.now_s.options(concurrency_group="control")
        self.cancel = handle.cancel.options(concurrency_group="control")
        self.ask_for = handle.ask_for.options(concurrency_group="control")


class ActorCollector(Collector):
    """Executes chunks on actors: client k's home is actor k modulo their number."""

    can_steal = True
    keeps_time = True

    def __init__(
        self,
        clients: Sequence[Client],
        rules: LedgerRules,
        scheduler: Scheduler,
        profile: SpeedProfile,
        n_actors: int,
        step_s: float = 0.0,
        cpus: float = 0.0,
        limit_s: float = 120.0,
        may_execute: Sequence[Sequence[bool]] | None = None,
        seed: int = 0,
        sizing: Sizing | None = None,
    ) -> None:
        """Start actors. They are as fast as a profile says where ``step_s`` is positive, else at most as fast as here.

        ``limit_s``: after so long without a sign of life the round is given up.
        """
        if not (1 <= n_actors <= len(clients) and step_s >= 0.0 and cpus >= 0.0 and limit_s > 0.0):
            raise StealingError(
                f"n_actors = {n_actors}, step_s = {step_s}, cpus = {cpus}, limit_s = {limit_s}: expected 1 to "
                f"{len(clients)} actors, one for each client at most, 0 or more seconds and CPUs, a positive limit"
            )
        if may_execute is not None and n_actors < len(clients):
            raise StealingError(f"a whitelist of {len(clients)} clients: expected as many actors, got {n_actors}")
        super().__init__(clients, rules, may_execute, seed, sizing)
        self.scheduler, self.profile, self.step_s, self.limit_s = scheduler, profile, step_s, limit_s
        self.team = RayTeam(clients, n_actors, cpus, step_s, limit_s)
        self.estimates: Estimates | None = None
        self.latency = Latency()
        self.measured_s = step_s or GUESSED_STEP_S  # of a step at speed 1

    def lane(self, member: int, owner: int) -> int:
        """Return for which of its clients a member executes a chunk: for the owner, or for one as far down its list."""
        n_members = self.team.n_members
        lane = member + n_members * (owner // n_members)
        return lane if lane < len(self.clients) else member

    def _plan(self, order: Order) -> ChunkPlan:
        speeds = [1.0] if self.estimates is None else self.estimates.prior_speeds
        step_s = self.measured_s / float(np.mean(speeds))
        plan = self.sizing.plan(self.clients[0], order, step_s, self.latency.median_s)
        self.sizing.resize(plan, self.estimates)
        return plan

    def _execute(
        self, chunks: Sequence[Chunk], orders: Sequence[Order], liar: Liar
    ) -> tuple[RoundAccount, dict[str, float]]:
        n_members, round_ = self.team.n_members, chunks[0].round
        self._wait_for_members()
        self.team.begin(orders)
        if self.estimates is None:
            self.estimates = Estimates(n_members, self._expected_s(chunks))
        owners = [chunk.owner % n_members for chunk in chunks]
        network = uniform_network(n_members, 0.5 * self.latency.median_s)
        draws = np.random.default_rng([key_from_seed(self.seed, "victims"), round_])
        pool = Pool(owners, self.estimates, network, self._may(), draws, self._part_s(chunks))
        live = LiveRound(
            chunks,
            self.ledger,
            self.team,
            self.scheduler,
            pool,
            self._traces(round_),
            self.lane,
            liar,
            self.latency,
            self.limit_s,
        )
        account = live.play()
        self.estimates.end_round()
        if live.n_steps:
            self.measured_s = sum(live.demands_s) / live.n_steps
        errors_s = [offset.error_s for offset in self.team.offsets if offset is not None]
        return account, {
            "pull_latency_s": self.latency.median_s,
            "clock_error_s": max(errors_s, default=0.0),
            "handed_over": float(sum(len(flights) for flights in live.begun.values())),
            "executors_lost": float(live.n_gone),
            "executors_up": float(len(errors_s)),
        }

    def _wait_for_members(self) -> None:
        """Wait at first for all, later for one; go on without those that take too long."""
        limit_s = self.team.now_s() + self.limit_s
        members = range(self.team.n_members)
        n_awaited = self.team.n_members if self.estimates is None else 1
        while sum(self.team.is_up(member) for member in members) < n_awaited and self.team.now_s() < limit_s:
            if not any(self.team.may_come_back(member) for member in members):
                break
            self.team.wait(max(0.0, limit_s - self.team.now_s()))
        if not any(self.team.is_up(member) for member in members):
            n_cpus = ray.available_resources().get("CPU", 0.0)
            raise StealingError(
                f"none of {self.team.n_members} actors is there after at most {self.limit_s} s; Ray has {n_cpus:g} "
                f"CPUs free. {self.team.latest_loss}"
            )

    def _expected_s(self, chunks: Sequence[Chunk]) -> float:
        """Return a first belief of a chunk's work: a tenth of the most that it can be."""
        most = sum(chunk.most_steps for chunk in chunks) / len(chunks)
        return GUESSED_SHARE * most * (self.step_s or GUESSED_STEP_S)

    def _part_s(self, chunks: Sequence[Chunk]) -> float:
        """Return the most work of a part; infinite where chunks are not cut."""
        part_steps = chunks[0].part_steps
        return math.inf if part_steps is None else self.measured_s * part_steps * max(chunk.size for chunk in chunks)

    def _traces(self, round_: int) -> list[SpeedTrace]:
        """Return the members' speeds; without an emulated step nobody can be faster than it is."""
        traces = self.profile.traces(self.team.n_members, self.seed, round_)
        most = max(max(trace.speeds) for trace in traces)
        if self.step_s or most <= 1.0:
            return traces
        return [SpeedTrace([speed / most for speed in trace.speeds], trace.starts_s) for trace in traces]

    def _may(self) -> Whitelist | None:
        ledger = self.ledger
        if self.team.n_members < len(self.clients):
            return None
        return [
            [may and (owner == executor or executor not in ledger.quarantined) for owner, may in enumerate(row)]
            for executor, row in enumerate(ledger.may_execute)
        ]

    def stop(self) -> None:
        """End the actors."""
        self.team.stop()
