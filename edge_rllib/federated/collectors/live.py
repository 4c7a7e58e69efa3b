"""A round in real time: who is sent which chunk, what is done with answers, and with members that die.

Deques are the driver's, so that stealing costs no message. A member has one chunk at a time, and a second one where a
chunk takes so little that waiting for the next would cost more than can be lost by not being able to steal it back. A
member may be asked for the rest of its last chunk, which it then leaves at the end of a part to who has nothing to do.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from edge_rllib.federated.collectors.team import Answer, Event, Gone, Team
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.stealing.accounting import Kind, RoundAccount, Timeline, Traffic
from edge_rllib.federated.stealing.bounds import static_ends_s, trace_bound_s
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.policies import Pool, Running, Scheduler
from edge_rllib.federated.stealing.records import Commit, Lease, Refusal
from edge_rllib.federated.stealing.speeds import SpeedTrace

log = logging.getLogger(__name__)

AHEAD = 50.0  # a second chunk is sent where a chunk takes less than so many latencies: 2 % of waiting is then saved
MOST_LEASES = 6  # of one chunk, without a result: the last one has 32 times the first one's time
LOOK = 0.25  # of a chunk's time, after which an idle member looks for work again
LEAST_LOOK_S = 0.005
N_LATENCIES = 64  # of the latest messages, whose median is the latency


@dataclass(frozen=True)
class Flight:
    """A chunk that a member was sent."""

    member: int
    number: int
    lease: Lease
    sent_s: float
    is_alone: bool  # the member had nothing else to do
    is_copy: bool  # others have the chunk, too


@dataclass
class Latency:
    """How long a chunk and its result are under way, learnt over rounds."""

    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=N_LATENCIES))

    @property
    def median_s(self) -> float:
        """Return the median, 0 before the first message."""
        return median(self.latest_s) if self.latest_s else 0.0


@dataclass(frozen=True)
class Stretch:
    """A stretch of a member's time, for the account: with a chunk, or down."""

    begin_s: float
    end_s: float
    flight: Flight | None


class LiveRound:
    """One round. ``lane`` says for which client a member executes a chunk of an owner."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        ledger: Ledger,
        team: Team,
        scheduler: Scheduler,
        pool: Pool,
        traces: Sequence[SpeedTrace],
        lane: Callable[[int, int], int],
        liar: Callable[[int, Chunk], Lie | None],
        latency: Latency,
        limit_s: float,
    ) -> None:
        self.chunks, self.ledger, self.team, self.scheduler, self.pool = list(chunks), ledger, team, scheduler, pool
        self.traces, self.lane, self.liar, self.latency, self.limit_s = traces, lane, liar, latency, limit_s
        self.index = chunks[0].round
        self.numbers = {chunk.id: number for number, chunk in enumerate(chunks)}
        self.flights: dict[int, Flight] = {}
        self.unfit: list[set[int]] = [set() for _ in chunks]  # members whose results or requests were refused
        self.unfit_check: dict[ChunkId, set[int]] = {}
        self.counted: dict[int, Flight] = {}  # by chunk: the flight whose result counts
        self.begun: dict[int, list[Flight]] = {}  # by chunk: the flights whose parts others went on from
        self.begun_s: dict[int, float] = {}  # and the work that these were
        self.heirs: dict[int, int] = {}  # by chunk that was asked for: who goes on with it
        self.is_moved = False  # whether a chunk was placed anew
        self.n_leases = [0] * len(chunks)
        self.demands_s = [0.0] * len(chunks)
        self.n_steps = 0  # of results that count
        self.start_s = team.now_s()
        self.work: list[list[Stretch]] = [[] for _ in range(team.n_members)]
        self.down: list[list[Stretch]] = [[] for _ in range(team.n_members)]  # the last may have no end
        self.n_messages, self.n_bytes, self.n_steals, self.n_refused, self.n_gone = 0, 0.0, 0, 0, 0

    def play(self) -> RoundAccount:
        """Send chunks until each has a result, or cannot have one; StealingError if nothing happens for the limit."""
        self._deal()
        latest_s = self.start_s
        while not self._is_done():
            now_s = self._at()
            self._expire(now_s)
            self._occupy_all()
            events = self.team.wait(self._patience_s(now_s))
            self._at()
            for event in events:
                self._take(event)
            latest_s = self.team.now_s() if events else latest_s
            is_quiet = not self.flights and self.team.now_s() - latest_s >= self.limit_s
            if (is_quiet or not self._has_members()) and not self._is_over():
                self._refuse()
        return self._account()

    # Progress

    def _at(self) -> float:
        now_s = self.team.now_s()
        self.pool.at(now_s)
        return now_s

    def _deal(self) -> None:
        for place, dealt in enumerate(self.scheduler.deal(self.pool)):
            self.pool.deques[place].extend(dealt)
        for member in range(self.team.n_members):
            if not self.team.is_up(member):
                self._down(member, self.start_s)

    def _is_over(self) -> bool:
        everyone = range(self.team.n_members)
        if any(self.pool.deques) or any(flight.number not in self.counted for flight in self.flights.values()):
            return False
        missing = [self.numbers[name] for name in self.ledger.missing(self.index)]
        if any(len(self.unfit[number]) < len(everyone) for number in missing):
            return False
        return not self.ledger.open_checks(self.index)

    def _is_done(self) -> bool:
        """Give up checks that nobody who is there can go on with, and return whether nothing is left to be done."""
        stuck = [
            name
            for name in self.ledger.open_checks(self.index)
            if not any(self._can_check(k, name) for k in range(self.team.n_members))
        ]
        for name in stuck:
            self.ledger.give_up(name, self._at())  # a disputed chunk is left to its owner
        if stuck:
            self._sweep()
        return self._is_over()

    def _has_members(self) -> bool:
        return any(self.team.is_up(k) or self.team.may_come_back(k) for k in range(self.team.n_members))

    def _patience_s(self, now_s: float) -> float:
        """Return the time until a lease ends, at most the limit; while a member is idle, that until another look."""
        ends_s = [lease.deadline_s - now_s for lease in self.ledger.leases.values()]
        is_idle = any(self.team.is_up(k) and not self.team.n_sent(k) for k in range(self.team.n_members))
        looks_s = [max(LEAST_LOOK_S, LOOK * self.pool.estimates.mean_s)] if is_idle and self.flights else []
        return max(0.0, min([self.limit_s, *ends_s, *looks_s]))

    def _refuse(self) -> None:
        missing = self.ledger.missing(self.index)
        n_up = sum(self.team.is_up(k) for k in range(self.team.n_members))
        first = f", the first {tuple(missing[0])}" if missing else ""
        raise StealingError(
            f"round {self.index}: {n_up} of {self.team.n_members} executors are up and nothing happened for "
            f"{self.limit_s} s; {len(missing)} chunks have no result{first}"
        )

    # Sending

    def _occupy_all(self) -> None:
        """Send all what they may have; once more where a refusal has brought a chunk to somebody who was asked."""
        self.is_moved = True
        while self.is_moved:
            self.is_moved = False
            for member in range(self.team.n_members):
                self._occupy(member)

    def _occupy(self, member: int) -> None:
        """Send a member what it may have at a time."""
        while self.team.is_up(member) and self.team.n_sent(member) < self._depth(member):
            if not (self._send_waiting(member) or self._send_stolen(member) or self._send_check(member)):
                return

    def _depth(self, member: int) -> int:
        is_short = self.pool.chunk_s(member) < AHEAD * self.latency.median_s
        return 2 if is_short and len(self.pool.deques[member]) >= 2 else 1

    def _send_waiting(self, member: int) -> bool:
        """Send the next of its own deque."""
        waiting = self.pool.deques[member]
        while waiting:
            number = waiting.pop()
            if member in self.unfit[number]:
                self._place(number)
            elif self._send(member, number):
                return True
        return False

    def _send_stolen(self, member: int) -> bool:
        """Let a member that has nothing take what the policy says, or what waits at the server."""
        if self.team.n_sent(member) or member in self.heirs.values():
            return False
        self._at()
        steal, n_clients = self.scheduler.steal(self.pool, member), self.pool.n_clients
        if steal is not None and steal.how == "copy":
            running = self.pool.running[steal.victim]
            if running is not None and self._send(member, running.chunk, is_copy=True):
                running.is_copy = True
                return True
        if steal is not None and steal.how == "hand_over":
            self._ask_for(member, steal.victim)
            return False
        victims = [(steal.victim, steal.n_chunks)] if steal is not None and steal.n_chunks else []
        for victim, most in [*victims, (n_clients, 1)]:
            taken = self._taken(member, victim, most)
            self.n_steals += bool(taken)
            self.pool.deques[member].extendleft(reversed(taken))
            if taken and self._send_waiting(member):
                return True
        self.n_refused += bool(victims)
        return False

    def _ask_for(self, thief: int, victim: int) -> None:
        """Let a victim leave the rest of its only chunk to a thief."""
        running = self.pool.running[victim]
        had = [flight for flight in self.flights.values() if flight.member == victim]
        if running is None or len(had) != 1 or had[0].lease.is_check or thief in self.unfit[running.chunk]:
            return
        running.is_leaving = True
        self.heirs[running.chunk] = thief
        self.team.ask_for(victim, self.chunks[running.chunk].id)
        self.n_messages += 1

    def _taken(self, thief: int, victim: int, n_chunks: int) -> list[int]:
        """Take chunks from the left end of a deque, those that the thief may execute."""
        waiting, may = self.pool.deques[victim], self.pool.may[thief]
        fits = (n for n in list(waiting) if may[self.pool.owners[n]] and thief not in self.unfit[n])
        taken = [number for number, _ in zip(fits, range(n_chunks), strict=False)]
        for number in taken:
            waiting.remove(number)
        return taken

    def _send(self, member: int, number: int, is_copy: bool = False) -> bool:
        """Lease a chunk and send it; where it is refused, place it elsewhere."""
        chunk, now_s = self.chunks[number], self._at()
        executor = self.lane(member, chunk.owner)
        lease = self.ledger.lease(chunk.id, executor, now_s, is_copy)
        if isinstance(lease, Refusal):
            if not is_copy:
                self.unfit[number].add(member)
                self._sweep()
            return False
        self.n_leases[number] += not is_copy
        if self.n_leases[number] > MOST_LEASES:
            raise StealingError(f"{chunk.label} was leased {MOST_LEASES} times and has no result")
        self._fly(member, number, lease, is_copy)
        return True

    def _can_check(self, member: int, name: ChunkId) -> bool:
        is_there = self.team.is_up(member) or self.team.may_come_back(member)
        is_tried = member in self.unfit_check.get(name, ())
        return is_there and not is_tried and self.lane(member, name.owner) in self.ledger.checkers(name)

    def _send_check(self, member: int) -> bool:
        """Let a member that has nothing else repeat a chunk whose result is to be checked."""
        if self.team.n_sent(member):
            return False
        checked = {flight.lease.chunk.id for flight in self.flights.values() if flight.lease.is_check}
        for name in self.ledger.open_checks(self.index):
            if name not in checked and self._can_check(member, name):
                lease = self.ledger.lease_check(name, self.lane(member, name.owner), self._at())
                if not isinstance(lease, Refusal):
                    self._fly(member, self.numbers[name], lease)
                    return True
                self.unfit_check.setdefault(name, set()).add(member)
        return False

    def _fly(self, member: int, number: int, lease: Lease, is_copy: bool = False) -> None:
        now_s, is_alone = self._at(), not self.team.n_sent(member)
        speed = self.traces[member].speed_at(now_s - self.start_s)
        chunk = lease.chunk
        ticket = self.team.send(member, chunk, self.liar(lease.executor, chunk), speed, lease.state)
        self.flights[ticket] = Flight(member, number, lease, now_s, is_alone, is_copy)
        if self.pool.running[member] is None:
            self.pool.running[member] = Running(number, now_s, self.begun_s.get(number, 0.0), is_copy)
        self.n_messages += 1

    # Events

    def _take(self, event: Event) -> None:
        if isinstance(event, Answer):
            flight = self.flights.pop(event.ticket, None)
            if flight is not None:
                self._answered(event, flight)
        elif isinstance(event, Gone):
            self._gone(event.member)
        else:
            self._back(event.member)
        self._at()

    def _answered(self, answer: Answer, flight: Flight) -> None:
        now_s, member, number = self.team.now_s(), flight.member, flight.number
        result = answer.result
        self.n_messages += 1
        self.n_bytes += sum(array.nbytes for array in result.arrays.values())
        done = self.ledger.commit(flight.lease.id, flight.lease.executor, result, now_s)
        is_counted = not isinstance(done, Refusal) and not flight.lease.is_check
        self.work[member].append(Stretch(answer.begin_s, answer.end_s, flight))
        if flight.is_alone:
            self.latency.latest_s.append(max(0.0, answer.begin_s - flight.sent_s + now_s - answer.end_s))
        self._runs_next(member, now_s)
        heir = None if flight.lease.is_check else self.heirs.pop(number, None)
        if is_counted:
            self.n_steps += result.n_steps
            self.pool.estimates.worked(member, answer.demand_s, answer.end_s - answer.begin_s)
        if is_counted and isinstance(done, Commit) and done.next_part is not None:
            self._goes_on(number, done.next_part, answer.demand_s, flight, heir)
        elif is_counted:
            demand_s = answer.demand_s + self.begun_s.get(number, 0.0)
            self.counted[number], self.demands_s[number] = flight, demand_s
            self.pool.estimates.finished(demand_s)
            for other in self.flights.values():
                if other.number == number and not other.lease.is_check:
                    self.team.cancel(other.member, self.chunks[number].id)
        elif flight.lease.is_check:
            self.unfit_check.setdefault(flight.lease.chunk.id, set()).add(member)
            self._shut_out()
            self._sweep()
        else:
            if not self.ledger.may_lease(flight.lease.chunk.id, flight.lease.executor):
                self.unfit[number].add(member)
            self._sweep()

    def _goes_on(self, number: int, rest: Chunk, demand_s: float, flight: Flight, heir: int | None) -> None:
        """Let the rest of a chunk wait at who asked for it, if that is there, or else at its owner."""
        self.chunks[number], self.numbers[rest.id], self.n_leases[number] = rest, number, 0
        self.begun.setdefault(number, []).append(flight)
        self.begun_s[number] = self.begun_s.get(number, 0.0) + demand_s
        if heir is None or not self.pool.is_up[heir] or heir in self.unfit[number]:
            self._place(number)
            return
        self.n_steals += 1
        self.pool.deques[heir].append(number)

    def _runs_next(self, member: int, now_s: float) -> None:
        left = [flight for flight in self.flights.values() if flight.member == member]
        self.pool.running[member] = None
        if left:
            number = left[0].number
            self.pool.running[member] = Running(number, now_s, self.begun_s.get(number, 0.0), left[0].is_copy)

    def _gone(self, member: int) -> None:
        """Take back what a member had, and let others have it."""
        now_s = self.team.now_s()
        self.n_gone += 1
        for executor in self._hosted(member):
            self.ledger.crash(executor, now_s)
        lost = {flight.number for flight in self.flights.values() if flight.member == member}
        self.heirs = {n: heir for n, heir in self.heirs.items() if n not in lost and heir != member}
        self.flights = {ticket: flight for ticket, flight in self.flights.items() if flight.member != member}
        self.pool.running[member] = None
        self._down(member, now_s)
        self._sweep()

    def _down(self, member: int, now_s: float) -> None:
        self.pool.is_up[member] = False
        self.down[member].append(Stretch(now_s, math.inf, None))
        self.pool.deques[self.pool.n_clients].extend(self.pool.deques[member])
        self.pool.deques[member].clear()

    def _back(self, member: int) -> None:
        """Give a member that is there again those of its chunks that still wait at the server."""
        if self.down[member] and math.isinf(self.down[member][-1].end_s):
            self.down[member][-1] = replace(self.down[member][-1], end_s=self.team.now_s())
        self.pool.is_up[member] = True
        waiting = self.pool.deques[self.pool.n_clients]
        own = [number for number in waiting if self.pool.owners[number] == member]
        for number in own:
            waiting.remove(number)
        self.pool.deques[member].extend(own)

    def _expire(self, now_s: float) -> None:
        """End members that have had a chunk for longer than its lease."""
        late = {flight.member for flight in self.flights.values() if flight.lease.deadline_s <= now_s}
        if late and self.ledger.expire(now_s):
            log.warning("round %d: executors %s do not answer and are ended", self.index, sorted(late))
        for member in late:
            if self.team.is_up(member):
                self.team.kill(member)

    def _sweep(self) -> None:
        """Place each chunk that has no result, no executor and no place."""
        waiting = {number for place in self.pool.deques for number in place}
        for name in self.ledger.available(self.index):
            number = self.numbers[name]
            self.counted.pop(number, None)
            if name.part == 0 and number in self.begun:  # all of its parts have been withdrawn
                del self.begun[number], self.begun_s[number]
            self.chunks[number] = self.ledger.chunk(name)
            if number not in waiting:
                self._place(number)

    def _place(self, number: int) -> None:
        """Let a chunk wait at its owner, or at the server; nowhere where nobody may execute it."""
        owner = self.pool.owners[number]
        if len(self.unfit[number]) == self.team.n_members:
            return
        is_home = self.pool.is_up[owner] and owner not in self.unfit[number]
        self.pool.deques[owner if is_home else self.pool.n_clients].append(number)
        self.is_moved = True

    def _shut_out(self) -> None:
        """Let those in quarantine have their own chunks only."""
        for member in range(self.team.n_members):
            if self.ledger.quarantined.issuperset(self._hosted(member)):
                self.pool.may[member] = [owner == member for owner in range(self.team.n_members)]
                self.pool.all_may = False

    def _hosted(self, member: int) -> list[int]:
        """Return the clients that a member executes chunks for."""
        return [k for k in range(self.ledger.n_clients) if self.lane(member, k) == k]

    # Account

    def _account(self) -> RoundAccount:
        end_s = max([self.team.now_s(), *(work.end_s for row in self.work for work in row)])
        lines = [self._timeline(member, end_s) for member in range(self.team.n_members)]
        demands_s, owners = self.demands_s, self.pool.owners
        bound_s = trace_bound_s(demands_s, self.traces)
        static_s = float(static_ends_s(demands_s, owners, self.traces).max())
        traffic = Traffic(self.n_messages, self.n_bytes, self.n_steals, self.n_refused)
        return RoundAccount(self.start_s, end_s, lines, bound_s, traffic, static_s)

    def _timeline(self, member: int, end_s: float) -> Timeline:
        """Return a member's intervals. Clocks are aligned up to an error that may let neighbours overlap: cut off."""
        line = Timeline(member, self.start_s)
        for entry in sorted([*self.work[member], *self.down[member]], key=lambda entry: entry.begin_s):
            if entry.flight is None:
                line.fill(Kind.WAITING, entry.begin_s)
                line.fill(Kind.CRASHED, min(entry.end_s, end_s))
                continue
            begin_s, until_s = max(entry.begin_s, line.end_s), max(entry.end_s, line.end_s)
            line.fill(Kind.WAITING, min(entry.flight.sent_s, begin_s))
            line.fill(Kind.TRANSFER, begin_s)
            owner = self.pool.owners[entry.flight.number]
            number = entry.flight.number
            kept = [self.counted.get(number), *self.begun.get(number, ())]
            is_wasted = not any(entry.flight is flight for flight in kept)
            line.add(Kind.OWN if owner == member else Kind.STOLEN, begin_s, until_s, owner, is_wasted)
        line.fill(Kind.BARRIER, end_s)
        return line
