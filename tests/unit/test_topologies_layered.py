"""Networks of layers: neighbours in PeersimGym's order, rates by hand, draws that can be repeated."""

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import TopologyError
from envs.topologies.layered import FIBER, NO_CHANNEL, WIRELESS, Layer, Layered, LayeredCloud

EDGE = Layer(
    name="edge",
    n_nodes=2,
    tier="device",
    n_cores=1,
    core_hz=1e7,
    core_hz_spread=0.0,
    queue_places=10,
    queue_bits=np.inf,
    has_clients=True,
    takes_tasks=True,
    reaches_cloud=False,
    idle_w=1.0,
    busy_w=2.0,
    transmit_w=0.5,
)
SERVER = replace(
    EDGE, name="server", tier="edge", core_hz=3e7, has_clients=False, takes_tasks=False, reaches_cloud=True
)
CLOUD = LayeredCloud(n_vms=3, vm_hz=1e8, x_m=300.0, y_m=400.0, queue_places=50, idle_w=0.0, busy_w=0.0, transmit_w=0.0)
TWO_TIER = Layered(
    layers=(EDGE, SERVER),
    cloud=None,
    node_name=(),
    positions_m=((0.0, 0.0), (40.0, 0.0), (10.0, 30.0), (30.0, 30.0)),
    side_m=100.0,
    links=((0, 2), (0, 3), (1, 2), (1, 3)),
    radius_m=50.0,
    bandwidth_hz=2e6,
    transmit_dbm=20.0,
    channel_types=(),
    fiber_snr_db=45.0,
    extra_delay_s=(0.0, 0.0),
)


def lay_out(builder, seed=1):
    return builder.lay_out(np.random.default_rng(seed))


def build(builder, seed=1):
    return builder.build(np.random.default_rng(seed))


def test_neighbours_are_the_node_itself_then_as_the_pairs_come_then_the_cloud():
    assert lay_out(TWO_TIER).neighbours == ((0, 2, 3), (1, 2, 3), (2, 0, 1), (3, 0, 1))
    turned = replace(TWO_TIER, links=((0, 3), (0, 2), (2, 1), (1, 3)), cloud=CLOUD)
    assert lay_out(turned).neighbours == ((0, 3, 2), (1, 2, 3), (2, 0, 1, 4), (3, 0, 1, 4), (4, 2, 3))


def test_nodes_of_layers_far_apart_are_not_linked_by_radius():
    # three layers on a line of 10 m: ends of the line are near, but two layers apart
    top = replace(SERVER, name="top", n_nodes=1)
    line = replace(TWO_TIER, layers=(EDGE, replace(SERVER, n_nodes=1), top), links=None)
    assert lay_out(line).neighbours == ((0, 1, 2), (1, 0, 2), (2, 0, 1, 3), (3, 2))


def test_radius_is_exclusive():
    # 0-1 is 40 m long, 0-2 and 1-3 sqrt(1000), 0-3 and 1-2 sqrt(1800) = 42.4, 2-3 20 m
    near = replace(TWO_TIER, links=None, radius_m=40.0)
    assert lay_out(near).neighbours == ((0, 2), (1, 3), (2, 0, 3), (3, 1, 2))


def test_wireless_rate_is_shannon_over_the_bandwidth_with_friis():
    # 40 m at 2.4 GHz: loss 20 log10(4 pi 40 * 2.4e9 / 299792458) = 72.092 dB; noise -174 + 63.010 = -110.990 dBm;
    # SNR 20 - 72.092 + 110.990 = 58.898 dB = 7.758e5; 2e6 * log2(1 + 7.758e5) = 39.13e6
    rate_bps = TWO_TIER.rate_bps(lay_out(TWO_TIER))
    assert rate_bps[0, 1] == pytest.approx(39.13e6, rel=1e-3)
    assert rate_bps[0, 1] == rate_bps[1, 0]


def test_channel_types_stand_by_layer_and_the_cloud_counts_as_layer_0():
    mixed = replace(TWO_TIER, cloud=CLOUD, channel_types=(("none", "wireless"), ("fiber", "fiber")))
    with pytest.raises(TopologyError, match="link 0 - 1, but channel_types has none between edge and edge"):
        lay_out(replace(mixed, links=((0, 1),)))
    layout = lay_out(mixed)
    assert (layout.channel[0, 1], layout.channel[0, 2], layout.channel[2, 0]) == (NO_CHANNEL, WIRELESS, FIBER)
    assert layout.channel[2, 4] == FIBER  # server to cloud: row of layer 1, column of layer 0
    rate_bps = mixed.rate_bps(layout)
    assert rate_bps[0, 1] == 0.0
    # 45 dB is a ratio of 31623; 2e6 * log2(31624) = 29.897e6
    assert rate_bps[2, 0] == pytest.approx(29.897e6, rel=1e-4)


def test_build_and_lay_out_of_equal_generators_begin_with_the_same_draws():
    drawn = replace(
        TWO_TIER, positions_m=(), links=None, radius_m=80.0, layers=(replace(EDGE, core_hz_spread=2e6), SERVER)
    )
    topology, layout = build(drawn, 7), lay_out(drawn, 7)
    np.testing.assert_array_equal(topology.position_m, layout.position_m)
    np.testing.assert_array_equal(topology.core_hz, layout.core_hz)
    assert topology.core_hz[0] == topology.core_hz[1]  # one draw a layer
    assert 8e6 <= topology.core_hz[0] <= 12e6
    assert topology.core_hz[0] != build(drawn, 8).core_hz[0]
    assert (topology.position_m >= 0.0).all()
    assert (topology.position_m < 100.0).all()


def test_each_link_has_a_channel_of_its_own_and_one_delay_both_ways():
    topology = build(replace(TWO_TIER, extra_delay_s=(0.001, 0.002)))
    assert topology.n_channels == topology.n_links == 8
    delay_s = {
        (a, b): d for a, b, d in zip(topology.link_source, topology.link_target, topology.link_delay_s, strict=True)
    }
    assert all(delay_s[a, b] == delay_s[b, a] and 0.001 <= delay_s[a, b] <= 0.002 for a, b in delay_s)
    assert len(set(delay_s.values())) == 4


def test_the_cloud_is_the_last_node_and_its_machines_are_cores():
    topology = build(replace(TWO_TIER, cloud=CLOUD))
    assert topology.node_name == ("edge_0", "edge_1", "server_0", "server_1", "cloud")
    assert (topology.n_cores[4], topology.core_hz[4], topology.tier[4]) == (3, 1e8, 2)
    assert set(topology.link_target[topology.link_source == 4]) == {2, 3}
    assert lay_out(replace(TWO_TIER, cloud=CLOUD)).distance_m()[0, 4] == 500.0  # 3-4-5 triangle


def test_nodes_at_one_place_count_as_a_metre_apart():
    together = replace(TWO_TIER, positions_m=((0.0, 0.0),) * 4)
    apart = replace(TWO_TIER, positions_m=((0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)))
    assert build(together).link_rate_bps[0] == build(apart).link_rate_bps[0]


def test_layers_of_one_name_number_their_nodes_on():
    topology = build(replace(TWO_TIER, layers=(EDGE, replace(EDGE, core_hz=3e7))))
    assert topology.node_name == ("edge_0", "edge_1", "edge_2", "edge_3")
    assert set(topology.node_type) == {"edge"}
