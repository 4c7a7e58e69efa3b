"""Arrivals against theory: counts, variances, instants. Tolerances are four standard errors of the law under test."""

import dataclasses
import math

import numpy as np
import pytest

from envs.rng import Draws
from envs.workloads.arrivals import fill_exactly, fill_poisson, poisson_instants
from envs.workloads.diurnal import Diurnal
from envs.workloads.mmpp import Mmpp
from envs.workloads.negative_binomial import NegativeBinomial, fill_gamma
from envs.workloads.periodic import Periodic
from envs.workloads.poisson import Poisson
from envs.workloads.schedule import Schedule, linear_pieces, zigzag_pieces


def dispersion(counts):
    return counts.var() / counts.mean()


def test_poisson_counts_have_the_mean_and_the_variance_of_the_rate(star, unit_task, counts):
    workload, topology = Poisson(2.0, unit_task), star(5)
    seen = counts(workload, topology, n_worlds=100, n_windows=100, width_s=0.3)  # 10,000 counts of mean 3
    assert workload.mean_rate_hz(topology) == 10.0
    assert seen.mean() == pytest.approx(3.0, abs=4.0 * math.sqrt(3.0 / seen.size))
    assert dispersion(seen) == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / seen.size))


def test_poisson_gaps_are_exponential(star, unit_task):
    table = Poisson(2.0, unit_task).tasks(Draws(3, 0, 0), star(5), 2_000.0)
    gap = np.sort(np.diff(table.created_s)) * 10.0
    distance = np.abs(1.0 - np.exp(-gap) - (np.arange(len(gap)) + 0.5) / len(gap)).max()
    assert distance < 1.95 / math.sqrt(len(gap))  # Kolmogorov-Smirnov, p = 0.001


def test_a_longer_horizon_keeps_the_tasks_of_a_shorter_one(star, unit_task):
    short, long = (Poisson(2.0, unit_task).tasks(Draws(3, 0, 0), star(), horizon) for horizon in (5.0, 9.0))
    assert 0 < len(short.node) < len(long.node)
    for name in short._fields:
        assert getattr(long, name)[: len(short.node)].tolist() == getattr(short, name).tolist()


def test_a_piece_with_rate_zero_has_no_arrivals():
    instants = poisson_instants(Draws(1, 0, 0), np.array([1.0, 2.0, 3.0]), np.array([50.0, 0.0, 50.0]))
    assert not ((instants >= 1.0) & (instants < 2.0)).any()
    assert (instants < 1.0).any()
    assert (instants >= 2.0).any()


def test_arrivals_that_do_not_fit_are_filled_a_second_time():
    draws, end_s, rate_hz = Draws(1, 0, 0), np.array([10.0]), np.array([30.0])
    calls = []

    def fill(out):
        calls.append(len(out))
        return fill_poisson(out, end_s, rate_hz, draws.key, np.uint64(1000), draws.world_id, draws.episode)

    instants = fill_exactly(fill, 0.0)
    assert len(calls) == 2
    assert calls[0] < calls[1] == len(instants)
    assert instants.tolist() == poisson_instants(draws, end_s, rate_hz).tolist()


def test_periodic_devices_create_one_task_an_interval(star, unit_task):
    table = Periodic(4.0, True, unit_task).tasks(Draws(1, 0, 0), star(3), 10.0)
    for device in (1, 2, 3):
        created_s = table.created_s[table.node == device]
        assert np.diff(created_s) == pytest.approx(np.full(39, 0.25))
        assert 0.0 <= created_s[0] < 0.25
    assert len(set(table.created_s[:3])) == 3


def test_periodic_devices_without_offsets_begin_together(star, unit_task):
    table = Periodic(4.0, False, unit_task).tasks(Draws(1, 0, 0), star(3), 0.5)
    assert table.created_s.tolist() == [0.0] * 3 + [0.25] * 3


def test_weights_share_out_the_rate_of_periodic_devices(star, unit_task):
    weighted = dataclasses.replace(unit_task, device_weights=(2.0, 1.0, 0.0))
    table = Periodic(4.0, True, weighted).tasks(Draws(1, 0, 0), star(3), 10.0)
    assert np.bincount(table.node, minlength=4).tolist() == [0, 80, 40, 0]  # 12 tasks a second in 10 s


@pytest.mark.parametrize("shape", [0.4, 1.38, 9.0])
def test_gamma_variates_have_mean_and_variance_of_their_shape(shape):
    out = np.empty(40_000)
    fill_gamma(out, shape, np.uint64(5), np.uint64(1002), np.uint64(0), np.uint64(0))
    assert out.mean() == pytest.approx(shape, abs=4.0 * math.sqrt(shape / out.size))
    # the kurtosis of a gamma variate is 3 + 6 / shape, so its variance has the relative error sqrt((2 + 6 / shape) / n)
    assert out.var() == pytest.approx(shape, rel=4.0 * math.sqrt((2.0 + 6.0 / shape) / out.size))


@pytest.mark.parametrize("r", [0.5, 1.38, 20.0])
def test_negative_binomial_counts_have_variance_mean_plus_mean_squared_over_r(star, unit_task, counts, r):
    workload, topology = NegativeBinomial(4.0, 0.1, r, unit_task), star(12)
    seen = counts(workload, topology, n_worlds=60, n_windows=500, width_s=0.1)
    mean, variance = 4.8, 4.8 + 4.8**2 / r
    assert workload.mean_rate_hz(topology) == pytest.approx(48.0)
    assert seen.mean() == pytest.approx(mean, abs=4.0 * math.sqrt(variance / seen.size))
    # the excess kurtosis of NB(r, p) is 6 / r + p**2 / (r (1 - p)), which is below 6 / r + 1 for the r tested
    assert seen.var() == pytest.approx(variance, rel=4.0 * math.sqrt((3.0 + 6.0 / r) / seen.size))


def test_negative_binomial_counts_of_successive_intervals_are_uncorrelated(star, unit_task, counts):
    seen = counts(NegativeBinomial(4.0, 0.1, 1.38, unit_task), star(12), n_worlds=60, n_windows=500, width_s=0.1)
    correlation = np.corrcoef(seen[:, :-1].ravel(), seen[:, 1:].ravel())[0, 1]
    assert abs(correlation) < 4.0 / math.sqrt(seen.size)


def mmpp_dispersion(workload, n_devices, t):
    """Return the index of dispersion of counts over t seconds; the formula stands in the class."""
    s = 1.0 / workload.calm_s + 1.0 / workload.burst_s
    p = workload.burst_s / (workload.calm_s + workload.burst_s)
    d = n_devices * (workload.burst_tasks_per_s - workload.calm_tasks_per_s)
    m = n_devices * (p * workload.burst_tasks_per_s + (1.0 - p) * workload.calm_tasks_per_s)
    return 1.0 + 2.0 * p * (1.0 - p) * d**2 / (m * s) * (1.0 - (1.0 - math.exp(-s * t)) / (s * t))


@pytest.mark.parametrize("width_s", [0.5, 4.0])
def test_mmpp_counts_have_the_mean_and_the_dispersion_of_theory(star, unit_task, counts, width_s):
    workload, topology = Mmpp(1.0, 6.0, 4.0, 1.0, unit_task), star(4)
    n_windows = int(800.0 / width_s)
    seen = counts(workload, topology, n_worlds=50, n_windows=n_windows, width_s=width_s)
    rate_hz = workload.mean_rate_hz(topology)
    assert rate_hz == pytest.approx(4.0 * (0.8 * 1.0 + 0.2 * 6.0))
    # totals over 800 s are nearly independent of the state they begin in, so the dispersion there gives the error
    total_sd = math.sqrt(mmpp_dispersion(workload, 4, 800.0) * rate_hz * 800.0)
    assert seen.sum(axis=1).mean() == pytest.approx(rate_hz * 800.0, abs=4.0 * total_sd / math.sqrt(50))
    # 40,000 s hold 8,000 cycles of calm and burst: a relative error of about sqrt(2 / 8,000) = 0.016
    assert dispersion(seen) == pytest.approx(mmpp_dispersion(workload, 4, width_s), rel=0.064)


def test_mmpp_begins_in_its_stationary_law(star, unit_task, counts):
    # In the first 0.01 s nothing switches: P(burst) = 1 / 5, and only a burst has tasks.
    workload = Mmpp(0.0, 1_000.0, 4.0, 1.0, unit_task)
    seen = counts(workload, star(1), n_worlds=2_000, n_windows=1, width_s=0.01)
    assert (seen > 0).mean() == pytest.approx(0.2, abs=4.0 * math.sqrt(0.16 / 2_000))


def test_diurnal_counts_follow_the_sinusoid(star, unit_task, counts):
    workload = Diurnal(5.0, 0.8, 8.0, False, 0.25, unit_task)
    seen = counts(workload, star(4), n_worlds=400, n_windows=8, width_s=1.0).mean(axis=0)
    # the integral of 20 * (1 + 0.8 * sin(2 pi (t / 8 + 1 / 4))) over [i, i + 1]
    at = np.arange(9)
    integral = 20.0 * (at + 0.8 * 8.0 / (2.0 * math.pi) * np.sin(2.0 * math.pi * at / 8.0))
    assert seen == pytest.approx(np.diff(integral), abs=4.0 * math.sqrt(36.0 / 400))


def test_drawn_phases_level_the_diurnal_rate_over_worlds(star, unit_task, counts):
    workload = Diurnal(5.0, 1.0, 80.0, True, 0.0, unit_task)
    seen = counts(workload, star(4), n_worlds=1_000, n_windows=1, width_s=1.0)
    # the variance is that of Poisson plus half the squared amplitude
    assert seen.mean() == pytest.approx(20.0, abs=4.0 * math.sqrt((20.0 + 200.0) / 1_000))
    assert seen.var() == pytest.approx(220.0, rel=0.15)


def test_scheduled_counts_follow_the_pieces_over_and_over(star, unit_task, counts):
    workload = Schedule(((1.0, 3.0), (2.0, 0.0), (1.0, 8.0)), False, unit_task)
    seen = counts(workload, star(2), n_worlds=500, n_windows=9, width_s=1.0).mean(axis=0)
    assert seen == pytest.approx(2.0 * np.array([3, 0, 0, 8, 3, 0, 0, 8, 3]), abs=4.0 * math.sqrt(16.0 / 500))
    assert seen[[1, 2, 5, 6]].tolist() == [0.0] * 4


def test_a_drawn_offset_begins_anywhere_in_the_schedule(star, unit_task, counts):
    workload, topology = Schedule(((1.0, 3.0), (2.0, 0.0), (1.0, 8.0)), True, unit_task), star(2)
    seen = counts(workload, topology, n_worlds=1_500, n_windows=6, width_s=1.0).mean(axis=0)
    # a second of the schedule has 2 * 11 / 4 = 5.5 tasks on average, of variance below 5.5 + 16 * 5.5
    assert workload.mean_rate_hz(topology) == pytest.approx(5.5)
    assert seen == pytest.approx([5.5] * 6, abs=4.0 * math.sqrt(93.5 / 1_500))


def test_linear_pieces_keep_the_area_under_the_ramp():
    pieces = linear_pieces(10.0, 2.0, 6.0, 5)
    assert sum(duration_s for duration_s, _ in pieces) == pytest.approx(10.0)
    assert sum(duration_s * rate for duration_s, rate in pieces) == pytest.approx(10.0 * 4.0)
    assert [rate for _, rate in pieces] == pytest.approx([2.4, 3.2, 4.0, 4.8, 5.6])


def test_zigzag_pieces_rise_and_fall_within_a_period():
    assert zigzag_pieces(8.0, 0.0, 4.0, 2) == ((2.0, 1.0), (2.0, 3.0), (2.0, 3.0), (2.0, 1.0))
