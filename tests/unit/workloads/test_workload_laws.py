"""Laws of one task: moments of amounts, deadlines, shares of devices, independence of streams."""

import dataclasses
import math

import numpy as np
import pytest

from envs.rng import Draws
from envs.workloads import streams
from envs.workloads.laws import Amount, Deadline

DRAWS = Draws(7, 1, 0)
N = 40_000


@pytest.mark.parametrize(
    ("amount", "sd"),
    [
        (Amount("uniform", 5.0, 0.4), 5.0 * 0.4 / math.sqrt(3.0)),
        (Amount("exponential", 5.0, 0.0), 5.0),
        # the variance of a log-normal is mean**2 * (exp(s**2) - 1)
        (Amount("lognormal", 5.0, 0.5), 5.0 * math.sqrt(math.expm1(0.25))),
    ],
)
def test_an_amount_has_the_mean_and_the_sd_of_its_law(amount, sd):
    drawn = amount.draw(DRAWS, streams.WORK, N)
    assert drawn.mean() == pytest.approx(5.0, abs=4.0 * sd / math.sqrt(N))
    assert drawn.std() == pytest.approx(sd, rel=0.05)
    assert drawn.min() > 0.0


def test_a_fixed_amount_is_its_mean():
    assert Amount("fixed", 3.5, 0.0).draw(DRAWS, streams.WORK, 4).tolist() == [3.5] * 4


def test_a_uniform_amount_stays_within_its_spread_and_uses_all_of_it():
    drawn = Amount("uniform", 10.0, 0.2).draw(DRAWS, streams.WORK, N)
    assert 8.0 <= drawn.min() < 8.01
    assert 11.99 < drawn.max() <= 12.0


def test_amounts_of_two_streams_are_uncorrelated():
    law = Amount("exponential", 1.0, 0.0)
    work, size = law.draw(DRAWS, streams.WORK, N), law.draw(DRAWS, streams.SIZE, N)
    assert abs(np.corrcoef(work, size)[0, 1]) < 4.0 / math.sqrt(N)


def test_no_two_quantities_share_a_stream():
    numbers = [value for name, value in vars(streams).items() if name.isupper()]
    assert len(numbers) == len(set(numbers)) >= 12


def deadlines(law, topology, work_cycles):
    n = len(work_cycles)
    created_s, node = np.linspace(0.0, 9.0, n), np.full(n, 1)
    return law.due_s(DRAWS, topology, created_s, node, work_cycles) - created_s


def test_a_factor_deadline_is_a_multiple_of_the_time_alone_on_the_own_device(star):
    work_cycles = np.linspace(1e8, 1e9, N)
    factor = deadlines(Deadline("factor", 1.5, 5.0), star(core_hz=2e9), work_cycles) / (work_cycles / 2e9)
    assert 1.5 <= factor.min() < 1.51
    assert 4.99 < factor.max() <= 5.0
    assert factor.mean() == pytest.approx(3.25, abs=4.0 * 3.5 / math.sqrt(12.0 * N))


def test_an_absolute_deadline_ignores_the_work(star):
    left_s = deadlines(Deadline("absolute", 0.5, 0.5), star(), np.array([1e6, 1e12]))
    assert left_s == pytest.approx([0.5, 0.5])


def test_without_a_deadline_tasks_are_never_late(star):
    assert np.isinf(deadlines(Deadline("none", 0.0, 0.0), star(), np.full(3, 1e6))).all()


def test_tasks_belong_to_devices_in_equal_shares(star, unit_task):
    table = unit_task.table(DRAWS, star(4), np.linspace(0.0, 1.0, N))
    share = np.bincount(table.node, minlength=5) / N
    assert share[0] == 0.0
    # 4 sd of a binomial share
    assert share[1:] == pytest.approx([0.25] * 4, abs=4.0 * math.sqrt(0.25 * 0.75 / N))


def test_weights_share_out_the_tasks_among_the_devices(star, unit_task):
    weighted = dataclasses.replace(unit_task, device_weights=(3.0, 0.0, 1.0))
    share = np.bincount(weighted.table(DRAWS, star(3), np.linspace(0.0, 1.0, N)).node, minlength=4) / N
    assert share[[0, 2]].tolist() == [0.0, 0.0]
    assert share[1] == pytest.approx(0.75, abs=4.0 * math.sqrt(0.25 * 0.75 / N))
