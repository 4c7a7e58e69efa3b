"""Estimates with intervals: bootstrap over worlds, interquartile mean, stratified bootstrap over seeds.

[Efron, Bootstrap methods: another look at the jackknife, 1979], [Agarwal et al., Deep reinforcement learning at the
edge of the statistical precipice, 2021].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from envs.arrays import F8, I8

N_RESAMPLES = 1000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A figure and its interval."""

    value: float
    low: float
    high: float


def resampling_counts(n: int, n_resamples: int, rng: np.random.Generator) -> F8:
    """Return how often each of n units is drawn in each resample, (R, n); every row sums to n."""
    counts: F8 = rng.multinomial(n, np.full(n, 1.0 / n), size=n_resamples).astype(np.float64)
    return counts


def interval(samples: F8, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of a figure's resamples; resamples without a value (NaN) are left out."""
    valid = samples[~np.isnan(samples)]
    if not len(valid):
        return float("nan"), float("nan")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(valid, [tail, 1.0 - tail])
    return float(low), float(high)


def bootstrap_sums(sums: F8, counts: F8, figure: Callable[[F8], F8]) -> tuple[F8, F8]:
    """Return figures of the added sums, and of each resample: (J,) and (R, J).

    ``sums`` (W, G) are those of each world and ``figure`` maps added sums (G,) to J figures. A ratio is taken of the
    added sums, so it is no mean of ratios. The same ``counts`` (R, W) for two policies make their resamples paired.
    """
    resampled = counts @ sums
    return figure(sums.sum(0)), np.stack([figure(row) for row in resampled])


def iqm(scores: F8) -> float:
    """Return the interquartile mean: the mean of the middle half, with fractional weights at its ends."""
    ordered = np.sort(np.asarray(scores, np.float64).ravel())
    n = len(ordered)
    if n == 0:
        return float("nan")
    # Score i owns the share [i / n, (i + 1) / n]; its weight is what of it lies in [1/4, 3/4].
    edges = np.clip(np.arange(n + 1) / n, 0.25, 0.75)
    return float(np.dot(ordered, np.diff(edges)) / 0.5)


def stratified_bootstrap(
    scores: F8, statistic: Callable[[F8], float], rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Estimate:
    """Return a statistic of scores (seeds, scenarios) with its interval; seeds are redrawn within each scenario."""
    n_seeds, n_scenarios = scores.shape
    columns = np.arange(n_scenarios)
    samples = np.empty(n_resamples)
    for r in range(n_resamples):
        samples[r] = statistic(scores[rng.integers(n_seeds, size=(n_seeds, n_scenarios)), columns])
    return Estimate(float(statistic(scores)), *interval(samples))


def crossed_draws(n_seeds: int, n_worlds: int, n_resamples: int, rng: np.random.Generator) -> tuple[I8, I8]:
    """Return which seeds (R, S) and which worlds (R, W) make up each resample, for ``crossed_bootstrap``."""
    return rng.integers(n_seeds, size=(n_resamples, n_seeds)), rng.integers(n_worlds, size=(n_resamples, n_worlds))


def crossed_bootstrap(scores: F8, statistic: Callable[[F8], float], seeds: I8, worlds: I8) -> Estimate:
    """Return a statistic of scores (S, W), of seeds that all played the same worlds, with its interval.

    Whole seeds and whole worlds are redrawn: what a seed scores in many worlds is the work of one policy, and cells
    that are redrawn one by one would make it look like many. The same ``worlds`` for two policies pair their resamples.
    """
    samples = np.array([statistic(scores[np.ix_(s, w)]) for s, w in zip(seeds, worlds, strict=True)])
    return Estimate(float(statistic(scores)), *interval(samples))
