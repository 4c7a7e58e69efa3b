"""Rates of noisy channels. C. E. Shannon, "Communication in the presence of noise", Proc. IRE 37(1), 1949, eq. 19."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8


def noise_w(bandwidth_hz: float, noise_w_per_hz: float) -> float:
    """Return the noise power in a band; the density of thermal noise at 290 K is 4.0e-21 W/Hz (-174 dBm/Hz)."""
    return bandwidth_hz * noise_w_per_hz


def capacity_bps(bandwidth_hz: float, snr: F8) -> F8:
    """Return the Shannon-Hartley rate of each signal-to-noise ratio (a ratio of powers, not decibels), same shape."""
    # log1p keeps the linear law C = B snr / ln 2 of very weak signals, where 1 + snr rounds to 1.
    return np.asarray(bandwidth_hz * np.log1p(snr) / np.log(2.0), np.float64)
