"""Channels and chains of queues against closed forms; every task leaves its device at the instant of its creation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

from envs.fog import state as s
from envs.scenario import make
from envs.topologies.assemble import Link
from envs.workloads.laws import Amount, Deadline, TaskLaw
from envs.workloads.poisson import Poisson

RATE_HZ = 0.5
NOTHING = Amount("fixed", 0.0, 0.0)
EXPONENTIAL_BITS = Amount("exponential", 1e6, 0.0)  # a second on a link of 1 Mbit/s
SIZES = {
    "fixed": Amount("fixed", 1e6, 0.0),
    "exponential": EXPONENTIAL_BITS,
    "lognormal": Amount("lognormal", 1e6, 0.8),
}


def sent_at_once(fog, topology, work, size, result, horizon_s=32_000.0, **params):
    """Return the means over finished tasks of upload, wait, service and return, in seconds; 128 worlds."""
    workload = Poisson(RATE_HZ, TaskLaw(work, size, result, Deadline("none", 0.0, 0.0), ()))
    events = {"decide_on": "events", "undecided": "hold", "slot_s": 50.0, "horizon_slots": int(horizon_s / 50.0)}
    world = make(fog.scenario(topology, workload, **events, **params), 128)
    world.reset(None, world.outcome())
    total = world.play_static(np.eye(world.spec.n_targets)[[1] * world.spec.n_agents], 0).sum(axis=0)
    assert total[s.OFFLOADS] == total[s.DECISIONS] == total[s.CREATED] > 2e6
    return [total[part] / total[s.COMPLETED] for part in (s.UPLOAD_S, s.WAIT_S, s.SERVICE_S, s.RETURN_S)]


@pytest.mark.parametrize(
    ("contention", "law", "expected_s"),
    [
        ("fifo", "exponential", 2.0),  # M/M/1: 1 / (mu - lambda)
        ("fifo", "fixed", 1.5),  # M/D/1: 1 + rho / (2 (1 - rho))
        ("fair", "exponential", 2.0),  # M/G/1-PS: E[S] / (1 - rho), whatever the law
        ("fair", "fixed", 2.0),
        ("fair", "lognormal", 2.0),
        ("none", "lognormal", 1.0),  # M/G/inf: nobody waits
    ],
)
def test_channel_delays_as_its_queue(fog, contention, law, expected_s):
    topology = fog.pair(rate_bps=1e6, delay_s=0.0)
    upload_s, *others = sent_at_once(fog, topology, NOTHING, SIZES[law], NOTHING, contention=contention)
    assert upload_s == pytest.approx(expected_s, rel=0.01)
    assert others == [0.0, 0.0, 0.0]


def test_propagation_delays_and_occupies_nothing(fog):
    topology = fog.pair(rate_bps=1e6, delay_s=30.0)
    parts = sent_at_once(fog, topology, NOTHING, EXPONENTIAL_BITS, NOTHING)
    assert parts == pytest.approx([32.0, 0.0, 0.0, 30.0], rel=0.01)


def test_channel_server_and_way_back_are_a_tandem_of_three_queues(fog):
    # P. J. Burke, 1956: what leaves M/M/1 is Poisson, so each of the three is M/M/1 of its own; the server has two
    # cores of 0.5 s, M/M/2 with the load 0.25: W = S / (1 - rho^2)
    topology = fog.pair(rate_bps=1e6, delay_s=0.0, core_hz=2e9, n_cores=2)
    work = Amount("exponential", 1e9, 0.0)
    upload_s, wait_s, service_s, return_s = sent_at_once(fog, topology, work, EXPONENTIAL_BITS, EXPONENTIAL_BITS)
    expected_s = (2.0, 0.5 / (1.0 - 0.125**2), 2.0)
    assert (upload_s, wait_s + service_s, return_s) == pytest.approx(expected_s, rel=0.01)


def test_tandem_of_two_machines(fog):
    # M/M/1 of rate 1 on the channel, then M/M/1 of rate 0.8 on the server: 1 / 0.5 + 1 / 0.3
    topology = fog.pair(rate_bps=1e6, delay_s=0.0, core_hz=0.8e9)
    work = Amount("exponential", 1e9, 0.0)
    upload_s, wait_s, service_s, _ = sent_at_once(fog, topology, work, EXPONENTIAL_BITS, NOTHING, horizon_s=65_000.0)
    assert (upload_s, wait_s + service_s) == pytest.approx((1.0 / 0.5, 1.0 / 0.3), rel=0.01)


@pytest.mark.parametrize("contention", ["fifo", "fair", "none"])
def test_devices_with_unequal_links_share_one_channel(fog, contention):
    # Two devices at 1 and 2 Mbit/s on one channel, 0.5 tasks/s of 1 Mbit each: S is 1 s or 0.5 s, load 0.75.
    links = [Link(n, 2, rate_bps, 0.0, "air") for n, rate_bps in ((0, 1e6), (1, 2e6))]
    links += [Link(2, n, 1e6, 0.0, f"back{n}") for n in (0, 1)]
    nodes = (("a", 0, fog.node()), ("b", 0, fog.node()), ("server", 1, fog.node()))
    upload_s, *_ = sent_at_once(
        fog, fog.wired(nodes, tuple(links)), NOTHING, EXPONENTIAL_BITS, NOTHING, contention=contention
    )
    if contention == "fifo":
        # E[S] + lambda E[S^2] / (2 (1 - rho)): lambda = 1, E[S] = 0.75, E[S^2] = (2 + 0.5) / 2
        assert upload_s == pytest.approx(0.75 + 1.25 / (2.0 * 0.25), rel=0.01)
    elif contention == "none":
        assert upload_s == pytest.approx(0.75, rel=0.01)
    else:
        assert upload_s == pytest.approx(mean_upload_of_two_rates(), rel=0.01)


def mean_upload_of_two_rates(most=120):
    """Return the mean response time of the channel above under max-min: a Markov chain, solved up to ``most`` tasks.

    With i slow and j fast transmissions the equal part of 2 Mbit/s is 2 / (i + j); a slow link alone takes 1 of it.
    So alone a slow one sends at 1, everything else shares 2 equally; transmissions have exponential sizes.
    """
    n = most + 1
    place = np.arange(n * n).reshape(n, n)
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    part = np.where(i + j > 0, 2.0 / np.maximum(i + j, 1), 0.0)
    part[1, 0] = 1.0
    moves = [
        (place[:-1], place[1:], np.full(((n - 1), n), 0.5)),
        (place[:, :-1], place[:, 1:], np.full((n, n - 1), 0.5)),
        (place[1:], place[:-1], (i * part)[1:]),
        (place[:, 1:], place[:, :-1], (j * part)[:, 1:]),
    ]
    source, target, rate = (np.concatenate([np.ravel(move[k]) for move in moves]) for k in range(3))
    chain = coo_array((rate, (target, source)), shape=(n * n, n * n)).tocsc()
    balance = (chain - diags_array(np.asarray(chain.sum(axis=0)).ravel())).tolil()
    balance[0] = 1.0  # one equation is redundant: the probabilities add up to 1
    probability = spsolve(balance.tocsc(), np.eye(1, n * n).ravel())
    return float(probability @ np.ravel(i + j)) / 1.0  # Little's law, one task a second
