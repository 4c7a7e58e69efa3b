"""Policies: how chunks are dealt out and who asks whom for how many, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_rllib.config.registry import names, resolve
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import (
    CentralQueue,
    ChunkPlan,
    ChunkSizes,
    Guided,
    Pool,
    Proportional,
    RandomVictim,
    Running,
    Scheduler,
    Static,
    Steal,
    StealHalf,
)
from edge_rllib.federated.stealing.speeds import SpeedProfile


def pool(owners: list[int], speeds: list[float], delay_s: float = 0.0, **settings: Any) -> Pool:
    """Return a pool of chunks of 1 s each at speed 1, not yet dealt."""
    n = len(speeds)
    may = settings.pop("may_execute", None)
    estimates = Estimates(n, 1.0, speeds)
    return Pool(owners, estimates, uniform_network(n, delay_s), may, np.random.default_rng(0), **settings)


def dealt(scheduler: Scheduler, given: Pool) -> Pool:
    for k, chunks in enumerate(scheduler.deal(given)):
        given.deques[k].extend(chunks)
    return given


def test_static_deals_each_chunk_to_its_owner() -> None:
    assert Static().deal(pool([0, 1, 0], [1.0, 1.0])) == [[0, 2], [1], []]
    assert Static().steal(pool([0, 1, 0], [1.0, 1.0]), 0) is None


def test_proportional_moves_as_few_chunks_as_it_must() -> None:
    # 8 chunks, speeds 1 and 3: 2 and 6; the slow one keeps its first two
    assert Proportional().deal(pool([0] * 4 + [1] * 4, [1.0, 3.0])) == [[0, 1], [4, 5, 6, 7, 3, 2], []]
    # shares of 3 chunks at speeds 1, 1: 1.5 each; the first client gets the odd one
    assert [len(chunks) for chunks in Proportional().deal(pool([0, 1, 1], [1.0, 1.0]))] == [2, 1, 0]


def test_proportional_moves_only_to_who_may_execute() -> None:
    may = [[True, False], [False, True]]

    assert Proportional().deal(pool([0, 0, 1, 1], [1.0, 9.0], may_execute=may)) == [[0, 1], [2, 3], []]


def test_central_queue_and_guided_ask_the_server() -> None:
    owners = [0, 0, 0, 0, 1, 1, 1, 1]
    queue, guided = dealt(CentralQueue(3), pool(owners, [1.0, 1.0])), dealt(Guided(), pool(owners, [1.0, 1.0]))

    assert list(queue.deques[2]) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert CentralQueue(3).steal(queue, 0) == Steal(2, 3)
    assert Guided().steal(guided, 0) == Steal(2, 4)  # half of 8
    guided.asked_for[2] = 4
    assert Guided().steal(guided, 1) == Steal(2, 2)  # half of the 4 that are left
    guided.asked_for[2] = 8
    assert Guided().steal(guided, 1) is None


def test_random_victim_is_one_with_waiting_chunks() -> None:
    given = dealt(RandomVictim(), pool([0] * 5 + [2] * 3, [1.0, 1.0, 1.0]))

    found = [RandomVictim().steal(given, 1) for _ in range(50)]

    assert {(steal.victim, steal.n_chunks) for steal in found if steal} == {(0, 2), (2, 1)}
    assert RandomVictim("one").steal(given, 0) == Steal(2, 1)


def test_half_is_taken_from_the_longest_time_left() -> None:
    # client 0 has 6 chunks at speed 3, 2 s; client 1 has 4 at speed 1, 4 s; client 2 has none
    given = dealt(StealHalf(), pool([0] * 6 + [1] * 4, [3.0, 1.0, 1.0]))

    assert StealHalf().steal(given, 2) == Steal(1, 2)
    assert StealHalf("one").steal(given, 2) == Steal(1, 1)
    # both end together: 4 s over 1 s + 1 s a chunk
    assert StealHalf("balanced").steal(given, 2) == Steal(1, 2)


def test_balanced_takes_more_where_the_thief_is_faster() -> None:
    # 8 s at the victim; each chunk costs the thief 1/3 s and saves the victim 1 s: 8 / (4 / 3) = 6
    given = dealt(StealHalf(), pool([0] * 8, [1.0, 3.0]))

    assert StealHalf("balanced").steal(given, 1) == Steal(0, 6)
    assert StealHalf("half").steal(given, 1) == Steal(0, 4)


@pytest.mark.parametrize(("delay_s", "pays"), [(0.4, True), (0.5, False)])
def test_theft_is_refused_where_it_does_not_pay(delay_s: float, pays: bool) -> None:
    # the victim needs 2 s for two chunks; the thief a round trip and 1 s for one: 0.8 + 1 < 2, but not 1 + 1
    given = dealt(StealHalf(), pool([0, 0], [1.0, 1.0], delay_s))

    assert (StealHalf().steal(given, 1) == Steal(0, 1)) is pays


def test_slow_thief_takes_no_chunk_that_it_would_end_last() -> None:
    # the thief needs 4 s for a chunk, the victim 3 s for all
    given = dealt(StealHalf(), pool([0, 0, 0], [1.0, 0.25]))

    assert StealHalf().steal(given, 1) is None


def test_only_chunks_of_whitelisted_owners_are_taken() -> None:
    may = [[True, True, True], [True, True, True], [False, True, True]]
    given = pool([0] * 8 + [1] * 4, [1.0, 1.0, 1.0], may_execute=may)

    assert StealHalf().steal(dealt(StealHalf(), given), 2) == Steal(1, 2)


def test_running_episode_of_a_slow_client_is_handed_over_or_copied() -> None:
    given = pool([0, 1], [0.25, 1.0], part_s=0.1)
    given.running[0] = Running(0, 0.0)

    # nothing is known of longer chunks: 1 s is left, 4 s at the victim and 1 s at the thief
    assert StealHalf().steal(given, 1) == Steal(0, 0, "hand_over")
    assert StealHalf(hand_over=False, copy=True).steal(given, 1) == Steal(0, 0, "copy")
    assert StealHalf(hand_over=False).steal(given, 1) is None
    given.running[0].is_leaving = True
    assert StealHalf().steal(given, 1) is None


def test_estimates_follow_what_was_executed() -> None:
    estimates = Estimates(2, 1.0)
    for demand_s in (1.0, 2.0, 3.0):
        estimates.finished(demand_s)
    estimates.worked(0, 6.0, 24.0)

    assert estimates.mean_s == pytest.approx(2.0)
    # one average chunk at the prior's speed 1, and 6 s of work in 24 s: 8 / 26
    assert estimates.speed(0) == pytest.approx(8 / 26)
    assert estimates.speed(1) == 1.0
    assert estimates.rest_s(1.5) == pytest.approx(1.0)  # of 2 and 3, on average, 2.5
    assert estimates.rest_s(5.0) == pytest.approx(0.2)  # longer than all before: a tenth of the mean
    estimates.end_round()
    assert estimates.prior_speeds == pytest.approx([0.5 + 0.5 * 0.25, 1.0])
    assert Estimates.from_state(estimates.state()).state() == estimates.state()


def test_chunks_are_long_against_messages() -> None:
    sizes = ChunkSizes(least_s=0.02, most_s=0.2, latencies=10.0)

    # an episode takes 0.1 s, as long as is wanted; a long one of 500 steps 0.25 s: parts of 0.02 s, 40 steps
    assert sizes.plan(0.0005, 200.0, 0.001, 50, 500) == ChunkPlan(1, 40)
    # 1.2 ms an episode, 20 ms wanted: 17 episodes
    assert sizes.plan(6e-6, 200.0, 0.001, 50, 500) == ChunkPlan(17, None)
    # ten round trips of 5 ms are 50 ms: 42 episodes, but there are 4
    assert sizes.plan(6e-6, 200.0, 0.005, 4, 500) == ChunkPlan(4, None)


def test_slow_messages_leave_something_to_be_stolen() -> None:
    sizes = ChunkSizes(least_s=0.02, most_s=0.2, latencies=10.0)

    # an episode takes 0.1 s; ten latencies of 1.2 s would be 120 episodes. A quarter of 50 is 13, longer than a latency
    assert sizes.plan(0.002, 50.0, 1.2, 50, 500).n_episodes == 13
    # a quarter of 20 is 5, shorter than a latency of 12 episodes
    assert sizes.plan(0.002, 50.0, 1.2, 20, 500).n_episodes == 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CentralQueue(0), "n_chunks = 0"),
        (lambda: Guided(0.0), "share = 0"),
        (lambda: pool([0, 2], [1.0, 1.0]), "clients \\[2\\]"),
        (lambda: pool([0], [1.0, -1.0]), "positive numbers"),
        (lambda: pool([0], [1.0, 1.0], may_execute=[[True]]), "2 rows of 2"),
        (lambda: pool([0], [1.0, 1.0], may_execute=[[True, True], [True, False]]), "clients \\[1\\]"),
        (lambda: Estimates(2).worked(2, 1.0, 1.0), "no such client"),
        (lambda: Estimates(2, -1.0), "expected_s = -1.0"),
        (lambda: ChunkSizes(least_s=1.0, most_s=0.5), "least_s"),
        (lambda: ChunkSizes().plan(-1.0, 200.0, 0.0, 5, 500), "step_s = -1.0"),
    ],
)
def test_impossible_settings_are_refused(call: Any, message: str) -> None:
    with pytest.raises(StealingError, match=message):
        call()


def test_registered_names_can_be_built_without_settings() -> None:
    schedulers = {name: resolve("scheduler", name)() for name in names("scheduler")}
    profiles = {name: resolve("speed_profile", name)() for name in names("speed_profile")}

    assert len(schedulers) == 6
    assert all(isinstance(scheduler, Scheduler) for scheduler in schedulers.values())
    assert len(profiles) == 7
    assert all(isinstance(profile, SpeedProfile) for profile in profiles.values())
