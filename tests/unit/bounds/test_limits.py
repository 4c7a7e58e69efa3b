"""From least times to limits on figures: what a policy left unfinished is allowed for, and nothing more."""

from __future__ import annotations

import numpy as np
import pytest

from envs.bounds.limits import floor_of, in_time_limit, response_limit
from envs.bounds.matching import BestKnown
from envs.fog import state as s
from envs.matching.world import SUMS
from envs.workloads.workload import TaskTable


def tasks(*created_s: float) -> TaskTable:
    columns = {name: np.zeros(len(created_s)) for name in TaskTable._fields}
    return TaskTable(**{**columns, "created_s": np.array(created_s)})  # type: ignore[arg-type]


def sums(completed: int, dropped: int = 0, unfinished_s: float = 0.0) -> np.ndarray:
    row = np.zeros((1, len(s.SUM_NAMES)))
    row[0, s.COMPLETED], row[0, s.DROPPED] = completed, dropped
    row[0, s.RESPONSE_S], row[0, s.ALIVE_TASK_S] = 100.0, 100.0 + unfinished_s
    return row


FLOOR = floor_of(np.array([1.0, 2.0, 6.0, 3.0]), tasks(0.0, 0.0, 0.0, 8.0), horizon_s=10.0)


def test_task_that_cannot_be_home_by_the_horizon_is_no_finished_task() -> None:
    # created at 8 s, it takes 3 s and the horizon is at 10 s: alive for at least the 2 s that are left
    assert FLOOR.finished_s.tolist() == [1.0, 2.0, 6.0, np.inf]
    assert FLOOR.alive_s.tolist() == [1.0, 2.0, 6.0, 2.0]


def test_who_finishes_all_that_can_be_finished_takes_the_sum() -> None:
    assert response_limit([FLOOR], sums(3, unfinished_s=2.0)).value == pytest.approx(9.0 / 3)


def test_dropped_tasks_count_as_the_slowest() -> None:
    # finished 2, dropped 1: the two quickest take 3 s; alive for 1 + 2 + 2 less the 2 s of the one under way
    assert response_limit([FLOOR], sums(2, dropped=1, unfinished_s=2.0)).value == pytest.approx(3.0 / 2)


def test_task_under_way_at_the_horizon_counts_as_long_as_it_was_there() -> None:
    # finished 2, none dropped, two under way that were there for 2 s + 2 s: the finished ones took the rest, 11 - 4 s,
    # though the two quickest of all would have taken 3 s
    assert response_limit([FLOOR], sums(2, unfinished_s=4.0)).value == pytest.approx(7.0 / 2)


def test_what_capacities_save_is_taken_off_but_never_below_zero() -> None:
    saved = FLOOR._replace(saved_s=4.0)

    assert response_limit([saved], sums(3, unfinished_s=2.0)).value == pytest.approx(5.0 / 3)
    assert response_limit([FLOOR._replace(saved_s=40.0)], sums(3)).value == 0.0


def test_share_in_time_is_of_the_tasks_that_left() -> None:
    limit = in_time_limit(np.array([3.0]), sums(4, dropped=2))
    few = in_time_limit(np.array([3.0]), sums(2))

    assert limit.value == pytest.approx(3 / 6)
    assert few.value == 1.0


def test_nothing_finished_has_no_value() -> None:
    assert np.isnan(response_limit([FLOOR], sums(0)).value)


def test_best_of_the_matching_world_is_a_payment_for_each_decision() -> None:
    rows = np.zeros((2, len(SUMS)))
    rows[:, SUMS.index("decisions")] = 3.0, 5.0
    bound = BestKnown(None, 2, 0, 0)  # type: ignore[arg-type]

    assert bound.limit("paid_frac", rows).value == 1.0
    assert bound.limit("return", rows).value == 4.0  # mean over the worlds
