"""Intervals add up to the round, gaps are found, and shares are those worked out by hand."""

from __future__ import annotations

import math

import pytest

from edge_rllib.federated.stealing.accounting import Kind, RoundAccount, Timeline, Traffic
from edge_rllib.federated.stealing.errors import AccountingError


def two_clients() -> tuple[Timeline, Timeline]:
    """Return a round of 12 s: 10 s of collecting, 2 s of aggregating and optimising."""
    busy, thief = Timeline(0, 0.0), Timeline(1, 0.0)
    busy.add(Kind.OWN, 0.0, 10.0, owner=0)
    thief.add(Kind.OWN, 0.0, 4.0, owner=1)
    thief.fill(Kind.WAITING, 5.0)
    thief.add(Kind.STOLEN, 5.0, 8.0, owner=0)
    thief.add(Kind.STOLEN, 8.0, 9.0, owner=0, is_wasted=True)
    thief.fill(Kind.BARRIER, 10.0)
    for line in (busy, thief):
        line.add(Kind.AGGREGATION, 10.0, 11.5)
        line.add(Kind.OPTIMISATION, 11.5, 12.0)
    return busy, thief


def test_shares_follow_from_the_intervals() -> None:
    account = RoundAccount(0.0, 12.0, two_clients(), bound_s=8.5, traffic=Traffic(2, 100.0, 1), static_s=20.0)

    figures = account.metrics()
    assert figures["makespan_s"] == 10.0
    assert figures["idle_frac"] == pytest.approx(1.0 - (10 + 4 + 3) / 20)  # the wasted second is idle
    assert figures["stolen_frac"] == pytest.approx(3 / 17)
    assert figures["wasted_frac"] == pytest.approx(1 / 18)
    assert figures["efficiency"] == pytest.approx(0.85)
    assert figures["saved_frac"] == pytest.approx(0.5)
    assert figures["round_aggregation_frac"] == pytest.approx(3 / 24)
    assert sum(figures[f"round_{kind.value}_frac"] for kind in Kind) == pytest.approx(1.0)
    assert (figures["messages"], figures["sent_bytes"], figures["steals"]) == (2.0, 100.0, 1.0)


def test_crashes_are_apart_from_idle_time() -> None:
    up, down = Timeline(0, 0.0), Timeline(1, 0.0)
    up.add(Kind.OWN, 0.0, 4.0, owner=0)
    down.add(Kind.OWN, 0.0, 1.0, owner=1)
    down.fill(Kind.CRASHED, 4.0)

    account = RoundAccount(0.0, 4.0, [up, down], bound_s=math.nan)

    assert account.idle_frac == pytest.approx(0.0)
    assert account.crashed_frac == pytest.approx(3 / 8)


def test_gap_is_named_with_client_and_place() -> None:
    busy, thief = two_clients()
    thief.intervals[3] = type(thief.intervals[3])(Kind.STOLEN, 8.002, 9.0)

    with pytest.raises(AccountingError, match=r"client 1: gap of 0.002000 s between 8.000000 s and 8.002000 s"):
        RoundAccount(0.0, 12.0, [busy, thief], 8.5)


def test_small_gaps_add_up() -> None:
    line = Timeline(0, 0.0)
    for second in range(4):
        line.add(Kind.OWN, second + 0.0004 * (second > 0), second + 1.0)

    with pytest.raises(AccountingError, match=r"miss the round by 0.001200 s"):
        line.check(4.0)


def test_overlap_and_a_missing_end_are_refused() -> None:
    line = Timeline(3, 0.0)
    line.add(Kind.OWN, 0.0, 2.0)
    with pytest.raises(AccountingError, match=r"client 3: gap of 1.000000 s .* the round's end"):
        line.check(3.0)
    line.add(Kind.BARRIER, 1.5, 3.0)
    with pytest.raises(AccountingError, match=r"client 3: overlap of 0.500000 s"):
        line.check(3.0)


def test_times_that_run_back_are_refused() -> None:
    with pytest.raises(AccountingError, match="runs back"):
        Timeline(0, 0.0).add(Kind.OWN, 2.0, 1.0)
    with pytest.raises(AccountingError, match="runs back"):
        RoundAccount(1.0, 0.0, two_clients(), 1.0)
    with pytest.raises(AccountingError, match="no clients"):
        RoundAccount(0.0, 1.0, [], 1.0)
    with pytest.raises(AccountingError, match=r"begins at 0.0 s, the round at 1.0 s"):
        RoundAccount(1.0, 12.0, two_clients(), 1.0)


def test_a_millisecond_is_allowed() -> None:
    line = Timeline(0, 0.0)
    line.add(Kind.OWN, 0.0005, 2.0)

    line.check(2.0004)


def test_phases_follow_the_round_of_all_clients() -> None:
    lines = [Timeline(k, 0.0) for k in range(2)]
    lines[0].add(Kind.OWN, 0.0, 3.0, 0)
    lines[1].add(Kind.OWN, 0.0, 1.0, 1)
    lines[1].add(Kind.BARRIER, 1.0, 3.0)

    longer = RoundAccount(0.0, 3.0, lines, 2.0).followed_by({Kind.AGGREGATION: 0.5, Kind.OPTIMISATION: 0.5})

    assert (longer.round_s, longer.makespan_s) == (4.0, 3.0)
    assert longer.metrics()["round_aggregation_frac"] == pytest.approx(0.125)
    assert sum(longer.spent_s(kind) for kind in Kind) == pytest.approx(8.0)
