"""A full mesh: each node is linked with every other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.assemble import circle
from envs.topologies.checks import require_count, require_positive
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Full(TopologyBuilder):
    """M nodes on a circle, M (M - 1) directed links; no chance is involved."""

    n_nodes: int  # without the cloud; >= 2
    radius_m: float
    nodes: NodeMix
    links: Links
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 2, "n_nodes")
        require_positive(self, "radius_m")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the full mesh."""
        pairs = list(combinations(range(self.n_nodes), 2))
        return network("full", circle(self.n_nodes, self.radius_m), pairs, self.nodes, self.links, self.cloud)
