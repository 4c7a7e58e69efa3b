"""Percentiles of log-spaced bins, worked by hand."""

import math

import numpy as np
import pytest

from envs.metrics import BINS_PER_DECADE, FIRST_BIN_S, N_BINS, percentile_from_bins


def bins(**counts):
    """Return bins with counts at b0, b1, ..."""
    values = np.zeros(N_BINS)
    for name, count in counts.items():
        values[int(name[1:])] = count
    return values


def test_no_values_have_no_percentile():
    assert math.isnan(percentile_from_bins(bins(), 0.5))


def test_half_of_a_bin_is_its_geometric_middle():
    # bin 32 begins a decade above the first: 10 ms; half a bin further is a factor 10 ** (0.5 / 32)
    assert BINS_PER_DECADE == 32
    assert percentile_from_bins(bins(b32=10.0), 0.5) == pytest.approx(FIRST_BIN_S * 10.0 ** (1.0 + 0.5 / 32))


def test_percentile_lies_where_the_counts_put_it():
    # of 100 values, 90 in bin 0, 10 in bin 64: the 95th is in the middle of bin 64, the 45th in the middle of bin 0
    values = bins(b0=90.0, b64=10.0)
    assert percentile_from_bins(values, 0.95) == pytest.approx(FIRST_BIN_S * 10.0 ** (64.5 / 32))
    assert percentile_from_bins(values, 0.45) == pytest.approx(FIRST_BIN_S * 10.0 ** (0.5 / 32))


def test_percentiles_of_many_values_are_right_to_a_bin():
    sample = np.random.default_rng(0).lognormal(-1.0, 1.0, 50_000)
    places = (np.log10(sample / FIRST_BIN_S) * BINS_PER_DECADE).astype(int)
    values = np.bincount(places, minlength=N_BINS).astype(np.float64)
    for fraction in (0.5, 0.95, 0.99):
        assert percentile_from_bins(values, fraction) == pytest.approx(np.quantile(sample, fraction), rel=0.02)
