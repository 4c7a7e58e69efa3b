"""A grid: each node is linked with those above, below, left and right of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.checks import require, require_count, require_positive
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Grid(TopologyBuilder):
    """R x C nodes, 2 (R (C - 1) + C (R - 1)) directed links; no chance is involved. Ids run along the rows.

    ::

        0 - 1 - 2
        |   |   |
        3 - 4 - 5
    """

    rows: int
    columns: int  # rows * columns >= 2, without the cloud
    spacing_m: float
    nodes: NodeMix
    links: Links
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "rows", "columns")
        require(self, "columns", self.rows * self.columns >= 2, "at least 2 nodes in rows * columns")
        require_positive(self, "spacing_m")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the grid."""
        ids = np.arange(self.rows * self.columns).reshape(self.rows, self.columns)
        along = np.stack([ids[:, :-1].ravel(), ids[:, 1:].ravel()], axis=1)
        down = np.stack([ids[:-1].ravel(), ids[1:].ravel()], axis=1)
        pairs = [(int(a), int(b)) for a, b in np.concatenate([along, down])]
        positions_m = [(c * self.spacing_m, -r * self.spacing_m) for r in range(self.rows) for c in range(self.columns)]
        return network("grid", positions_m, pairs, self.nodes, self.links, self.cloud)
