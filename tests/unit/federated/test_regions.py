"""Clients, regions and cloud: who hears whom, when the cloud joins, and what liars in a region can do."""

from __future__ import annotations

import pytest
import torch

from edge_rllib.federated.attacks.read import attack as read_attack
from edge_rllib.federated.attacks.schedule import FixedSet
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.pipeline import pipeline
from edge_rllib.federated.regions import Regions
from edge_rllib.federated.rounds import StepParams
from edge_rllib.federated.stealing.accounting import Kind, RoundAccount, Timeline
from envs.errors import ConfigError


class Timed(Collector):
    """Says that the chunks of a round have taken a second."""

    keeps_time = True

    def _execute(self, chunks, orders, liar):
        super()._execute(chunks, orders, liar)
        lines = [Timeline(k, 5.0) for k in range(len(self.clients))]
        for line in lines:
            line.add(Kind.OWN, 5.0, 5.4 + 0.1 * line.client, line.client)
            line.fill(Kind.BARRIER, 6.0)
        return RoundAccount(5.0, 6.0, lines, 0.4), {}


def regions(server, members, rule="mean", cloud="mean", every=2, n_faulty=0, n_faulty_regions=0, attack="", **given):
    """Return regions of a server's clients, whose vectors go up by SGD at rate 0.1."""
    n_clients = sum(map(len, members))
    alone = server(n_clients=n_clients, correction="none", large_episodes=3, **given)
    liars = FixedSet(n_clients, max(n_faulty, 1))
    faults = Faults(read_attack(attack), liars, pipeline(rule), 0) if attack else None
    rules = (pipeline(rule), pipeline(cloud), every, n_faulty, n_faulty_regions, 0, faults)
    return alone, Regions(
        alone.clients, alone.vectors, alone.params, StepParams("sgd", 0.1, 0.0, "constant", 1.0, 1), members, *rules
    )


def estimates(alone, round_, vectors):
    """Return what all clients would send of a round, each at its own parameters, (K, d)."""
    from edge_rllib.federated.clients import Order

    (name,) = alone.vectors
    rows = [
        client.message(Order(round_, True, {name: vectors[client.index]}, None, None)).vectors[name]
        for client in alone.clients
    ]
    return name, torch.stack(rows)


def test_a_region_moves_on_its_own_until_the_cloud_joins_all(server):
    alone, found = regions(server, [[0, 2], [1]])
    name = next(iter(alone.vectors))
    start = alone.vectors[name].clone()
    _, first = estimates(alone, 0, start.expand(3, -1))

    report = found.play()

    apart = torch.stack((start + 0.1 * first[[0, 2]].mean(0), start + 0.1 * first[1]))
    torch.testing.assert_close(found.vectors[name], apart)
    assert report.diameter == report.diameter_before == pytest.approx(float((apart[0] - apart[1]).norm()), rel=1e-4)
    _, second = estimates(alone, 1, apart[[0, 1, 0]])

    report = found.play()

    joined = (apart + 0.1 * torch.stack((second[[0, 2]].mean(0), second[1]))).mean(0)
    torch.testing.assert_close(found.vectors[name], joined.expand(2, -1))
    assert report.diameter == 0.0 < report.diameter_before
    torch.testing.assert_close(found.policy()[name], joined)


def test_a_region_full_of_liars_is_outvoted_by_the_cloud(server):
    # the first client lies, and is its region: the cloud's median is one of the others'
    _, found = regions(
        server, [[0], [1, 2], [3, 4]], cloud="coordinate_median", every=1, n_faulty_regions=1, attack="large_noise"
    )
    _, clean = regions(server, [[0], [1, 2], [3, 4]], cloud="coordinate_median", every=1, n_faulty_regions=1)
    (name,) = found.vectors

    found.play()
    clean.play()

    assert float((found.vectors[name] - clean.vectors[name]).abs().max()) < 1.0  # noise moves a mean by 0.1 * 1000 / 3


def test_a_state_goes_on_as_the_regions_would_have(server):
    (_, first), (_, second) = (regions(server, [[0, 1], [2]], every=3, attack="sign_flip") for _ in range(2))
    for _ in range(4):
        first.play()
    second.set_state(first.get_state())

    assert first.play() == second.play()
    assert all(torch.equal(first.vectors[name], second.vectors[name]) for name in first.vectors)


def test_phases_of_servers_and_cloud_add_up_to_the_round(server):
    _, found = regions(server, [[0, 2], [1]], every=2)
    found.collector = Timed(found.clients)

    for is_joined in (False, True):
        found.play()

        figures, phases_s = found.figures, found._phases_s
        joined = {Kind.AGREEMENT} if is_joined else set()
        assert phases_s.keys() == {Kind.AGGREGATION, Kind.OPTIMISATION} | joined
        for kind, length_s in phases_s.items():
            assert figures[f"round_{kind.value}_frac"] == pytest.approx(length_s / figures["round_s"])
        assert figures["round_s"] == pytest.approx(1.0 + sum(phases_s.values()), abs=1e-9)
        assert sum(figures[f"round_{kind.value}_frac"] for kind in Kind) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("members", "changes", "message"),
    [
        ([[0], [0, 1]], {}, "expected 3 clients, each once"),
        ([[0], [1, 2]], {"every": 0}, "join_every_rounds = 0"),
        ([[0, 1], [2]], {"rule": "coordinate_median", "n_faulty": 1}, "region 0 has 2 clients: coordinate_median"),
        ([[0, 1], [2]], {"cloud": "krum", "n_faulty_regions": 1}, "krum: n = 2"),
    ],
)
def test_regions_that_cannot_be_are_refused(server, members, changes, message):
    with pytest.raises(ConfigError, match=message):
        regions(server, members, **changes)
