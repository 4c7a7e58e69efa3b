"""Sums, blocks, ranks and shares of the gap's figures, against scipy and numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from edge_rllib.testbed import gap_measures as measures
from edge_rllib.testbed.gap_runs import Episode, Side


def episode(cost: list[float], epoch: list[int], n_epochs: int) -> Episode:
    n = len(cost)
    decided = np.zeros((n_epochs, 1), np.int64)
    return Episode(
        epoch=np.array(epoch, np.int64),
        response_s=np.array(cost) * 2.0,
        is_in_flight=np.zeros(n, np.bool_),
        is_late=np.array(cost) > 1.5,
        cost=np.array(cost),
        epochs=np.arange(n_epochs),
        targets=decided,
        cuts=decided,
        frames=decided,
    )


def side(*episodes: Episode) -> Side:
    return Side("edge", (Path("run"),), {}, ({},), episodes)


def test_sums_of_epochs_by_hand() -> None:
    # epoch 0 has costs 1 and 2, epoch 1 none, epoch 2 has 3; times are twice the costs; 2 and 3 are late
    found = measures.sums_of(episode([1.0, 3.0, 2.0], [0, 2, 0], n_epochs=3))

    assert found.tolist() == [[3.0, 6.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [3.0, 6.0, 1.0, 1.0]]


@pytest.mark.parametrize(("n_epochs", "length"), [(1, 1), (4, 2), (10, 4), (60, 8)])
def test_blocks_are_the_root_of_the_epochs_and_fill_every_resample(n_epochs: int, length: int) -> None:
    counts = measures.block_counts(n_epochs, 50, np.random.default_rng(0))

    assert measures.block_epochs(n_epochs) == length
    assert (counts.sum(1) == n_epochs).all()
    assert (counts.mean(0) > 0.0).all()


def test_blocks_make_the_interval_of_dependent_epochs_wider() -> None:
    # costs stay the same for eight epochs in a row, so 64 epochs hold no more than 8 independent values
    rng = np.random.default_rng(3)
    costs = np.repeat(rng.normal(10.0, 1.0, 8), 8)
    one = side(episode(costs.tolist(), list(range(64)), n_epochs=64))

    by_block = measures.per_task(measures.resampled_sums(one, False, 2000, rng), measures.COST)
    by_epoch = rng.choice(costs, (2000, 64)).mean(1)

    assert by_block.mean() == pytest.approx(costs.mean(), abs=0.1)
    assert by_block.std() > 1.8 * by_epoch.std()


def test_simulated_episodes_are_redrawn_as_wholes() -> None:
    several = side(*(episode([cost] * 4, [0, 1, 2, 3], n_epochs=4) for cost in (1.0, 2.0)))

    drawn = measures.per_task(measures.resampled_sums(several, True, 200, np.random.default_rng(0)), measures.COST)

    assert set(drawn.tolist()) == {1.0, 1.5, 2.0}  # both the first, one of each, both the second


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 5, (30, 6)).astype(float), rng.integers(0, 5, (30, 6)).astype(float)
    spearman, kendall = measures.spearman(a, b), measures.kendall(a, b)

    n_checked = 0
    for row in range(30):
        if np.ptp(a[row]) and np.ptp(b[row]):
            assert spearman[row] == pytest.approx(stats.spearmanr(a[row], b[row]).statistic)
            assert kendall[row] == pytest.approx(stats.kendalltau(a[row], b[row]).statistic)
            n_checked += 1
    assert n_checked > 25


def test_rank_correlation_of_equal_values_has_no_value() -> None:
    a, b = np.ones(4), np.arange(4.0)

    assert np.isnan(measures.spearman(a, b))
    assert np.isnan(measures.kendall(a, b))


def test_share_that_ended_stays_below_one_by_those_in_flight() -> None:
    one = episode([0.5, 1.0, 1.5, 2.0], [0, 0, 1, 1], n_epochs=2)
    flying = one.__class__(**{**vars(one), "is_in_flight": np.array([False, False, False, True])})

    # times are 1, 2, 3 and 4 s, and the last has not ended
    assert measures.ended_frac(flying, np.array([0.5, 1.0, 2.5, 9.0])).tolist() == [0.0, 0.25, 0.5, 0.75]


def test_free_policies_have_no_relative_gap_and_no_error() -> None:
    assert np.isnan(measures.ratio(np.array(1.0), np.array(0.0)))
    assert measures.ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0]))[1] == 0.5
