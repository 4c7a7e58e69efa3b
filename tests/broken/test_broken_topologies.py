"""What the topologies must refuse, and with which words."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.errors import ConfigError, TopologyError
from envs.topologies.artificial import Cloud, Links, NodeMix, Radio
from envs.topologies.bridged_clusters import BridgedClusters
from envs.topologies.edge_list import EdgeList
from envs.topologies.ether_iiot import EtherIiot
from envs.topologies.ether_urban import EtherUrban
from envs.topologies.full import Full
from envs.topologies.geometric import Geometric
from envs.topologies.grid import Grid
from envs.topologies.nodes import NodeSettings
from envs.topologies.pair import Pair
from envs.topologies.random import Random
from envs.topologies.ring import Ring

MIX = NodeMix(device_type="rpi4", edge_type="nuc", n_edge=2, task_memory_bytes=320e6)
LINKS = Links(rate_bps=1e8, delay_s=0.001, channel="node", radio=None)
RADIO = Radio(2e6, 2.4e9, 0.1, 4.0e-21, 3.0, 1.0)
CLOUD = Cloud(8, 2e9, 4.0, 18.0, 100, 5e7, 0.02, "edge")
PARTS = {"nodes": MIX, "links": LINKS, "cloud": None}
NODE = NodeSettings(4, 1e9, 10, 2.0, 5.0, 0.5, math.inf)
GOOD = {
    "ring": Ring(10, 50.0, **PARTS),
    "full": Full(5, 50.0, **PARTS),
    "grid": Grid(2, 3, 20.0, **PARTS),
    "random": Random(10, 0.3, 100.0, **PARTS),
    "geometric": Geometric(10, 100.0, 50.0, **PARTS),
    "clusters": BridgedClusters(2, 5, 20.0, 100.0, 1e6, 0.005, **PARTS),
    "pair": Pair(NODE, NODE, 1e8, 0.001),
    "urban": EtherUrban(2, 3, False, 2, 0, 1, 2, 1, 320e6, 500e6, "lan", 25e6, 125e6, "mobile_isp", False),
    "iiot": EtherIiot(3, 3, 1, 1, 1, 320e6, 300e6, 1e9, 10e9, 50e6, 500e6, "lan", "business_isp"),
    "mix": MIX,
    "links": LINKS,
    "radio": RADIO,
    "cloud": CLOUD,
    "node": NODE,
}
NAN = float("nan")


def build(builder):
    return builder.build(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("ring", {"n_nodes": 2}, "Ring.n_nodes = 2; expected an integer >= 3"),
        ("ring", {"n_nodes": 10.0}, "Ring.n_nodes = 10.0; expected an integer >= 3"),
        ("full", {"n_nodes": True}, "Full.n_nodes = True; expected an integer >= 2"),
        ("full", {"radius_m": -1.0}, "Full.radius_m = -1.0; expected a finite number > 0"),
        ("grid", {"rows": 1, "columns": 1}, "Grid.columns = 1; expected at least 2 nodes"),
        ("random", {"edge_prob": 0.0}, "Random.edge_prob = 0.0; expected a finite number > 0"),
        ("random", {"edge_prob": 1.5}, "Random.edge_prob = 1.5; expected a probability in (0, 1]"),
        ("geometric", {"range_m": NAN}, "Geometric.range_m = nan; expected a finite number > 0"),
        ("clusters", {"clusters": 1}, "BridgedClusters.clusters = 1; expected an integer >= 2"),
        ("clusters", {"bridge_delay_s": -0.1}, "BridgedClusters.bridge_delay_s = -0.1; expected a finite number >= 0"),
        ("pair", {"rate_bps": 0.0}, "Pair.rate_bps = 0.0; expected a finite number > 0"),
        ("pair", {"delay_s": "fast"}, "Pair.delay_s = 'fast'; expected a finite number >= 0"),
        ("urban", {"clusters": 0}, "EtherUrban.clusters = 0; expected an integer >= 1"),
        ("urban", {"cell_latency": "wifi"}, "EtherUrban.cell_latency = 'wifi'; expected 'lan' or 'wlan'"),
        ("urban", {"links_nucs": True, "nuc_per_cluster": 0}, "EtherUrban.links_nucs = True; expected false where"),
        ("iiot", {"rpi3_per_premises": 0}, "EtherIiot.rpi3_per_premises = 0; expected an integer >= 1"),
        ("iiot", {"line_latency": ""}, "EtherIiot.line_latency = ''; expected 'lan'"),
        ("mix", {"n_edge": -1}, "NodeMix.n_edge = -1; expected an integer >= 0"),
        ("mix", {"task_memory_bytes": 0.0}, "NodeMix.task_memory_bytes = 0.0; expected a finite number > 0"),
        (
            "mix",
            {"device_type": "rpi33"},
            "NodeMix.device_type = 'rpi33'; expected 'rpi3' or 'rpi4'",
        ),
        ("mix", {"edge_type": "nucc"}, "or 'vm'; did you mean 'nuc'?"),
        ("links", {"rate_bps": None}, "Links.rate_bps = None; expected a rate or a radio, the other one null"),
        ("links", {"radio": RADIO}, "Links.rate_bps = 100000000.0; expected a rate or a radio, the other one null"),
        ("links", {"channel": "nodes"}, "Links.channel = 'nodes'; expected 'node' or 'link' or 'shared'"),
        ("radio", {"noise_w_per_hz": -174.0}, "Radio.noise_w_per_hz = -174.0; expected a finite number > 0"),
        ("cloud", {"queue_places": 7}, "Cloud.queue_places = 7; expected at least n_vms = 8"),
        ("cloud", {"access": "none"}, "Cloud.access = 'none'; expected 'edge' or 'all'"),
        ("node", {"queue_places": 3}, "NodeSettings.queue_places = 3; expected at least n_cores = 4"),
        ("node", {"busy_w": 1.0}, "NodeSettings.busy_w = 1.0; expected at least idle_w = 2.0"),
    ],
)
def test_values_out_of_range_are_refused_by_field_value_and_range(part, changes, message):
    with pytest.raises(ConfigError) as refusal:
        replace(GOOD[part], **changes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("builder", "error", "message"),
    [
        (
            replace(GOOD["random"], edge_prob=0.001),
            TopologyError,
            "random: edge_prob = 0.001; expected about 0.23 or more",
        ),
        (
            replace(GOOD["geometric"], range_m=1.0),
            TopologyError,
            "geometric: range_m = 1.0; expected about 27.1 or more",
        ),
        (replace(GOOD["ring"], nodes=replace(MIX, n_edge=10)), ConfigError, "n_edge = 10; expected fewer than the 10"),
        (
            replace(GOOD["ring"], nodes=replace(MIX, n_edge=0), cloud=CLOUD),
            ConfigError,
            "Cloud.access = 'edge'; expected 'all', as the network has no edge servers",
        ),
    ],
)
def test_networks_that_cannot_be_are_refused_when_built(builder, error, message):
    with pytest.raises(error) as refusal:
        build(builder)
    assert message in str(refusal.value)


SAMPLES = Path(__file__).parents[2] / "envs" / "topologies" / "samples"
NODES, LINK_ROWS = ((SAMPLES / f"campus_{kind}.csv").read_text() for kind in ("nodes", "links"))


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("nodes", "core_hz", "core_ghz", "nodes.csv, line 1: no column 'core_hz'; expected the columns name, type"),
        ("nodes", "y_m\n", "y_m,colour\n", "nodes.csv, line 1: column 'colour' is unknown or double"),
        ("nodes", "name,type", "name,name,type", "nodes.csv, line 1: column 'name' is unknown or double"),
        ("nodes", "closet,nuc", "closet", "nodes.csv, line 5: too few cells; expected 12"),
        ("nodes", "0,40\n", "0,40,1\n", "nodes.csv, line 3: too many cells; expected 12"),
        ("nodes", "2.3e9", "fast", "nodes.csv, line 5: core_hz = 'fast'; expected a finite number >= 0"),
        ("nodes", "2.3e9", "nan", "nodes.csv, line 5: core_hz = 'nan'; expected a finite number >= 0"),
        ("nodes", "88,", "0.5,", "nodes.csv, line 6: n_cores = '0.5'; expected an integer >= 1"),
        ("nodes", "3760", "8", "nodes.csv, line 6: NodeSettings.queue_places = 8; expected at least n_cores = 88"),
        ("nodes", "edge,false", "fog,false", "nodes.csv, line 5: tier = 'fog'; expected device or edge or cloud"),
        ("nodes", "edge,false", "edge,maybe", "nodes.csv, line 5: is_device = 'maybe'; expected true or 1 or false"),
        (
            "nodes",
            "camera_b",
            "camera_a",
            "nodes.csv, line 3: name = 'camera_a'; expected a name that no other node has",
        ),
        ("nodes", ",true,", ",false,", "links.csv: edge_list: no node creates tasks"),
        ("nodes", "closet", '"closet', "nodes.csv: cannot be read as a CSV file in UTF-8: unexpected end of data"),
        ("links", "rate_bps", "rate", "links.csv, line 1: no column 'rate_bps'"),
        ("links", "1e9", "-1", "links.csv, line 6: rate_bps = '-1'; expected a finite number >= 0"),
        ("links", "1e9", "0", "links.csv, line 6: rate_bps = '0'; expected a finite number > 0"),
        ("links", "0.005", "inf", "links.csv, line 6: delay_s = 'inf'; expected a finite number >= 0"),
        (
            "links",
            "camera_c",
            "camera_d",
            "links.csv, line 4: source = 'camera_d'; expected the name of a node; did you mean 'camera_",
        ),
        (
            "links",
            "closet,datacentre",
            "closet,camera_a",
            "links.csv, line 6: target = 'camera_a'; expected a node that 'closet' has no link with yet, nor itself",
        ),
        ("links", "closet,datacentre", "closet,closet", "links.csv, line 6: target = 'closet'; expected a node that"),
        ("links", "closet,datacentre,1e9,0.005,\n", "", "links.csv: edge_list: the network is disconnected (2 parts"),
    ],
)
def test_malformed_csv_is_refused_by_file_line_and_field(tmp_path, kind, old, new, message):
    texts = {"nodes": NODES, "links": LINK_ROWS}
    assert old in texts[kind]
    texts[kind] = texts[kind].replace(old, new)
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(TopologyError) as refusal:
        build(EdgeList(str(tmp_path / "nodes.csv"), str(tmp_path / "links.csv"), both_ways=True))
    assert message in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_links_without_a_way_back_are_refused():
    with pytest.raises(TopologyError, match=r"campus_links.csv: edge_list: link .* has no way back"):
        build(EdgeList("campus_nodes.csv", "campus_links.csv", both_ways=False))


def test_a_missing_file_is_refused_by_its_name():
    with pytest.raises(TopologyError, match=r"^nowhere.csv: no such file in .*; expected a readable file$"):
        build(EdgeList("nowhere.csv", "campus_links.csv", True))


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(TopologyError, match=r"nodes.csv: cannot be read as a CSV file in UTF-8"):
        build(EdgeList(str(path), "campus_links.csv", True))


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_text("")
    with pytest.raises(TopologyError, match=r"nodes.csv, line 1: no column 'name'"):
        build(EdgeList(str(path), "campus_links.csv", True))


@pytest.mark.parametrize(
    ("nodes_path", "links_path", "message"),
    [
        ("net.graphml", "links.csv", "EdgeList.links_path = 'links.csv'; expected null, as GraphML has the links"),
        ("nodes.csv", None, "EdgeList.links_path = None; expected a CSV file of links or a .graphml in nodes_path"),
    ],
)
def test_two_sources_of_links_or_none_are_refused(nodes_path, links_path, message):
    with pytest.raises(ConfigError) as refusal:
        EdgeList(nodes_path, links_path, True)
    assert message in str(refusal.value)


GRAPHML = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="k" for="node" attr.name="tier" attr.type="string"/>
<graph edgedefault="directed"><node id="a"><data key="k">device</data></node></graph></graphml>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not xml", "net.graphml: cannot be read as a GraphML file: syntax error"),
        ("<graphml/>", "net.graphml: cannot be read as a GraphML file"),
        (GRAPHML, "net.graphml, node 'a': attribute 'is_device' is missing; expected name, type, tier"),
        (GRAPHML.replace('"string"', '"rational"'), "net.graphml: cannot be read as a GraphML file"),
    ],
)
def test_malformed_graphml_is_refused(tmp_path, text, message):
    path = tmp_path / "net.graphml"
    path.write_text(text)
    with pytest.raises(TopologyError) as refusal:
        build(EdgeList(str(path), None, True))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
