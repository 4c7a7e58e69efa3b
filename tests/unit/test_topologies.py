"""The artificial networks: who is linked to whom, on which channel, how fast; numbers worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from envs.topologies.artificial import Cloud, Links, NodeMix, Radio
from envs.topologies.bridged_clusters import BridgedClusters
from envs.topologies.full import Full
from envs.topologies.geometric import Geometric
from envs.topologies.grid import Grid
from envs.topologies.nodes import NODE_TYPES, NodeSettings
from envs.topologies.pair import Pair
from envs.topologies.random import Random
from envs.topologies.ring import Ring
from envs.topologies.single import Single

MIX = NodeMix(device_type="rpi4", edge_type="nuc", n_edge=2, task_memory_bytes=320e6)
LINKS = Links(rate_bps=1e8, delay_s=0.001, channel="node", radio=None)
RADIO = Radio(2e6, 2.4e9, 0.1, 4.0e-21, 3.0, 1.0)
CLOUD = Cloud(
    n_vms=8,
    vm_hz=2e9,
    vm_idle_w=4.0,
    vm_busy_w=18.0,
    queue_places=100,
    rate_bps=5e7,
    delay_s=0.02,
    access="edge",
)
PARTS = {"nodes": MIX, "links": LINKS, "cloud": None}
RING = Ring(n_nodes=10, radius_m=50.0, **PARTS)
DEVICE = NodeSettings(
    n_cores=1, core_hz=1e9, queue_places=10, idle_w=2.0, busy_w=5.0, transmit_w=0.5, queue_bits=np.inf
)
SERVER = NodeSettings(
    n_cores=4, core_hz=3e9, queue_places=40, idle_w=9.0, busy_w=30.0, transmit_w=1.0, queue_bits=np.inf
)


def build(builder, seed=0):
    return builder.build(np.random.default_rng(seed))


def degrees(topology):
    return np.bincount(topology.link_source, minlength=topology.n_nodes).tolist()


def neighbours(topology, node):
    return topology.link_target[topology.out_links(node)].tolist()


def test_ring_links_each_node_with_the_two_beside_it():
    ring = build(RING)
    assert ring.n_links == 20
    assert degrees(ring) == [2] * 10
    assert neighbours(ring, 0) == [1, 9]
    assert np.hypot(*ring.position_m.T) == pytest.approx(np.full(10, 50.0))


def test_full_links_every_pair():
    full = build(Full(n_nodes=7, radius_m=50.0, **PARTS))
    assert full.n_links == 42  # 7 * 6
    assert degrees(full) == [6] * 7


def test_grid_links_along_rows_and_columns():
    grid = build(Grid(rows=3, columns=4, spacing_m=20.0, **PARTS))
    assert grid.n_links == 34  # 2 * (3 rows * 3 + 4 columns * 2)
    assert neighbours(grid, 0) == [1, 4]
    assert neighbours(grid, 5) == [1, 4, 6, 9]
    assert grid.position_m[11].tolist() == [60.0, -40.0]


def test_grid_of_one_row_is_a_line():
    assert degrees(build(Grid(rows=1, columns=4, spacing_m=20.0, **PARTS))) == [1, 2, 2, 1]


def test_clusters_are_joined_by_one_bridge_between_their_first_nodes():
    clusters = build(
        BridgedClusters(
            clusters=3,
            nodes_per_cluster=4,
            cluster_radius_m=20.0,
            spacing_m=100.0,
            bridge_rate_bps=1e6,
            bridge_delay_s=0.005,
            nodes=replace(MIX, n_edge=3),
            links=LINKS,
            cloud=None,
        )
    )
    assert clusters.n_links == 40  # 3 clusters * 4 * 3, and 2 bridges * 2
    bridges = np.flatnonzero(clusters.link_rate_bps == 1e6)
    ends = set(zip(clusters.link_source[bridges].tolist(), clusters.link_target[bridges].tolist(), strict=True))
    assert ends == {(0, 4), (4, 0), (4, 8), (8, 4)}
    assert np.flatnonzero(clusters.tier == 1).tolist() == [0, 4, 8]
    assert set(clusters.link_delay_s[bridges].tolist()) == {0.005}


def test_random_network_has_the_expected_number_of_links():
    # 40 nodes: 780 pairs with probability 0.3 are 234 links each way, sd 12.8; 10 draws: sd of the mean 4.05
    counts = [build(Random(n_nodes=40, edge_prob=0.3, side_m=100.0, **PARTS), seed).n_links / 2 for seed in range(10)]
    assert abs(np.mean(counts) - 234.0) < 4 * 4.05
    assert len(set(counts)) > 1


def test_random_network_is_drawn_until_it_is_connected():
    # At edge_prob 0.2 less than half of the draws of 10 nodes are connected; a Topology refuses the others.
    sparse = Random(n_nodes=10, edge_prob=0.2, side_m=100.0, **PARTS)
    assert len([build(sparse, seed) for seed in range(20)]) == 20


def test_geometric_network_links_exactly_the_pairs_in_range():
    topology = build(Geometric(n_nodes=12, side_m=100.0, range_m=45.0, **PARTS))
    place = topology.position_m
    distance_m = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
    expected = {(int(a), int(b)) for a, b in np.argwhere(distance_m <= 45.0) if a != b}
    assert set(zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)) == expected
    assert place.min() >= 0.0
    assert place.max() <= 100.0


def test_radio_links_are_slower_the_farther_they_reach():
    topology = build(Geometric(12, 100.0, 45.0, MIX, replace(LINKS, rate_bps=None, radio=RADIO), None))
    ends = topology.position_m[topology.link_source] - topology.position_m[topology.link_target]
    order = np.argsort(np.hypot(*ends.T))
    assert (np.diff(topology.link_rate_bps[order]) <= 1e-6).all()
    assert topology.link_rate_bps.max() > 1.05 * topology.link_rate_bps.min()
    np.testing.assert_allclose(topology.link_rate_bps, RADIO.rate_bps(np.hypot(*ends.T)), rtol=1e-12)


@pytest.mark.parametrize(("channel", "n_channels"), [("node", 10), ("link", 20), ("shared", 1)])
def test_channels_follow_the_option(channel, n_channels):
    ring = build(replace(RING, links=replace(LINKS, channel=channel)))
    assert ring.n_channels == n_channels


def test_links_of_a_sender_share_its_channel():
    ring = build(RING)
    per_node = [set(ring.link_channel[ring.link_source == m].tolist()) for m in range(10)]
    assert [len(channels) for channels in per_node] == [1] * 10
    assert len(set.union(*per_node)) == 10


def test_edge_servers_are_spread_evenly_and_create_no_tasks():
    ring = build(RING)
    assert ring.node_type == ("nuc", *["rpi4"] * 4, "nuc", *["rpi4"] * 4)
    assert ring.is_device.tolist() == [False, *[True] * 4, False, *[True] * 4]
    assert ring.tier.tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_node_types_become_arrays():
    ring = build(RING)
    # nuc: 16 GiB = 17.18e9 bytes / 320e6 = 53.7 places; rpi4: 1 GiB / 320e6 = 3.4, but 4 cores need 4
    assert ring.queue_places[:2].tolist() == [54, 4]
    assert ring.n_cores[:2].tolist() == [4, 4]
    assert ring.core_hz[:2].tolist() == [2.3e9, 1.5e9]
    assert (ring.busy_w > ring.idle_w).all()


def test_queues_of_the_published_types_are_those_of_peersimgym():
    places = {name: NODE_TYPES[name].settings(320e6).queue_places for name in ("tx2", "nuc", "server")}
    assert places == {"tx2": 26, "nuc": 54, "server": 588}


def test_machines_behind_one_queue_add_up():
    settings = NODE_TYPES["server"].settings(320e6, machines=15)
    # 15 * 88 cores; 15 * 188e9 / 320e6 = 8812.5, rounded to even
    assert (settings.n_cores, settings.queue_places, settings.busy_w) == (1320, 8812, 5850.0)


def test_cloud_is_the_last_node_and_linked_with_the_edge_servers():
    ring = build(replace(RING, cloud=CLOUD))
    assert ring.n_nodes == 11
    assert ring.node_name[10] == "cloud"
    assert (ring.tier[10], ring.n_cores[10], ring.core_hz[10], ring.queue_places[10]) == (2, 8, 2e9, 100)
    assert (ring.idle_w[10], ring.busy_w[10]) == (32.0, 144.0)  # 8 virtual machines of 4 W and 18 W
    assert neighbours(ring, 10) == [0, 5]
    assert ring.n_links == 24
    to_cloud = np.flatnonzero(ring.link_target == 10)
    assert ring.link_rate_bps[to_cloud].tolist() == [5e7, 5e7]
    assert ring.link_delay_s[to_cloud].tolist() == [0.02, 0.02]


def test_cloud_with_access_for_all_is_linked_with_every_node():
    assert neighbours(build(replace(RING, cloud=replace(CLOUD, access="all"))), 10) == list(range(10))


def test_pair_is_one_device_and_one_server():
    pair = build(Pair(device=DEVICE, server=SERVER, rate_bps=1e8, delay_s=0.001))
    assert (pair.n_nodes, pair.n_links, pair.n_channels) == (2, 2, 2)
    assert pair.device_nodes.tolist() == [0]
    assert pair.tier.tolist() == [0, 1]
    assert pair.core_hz.tolist() == [1e9, 3e9]
    assert pair.n_cores.tolist() == [1, 4]
    assert pair.link_rate_bps.tolist() == [1e8, 1e8]


def test_single_is_one_device_without_links():
    single = build(Single(device=DEVICE))
    assert (single.n_nodes, single.n_links, single.n_channels) == (1, 0, 0)
    assert single.is_device.tolist() == [True]
