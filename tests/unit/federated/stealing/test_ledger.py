"""Every chunk counts exactly once: leases, refusals, checks, quarantine, attribution and saved states."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult, result_of
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.events import Reason
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.records import Commit, Lease, LedgerRules, Refusal

Execute = Callable[[Chunk, bytes | None], ChunkResult]


def chunks(counts: list[int], index: int = 0, **settings: Any) -> list[Chunk]:
    """Return so many chunks of one episode for each owner."""
    given = {"n_episodes": 1, "horizon": 20, **settings}
    return [
        Chunk(run_id="r", round=index, owner=owner, index=i, version=4, run_seed=9, **given)
        for owner, count in enumerate(counts)
        for i in range(count)
    ]


def opened(counts: list[int], may_execute: Any = None, seed: int = 0, **rules: Any) -> Ledger:
    ledger = Ledger(len(counts), LedgerRules(**{"lease_s": 10.0, **rules}), may_execute, seed)
    ledger.open_round(chunks(counts))
    return ledger


def leased(ledger: Ledger, owner: int, number: int, executor: int, now_s: float = 0.0, **how: Any) -> Lease:
    lease = ledger.lease(ChunkId(0, owner, number), executor, now_s, **how)
    assert isinstance(lease, Lease)
    return lease


def done(ledger: Ledger, execute: Execute, owner: int, number: int, executor: int, now_s: float = 0.0) -> ChunkResult:
    """Lease a chunk and commit its right result."""
    lease = leased(ledger, owner, number, executor, now_s)
    result = execute(lease.chunk, lease.state)
    assert isinstance(ledger.commit(lease.id, executor, result, now_s), Commit)
    return result


def reason(answer: object) -> Reason | None:
    return answer.reason if isinstance(answer, Refusal) else None


def poisoned(result: ChunkResult, chunk: Chunk) -> ChunkResult:
    """Return other numbers with the digest that belongs to them."""
    arrays = {name: -100.0 * array for name, array in result.arrays.items()}
    return result_of(chunk, result.n_episodes, result.n_steps, arrays, result.end)


def test_two_clients_and_three_chunks_by_executor_and_by_owner(execute: Execute) -> None:
    for attribution, expected in (
        ("executor", {0: [(0, 0)], 1: [(0, 1), (1, 0)]}),
        ("owner", {0: [(0, 0), (0, 1)], 1: [(1, 0)]}),
    ):
        ledger = opened([2, 1], attribution=attribution)
        for owner, number, executor in ((1, 0, 1), (0, 1, 1), (0, 0, 0)):
            done(ledger, execute, owner, number, executor)

        assert ledger.is_complete(0)
        found = ledger.contributions(0)
        assert {k: [chunk[1:3] for chunk in entry.chunks] for k, entry in found.items()} == expected
        assert [found[k].size for k in (0, 1)] == [len(expected[0]), len(expected[1])]


def test_weights_are_clipped_to_a_multiple_of_the_median(execute: Execute) -> None:
    ledger = opened([2, 2, 2], w_max=1.1)
    for owner in range(3):
        for number in range(2):
            done(ledger, execute, owner, number, executor=0 if owner < 2 else 2)

    # 4, 0 and 2 chunks: the median of those that have any is 3, the most 3.3
    assert [entry.weight for entry in ledger.contributions(0).values()] == pytest.approx([3.3, 0.0, 2.0])
    assert [entry.size for entry in ledger.contributions(0).values()] == [4, 0, 2]


def test_round_says_what_is_missing(execute: Execute) -> None:
    ledger = opened([1, 2])
    done(ledger, execute, 1, 0, 1)
    leased(ledger, 1, 1, 0)

    assert ledger.missing(0) == [ChunkId(0, 0, 0), ChunkId(0, 1, 1)]
    assert ledger.available(0) == [ChunkId(0, 0, 0)]
    with pytest.raises(StealingError, match=r"round 0: 2 chunks have no result"):
        ledger.contributions(0)
    assert [entry.size for entry in ledger.contributions(0, allow_missing=True).values()] == [0, 1]


def test_second_result_of_a_lease_is_a_replay(execute: Execute, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opened([1, 0])
    lease = leased(ledger, 0, 0, 1)
    result = execute(lease.chunk, None)
    ledger.commit(lease.id, 1, result, 1.0)

    with caplog.at_level(logging.WARNING):
        answer = ledger.commit(lease.id, 1, result, 2.0)

    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.REPLAYED
    assert answer.text == "client 1 and chunk 0 of client 0 in round 0: lease 0 does not run"
    assert "replayed: client 1" in caplog.text
    assert ledger.events.metrics()["ledger_replayed"] == 1.0
    assert ledger.contributions(0)[1].size == 1


def test_result_after_the_deadline_is_late_and_the_chunk_is_leased_again_for_longer(execute: Execute) -> None:
    ledger = opened([1, 0])
    lease = leased(ledger, 0, 0, 1, now_s=0.0)

    assert reason(ledger.lease(ChunkId(0, 0, 0), 0, 5.0)) is Reason.TAKEN
    assert ledger.expire(9.9) == []
    assert ledger.expire(10.0) == [ChunkId(0, 0, 0)]
    again = leased(ledger, 0, 0, 0, now_s=11.0)
    assert again.deadline_s == 11.0 + 2 * 10.0
    assert reason(ledger.commit(lease.id, 1, execute(lease.chunk, None), 12.0)) is Reason.LATE
    assert isinstance(ledger.commit(again.id, 0, execute(again.chunk, None), 30.9), Commit)


def test_deadline_counts_without_a_call_to_expire(execute: Execute) -> None:
    ledger = opened([1])
    lease = leased(ledger, 0, 0, 0)

    assert reason(ledger.commit(lease.id, 0, execute(lease.chunk, None), 10.0)) is Reason.LATE
    assert ledger.available(0) == [ChunkId(0, 0, 0)]


def test_crashed_executors_chunks_are_issued_again(execute: Execute) -> None:
    ledger = opened([3, 0])
    held = [leased(ledger, 0, number, 1) for number in (0, 2)]

    assert ledger.crash(1, 3.0) == [ChunkId(0, 0, 0), ChunkId(0, 0, 2)]
    assert ledger.events.counts[Reason.CRASHED] == 2
    assert reason(ledger.commit(held[0].id, 1, execute(held[0].chunk, None), 4.0)) is Reason.LATE
    for number in range(3):
        done(ledger, execute, 0, number, 0, now_s=5.0)
    assert ledger.is_complete(0)


def test_first_of_two_copies_counts(execute: Execute) -> None:
    ledger = opened([1, 0, 0])
    slow, fast = leased(ledger, 0, 0, 0), leased(ledger, 0, 0, 1, is_copy=True)

    assert isinstance(ledger.commit(fast.id, 1, execute(fast.chunk, None), 1.0), Commit)
    assert reason(ledger.commit(slow.id, 0, execute(slow.chunk, None), 2.0)) is Reason.DUPLICATE
    assert ledger.contributions(0)[1].size == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: replace(r, n_steps=500), Reason.WRONG_COUNT),
        (lambda r: replace(r, n_episodes=2), Reason.WRONG_COUNT),
        (lambda r: replace(r, arrays={"sum": r.arrays["sum"] + 1.0}), Reason.WRONG_DIGEST),
        (lambda r: replace(r, arrays={"sum": np.array([np.nan])}), Reason.NOT_FINITE),
        (lambda r: replace(r, id=ChunkId(0, 0, 1)), Reason.WRONG_CHUNK),
        (lambda r: replace(r, version=3), Reason.WRONG_CHUNK),
    ],
)
def test_impossible_result_ends_the_lease_and_bars_its_executor(
    execute: Execute, change: Callable[[ChunkResult], ChunkResult], expected: Reason
) -> None:
    ledger = opened([2, 0])
    lease = leased(ledger, 0, 0, 1)

    assert reason(ledger.commit(lease.id, 1, change(execute(lease.chunk, None)), 1.0)) is expected
    assert ledger.events.counts[expected] == 1
    assert reason(ledger.lease(ChunkId(0, 0, 0), 1, 1.0)) is Reason.NOT_ALLOWED
    done(ledger, execute, 0, 0, 0)


def test_results_of_unknown_or_foreign_leases_are_refused(execute: Execute) -> None:
    ledger = opened([1, 0])
    lease = leased(ledger, 0, 0, 1)
    result = execute(lease.chunk, None)

    assert reason(ledger.commit(17, 1, result, 0.0)) is Reason.UNKNOWN_LEASE
    assert reason(ledger.commit(lease.id, 0, result, 0.0)) is Reason.WRONG_EXECUTOR
    assert isinstance(ledger.commit(lease.id, 1, result, 0.0), Commit)


def test_whitelist_and_hoarding_limit(execute: Execute) -> None:
    ledger = opened([5, 1, 0], [[True, True, True], [False, True, True], [True, True, True]], max_leases=2)

    assert reason(ledger.lease(ChunkId(0, 0, 0), 1, 0.0)) is Reason.NOT_ALLOWED
    for number in range(2):
        leased(ledger, 0, number, 2)
    assert reason(ledger.lease(ChunkId(0, 0, 2), 2, 0.0)) is Reason.HOARDING
    for number in (2, 3, 4):
        leased(ledger, 0, number, 0)  # one's own are not limited
    ledger.crash(2, 1.0)
    leased(ledger, 0, 0, 2, now_s=1.0)


def test_episode_in_parts_goes_from_hand_to_hand(execute: Execute) -> None:
    ledger = Ledger(2, LedgerRules(lease_s=10.0))
    (whole,) = chunks([1, 0], part_steps=3)
    ledger.open_round([whole])
    n_steps = execute(replace(whole, part_steps=None), None).n_steps
    name, executor, n_parts = whole.id, 0, 0

    while not ledger.is_complete(0):
        lease = ledger.lease(name, executor, 0.0)
        assert isinstance(lease, Lease)
        answer = ledger.commit(lease.id, executor, execute(lease.chunk, lease.state), 0.0)
        assert isinstance(answer, Commit)
        name, executor, n_parts = answer.next_part.id if answer.next_part else name, 1 - executor, n_parts + 1

    assert n_parts == -(-n_steps // 3) > 1
    (counted,) = [entry for entry in ledger.contributions(0).values() if entry.size]
    assert counted.client == (n_parts - 1) % 2  # who ended it
    # the same sum as in one piece, up to the order of additions
    expected = execute(replace(whole, part_steps=None), None).arrays["sum"]
    assert counted.results[0].arrays["sum"] == pytest.approx(expected)


def test_check_finds_the_liar_and_the_work_is_done_again(execute: Execute) -> None:
    ledger = opened([2, 0, 0, 0], check_prob=1.0)
    done(ledger, execute, 0, 0, 0)  # one's own are not checked
    lease = leased(ledger, 0, 1, 1)
    ledger.commit(lease.id, 1, poisoned(execute(lease.chunk, None), lease.chunk), 0.0)
    name = ChunkId(0, 0, 1)

    assert ledger.open_checks(0) == [name]
    assert not ledger.is_complete(0)
    assert ledger.checkers(name) == [2, 3]  # neither its executor nor its owner
    assert reason(ledger.lease_check(name, 1, 1.0)) is Reason.NOT_ALLOWED
    for checker in (2, 3):
        check = ledger.lease_check(name, checker, 1.0)
        assert isinstance(check, Lease)
        ledger.commit(check.id, checker, execute(check.chunk, check.state), 1.0)

    assert ledger.quarantined == {1}
    assert ledger.events.counts[Reason.MISMATCH] == ledger.events.counts[Reason.CAUGHT] == 1
    assert ledger.missing(0) == [name]
    assert reason(ledger.lease(name, 1, 2.0)) is Reason.QUARANTINED
    done(ledger, execute, 0, 1, 0, now_s=2.0)
    assert [entry.size for entry in ledger.contributions(0).values()] == [2, 0, 0, 0]
    ledger.release(1)
    assert ledger.quarantined == set()


def test_lying_checker_is_outvoted(execute: Execute) -> None:
    ledger = opened([1, 0, 0, 0], check_prob=1.0)
    done(ledger, execute, 0, 0, 1)
    name = ChunkId(0, 0, 0)
    for checker in (2, 3):
        check = ledger.lease_check(name, checker, 1.0)
        assert isinstance(check, Lease)
        result = execute(check.chunk, check.state)
        ledger.commit(check.id, checker, poisoned(result, check.chunk) if checker == 2 else result, 1.0)

    assert ledger.quarantined == {2}
    assert ledger.is_complete(0)
    assert ledger.contributions(0)[1].size == 1


def test_quarantine_withdraws_all_work_for_others(execute: Execute) -> None:
    ledger = opened([2, 1, 0])
    for owner, number, executor in ((0, 0, 1), (0, 1, 0), (1, 0, 1)):
        done(ledger, execute, owner, number, executor)

    ledger.quarantine(1, 5.0, "for the test")

    assert ledger.missing(0) == [ChunkId(0, 0, 0)]  # its own chunk stays
    assert ledger.events.counts[Reason.WITHDRAWN] == 1


def test_undecidable_dispute_goes_to_the_owner(execute: Execute) -> None:
    ledger = opened([1, 0, 0], check_prob=1.0, n_votes=3)
    lease = leased(ledger, 0, 0, 1)
    ledger.commit(lease.id, 1, poisoned(execute(lease.chunk, None), lease.chunk), 0.0)
    name = ChunkId(0, 0, 0)
    for checker in (2, 0):  # nobody but the owner is left for the second opinion
        check = ledger.lease_check(name, checker, 1.0)
        assert isinstance(check, Lease)
        ledger.commit(check.id, checker, execute(check.chunk, None), 1.0)

    assert ledger.events.counts[Reason.UNDECIDED] == 1
    assert reason(ledger.lease(name, 2, 2.0)) is Reason.NOT_ALLOWED
    done(ledger, execute, 0, 0, 0, now_s=2.0)
    assert ledger.is_complete(0)


def test_spot_checks_are_drawn_with_their_probability(execute: Execute) -> None:
    ledger = opened([400, 0, 0], check_prob=0.25, seed=5, max_leases=1000)
    for number in range(400):
        done(ledger, execute, 0, number, 1)

    # four standard deviations of a binomial count with n = 400, p = 1/4
    assert len(ledger.open_checks(0)) == pytest.approx(100, abs=4 * (400 * 0.25 * 0.75) ** 0.5)


def test_saved_ledger_goes_on(execute: Execute) -> None:
    ledger = opened([3, 1, 0, 0], check_prob=1.0)
    done(ledger, execute, 0, 0, 1)
    done(ledger, execute, 1, 0, 1)
    running = leased(ledger, 0, 1, 1)
    state = pickle.loads(pickle.dumps(ledger.state()))
    other = Ledger(4, ledger.rules)
    other.restore(state)

    assert other.missing(0) == other.available(0) == [ChunkId(0, 0, 1), ChunkId(0, 0, 2)]
    assert other.open_checks(0) == ledger.open_checks(0) == [ChunkId(0, 0, 0)]
    assert reason(other.commit(running.id, 1, execute(running.chunk, None), 0.0)) is Reason.LATE
    for number in (1, 2):
        done(other, execute, 0, number, 0)
    check = other.lease_check(ChunkId(0, 0, 0), 2, 0.0)
    assert isinstance(check, Lease)
    other.commit(check.id, 2, execute(check.chunk, check.state), 0.0)
    assert other.is_complete(0)
    assert pickle.dumps(other.state()) == pickle.dumps(pickle.loads(pickle.dumps(other.state())))
    with pytest.raises(StealingError, match="4 clients: expected format 2, 3 clients"):
        Ledger(3, ledger.rules).restore(state)


def test_closed_round_takes_no_results(execute: Execute) -> None:
    ledger = opened([1, 1])
    lease = leased(ledger, 0, 0, 0)
    ledger.open_round(chunks([1, 1], index=1))

    ledger.close_round(0)

    assert reason(ledger.commit(lease.id, 0, execute(lease.chunk, None), 1.0)) is Reason.LATE
    assert len(ledger.missing(1)) == 2
    with pytest.raises(StealingError, match=r"round 0 is not open; open: \[1\]"):
        ledger.missing(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: opened([1, 1]).lease(ChunkId(0, 0, 0), 2, 0.0), "no client 2; known: 0 to 1"),
        (lambda: opened([1, 1]).lease(ChunkId(0, 0, 5), 0, 0.0), "no chunk of round 0"),
        (lambda: opened([1, 1]).lease_check(ChunkId(0, 0, 0), 0, 0.0), "not to be checked"),
        (lambda: opened([1, 1]).crash(-1, 0.0), "no client -1"),
        (lambda: opened([1, 1]).open_round(chunks([1, 1])), "round 0 is open already"),
        (lambda: opened([1]).open_round(chunks([0, 1], index=1)), "no client 1"),
        (lambda: opened([1]).open_round(chunks([1], index=1) * 2), "given twice"),
        (lambda: opened([1]).open_round(chunks([1], 1) + chunks([2], 2)[1:]), "expected one"),
        (lambda: opened([1]).open_round([]), "expected one"),
        (lambda: Ledger(0, LedgerRules(1.0)), "n_clients = 0"),
        (lambda: Ledger(2, LedgerRules(1.0), [[True]]), "2 rows of 2"),
        (lambda: LedgerRules(lease_s=-1.0), "lease_s = -1.0"),
        (lambda: LedgerRules(1.0, check_prob=2.0), "check_prob = 2.0"),
        (lambda: LedgerRules(1.0, w_max=0.5), "w_max = 0.5"),
    ],
)
def test_callers_mistakes_are_errors(call: Any, message: str) -> None:
    with pytest.raises(StealingError, match=message):
        call()
