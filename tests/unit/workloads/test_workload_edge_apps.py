"""Edge applications: silence in idle periods, rates, shares and what belongs to each application."""

import math

import numpy as np
import pytest

from envs.rng import Draws
from envs.workloads import streams
from envs.workloads.edge_apps import AppProfile, EdgeApps
from envs.workloads.laws import Deadline


def app(share=1.0, interarrival_s=0.1, active_s=3.0, idle_s=2.0, work_cycles=1e6, deadline=("none", 0.0, 0.0)):
    return AppProfile("app", share, interarrival_s, active_s, idle_s, 1e6, 2e6, work_cycles, Deadline(*deadline))


def test_a_device_is_silent_in_its_idle_periods_and_only_then(star):
    draws = Draws(4, 0, 0)
    table = EdgeApps(1.0, (app(),)).tasks(draws, star(3), 50.0)
    begun_s = draws.uniform(streams.PHASE, 3) * 5.0
    in_cycle_s = (table.created_s + begun_s[table.node - 1]) % 5.0
    # 3 devices * 30 s active * 10 tasks a second
    assert len(table.node) == pytest.approx(900, abs=4 * 30)
    assert in_cycle_s.max() < 3.0
    assert np.histogram(in_cycle_s, 3, (0.0, 3.0))[0] == pytest.approx([300] * 3, abs=4.0 * math.sqrt(300))


def test_an_application_that_never_idles_is_a_poisson_process(star, counts):
    seen = counts(EdgeApps(1.0, (app(interarrival_s=0.5, idle_s=0.0),)), star(2), 100, 100, 1.0)
    assert seen.mean() == pytest.approx(4.0, abs=4.0 * math.sqrt(4.0 / seen.size))
    assert seen.var() / seen.mean() == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / seen.size))


def test_the_mean_rate_holds_at_every_time(star, counts):
    workload, topology = EdgeApps(2.0, (app(share=1.0), app(share=3.0, interarrival_s=1.0, idle_s=0.0))), star(4)
    # 4 devices * 2 * (1/4 * 10 * 3/5 + 3/4 * 1)
    assert workload.mean_rate_hz(topology) == pytest.approx(18.0)
    seen = counts(workload, topology, 1_500, 4, 1.0)
    sd = math.sqrt(18.0 + 4 * 8.7**2)  # Poisson, and which application and period each device is in (sd of its rate)
    assert seen.mean(axis=0) == pytest.approx([18.0] * 4, abs=4.0 * sd / math.sqrt(1_500))


def test_the_rate_scale_scales_rates_and_not_periods(star):
    draws = Draws(4, 0, 0)
    table = EdgeApps(10.0, (app(),)).tasks(draws, star(3), 50.0)
    assert len(table.node) == pytest.approx(9_000, abs=4 * 95)
    assert ((table.created_s + (draws.uniform(streams.PHASE, 3) * 5.0)[table.node - 1]) % 5.0).max() < 3.0


def test_each_device_runs_one_application_with_its_work_and_its_deadline(star):
    light = app(share=1.0, work_cycles=1e6, deadline=("absolute", 0.5, 0.5))
    heavy = app(share=1.0, work_cycles=1e12, deadline=("absolute", 7.0, 7.0))
    table = EdgeApps(1.0, (light, heavy)).tasks(Draws(2, 0, 0), star(40), 20.0)
    left_s = np.round(table.due_s - table.created_s, 6)
    is_heavy = left_s == 7.0
    assert set(left_s.tolist()) == {0.5, 7.0}
    assert table.work_cycles[is_heavy].mean() == pytest.approx(1e12, abs=4e12 / math.sqrt(is_heavy.sum()))
    assert table.work_cycles[~is_heavy].mean() == pytest.approx(1e6, abs=4e6 / math.sqrt((~is_heavy).sum()))
    heavy_share = [is_heavy[table.node == node].mean() for node in range(1, 41)]
    assert set(heavy_share) == {0.0, 1.0}
    assert np.mean(heavy_share) == pytest.approx(0.5, abs=4.0 * math.sqrt(0.25 / 40))
