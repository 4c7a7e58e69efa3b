"""Rounds in real time, with members that are simulated: any interleaving, deaths, lies, and no round without an end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_rllib.federated.collectors.live import MOST_LEASES, Latency, LiveRound
from edge_rllib.federated.collectors.team import Answer, Back, Event, Gone
from edge_rllib.federated.stealing.accounting import Kind
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult, result_of
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.events import Reason
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import (
    CentralQueue,
    Guided,
    Pool,
    RandomVictim,
    Scheduler,
    Static,
    StealHalf,
)
from edge_rllib.federated.stealing.records import LedgerRules
from edge_rllib.federated.stealing.speeds import SpeedTrace

POLICIES = [Static(), CentralQueue(2), Guided(), RandomVictim(), StealHalf(), StealHalf(copy=True)]
LATENCY_S = 0.01
LATE_S = 1e9  # when a member answers that hangs


class SimulatedTeam:
    """Members in simulated time; a step of a chunk takes 0.1 s at speed 1."""

    def __init__(self, speeds: Sequence[float], execute: Any, seed: int = 0, restart_s: float = 3.0) -> None:
        self.n_members, self.execute, self.restart_s = len(speeds), execute, restart_s
        self.draws = np.random.default_rng(seed)
        self.time_s = 0.0
        self.free_s = [0.0] * len(speeds)
        self.up = [True] * len(speeds)
        self.is_lost = [False] * len(speeds)
        self.coming: list[tuple[float, int, Event]] = []
        self.deaths: list[tuple[float, int]] = []
        self.n_tickets = 0
        self.hangs: set[int] = set()
        self.lies: set[int] = set()
        self.is_numeric = True
        self.cancelled: list[ChunkId] = []
        self.sent: dict[int, tuple[Chunk, bytes | None]] = {}
        self.n_asked = 0

    def now_s(self) -> float:
        return self.time_s

    def is_up(self, member: int) -> bool:
        return self.up[member]

    def may_come_back(self, member: int) -> bool:
        return not self.up[member] and not self.is_lost[member]

    def n_sent(self, member: int) -> int:
        return sum(isinstance(event, Answer) and event.member == member for _, _, event in self.coming)

    def begin(self, orders: Any) -> None:
        raise NotImplementedError

    def send(self, member: int, chunk: Chunk, lie: Any, speed: float, state: bytes | None) -> int:
        self.n_tickets += 1
        result = self.played(chunk, state, chunk.n_parts)
        self.sent[self.n_tickets] = (chunk, state)
        if member in self.lies and member != chunk.owner:
            forged = {"sum": np.array([1e3 + member])}
            result = result_of(chunk, result.n_episodes, result.n_steps, forged, result.end, result.n_parts)
        if not self.is_numeric:
            result = result_of(chunk, result.n_episodes, result.n_steps, {"sum": np.array([np.nan])})
        demand_s = 0.1 * result.n_steps
        begin_s = max(self.time_s + 0.5 * LATENCY_S, self.free_s[member])
        end_s = LATE_S if member in self.hangs else begin_s + demand_s / speed * float(self.draws.uniform(0.8, 1.2))
        self.free_s[member] = end_s
        answer = Answer(member, self.n_tickets, result, begin_s, end_s, demand_s)
        self.coming.append((end_s + 0.5 * LATENCY_S, self.n_tickets, answer))
        return self.n_tickets

    def played(self, chunk: Chunk, state: bytes | None, n_parts: int) -> ChunkResult:
        """Return what comes of so many parts of a chunk; of all for 0."""
        if chunk.part_steps is None:
            found: ChunkResult = self.execute(chunk, None)
            return found
        part, steps, number = chunk, 0, 0
        while True:
            result = self.execute(part, state)
            steps, number = steps + result.n_steps, number + 1
            if result.end is None or number == n_parts:
                return result_of(chunk, result.n_episodes, steps, result.arrays, result.end, number)
            part, state = part.next_part(result.end), result.end

    def ask_for(self, member: int, chunk: ChunkId) -> None:
        for place, (_, ticket, event) in enumerate(self.coming):
            if isinstance(event, Answer) and (event.member, event.result.id) == (member, chunk):
                sent, state = self.sent[ticket]
                step_s = (event.end_s - event.begin_s) / event.result.n_steps
                n_done = max(1, math.ceil((self.time_s - event.begin_s) / (step_s * (sent.part_steps or 1))))
                result = self.played(sent, state, n_done)
                end_s = event.begin_s + step_s * result.n_steps
                answer = Answer(member, ticket, result, event.begin_s, end_s, 0.1 * result.n_steps)
                self.coming[place] = (end_s + 0.5 * LATENCY_S, ticket, answer)
                self.free_s[member] = end_s
                self.n_asked += 1

    def cancel(self, member: int, chunk: ChunkId) -> None:
        self.cancelled.append(chunk)

    def kill(self, member: int) -> None:
        self.coming = [entry for entry in self.coming if entry[2].member != member]
        self.n_tickets += 1
        self.up[member], self.free_s[member] = False, 0.0
        self.coming.append((self.time_s, -1, Gone(member)))
        self.hangs.discard(member)
        if not self.is_lost[member]:
            self.coming.append((self.time_s + self.restart_s, self.n_tickets, Back(member)))

    def wait(self, limit_s: float) -> list[Event]:
        self.coming.sort(key=lambda entry: entry[:2])
        next_s = min([self.time_s + limit_s, *(time_s for time_s, _, _ in self.coming[:1])])
        due = [(time_s, member) for time_s, member in self.deaths if time_s <= next_s]
        if due:
            self.deaths = [entry for entry in self.deaths if entry not in due]
            self.time_s = max(self.time_s, due[0][0])
            for _, member in due:
                self.kill(member)
            return self.wait(0.0)
        self.time_s = max(self.time_s, next_s)
        events = [event for time_s, _, event in self.coming if time_s <= self.time_s]
        self.coming = [entry for entry in self.coming if entry[0] > self.time_s]
        for event in events:
            if isinstance(event, Back):
                self.up[event.member] = True
        return events

    def stop(self) -> None:
        raise NotImplementedError


Make = Callable[..., LiveRound]


@pytest.fixture
def make(execute: Any) -> Make:
    return maker(execute)


def maker(execute: Any) -> Make:
    """Return a function that makes a round of four clients with chunks of two episodes of up to 20 steps."""

    def build(
        policy: Scheduler,
        seed: int = 0,
        n_chunks: int = 6,
        speeds: Sequence[float] = (0.5, 1.0, 1.0, 2.0),
        n_clients: int = 4,
        limit_s: float = 100.0,
        may_execute: Any = None,
        beliefs: Sequence[float] | None = None,
        part_steps: int | None = None,
        **rules: Any,
    ) -> LiveRound:
        n_episodes, horizon = (2, 20) if part_steps is None else (1, 40)
        chunks = [
            Chunk("run", 3, owner, index, 3, 7, horizon, n_episodes=n_episodes, part_steps=part_steps)
            for owner in range(n_clients)
            for index in range(n_chunks)
        ]
        ledger = Ledger(n_clients, LedgerRules(**{"lease_s": 50.0, "attribution": "owner", **rules}), may_execute)
        ledger.open_round(chunks)
        n = len(speeds)
        network, estimates = uniform_network(n, LATENCY_S), Estimates(n, 2.0, beliefs)
        part_s = 0.1 * part_steps if part_steps else math.inf
        owners, draws = [chunk.owner % n for chunk in chunks], np.random.default_rng(seed)
        pool = Pool(owners, estimates, network, may_execute, draws, part_s)

        def lane(member: int, owner: int) -> int:
            found = member + n * (owner // n)
            return found if found < n_clients else member

        team = SimulatedTeam(speeds, execute, seed)
        traces = [SpeedTrace([speed]) for speed in speeds]
        return LiveRound(chunks, ledger, team, policy, pool, traces, lane, lambda *_: None, Latency(), limit_s)

    return build


def sums(live: LiveRound) -> dict[int, list[float]]:
    """Return what counts for each owner, in order."""
    found = live.ledger.contributions(3)
    return {k: [float(result.arrays["sum"][0]) for result in found[k].results] for k in found}


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_owners_get_the_same_whatever_the_interleaving(make: Make, policy: Scheduler) -> None:
    expected = make(Static())
    expected.play()

    for seed in range(5):
        live = make(policy, seed)
        account = live.play()

        assert sums(live) == sums(expected)
        assert account.efficiency <= 1.25  # the bound is for nominal speeds; chunks take 0.8 to 1.2 of theirs


def test_stealing_is_faster_than_each_for_itself(make: Make) -> None:
    static, stealing = (make(policy, n_chunks=20) for policy in (Static(), StealHalf()))

    slow, fast = static.play(), stealing.play()

    # speeds .5, 1, 1, 2 sum to 4.5: the slowest would take 2.25 times as long as all together
    assert slow.makespan_s / slow.bound_s == pytest.approx(2.25, rel=0.2)
    assert fast.makespan_s / fast.bound_s < 1.15
    assert fast.idle_frac < 0.08
    assert fast.static_s == pytest.approx(slow.makespan_s, rel=0.2)
    # stolen are 1/4 - .5/4.5 of the work of the slowest and 1/4 - 1/4.5 of that of two others, at double speed
    assert fast.stolen_frac == pytest.approx((0.139 + 2 * 0.028) / 2.0 / (4.0 / 4.5), rel=0.15)


def test_second_chunk_is_sent_where_waiting_costs_more(make: Make) -> None:
    live = make(Static(), n_chunks=6)
    live.latency.latest_s.extend([1.0] * 64)  # a chunk takes some 2 s, fewer than 50 latencies

    live.play()

    n_prefetched = sum(not work.flight.is_alone for row in live.work for work in row if work.flight is not None)
    assert n_prefetched == 4 * 4  # behind each but the last: one must be left to be stolen
    assert all(not line.spent_s(Kind.CRASHED) for line in live._account().timelines)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_killed_member_loses_nothing_and_comes_back(make: Make, policy: Scheduler) -> None:
    expected, live = make(Static()), make(policy)
    expected.play()
    live.team.deaths = [(1.0, 3), (2.5, 0), (2.5, 1)]

    account = live.play()

    assert sums(live) == sums(expected)
    assert live.n_gone == 3
    assert live.ledger.events.counts[Reason.CRASHED] >= 3
    assert account.spent_s(Kind.CRASHED) > 5.0  # three times 3 s, unless the round ends before
    assert any(work.flight.sent_s > 4.0 for work in live.work[3] if work.flight)  # it has rejoined


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6))
@example(seed=2107)
def test_no_disturbance_changes_what_counts_or_keeps_a_round_from_its_end(execute: Any, seed: int) -> None:
    draws = np.random.default_rng(seed)
    make = maker(execute)
    policy = POLICIES[int(draws.integers(len(POLICIES)))]
    speeds = tuple(draws.uniform(0.2, 3.0, 4))
    part_steps = (None, 4)[seed % 2]
    expected = make(Static(), part_steps=part_steps)
    expected.play()
    live = make(policy, seed, speeds=speeds, lease_s=30.0, check_prob=draws.random(), part_steps=part_steps)
    live.team.deaths = sorted((float(draws.exponential(3.0)), int(k)) for k in draws.integers(0, 4, 5))
    live.team.hangs = {int(draws.integers(4))}
    live.team.lies = {int(draws.integers(4))} if live.ledger.rules.check_prob > 0.9 else set()

    account = live.play()

    if not live.team.lies:
        assert sums(live) == sums(expected)
    assert live.ledger.is_complete(3)
    assert sum(len(row) for row in sums(live).values()) == 24
    assert account.end_s < 500.0


def test_round_goes_on_without_a_member_that_stays_away(make: Make) -> None:
    live = make(Static())
    live.team.deaths, live.team.is_lost = [(0.5, 2)], [False, False, True, False]

    live.play()

    assert not live.ledger.missing(3)
    assert not live.work[2]


def test_hanging_member_is_ended_when_its_lease_is(make: Make) -> None:
    live = make(Static(), lease_s=10.0)
    live.team.hangs = {1}

    account = live.play()

    assert not live.ledger.missing(3)
    assert live.ledger.events.counts[Reason.EXPIRED] == 1
    assert account.end_s < 60.0


def test_round_in_which_all_members_die_is_an_error_and_no_hang(make: Make) -> None:
    live = make(StealHalf())
    live.team.deaths, live.team.is_lost = [(0.5, k) for k in range(4)], [True] * 4

    with pytest.raises(StealingError, match=r"round 3: 0 of 4 executors are up and .* 24 chunks have no result"):
        live.play()


def test_member_that_never_comes_back_ends_the_round_after_the_limit(make: Make) -> None:
    live = make(StealHalf(), limit_s=20.0)
    live.team.deaths, live.team.restart_s = [(0.5, k) for k in range(4)], LATE_S

    with pytest.raises(StealingError, match=r"nothing happened for 20\.0 s"):
        live.play()

    assert live.team.time_s == pytest.approx(20.5)


def test_chunk_that_nobody_can_execute_is_leased_a_few_times_only(make: Make) -> None:
    live = make(Static(), n_chunks=1, speeds=(1.0,), n_clients=1, lease_s=0.1)
    live.team.execute = lambda chunk, _: result_of(chunk, 2, 40, {"sum": np.ones(1)})  # 4 s, leases of 0.1 to 3.2 s

    with pytest.raises(StealingError, match=f"was leased {MOST_LEASES} times and has no result"):
        live.play()


def test_chunks_that_are_no_numbers_are_left_out_and_counted(make: Make) -> None:
    live = make(StealHalf(), n_chunks=1)
    live.team.is_numeric = False

    account = live.play()

    assert len(live.ledger.missing(3)) == 4
    assert live.ledger.events.counts[Reason.NOT_FINITE] == 16  # each chunk by each member once
    assert account.useful_s == 0.0


def test_thief_that_forges_is_caught_and_its_work_done_again(make: Make) -> None:
    expected, live = make(Static(), n_chunks=10), make(StealHalf(), n_chunks=10, check_prob=1.0)
    expected.play()
    live.team.lies = {3}

    account = live.play()

    assert live.ledger.quarantined == {3}
    assert sums(live) == sums(expected)
    assert live.ledger.events.counts[Reason.WITHDRAWN] >= 1
    assert account.wasted_s > 0.0  # checks, and what was withdrawn


def test_whitelist_keeps_chunks_at_home(make: Make) -> None:
    own = [[k == owner for owner in range(4)] for k in range(4)]

    account = make(StealHalf(), may_execute=own).play()

    assert account.stolen_frac == 0.0


def test_two_members_for_five_clients_credit_their_own(make: Make) -> None:
    live = make(StealHalf(), n_clients=5, speeds=(1.0, 3.0), attribution="executor", n_chunks=8)

    account = live.play()

    # clients 0, 2, 4 are at home at the first member, 1 and 3 at the second, which steals
    found = live.ledger.contributions(3)
    assert sum(len(found[k].chunks) for k in (1, 3)) > 16 + 4
    assert sum(len(each.chunks) for each in found.values()) == 40
    assert account.stolen_frac > 0.1


def test_tail_of_a_round_is_shorter_where_running_chunks_are_handed_over(make: Make) -> None:
    # the slowest member, at a tenth of the speed of the others, has one chunk of up to 4 s and no other to give away
    speeds = (0.1, 1.0, 1.0, 1.0)
    common = {"n_chunks": 1, "speeds": speeds, "beliefs": speeds, "part_steps": 4}
    kept, handed = make(StealHalf(hand_over=False), **common), make(StealHalf(), **common)

    slow, fast = kept.play(), handed.play()

    assert sums(handed) == sums(kept)
    assert fast.makespan_s < 0.4 * slow.makespan_s
    assert handed.team.n_asked >= 1
    assert fast.wasted_s == 0.0  # what the slow one has done counts
    first, rest = handed.begun[0][0], handed.counted[0]
    assert (first.member, rest.lease.chunk.part) == (0, first.lease.chunk.part + 1)
    assert handed.demands_s[0] == pytest.approx(kept.demands_s[0])
    done_s = sum(work.end_s - work.begin_s for work in handed.work[0])
    assert fast.timelines[0].spent_s(Kind.OWN) == pytest.approx(done_s)


def test_rest_of_a_chunk_whose_heir_dies_is_done_by_others(make: Make) -> None:
    speeds = (0.1, 1.0, 1.0, 1.0)
    common = {"n_chunks": 1, "speeds": speeds, "beliefs": speeds, "part_steps": 4}
    expected, live = make(Static(), **common), make(StealHalf(), **common)
    expected.play()
    asked: list[int] = []
    ask_for = live.team.ask_for

    def dying(member: int, chunk: ChunkId) -> None:
        ask_for(member, chunk)
        if not asked:
            asked.append(live.heirs[0])
            live.team.deaths = [(live.team.time_s + 0.01, asked[0])]

    live.team.ask_for = dying  # type: ignore[method-assign]

    live.play()

    assert len(asked) == 1
    assert live.n_gone == 1
    assert sums(live) == sums(expected)


def test_late_copy_is_told_that_it_is_not_needed(make: Make) -> None:
    speeds = (0.05, 1.0, 1.0, 1.0)
    live = make(StealHalf(copy=True, hand_over=False), n_chunks=1, speeds=speeds, beliefs=speeds)

    account = live.play()

    assert live.team.cancelled == [ChunkId(3, 0, 0)]
    assert account.makespan_s < 0.5 * account.static_s


@pytest.mark.parametrize("seed", range(4))
def test_copy_is_not_copied_again(make: Make, seed: int) -> None:
    # the slowest member's chunk pays for the second to copy, and what that one has would pay for the fastest
    speeds = (0.05, 0.5, 1.0, 2.0)
    live = make(StealHalf(copy=True, hand_over=False), seed, n_chunks=3, speeds=speeds, beliefs=speeds)

    live.play()

    sent = Counter(work.flight.number for row in live.work for work in row if work.flight)
    sent.update(flight.number for flight in live.flights.values())
    assert sorted(sent.values()) == [1] * 11 + [2]
