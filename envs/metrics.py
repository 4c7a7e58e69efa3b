"""Metrics of a world: sums that a world keeps while an episode runs, and the figures derived from them.

A world adds up (counts, seconds, joules); a mean or a percentile exists only after ``summarise``. So the sums of many
worlds can be added before a figure is derived, and no mean of means arises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import F8

BINS_PER_DECADE = 32  # read by kernels, as the three below
FIRST_BIN_S = 1e-3  # shorter response times share the first bin
N_DECADES = 7
N_BINS = BINS_PER_DECADE * N_DECADES
HISTOGRAM_PREFIX = "response_bin_"


@dataclass(frozen=True)
class Metric:
    """A figure: its name (with unit), unit, what it is taken over, its meaning, and which way is better."""

    name: str
    unit: str
    over: str
    doc: str
    better: str = ""  # "low", "high" or "" where neither


def percentile_from_bins(bins: F8, fraction: float) -> float:
    """Return a percentile of log-spaced bins (G,), in seconds, by geometric interpolation; NaN of no values.

    The relative error is at most one bin, 10 ** (1 / 32) - 1 = 7.5 %, and far less where a bin is evenly filled.
    """
    total = float(bins.sum())
    if total <= 0.0:
        return float("nan")
    cumulative = np.cumsum(bins)
    bin_index = int(np.searchsorted(cumulative, fraction * total, side="left"))
    below = float(cumulative[bin_index - 1]) if bin_index else 0.0
    share = (fraction * total - below) / float(bins[bin_index])
    return float(FIRST_BIN_S * 10.0 ** ((bin_index + share) / BINS_PER_DECADE))
