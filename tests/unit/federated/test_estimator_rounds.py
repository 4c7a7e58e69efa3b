"""What small rounds are corrected by; the published code took parameters behind the step, and each its own vector."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch

from edge_rllib.federated.estimators import Plan
from edge_rllib.ops.aggregation.coordinates import median


def orders_of(federation, n_rounds):
    """Play rounds; return what clients were told in each."""
    collect, told = federation.collector.collect, []

    def recording(orders, *liar):
        told.append(list(orders))
        return collect(orders, *liar)

    federation.collector.collect = recording
    for _ in range(n_rounds):
        federation.play()
    return told


@pytest.mark.parametrize("graph", ["", "complete"])
def test_a_small_round_moves_the_last_aggregate_from_the_parameters_before_the_last_step(server, graph):
    federation = server(n_clients=3, n_faulty=1, aggregator="coordinate_median", large_prob=1e-9, graph=graph)

    told = orders_of(federation, 3)

    assert [orders[0].is_large for orders in told] == [True, False, False]
    for before, orders in pairwise(told):
        sent = [
            client.message(order).vectors["shared"] for client, order in zip(federation.clients, before, strict=True)
        ]
        for own, order, last in zip(sent, orders, before, strict=True):
            assert torch.allclose(order.known["shared"], median(torch.stack(sent)), rtol=1e-4, atol=1e-5)
            assert not torch.allclose(order.known["shared"], own, rtol=1e-4, atol=1e-5)
            assert torch.equal(order.older["shared"], last.vectors["shared"])
            assert (order.vectors["shared"] - order.older["shared"]).norm() > 0.01  # a step of Adam on 58 numbers


def test_rounds_of_svrpg_are_corrected_by_the_last_large_one(server):
    federation = server(correction="svrpg", epoch_rounds=2)

    told = [orders[0] for orders in orders_of(federation, 5)]

    assert [order.is_large for order in told] == [True, False, False, True, False]
    assert torch.equal(told[1].older["shared"], told[0].vectors["shared"])
    assert torch.equal(told[2].older["shared"], told[0].vectors["shared"])
    assert torch.equal(told[2].known["shared"], told[1].known["shared"])
    assert torch.equal(told[4].older["shared"], told[3].vectors["shared"])


def test_a_spent_sample_ends_an_epoch_of_scsg(estimator):
    # the mean number of small rounds is 1000: an epoch ends where nothing is left to trust, and begins anew
    plan = Plan(estimator(correction="scsg", large_episodes=1000, small_episodes=1, baseline="none"), seed=1)

    assert [plan.next(share) for share in (1.0, 0.9, 0.0, 0.9)] == [True, False, True, False]


def test_clients_send_the_way_of_their_own_steps(server):
    # the server steps along the mean of the ways, at rate 1: federated averaging
    values = {"correction": "none", "normalise": True, "local_steps": 3, "local_learning_rate": 0.01}
    federation = server(n_clients=2, **values)
    federation.optimizers["shared"] = torch.optim.SGD([federation.vectors["shared"]], 1.0, maximize=True)
    federation.step = dataclasses.replace(federation.step, learning_rate=1.0)
    start = federation.vectors["shared"].clone()

    (orders,) = orders_of(federation, 1)

    ways = [client.message(order).vectors["shared"] for client, order in zip(federation.clients, orders, strict=True)]
    assert not torch.allclose(ways[0], ways[1])
    assert ways[0].abs().max() <= 3 * 0.01 * 1.5  # three steps of Adam, each about the rate
    assert torch.allclose(federation.vectors["shared"], start + (ways[0] + ways[1]) / 2, atol=1e-6)
