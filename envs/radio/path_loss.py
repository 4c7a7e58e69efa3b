"""Shares of the radiated power that arrive at a distance, between isotropic antennas."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8

LIGHT_M_PER_S = 299_792_458.0  # exact, SI


def friis_gain(distance_m: F8, carrier_hz: float) -> F8:
    """Return received over radiated power in free space, same shape; distances are positive.

    H. T. Friis, "A note on a simple transmission formula", Proc. IRE 34(5), 1946, with both antenna gains 1.
    """
    wavelength_m = LIGHT_M_PER_S / carrier_hz
    return np.asarray((wavelength_m / (4.0 * np.pi * distance_m)) ** 2, np.float64)


def log_distance_gain(distance_m: F8, carrier_hz: float, exponent: float, reference_m: float) -> F8:
    """Return received over radiated power when it falls with a power of the distance beyond a reference, same shape.

    Free space up to the reference, then distance**-exponent: 2 is free space, 2.7 to 3.5 are usual in cities
    (T. S. Rappaport, "Wireless communications", 2nd ed., section 4.9). Nearer than the reference counts as at it.
    """
    beyond = np.maximum(distance_m, reference_m) / reference_m
    return np.asarray(friis_gain(np.asarray(reference_m), carrier_hz) * beyond**-exponent, np.float64)
