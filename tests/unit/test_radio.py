"""Rates and path losses against numbers worked by hand."""

import numpy as np
import pytest

from envs.radio.path_loss import friis_gain, log_distance_gain
from envs.radio.shannon import capacity_bps, noise_w
from envs.topologies.artificial import Radio

RADIO = Radio(
    bandwidth_hz=2e6, carrier_hz=2.4e9, radiated_w=0.1, noise_w_per_hz=4.0e-21, path_loss_exponent=2.0, reference_m=1.0
)


def test_capacity_is_the_bandwidth_times_the_bits_per_symbol():
    # log2(1 + 1) = 1, log2(1 + 3) = 2, log2(1 + 15) = 4 bits a second and hertz
    np.testing.assert_allclose(capacity_bps(1e6, np.array([0.0, 1.0, 3.0, 15.0])), [0.0, 1e6, 2e6, 4e6], rtol=1e-12)


def test_capacity_of_a_very_weak_signal_is_linear_and_not_zero():
    # 1 + 1e-20 rounds to 1; the law is B * snr / ln 2 = 1e6 * 1e-20 / 0.693147
    assert capacity_bps(1e6, np.array([1e-20]))[0] == pytest.approx(1.442695e-14, rel=1e-6)


def test_noise_grows_with_the_bandwidth():
    # -174 dBm/Hz in 2 MHz (63.01 dB) is -110.99 dBm = 8.0e-15 W
    assert noise_w(2e6, 4.0e-21) == pytest.approx(8.0e-15)


def test_friis_gain_at_twenty_metres():
    # wavelength 0.124914 m; (0.124914 / (4 pi 20))^2 = 2.4703e-7, which is -66.07 dB
    assert friis_gain(np.array([20.0]), 2.4e9)[0] == pytest.approx(2.4703e-7, rel=1e-4)


def test_power_falls_by_thirty_decibels_a_decade_with_exponent_three():
    near, far = log_distance_gain(np.array([10.0, 100.0]), 2.4e9, exponent=3.0, reference_m=1.0)
    assert near / far == pytest.approx(1000.0)


def test_exponent_two_is_free_space_beyond_the_reference():
    distance_m = np.array([1.0, 5.0, 300.0])
    np.testing.assert_allclose(log_distance_gain(distance_m, 2.4e9, 2.0, 1.0), friis_gain(distance_m, 2.4e9))


def test_nearer_than_the_reference_counts_as_at_the_reference():
    gain = log_distance_gain(np.array([0.0, 0.5, 1.0]), 2.4e9, exponent=3.0, reference_m=1.0)
    np.testing.assert_array_equal(gain, np.full(3, gain[2]))
    assert gain[2] == friis_gain(np.array(1.0), 2.4e9)


def test_radio_rate_at_twenty_metres():
    # 0.1 W * 2.4703e-7 / 8.0e-15 W = snr 3.0879e6 (64.9 dB); log2 = 21.558; times 2 MHz
    assert RADIO.rate_bps(np.array([20.0]))[0] == pytest.approx(43.116e6, rel=1e-4)


def test_a_wider_band_lets_in_more_noise():
    # With noise of the whole band the rate cannot pass P gain / (noise density ln 2), however wide the band.
    distance_m = np.array([1000.0])
    received_w = 0.1 * friis_gain(distance_m, 2.4e9)[0]
    limit_bps = received_w / (4.0e-21 * np.log(2.0))
    wide = Radio(1e15, 2.4e9, 0.1, 4.0e-21, 2.0, 1.0).rate_bps(distance_m)[0]
    assert wide == pytest.approx(limit_bps, rel=1e-3)
    assert RADIO.rate_bps(distance_m)[0] < limit_bps
