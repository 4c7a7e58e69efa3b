"""Bridged clusters: full meshes in a row, each joined to the next by one link."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from envs.topologies.artificial import Cloud, Links, NodeMix, network
from envs.topologies.assemble import circle, two_way
from envs.topologies.checks import require_count, require_not_negative, require_positive
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class BridgedClusters(TopologyBuilder):
    r"""G clusters of S nodes, G S (S - 1) + 2 (G - 1) directed links; no chance is involved.

    The bridges join the first nodes of the clusters; with as many edge servers as clusters these are the edge servers.

    ::

        1 - 2     4 - 5
         \ /       \ /
          0 ------- 3
    """

    clusters: int  # >= 2
    nodes_per_cluster: int  # >= 2
    cluster_radius_m: float
    spacing_m: float  # between the centres of neighbouring clusters
    bridge_rate_bps: float
    bridge_delay_s: float
    nodes: NodeMix
    links: Links  # inside the clusters
    cloud: Cloud | None  # null: none

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 2, "clusters", "nodes_per_cluster")
        require_positive(self, "cluster_radius_m", "spacing_m", "bridge_rate_bps")
        require_not_negative(self, "bridge_delay_s")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the clusters and their bridges."""
        gateways = range(0, self.clusters * self.nodes_per_cluster, self.nodes_per_cluster)
        pairs = [pair for first in gateways for pair in combinations(range(first, first + self.nodes_per_cluster), 2)]
        positions_m = [
            position_m
            for cluster in range(self.clusters)
            for position_m in circle(self.nodes_per_cluster, self.cluster_radius_m, (cluster * self.spacing_m, 0.0))
        ]
        rates_bps = (self.bridge_rate_bps, self.bridge_rate_bps)
        bridges = [
            link
            for a, b in pairwise(gateways)
            for link in two_way(a, b, rates_bps, self.bridge_delay_s, (("bridge", a, b), ("bridge", b, a)))
        ]
        return network("bridged_clusters", positions_m, pairs, self.nodes, self.links, self.cloud, bridges)
