"""The Ether scenarios: published laws, counts of nodes, shared channels, sums of latencies."""

from dataclasses import replace

import numpy as np
import pytest

from envs.topologies.ether import LATENCY_S
from envs.topologies.ether_iiot import EtherIiot
from envs.topologies.ether_urban import EtherUrban

URBAN = EtherUrban(
    clusters=2,
    units_per_cluster=3,
    draws_units=False,
    rpi3_per_unit=2,
    tx2_per_unit=0,
    nuc_per_cluster=1,
    tx2_per_cluster=2,
    cloudlet_servers=1,
    task_memory_bytes=320e6,
    cell_rate_bps=500e6,
    cell_latency="lan",
    uplink_rate_bps=25e6,
    downlink_rate_bps=125e6,
    backhaul_latency="mobile_isp",
    links_nucs=False,
)
IIOT = EtherIiot(
    premises=3,
    rpi3_per_premises=3,
    nuc_per_premises=1,
    tx2_per_premises=1,
    cloudlet_servers=1,
    task_memory_bytes=320e6,
    cell_rate_bps=300e6,
    wired_rate_bps=1e9,
    cloudlet_rate_bps=10e9,
    line_up_rate_bps=50e6,
    line_down_rate_bps=500e6,
    node_latency="lan",
    line_latency="business_isp",
)


def build(builder, seed=0):
    return builder.build(np.random.default_rng(seed))


def link(topology, source, target):
    return int(np.flatnonzero((topology.link_source == source) & (topology.link_target == target))[0])


@pytest.mark.parametrize(
    ("law", "mean_ms", "p5_ms", "p50_ms", "p95_ms", "p99_ms"),
    [  # sampled from the published simulator, 20,000 draws
        ("lan", 0.52, 0.46, 0.51, 0.59, 0.64),
        ("wlan", 5.21, 2.34, 4.47, 10.6, 15.8),
        ("business_isp", 7.70, 6.24, 7.15, 10.9, 14.8),
        ("mobile_isp", 25.2, 19.8, 24.2, 34.0, 40.7),
    ],
)
def test_latency_law_has_the_published_moments(law, mean_ms, p5_ms, p50_ms, p95_ms, p99_ms):
    draws_ms = 1000.0 * LATENCY_S[law].draw(np.random.default_rng(3), 200_000)
    assert draws_ms.mean() == pytest.approx(mean_ms, rel=0.02)
    assert np.percentile(draws_ms, [5, 50]) == pytest.approx([p5_ms, p50_ms], rel=0.02)
    assert np.percentile(draws_ms, [95, 99]) == pytest.approx([p95_ms, p99_ms], rel=0.04)


def test_urban_of_two_clusters_has_the_nineteen_published_nodes():
    urban = build(URBAN)
    counts = {name: urban.node_type.count(name) for name in ("rpi3", "nuc", "tx2", "server")}
    assert counts == {"rpi3": 12, "nuc": 2, "tx2": 4, "server": 1}
    assert np.bincount(urban.tier).tolist() == [12, 6, 1]
    assert [urban.node_type[m] for m in urban.device_nodes] == ["rpi3"] * 12
    assert urban.node_name[18] == "cloudlet"


def test_urban_of_three_clusters_has_the_twenty_eight_published_nodes():
    assert build(replace(URBAN, clusters=3)).n_nodes == 28


def test_urban_links_cells_fully_and_every_node_with_the_cloudlet():
    urban = build(URBAN)
    assert urban.n_links == 180  # 2 cells * 9 * 8, and 18 nodes * 2
    degree = np.bincount(urban.link_source)
    assert degree.tolist() == [9] * 18 + [18]
    in_other_cell = (urban.link_source < 9) & (urban.link_target >= 9) & (urban.link_target < 18)
    assert not in_other_cell.any()


def test_urban_channels_are_a_cell_an_uplink_and_a_downlink_for_each_cluster():
    urban = build(URBAN)
    assert urban.n_channels == 6
    of = {}
    for number in range(urban.n_links):
        source, target = int(urban.link_source[number]), int(urban.link_target[number])
        kind = "up" if target == 18 else "down" if source == 18 else "cell"
        cluster = (target if source == 18 else source) // 9
        of.setdefault((kind, cluster), set()).add((int(urban.link_channel[number]), urban.link_rate_bps[number]))
    assert {key: len(values) for key, values in of.items()} == {
        (kind, cluster): 1 for kind in ("cell", "up", "down") for cluster in (0, 1)
    }
    assert [next(iter(of[kind, 1]))[1] for kind in ("cell", "up", "down")] == [500e6, 25e6, 125e6]


def test_urban_delays_are_sums_of_the_latencies_along_the_way():
    urban = build(URBAN)
    delay_s = urban.link_delay_s
    # a - b, b - c and a - c inside a cell give a's own latency, and so with the cloudlet the mobile connection's
    inside = [delay_s[link(urban, a, b)] for a, b in ((0, 1), (0, 2), (1, 2))]
    own_s = (inside[0] + inside[1] - inside[2]) / 2
    assert own_s > 0.35e-3
    assert delay_s[link(urban, 0, 1)] == delay_s[link(urban, 1, 0)]
    rest_s = delay_s[link(urban, 0, 18)] - own_s
    assert delay_s[link(urban, 1, 18)] - (inside[0] - own_s) == pytest.approx(rest_s)
    assert rest_s > 16.2e-3 + 0.35e-3


def test_urban_cloudlet_delay_has_the_published_mean():
    # lan + mobile_isp + lan = 0.52 + 25.2 + 0.52 = 26.2 ms; the sd over clusters is 4.7 ms, of a mean of 400 0.24 ms
    urban = build(replace(URBAN, clusters=400, units_per_cluster=1, tx2_per_cluster=0))
    to_cloudlet = urban.link_target == urban.n_nodes - 1
    assert 1000.0 * urban.link_delay_s[to_cloudlet].mean() == pytest.approx(26.2, abs=4 * 0.24)


def test_urban_units_follow_the_published_size_law():
    # int(2.02 exp(0.82 Z)) is below 2 with probability Phi(ln(2 / 2.02) / 0.82) = Phi(-0.0121) = 0.495
    drawn = replace(URBAN, clusters=400, draws_units=True, rpi3_per_unit=1, tx2_per_cluster=0)
    urban = build(drawn)
    units = np.array([len(cell) for cell in np.split(np.flatnonzero(urban.is_device), _cluster_starts(urban))])
    assert len(units) == 400
    assert units.min() == 1
    assert abs((units == 1).mean() - 0.495) < 4 * 0.025


def _cluster_starts(urban):
    """Return where, in the list of devices, each cluster but the first begins; its NUC is each cluster's last node."""
    nucs = np.array([m for m, name in enumerate(urban.node_type) if name == "nuc"])
    return np.searchsorted(urban.device_nodes, nucs[:-1])


def test_published_recipe_has_two_tx2_for_each_unit():
    urban = build(replace(URBAN, tx2_per_cluster=0, tx2_per_unit=2))
    assert urban.node_type.count("tx2") == 12  # 2 clusters * 3 units * 2


def test_urban_nucs_reach_each_other_through_both_mobile_connections():
    apart, joined = build(URBAN), build(replace(URBAN, links_nucs=True))
    assert joined.n_links == apart.n_links + 2
    first, second = (m for m, name in enumerate(joined.node_type) if name == "nuc")
    number = link(joined, first, second)
    assert joined.link_rate_bps[number] == 25e6
    assert joined.link_channel[number] == joined.link_channel[link(joined, 0, 18)]  # the first cluster's up-link
    assert joined.link_delay_s[number] > 2 * (16.2e-3 + 0.35e-3)


def test_iiot_has_a_cloudlet_on_each_premises():
    iiot = build(IIOT)
    assert iiot.node_type == ("rpi3", "rpi3", "rpi3", "nuc", "tx2", "server") * 3
    assert iiot.n_links == 96  # 3 premises * 6 * 5, and 3 lines * 2
    assert iiot.n_channels == 24  # each premises: 1 cell, 3 wired pairs * 2, 1 line
    assert len(set(iiot.node_name)) == 18


def test_iiot_pis_share_their_cell_and_wires_are_their_own():
    iiot = build(IIOT)
    pi_links = (iiot.link_source < 6) & (iiot.link_target < 6) & ((iiot.link_source < 3) | (iiot.link_target < 3))
    assert pi_links.sum() == 24  # 3 * 2 between Pis, 3 * 3 * 2 with the wired
    assert len(set(iiot.link_channel[pi_links].tolist())) == 1
    assert set(iiot.link_rate_bps[pi_links].tolist()) == {300e6}
    wired = link(iiot, 3, 4)
    assert iiot.link_rate_bps[wired] == 1e9
    assert (iiot.link_channel == iiot.link_channel[wired]).sum() == 1


def test_iiot_lines_join_the_cloudlets_at_the_up_links_rate():
    iiot = build(IIOT)
    lines = iiot.link_rate_bps == 50e6
    assert set(iiot.link_source[lines].tolist()) == {5, 11, 17}
    assert (iiot.link_delay_s[lines] > 2 * (5.95e-3 + 0.35e-3)).all()
    assert len(set(iiot.link_channel[lines].tolist())) == 3


def test_a_cloudlet_may_stand_for_all_its_servers():
    iiot = build(replace(IIOT, premises=1, cloudlet_servers=15))
    assert iiot.n_cores[5] == 1320  # 15 * 88
