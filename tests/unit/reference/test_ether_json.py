"""Networks of Ether as PeersimGym makes them into a configuration, and with the links' own figures."""

import csv

import numpy as np
import pytest

from edge_rllib.reference.ether_json import EtherOptions, is_ether, peersim_values, read_ether, write_files
from edge_rllib.reference.peersim_config import understand
from edge_rllib.reference.peersim_file import raw_from_mapping
from envs.topologies.edge_list import EdgeList

PLAIN = EtherOptions(32e7, False, False)
MACHINES = (  # key, name, cpu_milis, memory, place
    (11, "rpi3_0", 4000, 1023012864, (50, 11)),
    (12, "tx2_0", 4000, 8240386048, (50, 11)),  # at the place of rpi3_0
    (13, "nuc_0", 32000, 17179869184, (30, 31)),
    (14, "server_0", 88000, 188e9, (70, 61)),
)
PATHS = ((11, 13, 500, 4.0), (13, 11, 500, 4.2), (12, 13, 1000, 2.0), (13, 14, 25, 46.0), (14, 13, 125, 52.0))
NEIGHBOURS = {"11": [13], "12": [13], "13": [14, 11, 12], "14": [11, 13]}


@pytest.fixture
def contents():
    nodes = {
        name: {"id": key, "name": name, "coordinates": list(place), "capacity": {"cpu_milis": cpu, "memory": memory}}
        for key, name, cpu, memory, place in MACHINES
    }
    paths = [
        {"source": a, "target": b, "path_bandwidths": [bandwidth], "min_bandwidth": bandwidth, "expected_rtt": rtt}
        for a, b, bandwidth, rtt in (*PATHS, (11, 14, 25, 48.0), (14, 11, 125, 51.0))
    ]
    return {"nodes": nodes, "links": {"path_info": paths, "neighbours": NEIGHBOURS}}


def test_machines_become_nodes_of_one_core(contents):
    assert is_ether(contents)
    config = understand(
        raw_from_mapping(peersim_values(read_ether(contents, "e", PLAIN), PLAIN, "e", {}), "e"), "peersim"
    )
    assert [layer.core_hz for layer in config.layers] == [4e6, 4e6, 3.2e7, 8.8e7]
    # memory / 32e7, rounded: 3.2, 25.8, 53.7 and 587.5 (to even)
    assert [layer.queue_places for layer in config.layers] == [3, 26, 54, 588]
    assert [layer.has_clients for layer in config.layers] == [True, False, False, False]
    assert config.controllers == (0, 2, 3)  # tx2 are no agents
    assert config.layers[0].pieces == ((1000.0, 0.5),)
    assert config.links == ((0, 2), (0, 3), (1, 2), (2, 3))


def test_the_user_has_the_last_word(contents):
    network = read_ether(contents, "e", PLAIN)
    values = peersim_values(network, PLAIN, "e", {"protocol.clt.taskArrivalRate": 0.05, "CYCLES": 200})
    config = understand(raw_from_mapping(values, "e"), "peersim")
    assert (config.layers[0].pieces, config.horizon_slots) == (((200.0, 0.05),), 200)


def test_no_two_machines_stand_at_one_place(contents):
    places = [machine.place_m for machine in read_ether(contents, "e", PLAIN).machines]
    assert places == [(50.0, 11.0), (51.0, 12.0), (30.0, 31.0), (70.0, 61.0)]


def test_places_are_stretched_to_a_square_of_100_m(contents):
    projected = read_ether(contents, "e", EtherOptions(32e7, True, False))
    # x from 30 to 70 and y from 11 to 61: (50 - 30) / 40 and (31 - 11) / 50
    assert [machine.place_m for machine in projected.machines] == [
        (50.0, 0.0),
        (51.0, 1.0),
        (0.0, 40.0),
        (100.0, 100.0),
    ]


def test_skip_cloudlet_links_the_server_with_nucs_alone(contents):
    rows = read_ether(contents, "e", EtherOptions(32e7, False, True)).rows
    assert [sorted(row) for row in rows] == [[2], [2], [0, 1, 3], [2]]


def test_links_have_the_files_bandwidths_and_half_its_round_trip_times(contents, tmp_path):
    nodes, links = tmp_path / "nodes.csv", tmp_path / "links.csv"
    write_files(read_ether(contents, "e", PLAIN), PLAIN, "e", nodes, links)
    topology = EdgeList(str(nodes), str(links), both_ways=False).build(np.random.default_rng(0))
    assert topology.node_name == ("rpi3_0", "tx2_0", "nuc_0", "server_0")
    assert topology.node_type == ("rpi3", "tx2", "nuc", "server")
    found = {
        (a, b): (rate, delay)
        for a, b, rate, delay in zip(
            topology.link_source.tolist(),
            topology.link_target.tolist(),
            topology.link_rate_bps.tolist(),
            topology.link_delay_s.tolist(),
            strict=True,
        )
    }
    assert len(found) == 8
    assert found[0, 2] == pytest.approx((5e8, 0.002))
    assert found[2, 0] == pytest.approx((5e8, 0.0021))
    assert found[1, 2] == found[2, 1] == pytest.approx((1e9, 0.001))  # the file has one direction only
    assert found[2, 3] == pytest.approx((2.5e7, 0.023))
    assert found[3, 2] == pytest.approx((1.25e8, 0.026))
    with nodes.open() as file:
        assert {row["tier"] for row in csv.DictReader(file)} == {"device", "edge", "cloud"}
