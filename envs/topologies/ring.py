"""A ring: each node is linked with the two beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.assemble import circle
from envs.topologies.checks import require_count, require_positive
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Ring(TopologyBuilder):
    r"""M nodes on a circle, 2 M directed links; no chance is involved.

    ::

          0 - 1
         /     \
        5       2
         \     /
          4 - 3
    """

    n_nodes: int  # without the cloud; >= 3
    radius_m: float
    nodes: NodeMix
    links: Links
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 3, "n_nodes")
        require_positive(self, "radius_m")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the ring."""
        pairs = [(m, (m + 1) % self.n_nodes) for m in range(self.n_nodes)]
        return network("ring", circle(self.n_nodes, self.radius_m), pairs, self.nodes, self.links, self.cloud)
