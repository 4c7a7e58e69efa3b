"""A network of one's own, from a file of nodes and a file of links, or from GraphML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.errors import TopologyError
from envs.topologies.assemble import assemble
from envs.topologies.checks import require
from envs.topologies.edge_files import LINK_FIELDS, NODE_FIELDS, links_from, nodes_from, read_csv, read_graphml
from envs.topologies.topology import Topology, TopologyBuilder

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class EdgeList(TopologyBuilder):
    """Nodes and links as files say; no chance is involved.

    CSV: the first line names the columns, which are ``NODE_FIELDS`` and ``LINK_FIELDS`` of ``edge_files``; ``tier`` is
    device, edge or cloud, ``is_device`` true or false, and links with the same word in ``channel`` share a channel.
    GraphML: the same names as attributes; ``name`` defaults to the node's id, ``type`` to node, ``channel`` to none,
    and undirected edges are links both ways.

    A file is read wherever a world is built: on a cluster it must lie on storage that every machine sees. A relative
    path counts from the working folder, else from the samples that come with the package.
    """

    nodes_path: str  # CSV file of the nodes, or a .graphml file of everything
    links_path: str | None  # CSV file of the links; null with GraphML
    both_ways: bool  # each link of the file also stands for the way back, with the same rate, delay and channel

    def __post_init__(self) -> None:
        """Refuse two files of links or none; make paths absolute, as other processes work in other folders."""
        if self._is_graphml:
            require(self, "links_path", self.links_path is None, "null, as GraphML has the links")
        else:
            require(self, "links_path", self.links_path is not None, "a CSV file of links or a .graphml in nodes_path")
        for field in ("nodes_path", "links_path"):
            path = getattr(self, field)
            if path is not None and Path(path).is_file():
                object.__setattr__(self, field, str(Path(path).resolve()))

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the network of the files; raise TopologyError naming file, line and field for what it cannot be."""
        nodes_file = _find(self.nodes_path)
        if self.links_path is None:
            node_rows, link_rows, is_directed = read_graphml(nodes_file)
        else:
            node_rows, is_directed = read_csv(nodes_file, NODE_FIELDS), True
            link_rows = read_csv(_find(self.links_path), LINK_FIELDS)
        nodes = nodes_from(node_rows)
        links = links_from(link_rows, nodes, self.both_ways or not is_directed)
        try:
            return assemble("edge_list", nodes, links)
        except TopologyError as error:
            raise TopologyError(f"{self.links_path or self.nodes_path}: {error}") from error

    @property
    def _is_graphml(self) -> bool:
        return self.nodes_path.lower().endswith(".graphml")


def _find(path: str) -> Path:
    for candidate in (Path(path), SAMPLES / path):
        if candidate.is_file():
            return candidate
    raise TopologyError(f"{path}: no such file in {Path.cwd()}, nor a sample; expected a readable file")
