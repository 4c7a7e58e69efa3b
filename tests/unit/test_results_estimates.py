"""Estimates against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_rllib.results.estimates import (
    bootstrap_sums,
    crossed_bootstrap,
    crossed_draws,
    interval,
    iqm,
    resampling_counts,
    stratified_bootstrap,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 2.0, 3.0, 100.0], 2.5),  # the middle half of four is the second and third
        ([5.0], 5.0),
        ([0.0, 10.0], 5.0),
        # of five, the middle half is 0.75 of the second, all of the third, 0.75 of the fourth: (1.5 + 3 + 3) / 2.5
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3.0),
        ([0.0, 0.0, 4.0, 8.0, 100.0], (0.75 * 0.0 + 4.0 + 0.75 * 8.0) / 2.5),
    ],
)
def test_interquartile_mean_is_the_mean_of_the_middle_half(scores: list[float], expected: float) -> None:
    assert iqm(np.array(scores)) == pytest.approx(expected, rel=1e-12)


def test_interquartile_mean_of_nothing_is_not_a_number() -> None:
    assert math.isnan(iqm(np.array([])))


def test_each_resample_draws_as_many_units_as_there_are() -> None:
    counts = resampling_counts(7, 50, rng())

    assert counts.shape == (50, 7)
    assert (counts.sum(1) == 7).all()


def test_interval_is_the_middle_of_the_samples() -> None:
    # 0 .. 100: the 2.5 % and 97.5 % quantiles of 101 evenly spaced values are 2.5 and 97.5
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))


def test_interval_leaves_out_resamples_without_a_value() -> None:
    assert interval(np.array([math.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in interval(np.array([math.nan])))


def test_ratio_is_taken_of_the_added_sums() -> None:
    # seconds and tasks of two worlds: 10 s / 10 tasks and 90 s / 30 tasks are 2.5 s a task, not the mean 2 of 1 and 3
    sums = np.array([[10.0, 10.0], [90.0, 30.0]])
    counts = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])

    value, samples = bootstrap_sums(sums, counts, lambda total: np.array([total[0] / total[1]]))

    assert value == pytest.approx([2.5])
    assert samples[:, 0] == pytest.approx([1.0, 3.0, 2.5])


def test_interval_of_a_mean_covers_it_as_often_as_promised() -> None:
    generator = np.random.default_rng(1)
    n_covered, n_trials = 0, 400
    for _ in range(n_trials):
        data = generator.normal(3.0, 1.0, 40)
        counts = resampling_counts(40, 400, generator)
        low, high = interval(counts @ data / 40)
        n_covered += low <= 3.0 <= high

    # binomial(400, 0.95): four standard deviations below 380 are 362; the percentile interval is known to be narrow
    assert n_covered >= 355


def test_stratified_bootstrap_redraws_seeds_within_each_scenario() -> None:
    # scenarios without spread between seeds: every resample is the same, however much the scenarios differ
    scores = np.array([[1.0, 10.0], [1.0, 10.0], [1.0, 10.0]])

    estimate = stratified_bootstrap(scores, lambda s: float(s.mean()), rng(), 20)

    assert estimate == (5.5, 5.5, 5.5)


def test_stratified_bootstrap_of_two_seeds_spans_their_values() -> None:
    # one scenario, seeds 0 and 1: resample means are 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    estimate = stratified_bootstrap(np.array([[0.0], [1.0]]), lambda s: float(s.mean()), rng(), 2000)

    assert estimate == (0.5, 0.0, 1.0)


def test_crossed_bootstrap_redraws_whole_seeds() -> None:
    # seeds 0 and 1, each the same in 50 worlds: means are 0, 1/2, 1 with chances 1/4, 1/2, 1/4, as if of one world;
    # cells redrawn one by one would give an interval of about 1/2 +- 0.1
    scores = np.array([[0.0] * 50, [1.0] * 50])

    estimate = crossed_bootstrap(scores, lambda s: float(s.mean()), *crossed_draws(2, 50, 2000, rng()))

    assert estimate == (0.5, 0.0, 1.0)


def test_crossed_bootstrap_redraws_worlds_for_all_seeds_at_once() -> None:
    # five seeds alike in two worlds of 0 and 1: the spread is that of the worlds, however many seeds there are
    scores = np.array([[0.0, 1.0]] * 5)

    estimate = crossed_bootstrap(scores, lambda s: float(s.mean()), *crossed_draws(5, 2, 2000, rng()))

    assert estimate == (0.5, 0.0, 1.0)


def test_crossed_bootstraps_on_the_same_worlds_are_paired() -> None:
    # a policy that is 1 s slower than a rule in each world: the difference has no spread though both have
    rule = np.array([[1.0, 5.0, 20.0]])
    seeds, worlds = crossed_draws(1, 3, 100, rng())

    estimate = crossed_bootstrap(rule + 1.0 - rule, lambda s: float(s.mean()), seeds, worlds)

    assert estimate == (1.0, 1.0, 1.0)
    assert crossed_bootstrap(rule, lambda s: float(s.mean()), seeds, worlds).high > 10.0
