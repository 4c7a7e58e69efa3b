"""A random network: each pair of nodes is linked with the same probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.checks import require, require_count, require_positive
from envs.topologies.drawn import draw_connected
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Random(TopologyBuilder):
    """The graph G(n, p) of E. N. Gilbert ("Random graphs", 1959), drawn again until it is connected.

    Places are uniform in a square and do not decide who is linked, only radio rates and drawings.
    """

    n_nodes: int  # without the cloud; >= 2
    edge_prob: float  # probability that a pair is linked; above ln(n) / n most draws are connected
    side_m: float  # of the square
    nodes: NodeMix
    links: Links
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 2, "n_nodes")
        require_positive(self, "edge_prob", "side_m")
        require(self, "edge_prob", self.edge_prob <= 1.0, "a probability in (0, 1]")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return a connected draw; raise TopologyError where the probability is too small for one."""
        needed_prob = math.log(self.n_nodes) / self.n_nodes
        label = (
            f"random: edge_prob = {self.edge_prob}; expected about {needed_prob:.2g} or more for {self.n_nodes} nodes"
        )
        positions_m, pairs = draw_connected(
            rng, self.n_nodes, self.side_m, lambda distance_m: rng.random(len(distance_m)) < self.edge_prob, label
        )
        return network("random", positions_m, pairs, self.nodes, self.links, self.cloud)
