"""A city of sensing neighbourhoods with one cloudlet, after the urban-sensing scenario of Ether."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from envs.arrays import F8
from envs.topologies.assemble import Link, Node, assemble, circle, two_way
from envs.topologies.checks import require, require_count, require_one_of, require_positive
from envs.topologies.ether import LATENCY_S, SERVER_TYPE, URBAN_UNITS, ether_node, ether_site, shared_cell
from envs.topologies.topology import Topology, TopologyBuilder

CITY_RADIUS_M = 500.0  # drawing only: the scenario has no coordinates; larger where neighbourhoods would overlap
NEIGHBOURHOOD_RADIUS_M = 150.0


@dataclass(frozen=True)
class EtherUrban(TopologyBuilder):
    """Neighbourhood clusters of Raspberry Pis, NUCs and TX2s; a cloudlet behind each cluster's mobile connection.

    ::

        rpi3 rpi3 rpi3 rpi3 rpi3 rpi3 nuc tx2 tx2      one cluster: all reach each other on one shared channel
          |    |    |    |    |    |   |   |   |       each reaches the cloudlet; a cluster's up-links are one channel,
        ======== mobile back-haul, 25 / 125 ========   its down-links another
                           |
                        cloudlet

    Two clusters of three units are the 19 nodes (12 rpi3, 2 nuc, 4 tx2, 1 server) and three clusters the 28 nodes that
    PeersimGym was published with (M. Freitas et al., ECML PKDD 2024). Ether's own recipe draws the units and has two
    TX2s for each: ``draws_units: true, tx2_per_unit: 2, tx2_per_cluster: 0``. Latencies and drawn sizes are the only
    chance. Traffic to the cloudlet does not occupy the cluster's cell, which is 4 to 20 times as fast.
    """

    clusters: int  # neighbourhoods; >= 1
    units_per_cluster: int  # sensing units of a neighbourhood; unused where they are drawn
    draws_units: bool  # units of each neighbourhood from the published log-normal, rounded down, at least 1
    rpi3_per_unit: int  # devices, which create tasks; >= 1
    tx2_per_unit: int  # edge servers that come with each unit
    nuc_per_cluster: int  # edge servers
    tx2_per_cluster: int  # edge servers besides those of the units
    cloudlet_servers: int  # servers behind the cloudlet's one queue; >= 1
    task_memory_bytes: float  # memory that one task takes: memory / this = places of a queue
    cell_rate_bps: float  # rate of the channel that a cluster's nodes share
    cell_latency: str  # law of a node's connection to its cell, and of the cloudlet's to the exchange
    uplink_rate_bps: float  # of a cluster's mobile connection
    downlink_rate_bps: float
    backhaul_latency: str  # law of a cluster's mobile connection
    links_nucs: bool  # NUCs of different clusters reach each other through both mobile connections

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "clusters", "units_per_cluster", "rpi3_per_unit", "cloudlet_servers")
        require_count(self, 0, "tx2_per_unit", "nuc_per_cluster", "tx2_per_cluster")
        require_positive(self, "task_memory_bytes", "cell_rate_bps", "uplink_rate_bps", "downlink_rate_bps")
        require_one_of(self, "cell_latency", LATENCY_S)
        require_one_of(self, "backhaul_latency", LATENCY_S)
        require(self, "links_nucs", not self.links_nucs or self.nuc_per_cluster > 0, "false where nuc_per_cluster is 0")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return a city; the cloudlet is the last node."""
        nodes: list[Node] = []
        members: list[range] = []
        city_radius_m = max(CITY_RADIUS_M, 1.2 * self.clusters * NEIGHBOURHOOD_RADIUS_M / np.pi)
        for units, centre_m in zip(self._units(rng), circle(self.clusters, city_radius_m), strict=True):
            first = len(nodes)
            counts = {
                "rpi3": units * self.rpi3_per_unit,
                "nuc": self.nuc_per_cluster,
                "tx2": self.tx2_per_cluster + units * self.tx2_per_unit,
            }
            nodes += ether_site(counts, nodes, centre_m, NEIGHBOURHOOD_RADIUS_M, self.task_memory_bytes)
            members.append(range(first, len(nodes)))
        nodes.append(
            ether_node(SERVER_TYPE, "cloudlet", (0.0, 0.0), self.task_memory_bytes, machines=self.cloudlet_servers)
        )
        latency_s = LATENCY_S[self.cell_latency].draw(rng, len(nodes))
        mobile_s = LATENCY_S[self.backhaul_latency].draw(rng, self.clusters)
        links: list[Link] = []
        for cluster, ids in enumerate(members):
            links += shared_cell(ids, latency_s, self.cell_rate_bps, ("cell", cluster))
            links += self._to_cloudlet(cluster, ids, latency_s, float(mobile_s[cluster]))
        if self.links_nucs:
            links += self._between_nucs(nodes, members, latency_s, mobile_s)
        return assemble("ether_urban", nodes, links)

    def _units(self, rng: np.random.Generator) -> list[int]:
        if not self.draws_units:
            return [self.units_per_cluster] * self.clusters
        return [max(1, int(units)) for units in URBAN_UNITS.draw(rng, self.clusters)]

    def _to_cloudlet(self, cluster: int, ids: range, latency_s: F8, mobile_s: float) -> list[Link]:
        """Return the links between a cluster and the cloudlet, the node with the last latency."""
        cloudlet = len(latency_s) - 1
        rates_bps = (self.uplink_rate_bps, self.downlink_rate_bps)
        channels = (("up", cluster), ("down", cluster))
        links: list[Link] = []
        for m in ids:
            links += two_way(m, cloudlet, rates_bps, float(latency_s[m] + mobile_s + latency_s[cloudlet]), channels)
        return links

    def _between_nucs(self, nodes: list[Node], members: list[range], latency_s: F8, mobile_s: F8) -> list[Link]:
        """Return the links between NUCs of different clusters, on the up-link of the one that sends."""
        rate_bps = min(self.uplink_rate_bps, self.downlink_rate_bps)
        links: list[Link] = []
        for first, second in combinations(range(self.clusters), 2):
            channels = (("up", first), ("up", second))
            for a in (m for m in members[first] if nodes[m].type == "nuc"):
                for b in (m for m in members[second] if nodes[m].type == "nuc"):
                    delay_s = float(latency_s[a] + mobile_s[first] + mobile_s[second] + latency_s[b])
                    links += two_way(a, b, (rate_bps, rate_bps), delay_s, channels)
        return links
