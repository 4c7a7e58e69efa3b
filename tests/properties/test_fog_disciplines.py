"""Orders of service against closed forms: Kleinrock, "Queueing Systems", volumes 1 and 2, unless said otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from envs.fog import state as s
from envs.workloads.laws import Amount, Deadline, TaskLaw, draw_choices
from envs.workloads.poisson import Poisson
from envs.workloads.workload import Workload

RATE_HZ = 0.5  # a core of 1 GHz serves a mean task, 1e9 cycles, in a second
NOTHING = Amount("fixed", 0.0, 0.0)
NO_DEADLINE = Deadline("none", 0.0, 0.0)
# Under ``sharing`` every task is held until its agent decides, so the device has no agent and runs what it creates.
SHARING = {"discipline": "sharing", "undecided": "hold", "agent_nodes": ("server",)}
LAWS = {  # work of mean 1 s, its second moment in s2
    "fixed": (Amount("fixed", 1e9, 0.0), 1.0),
    "uniform": (Amount("uniform", 1e9, 1.0), 4.0 / 3.0),  # U[0, 2]: 2^2 / 3
    "exponential": (Amount("exponential", 1e9, 0.0), 2.0),
    "lognormal": (Amount("lognormal", 1e9, 0.8), math.exp(0.64)),  # of mean 1: exp(sigma^2)
}


def tasks(rate_hz, law="exponential", deadline=NO_DEADLINE, size=NOTHING):
    return Poisson(rate_hz, TaskLaw(LAWS[law][0], size, NOTHING, deadline, ()))


def device(fog, **settings):
    """Return a device that does all work, and a server without any."""
    return replace(fog.pair(), device=fog.node(**settings))


def erlang_c_wait_s(n_cores, load):
    last = load**n_cores / math.factorial(n_cores) * n_cores / (n_cores - load)
    return last / (sum(load**k / math.factorial(k) for k in range(n_cores)) + last) / (n_cores - load)


@pytest.mark.parametrize("law", ["uniform", "lognormal"])
def test_mg1_waits_as_pollaczek_and_khinchine_have_it(fog, law):
    total = fog.totals(fog.single(), tasks(RATE_HZ, law))
    # W = lambda E[S^2] / (2 (1 - rho))
    wait_s = RATE_HZ * LAWS[law][1] / (2.0 * (1.0 - RATE_HZ))
    assert total[s.WAIT_S] / total[s.COMPLETED] == pytest.approx(wait_s, rel=0.01)


@pytest.mark.parametrize("law", list(LAWS))
def test_sharing_has_a_mean_response_time_that_depends_on_the_mean_work_alone(fog, law):
    total = fog.totals(device(fog), tasks(RATE_HZ, law), **SHARING)
    # M/G/1-PS: E[S] / (1 - rho)
    assert total[s.RESPONSE_S] / total[s.COMPLETED] == pytest.approx(2.0, rel=0.01)
    assert total[s.DECISIONS] == 0.0


def test_sharing_stretches_each_task_in_proportion_to_its_work(fog):
    edges_s = np.array([0.0, 0.3, 0.7, 1.2, 2.0, 4.0])
    work_s, response_s = np.zeros((2, len(edges_s) - 1))
    for log in fog.logs(device(fog), tasks(RATE_HZ), **SHARING):
        work_s += np.histogram(log["service_s"], edges_s, weights=log["service_s"])[0]
        response_s += np.histogram(log["service_s"], edges_s, weights=log["left_s"] - log["created_s"])[0]
    # E[T | x] = x / (1 - rho), whatever the work x
    np.testing.assert_allclose(response_s / work_s, 2.0, rtol=0.01)


def test_cores_that_are_shared_have_the_mean_response_time_of_mmc(fog):
    n_cores, load = 4, 2.8
    total = fog.totals(device(fog, n_cores=n_cores), tasks(load), **SHARING)
    # The number of tasks is the birth-death chain of M/M/c, so by Little's law the mean response time is its own.
    response_s = 1.0 + erlang_c_wait_s(n_cores, load)
    assert total[s.RESPONSE_S] / total[s.COMPLETED] == pytest.approx(response_s, rel=0.01)


def moments_of_wait(fog, discipline):
    count, first, second = 0, 0.0, 0.0
    for log in fog.logs(fog.single(), tasks(RATE_HZ), n_batches=8, discipline=discipline):
        count += len(log["wait_s"])
        first += log["wait_s"].sum()
        second += (log["wait_s"] ** 2).sum()
    assert count > 4e6
    return first / count, second / count


@pytest.mark.slow
def test_last_in_first_out_has_the_mean_wait_of_fifo_and_a_larger_second_moment(fog):
    # FIFO M/M/1: P(W > t) = rho exp(-(mu - lambda) t), E[W] = 1, E[W^2] = 4. LIFO: E[W^2] is 1 / (1 - rho) times as
    # large (L. Takacs, "Delay distributions for one line with Poisson input", 1963).
    assert moments_of_wait(fog, "fifo") == pytest.approx((1.0, 4.0), rel=0.01)
    assert moments_of_wait(fog, "lifo") == pytest.approx((1.0, 8.0), rel=0.01)


@dataclass(frozen=True)
class Classes(Workload):
    """Tasks of another workload, each of a class of priority drawn for itself."""

    base: Poisson
    shares: tuple[float, ...]

    def tasks(self, draws, topology, horizon_s):
        table = self.base.tasks(draws, topology, horizon_s)
        shares = np.array(self.shares)
        return table._replace(priority=draw_choices(draws, 2000, len(table.node), np.arange(len(shares)), shares))

    def mean_rate_hz(self, topology):
        return self.base.mean_rate_hz(topology)


@pytest.mark.parametrize(("law", "shares"), [("exponential", (0.2, 0.3, 0.5)), ("uniform", (0.6, 0.4))])
def test_priority_waits_as_cobham_has_it(fog, law, shares):
    count, wait_s = np.zeros((2, len(shares)))
    workload = Classes(tasks(RATE_HZ, law), shares)
    for log in fog.logs(fog.single(), workload, n_batches=6, discipline="priority"):
        priority = log["priority"].astype(int)
        count += np.bincount(priority, minlength=len(shares))
        wait_s += np.bincount(priority, log["wait_s"], minlength=len(shares))
    # A. Cobham, "Priority assignment in waiting line problems", 1954: W_k = W_0 / ((1 - s_(k-1)) (1 - s_k)), with the
    # residual work W_0 = lambda E[S^2] / 2 and the load s_k of the classes up to k
    load = np.concatenate([[0.0], RATE_HZ * np.cumsum(shares)])
    expected_s = RATE_HZ * LAWS[law][1] / 2.0 / ((1.0 - load[:-1]) * (1.0 - load[1:]))
    np.testing.assert_allclose(wait_s / count, expected_s, rtol=0.01)


def test_earliest_deadline_first_waits_as_long_on_average_and_misses_fewer_deadlines(fog):
    rate_hz = 0.6
    workload = tasks(rate_hz, deadline=Deadline("absolute", 0.5, 12.0))
    edf, fifo = (fog.totals(fog.single(), workload, discipline=name) for name in ("edf", "fifo"))
    # Deadlines know nothing of the work, so the number of tasks is that of M/M/1: W = rho / (mu - lambda)
    for total in (edf, fifo):
        assert total[s.WAIT_S] / total[s.COMPLETED] == pytest.approx(rate_hz / (1.0 - rate_hz), rel=0.01)
    late = [1.0 - total[s.IN_TIME] / total[s.COMPLETED] for total in (edf, fifo)]
    # FIFO: T is exponential with rate mu - lambda = 0.4; mean of exp(-0.4 d) for d in U[0.5, 12]
    assert late[1] == pytest.approx((math.exp(-0.2) - math.exp(-4.8)) / (0.4 * 11.5), rel=0.01)
    assert late[0] < 0.95 * late[1]


@pytest.mark.parametrize(
    ("discipline", "column"), [("fifo", "created_s"), ("priority", "priority"), ("edf", "due_s"), ("lifo", "created_s")]
)
def test_who_starts_was_first_in_order_among_those_that_waited(fog, discipline, column):
    workload = Classes(tasks(0.9, deadline=Deadline("absolute", 1.0, 30.0)), (0.3, 0.3, 0.4))
    log = next(fog.logs(fog.single(), workload, 1, discipline=discipline, horizon_slots=250))
    checked = 0
    sign = -1.0 if discipline == "lifo" else 1.0
    for created_s, started_s, rank in zip(log["created_s"], log["started_s"], log[column], strict=True):
        waited = (log["created_s"] < started_s) & (log["started_s"] > started_s)
        if created_s < started_s and waited.any():
            assert sign * rank <= (sign * log[column][waited]).min()
            checked += 1
    assert checked > 1000


def test_aggregate_service_is_one_fast_core(fog):
    total = fog.totals(fog.single(n_cores=4, core_hz=0.25e9), tasks(RATE_HZ), service="aggregate")
    assert total[s.RESPONSE_S] / total[s.COMPLETED] == pytest.approx(2.0, rel=0.01)  # M/M/1 of rate 4 x 0.25
    assert total[s.BUSY_S_TIER] / (64 * 65_000.0) == pytest.approx(0.5, rel=0.01)
    assert total[s.COMPUTE_J] == pytest.approx(3.0 * total[s.BUSY_S_TIER], rel=1e-9)  # the whole node's 5 W - 2 W


def loss_frac(total, reason):
    return total[s.DROPPED + reason] / total[s.CREATED]


@pytest.mark.parametrize("deadlines", ["waiting", "hard"])
def test_deadlines_lose_what_the_queue_with_patience_loses(fog, deadlines):
    rate_hz, patience_s = 0.8, 2.0
    workload = tasks(rate_hz, deadline=Deadline("absolute", patience_s, patience_s))
    total = fog.totals(fog.single(), workload, deadlines=deadlines)
    # D. Y. Barrer, 1957. Below the patience d the unfinished work has the density lambda p0 exp(-(mu - lambda) w) of
    # M/M/1. Patience that ends in the queue: above d it falls as exp(-mu w), for those that find more than d never
    # start, and lost is who finds more than d. Patience that ends in service as well: no work beyond d is ever done,
    # so the density ends there, and lost is who finds more than d less its own work: p0 exp(-(mu - lambda) d).
    decay = math.exp(-(1.0 - rate_hz) * patience_s)
    below = rate_hz * (1.0 - decay) / (1.0 - rate_hz)
    if deadlines == "waiting":
        loss = rate_hz * decay / (1.0 + below + rate_hz * decay)
    else:
        loss = decay / (1.0 + below)
    assert loss_frac(total, s.EXPIRED) == pytest.approx(loss, rel=0.01)


def test_memory_for_five_equal_tasks_loses_what_mm1k_loses(fog):
    places, load = 5, 0.8
    workload = tasks(load, size=Amount("fixed", 1e6, 0.0))
    total = fog.totals(fog.single(queue_bits=places * 1e6), workload)
    loss = (1.0 - load) * load**places / (1.0 - load ** (places + 1))
    assert loss_frac(total, s.MEMORY_FULL) == pytest.approx(loss, rel=0.01)
    assert loss_frac(total, s.QUEUE_FULL) == 0.0
