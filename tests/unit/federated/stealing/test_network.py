"""Delays and bandwidths of a yaml: numbers, lists by client, tables by client and edge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.federated.build import without_ray
from edge_rllib.federated.stealing.network import edges, network, uniform_network
from envs.errors import ConfigError


def delays(value: Any, n_clients: int = 3) -> list[list[float]]:
    """Return the delays of all edges, the server's last, with zeros on the diagonal."""
    found = edges(value, n_clients, np.maximum, "delay_s")
    np.fill_diagonal(found, 0.0)
    return found.tolist()


def test_a_number_is_that_of_all_edges() -> None:
    found, expected = network("1e-3", 1e6, 2), uniform_network(2, 0.001, 1e6)

    assert np.array_equal(found.delay_s, expected.delay_s)
    assert found.message_s(0, 2, 125.0) == expected.message_s(0, 2, 125.0) == pytest.approx(0.002)


def test_of_two_clients_the_worse_counts_and_the_server_has_none() -> None:
    assert delays([1, 3.0, 2.0]) == [[0, 3, 2, 1], [3, 0, 3, 3], [2, 3, 0, 2], [1, 3, 2, 0]]
    found = network(0.0, [1e6, 3e6, 2e6], 3)
    assert found.bandwidth_bps[:, 3].tolist() == [1e6, 3e6, 2e6, math.inf]
    assert found.bandwidth_bps[0].tolist() == [math.inf, 1e6, 1e6, 1e6]


def test_list_of_equals_is_the_number() -> None:
    assert delays([2.0] * 3) == delays(2.0)


def test_narrower_entries_of_a_table_count() -> None:
    # client 1's edges have 5, but for that with 0, both ways 7, and that to the server, one way 9
    found = delays({"default": 1.0, 1: 5.0, "0-1": 7.0, "1>server": 9.0})

    assert found == [[0, 7, 1, 1], [7, 0, 5, 9], [1, 5, 0, 1], [1, 5, 1, 0]]


def test_one_way_counts_before_both_ways_in_any_order() -> None:
    for table in ({"0>1": 3.0, "0-1": 2.0}, {"0-1": 2.0, "0>1": 3.0}):
        found = delays({"default": 0.0, **table}, 2)
        assert (found[0][1], found[1][0]) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: 0.1}, r"expected the key 'default' for the edges without an entry; got '1'"),
        ({"default": 0.1, "0_1": 0.2}, r"key '0_1'; expected default, a client as 3, or an edge as 0-3 or 0>server"),
        ({"default": 0.1, "0-3": 0.2}, r"no client 3; expected 0 to 2, or server"),
        ({"default": "fast"}, r"expected a number, got 'fast'"),
        ([0.1, 0.2], r"delay_s: 2 values; expected one for each of 3 clients"),
        ("slow", r"delay_s.*expected a number, got 'slow'"),
    ],
)
def test_what_is_no_network_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        edges(value, 3, np.maximum, "delay_s")


def test_yaml_says_what_training_has() -> None:
    settings = {
        "algorithm.stealing.collector": "virtual",
        "algorithm.stealing.delay_s": {"default": 0.001, "1-server": 0.5},
        "algorithm.stealing.bandwidth_bps": [1e6, 2e6],
        "algorithm.n_clients": 2,
        "algorithm.n_faulty": 0,
        "algorithm.aggregator": "mean",
    }

    found = without_ray(algorithm_config(load_run("run/federated_cartpole", settings))).collector.network

    assert found.delay_s[1].tolist() == [0.001, 0.001, 0.5]
    assert found.bandwidth_bps[0].tolist() == [math.inf, 1e6, 1e6]
    with pytest.raises(ConfigError, match=r"delay_s: 1 values; expected one for each of 2 clients"):
        without_ray(
            algorithm_config(load_run("run/federated_cartpole", {**settings, "algorithm.stealing.delay_s": [0.1]}))
        )
