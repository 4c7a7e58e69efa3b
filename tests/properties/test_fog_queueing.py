"""Long runs of the fog world against closed forms of queueing theory (Kleinrock, "Queueing Systems", volume 1)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.fog import state as s

ARRIVALS_HZ = 0.5  # service rate is 1 / s on one core: 1e9 cycles at 1 GHz
N_WORLDS, HORIZON_S = 64, 65_000.0  # 2.1 million tasks


def run(fog, topology, workload, slot_s):
    scenario = fog.scenario(
        topology, workload, slot_s=slot_s, horizon_slots=int(HORIZON_S / slot_s), max_alive_tasks=400
    )
    _, sums = fog.play(scenario, N_WORLDS)
    return sums.sum(axis=0)


@pytest.mark.parametrize("slot_s", [2.5, 13.0])
def test_mm1_response_time_whatever_the_slot(fog, slot_s):
    total = run(fog, fog.single(), fog.poisson(ARRIVALS_HZ, "exponential"), slot_s)
    # W = 1 / (mu - lambda) = 1 / (1 - 0.5)
    assert total[s.RESPONSE_S] / total[s.COMPLETED] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("slot_s", [2.5, 13.0])
def test_md1_response_time_whatever_the_slot(fog, slot_s):
    total = run(fog, fog.single(), fog.poisson(ARRIVALS_HZ, "fixed"), slot_s)
    # W = 1 / mu + rho / (2 mu (1 - rho)) = 1 + 0.5 / (2 * 0.5)
    assert total[s.RESPONSE_S] / total[s.COMPLETED] == pytest.approx(1.5, rel=0.01)


def test_mmc_waiting_time_is_erlang_c(fog):
    n_cores, load = 4, 2.8  # erlangs
    total = run(fog, fog.single(n_cores=n_cores), fog.poisson(load, "exponential"), 5.0)
    last = load**n_cores / math.factorial(n_cores) * n_cores / (n_cores - load)
    erlang_c = last / (sum(load**k / math.factorial(k) for k in range(n_cores)) + last)
    assert total[s.WAIT_S] / total[s.COMPLETED] == pytest.approx(erlang_c / (n_cores - load), rel=0.01)


def test_little_law_holds_between_sampled_queue_and_response_time(fog):
    places = 400
    total = run(fog, fog.single(queue_places=places), fog.poisson(ARRIVALS_HZ, "exponential"), 2.5)
    slots = N_WORLDS * HORIZON_S / 2.5
    tasks_in_system = total[s.OCCUPANCY_TIER] * places / slots  # sampled at the ends of slots
    response_s = total[s.RESPONSE_S] / total[s.COMPLETED]
    assert tasks_in_system == pytest.approx(ARRIVALS_HZ * response_s, rel=0.01)


def test_finite_queue_loses_what_mm1k_loses(fog):
    places, load = 5, 0.8
    total = run(fog, fog.single(queue_places=places), fog.poisson(load, "exponential"), 5.0)
    loss = (1 - load) * load**places / (1 - load ** (places + 1))
    assert total[s.DROPPED + s.QUEUE_FULL] / total[s.CREATED] == pytest.approx(loss, rel=0.02)


def test_busy_time_and_energy_follow_the_load(fog):
    total = run(fog, fog.single(), fog.poisson(ARRIVALS_HZ, "exponential"), 13.0)
    elapsed_s = N_WORLDS * HORIZON_S
    assert total[s.BUSY_S_TIER] / elapsed_s == pytest.approx(ARRIVALS_HZ, rel=0.01)
    # a core in service takes busy_w - idle_w = 3 W
    assert total[s.COMPUTE_J] == pytest.approx(3.0 * total[s.BUSY_S_TIER], rel=1e-9)


def test_percentiles_of_mm1_are_exponential(fog):
    scenario = fog.scenario(
        fog.single(), fog.poisson(ARRIVALS_HZ, "exponential"), slot_s=13.0, horizon_slots=int(HORIZON_S / 13.0)
    )
    world, sums = fog.play(scenario, N_WORLDS)
    figures = world.summarise(sums.sum(axis=0))
    for percent in (50, 95, 99):
        expected_s = -2.0 * math.log(1.0 - percent / 100.0)  # the sojourn time of M/M/1 is exponential
        assert figures[f"response_time_s_p{percent}"] == pytest.approx(expected_s, rel=0.02)
    assert np.isfinite(figures["response_time_s_mean"])
