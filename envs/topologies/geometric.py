"""A random geometric network: nodes at random places, linked where they are near enough for their radios."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.checks import require_count, require_positive
from envs.topologies.drawn import draw_connected
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Geometric(TopologyBuilder):
    """Nodes uniform in a square, linked within a range (E. N. Gilbert, "Random plane networks", 1961).

    Drawn again until it is connected. With a radio in ``links``, near nodes have faster links than far ones.
    """

    n_nodes: int  # without the cloud; >= 2
    side_m: float  # of the square
    range_m: float  # largest distance of linked nodes
    nodes: NodeMix
    links: Links
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 2, "n_nodes")
        require_positive(self, "side_m", "range_m")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return a connected draw; raise TopologyError where the range is too small for one."""
        # Threshold of connectivity: n pi (range / side)^2 = ln n (P. Gupta, P. R. Kumar, 1998).
        needed_m = self.side_m * math.sqrt(math.log(self.n_nodes) / (math.pi * self.n_nodes))
        expected = f"about {needed_m:.3g} or more for {self.n_nodes} nodes in a square of {self.side_m} m"
        positions_m, pairs = draw_connected(
            rng,
            self.n_nodes,
            self.side_m,
            is_linked=lambda distance_m: distance_m <= self.range_m,
            label=f"geometric: range_m = {self.range_m}; expected {expected}",
        )
        return network("geometric", positions_m, pairs, self.nodes, self.links, self.cloud)
