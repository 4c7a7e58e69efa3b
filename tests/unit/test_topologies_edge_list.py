"""Networks from files: what the columns mean, and CSV and GraphML agreeing."""

from pathlib import Path

import networkx as nx
import numpy as np

from envs.arrays import declared_arrays
from envs.topologies.edge_list import EdgeList
from envs.topologies.topology import Topology

SAMPLE = EdgeList(nodes_path="campus_nodes.csv", links_path="campus_links.csv", both_ways=True)


def build(builder):
    return builder.build(np.random.default_rng(0))


def write_graphml(path, graph_type):
    """Write the sample's network as GraphML, with each way of a link as an edge where edges have a direction."""
    topology = build(SAMPLE)
    graph = graph_type()
    for m, name in enumerate(topology.node_name):
        x_m, y_m = topology.position_m[m].tolist()
        values = {
            field: getattr(topology, field)[m].item()
            for field in ("is_device", "n_cores", "core_hz", "queue_places", "idle_w", "busy_w", "transmit_w")
        }
        graph.add_node(name, type=topology.node_type[m], tier=int(topology.tier[m]), x_m=x_m, y_m=y_m, **values)
    for number in range(topology.n_links):
        source, target = topology.link_source[number], topology.link_target[number]
        shared = (topology.link_channel == topology.link_channel[number]).sum() > 1
        graph.add_edge(
            topology.node_name[source],
            topology.node_name[target],
            rate_bps=float(topology.link_rate_bps[number]),
            delay_s=float(topology.link_delay_s[number]),
            **({"channel": "wifi"} if shared else {}),
        )
    nx.write_graphml(graph, path)


def sorted_links(topology):
    columns = [topology.link_source, topology.link_target, topology.link_rate_bps, topology.link_delay_s]
    return np.stack(columns, axis=1)[np.lexsort((topology.link_target, topology.link_source))]


def test_columns_of_the_sample_become_the_topology():
    campus = build(SAMPLE)
    assert campus.node_name == ("camera_a", "camera_b", "camera_c", "closet", "datacentre")
    assert campus.tier.tolist() == [0, 0, 0, 1, 2]
    assert campus.is_device.tolist() == [True, True, True, False, False]
    assert campus.n_cores.tolist() == [4, 4, 4, 4, 88]
    assert campus.core_hz.tolist() == [1.5e9, 1.5e9, 1.5e9, 2.3e9, 2.2e9]
    assert campus.position_m[3].tolist() == [40.0, 20.0]
    assert campus.n_links == 10  # 5 rows, both ways
    # four rows on the channel "wifi", and the two directions to the data centre on channels of their own
    assert np.bincount(campus.link_channel).tolist() == [8, 1, 1]


def test_directed_and_undirected_graphml_equal_the_csv_files(tmp_path):
    expected = build(SAMPLE)
    compared = 0
    for graph_type in (nx.Graph, nx.DiGraph):
        path = tmp_path / f"{graph_type.__name__}.graphml"
        write_graphml(path, graph_type)
        topology = build(EdgeList(nodes_path=str(path), links_path=None, both_ways=False))
        assert topology.node_name == expected.node_name
        for field, _, axes, _ in declared_arrays(Topology):
            if axes[0] == "M":
                np.testing.assert_array_equal(getattr(topology, field), getattr(expected, field))
        np.testing.assert_array_equal(sorted_links(topology), sorted_links(expected))
        assert topology.n_channels == expected.n_channels
        compared += 1
    assert compared == 2


def test_one_way_rows_need_their_way_back_in_the_file(tmp_path):
    rows = (Path(__file__).parents[2] / "envs/topologies/samples/campus_links.csv").read_text().splitlines()
    backwards = [",".join([b, a, *rest]) for a, b, *rest in (row.split(",") for row in rows[1:])]
    path = tmp_path / "links.csv"
    path.write_text("\n".join([*rows, *backwards]))
    topology = build(EdgeList("campus_nodes.csv", str(path), both_ways=False))
    np.testing.assert_array_equal(sorted_links(topology), sorted_links(build(SAMPLE)))


def test_a_relative_path_is_kept_absolute_for_processes_in_other_folders(tmp_path, monkeypatch):
    (tmp_path / "network.graphml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert EdgeList("network.graphml", None, False).nodes_path == str(tmp_path / "network.graphml")
    assert SAMPLE.nodes_path == "campus_nodes.csv"


def test_files_from_a_spreadsheet_may_begin_with_a_byte_order_mark_and_have_spaces(tmp_path):
    source = Path(__file__).parents[2] / "envs/topologies/samples/campus_nodes.csv"
    path = tmp_path / "nodes.csv"
    path.write_text("\ufeff" + source.read_text().replace(",true,", ", TRUE ,"), encoding="utf-8")
    assert build(EdgeList(str(path), "campus_links.csv", True)).is_device.sum() == 3
