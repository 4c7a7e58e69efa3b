"""A server that waits for nobody: order of arrival, staleness, weights and what is dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_rllib.federated.asynchronous import Asynchronous, AsynchronousParams, Clock
from edge_rllib.federated.attacks.read import attack as read_attack
from edge_rllib.federated.attacks.schedule import FixedSet
from edge_rllib.federated.clients import Order
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.pipeline import pipeline
from edge_rllib.federated.rounds import StepParams
from edge_rllib.federated.stealing.network import network, uniform_network
from edge_rllib.federated.stealing.speeds import SpeedProfile, SpeedTrace
from envs.errors import ConfigError


class Given(SpeedProfile):
    """Speeds as they are written down."""

    def __init__(self, *speeds: float) -> None:
        self.speeds = speeds

    def traces(self, n_clients, seed, round_index=0):
        return [SpeedTrace([speed]) for speed in self.speeds]


def asynchronous(server, speeds, rule="mean", n_faulty=0, attack="", correction="none", seed=0, **timing):
    """Return clients of given speeds and a server that goes up by SGD at rate 0.1."""
    alone = server(n_clients=len(speeds), correction="none", large_episodes=3, seed=seed)
    ways = timing.pop("ways", None) or uniform_network(len(speeds), timing.pop("message_s", 0.0))
    times = {"step_s": 0.01, "network": ways}
    values = {"buffer_size": 1, "most_stale": 100, "stale_exponent": 0.0, "aggregation_s": 0.0, "look_ahead": 0.0}
    values |= timing
    faults = Faults(read_attack(attack), FixedSet(len(speeds), n_faulty), pipeline(rule), 0) if attack else None
    params = alone.params if correction == "none" else server(correction=correction).params
    found = Asynchronous(
        alone.clients,
        alone.vectors,
        params,
        StepParams("sgd", 0.1, 0.0, "constant", 1.0, 1),
        AsynchronousParams(**values),
        Clock(Given(*speeds), **times),
        pipeline(rule),
        n_faulty,
        seed,
        faults,
    )
    return alone, found


def batch(alone, client, number, vector):
    """Return what a client sends of its n-th batch at given parameters, and how many steps it took."""
    (name,) = alone.vectors
    message = alone.clients[client].message(Order(number, True, {name: vector}, None, None))
    return message.vectors[name], message.n_steps


def test_a_slow_client_sends_what_belongs_to_old_parameters(server):
    # client 1 is ten times slower: while it plays its first batch, the server moves with those of client 0
    alone, found = asynchronous(server, (1.0, 0.1))
    (name,) = alone.vectors
    vector = alone.vectors[name].clone()
    slow, slow_steps = batch(alone, 1, 0, vector)
    now_s, move = 0.0, 0
    while True:
        own, steps = batch(alone, 0, move, vector)
        if now_s + 0.01 * steps > 0.1 * slow_steps:
            break
        now_s += 0.01 * steps
        vector = vector + 0.1 * own
        found.play()
        torch.testing.assert_close(found.vectors[name], vector)
        assert found.now_s == pytest.approx(now_s)
        assert found.figures["stale_moves_max"] == 0.0
        move += 1

    found.play()

    assert found.now_s == pytest.approx(0.1 * slow_steps)
    assert found.figures["stale_moves_max"] == move > 3
    torch.testing.assert_close(found.vectors[name], vector + 0.1 * slow)


def test_a_vector_that_is_too_stale_is_dropped_and_counted(server):
    _, found = asynchronous(server, (1.0, 0.1), most_stale=3)

    dropped = [found.play() and found.figures["dropped_stale"] for _ in range(40)]

    assert sum(dropped) >= 1
    assert found.n_batches[1] == 1 + sum(dropped)


def test_stale_vectors_count_less(server):
    # three clients, a buffer of two: in the second move one vector is a move stale, and counts (1 + 1) ** -1 = 1 / 2
    alone, found = asynchronous(server, (1.0, 1.0, 0.3), buffer_size=2, stale_exponent=1.0)
    (name,) = alone.vectors
    found.play()
    first = {sent.client: sent.message.vectors[name] for sent in found._under_way}
    before = found.vectors[name].clone()
    moves = {sent.client: sent.move for sent in found._under_way}

    found.play()

    counted = {k: (1.0 + 1 - move) ** -1.0 for k, move in moves.items()}
    change = (found.vectors[name] - before) / 0.1
    pairs = [(a, b) for a in counted for b in counted if a < b]
    means = [(counted[a] * first[a] + counted[b] * first[b]) / (counted[a] + counted[b]) for a, b in pairs]
    assert min(float((change - mean).abs().max()) for mean in means) < 1e-3 * float(change.abs().max())
    assert found.figures["stale_moves_max"] == 1.0


def test_a_client_counts_once_by_its_latest_vector(server):
    # a buffer of all: the fast client plays on at the same parameters until the slow one has sent its first vector
    alone, found = asynchronous(server, (1.0, 0.1), buffer_size=2, most_stale=0)
    (name,) = alone.vectors
    vector = alone.vectors[name].clone()
    slow, slow_steps = batch(alone, 1, 0, vector)
    now_s, latest, n_sent = 0.0, None, 0
    while True:
        own, steps = batch(alone, 0, n_sent, vector)
        now_s += 0.01 * steps
        if now_s > 0.1 * slow_steps:
            break
        latest, n_sent = own, n_sent + 1

    found.play()

    assert n_sent > 1
    torch.testing.assert_close(found.vectors[name], vector + 0.1 * (latest + slow) / 2)


def test_liars_in_the_buffer_are_made_up_for(server):
    values = {"buffer_size": 3, "rule": "coordinate_median", "n_faulty": 1}
    _, found = asynchronous(server, (1.0, 1.1, 0.9, 1.2), attack="large_noise", **values)

    reports = [found.play() for _ in range(5)]

    assert max(report.distance for report in reports) < 100.0  # lies are numbers up to 1000


def test_a_state_goes_on_as_the_server_would_have(server):
    values = {"buffer_size": 2, "stale_exponent": 0.5, "look_ahead": 0.5, "most_stale": 1, "message_s": 0.02}
    both = [asynchronous(server, (1.0, 0.4, 2.0), **values)[1] for _ in range(2)]
    for _ in range(5):
        both[0].play()
    both[1].set_state(both[0].get_state())

    for _ in range(3):
        expected, found = (each.play() for each in both)
        assert found == expected
        assert both[1].figures == both[0].figures


def test_clients_never_wait(server):
    # time goes by the batches alone: after n moves each client has begun as many batches as fit into the time
    _, found = asynchronous(server, (1.0, 2.0), message_s=0.05)
    for _ in range(20):
        found.play()

    assert sum(found.n_batches) == 20 + 2
    assert np.isfinite(found.now_s)
    assert found.now_s > 0.0


def test_intervals_of_clients_add_up_to_each_move(server):
    # two clients, 0.05 s to the server and back: the first move has one batch of the fast one whole
    alone, found = asynchronous(server, (2.0, 0.5), message_s=0.05)
    (name,) = alone.vectors
    vector = alone.vectors[name].clone()
    _, fast = batch(alone, 0, 0, vector)
    _, slow = batch(alone, 1, 0, vector)
    end_s = 0.05 + 0.01 * fast / 2.0 + 0.05
    assert 0.05 + 0.01 * slow / 0.5 > end_s

    found.play()

    figures = found.figures
    assert figures["round_s"] == pytest.approx(end_s)
    assert figures["round_own_frac"] == pytest.approx(((end_s - 0.1) + (end_s - 0.05)) / (2.0 * end_s))
    assert figures["round_transfer_frac"] == pytest.approx(3 * 0.05 / (2.0 * end_s))
    for _ in range(10):
        found.play()
        shares = [value for key, value in found.figures.items() if key.startswith("round_") and key != "round_s"]
        assert sum(shares) == pytest.approx(1.0)  # nothing is missing, and nothing twice


def test_a_server_that_takes_time_lets_those_wait_who_come_meanwhile(server):
    # equal speeds, no distance: the longer of both first batches comes in while the server moves for 100 s
    alone, found = asynchronous(server, (1.0, 1.0), aggregation_s=100.0)
    (name,) = alone.vectors
    first_s, second_s = sorted(0.01 * batch(alone, k, 0, alone.vectors[name].clone())[1] for k in (0, 1))

    found.play()

    figures = found.figures
    assert found.now_s == pytest.approx(first_s + 100.0)
    whole_s = 2.0 * found.now_s
    assert figures["round_aggregation_frac"] == pytest.approx(100.0 / whole_s)
    assert figures["round_own_frac"] == pytest.approx((first_s + second_s) / whole_s)
    assert figures["round_waiting_frac"] == pytest.approx((found.now_s - second_s) / whole_s)
    found.play()  # with the vector that waited, at once
    assert found.now_s == pytest.approx(first_s + 200.0)


def test_work_of_dropped_vectors_is_wasted(server):
    _, found = asynchronous(server, (1.0, 0.1), most_stale=3)

    wasted = [found.play() and (found.figures["dropped_stale"], found.figures["wasted_s"]) for _ in range(40)]

    assert any(dropped for dropped, _ in wasted)
    assert all((wasted_s > 0.0) == (dropped > 0.0) for dropped, wasted_s in wasted)


def test_clients_play_ahead_of_the_server_by_the_way_it_went(server):
    # alpha = 1/4: theta' = theta + 3 * (theta - theta before); d = 1/4 of the newest and 3/4 of the last one
    alone, found = asynchronous(server, (1.0,), look_ahead=0.25)
    (name,) = alone.vectors
    start = alone.vectors[name].clone()
    first, _ = batch(alone, 0, 0, start)
    theta = start + 0.1 * first
    second, _ = batch(alone, 0, 1, theta + 3.0 * (theta - start))
    way = 0.25 * second + 0.75 * first
    behind = theta + 0.1 * way
    third, _ = batch(alone, 0, 2, behind + 3.0 * (behind - theta))

    found.play()
    torch.testing.assert_close(found.vectors[name], theta)
    found.play()
    torch.testing.assert_close(found.vectors[name], behind)
    found.play()
    torch.testing.assert_close(found.vectors[name], behind + 0.1 * (0.25 * third + 0.75 * way))
    torch.testing.assert_close(found.policy()[name], found.vectors[name])


def test_look_ahead_of_one_is_none(server):
    runs = [asynchronous(server, (1.0, 0.5), look_ahead=share)[1] for share in (0.0, 1.0)]

    for _ in range(4):
        expected, reports = (each.play() for each in runs)
        assert reports == expected


def test_a_client_far_away_is_late_by_both_ways(server):
    # d numbers of 4 bytes at 1e5 bit/s there, in no time back; 0.5 s there and 0.25 s back without a load
    ways = network({"default": 0.0, "server>0": 0.5, "0>server": 0.25}, {"default": np.inf, "server>0": 1e5}, 1)
    alone, found = asynchronous(server, (2.0,), ways=ways)
    (name,) = alone.vectors
    _, n_steps = batch(alone, 0, 0, alone.vectors[name])

    found.play()

    load_s = 8.0 * 4.0 * alone.vectors[name].numel() / 1e5
    assert found.now_s == pytest.approx(0.5 + load_s + 0.01 * n_steps / 2.0 + 0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buffer_size": 3}, "buffer_size = 3 of 2 clients"),
        ({"buffer_size": 0}, "buffer_size = 0"),
        ({"stale_exponent": -1.0}, "stale_exponent = -1.0"),
        ({"aggregation_s": -1.0}, "aggregation_s = -1.0"),
        ({"look_ahead": 1.5}, "look_ahead = 1.5: expected 0 for none, or the newest's share"),
        ({"correction": "page"}, "correction = page without rounds"),
        ({"rule": "coordinate_median", "n_faulty": 1, "buffer_size": 2}, "coordinate_median: n = 2"),
    ],
)
def test_what_does_not_fit_is_refused(server, changes, message):
    with pytest.raises(ConfigError, match=message):
        asynchronous(server, (1.0, 1.0), **changes)
