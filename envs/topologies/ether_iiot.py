"""Factories with a cloudlet of their own, after the industrial scenario of Ether."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from envs.arrays import F8
from envs.topologies.assemble import Link, Node, assemble, circle, two_way
from envs.topologies.checks import require_count, require_one_of, require_positive
from envs.topologies.ether import LATENCY_S, SERVER_TYPE, ether_node, ether_site, shared_cell
from envs.topologies.topology import Topology, TopologyBuilder

AREA_RADIUS_M = 2000.0  # drawing only: the scenario has no coordinates
PREMISES_RADIUS_M = 300.0


@dataclass(frozen=True)
class EtherIiot(TopologyBuilder):
    r"""Premises of Raspberry Pis, a box of NUC and TX2, and a cloudlet; business lines join the cloudlets.

    ::

        rpi3  rpi3  rpi3        the Pis reach all of their premises on one shared channel
          \    |    /
           nuc - tx2            wired; each link has its own channel
              \ /
            cloudlet ==== 500 / 50 Mbit/s business lines ==== cloudlet of the next premises

    Ether has 20 nodes a premises, 15 of them servers of the cloudlet (5 in each of 3 racks); here a cloudlet is one
    node, which may stand for all its servers. Latencies are the only chance.
    """

    premises: int  # >= 1
    rpi3_per_premises: int  # devices, which create tasks; >= 1
    nuc_per_premises: int  # edge servers
    tx2_per_premises: int  # edge servers
    cloudlet_servers: int  # servers behind a cloudlet's one queue; >= 1
    task_memory_bytes: float  # memory that one task takes: memory / this = places of a queue
    cell_rate_bps: float  # rate of the channel that the Pis of a premises share
    wired_rate_bps: float  # of the ports of NUCs and TX2s
    cloudlet_rate_bps: float  # of a cloudlet's up-link to its premises
    line_up_rate_bps: float  # of the business line of a premises
    line_down_rate_bps: float
    node_latency: str  # law of each node's connection to its premises
    line_latency: str  # law of each business line

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "premises", "rpi3_per_premises", "cloudlet_servers")
        require_count(self, 0, "nuc_per_premises", "tx2_per_premises")
        require_positive(self, "task_memory_bytes", "cell_rate_bps", "wired_rate_bps", "cloudlet_rate_bps")
        require_positive(self, "line_up_rate_bps", "line_down_rate_bps")
        require_one_of(self, "node_latency", LATENCY_S)
        require_one_of(self, "line_latency", LATENCY_S)

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the factories; each cloudlet is the last node of its premises."""
        counts = {"rpi3": self.rpi3_per_premises, "nuc": self.nuc_per_premises, "tx2": self.tx2_per_premises}
        nodes: list[Node] = []
        members: list[range] = []
        for number, centre_m in enumerate(circle(self.premises, AREA_RADIUS_M)):
            first = len(nodes)
            nodes += ether_site(counts, nodes, centre_m, PREMISES_RADIUS_M, self.task_memory_bytes)
            name = f"cloudlet_{number}"
            nodes.append(ether_node(SERVER_TYPE, name, centre_m, self.task_memory_bytes, self.cloudlet_servers))
            members.append(range(first, len(nodes)))
        latency_s = LATENCY_S[self.node_latency].draw(rng, len(nodes))
        line_s = LATENCY_S[self.line_latency].draw(rng, self.premises)
        links = [link for number, ids in enumerate(members) for link in self._premises(number, ids, latency_s)]
        links += self._lines([ids[-1] for ids in members], latency_s, line_s)
        return assemble("ether_iiot", nodes, links)

    def _premises(self, number: int, ids: range, latency_s: F8) -> list[Link]:
        pis, wired = ids[: self.rpi3_per_premises], ids[self.rpi3_per_premises :]
        channel = ("cell", number)
        links = shared_cell(pis, latency_s, self.cell_rate_bps, channel)
        for a in pis:
            for b in wired:
                rates_bps = (self.cell_rate_bps, self.cell_rate_bps)
                links += two_way(a, b, rates_bps, float(latency_s[a] + latency_s[b]), (channel, channel))
        for a, b in combinations(wired, 2):
            rate_bps = min(self.wired_rate_bps, self.cloudlet_rate_bps) if b == ids[-1] else self.wired_rate_bps
            links += two_way(a, b, (rate_bps, rate_bps), float(latency_s[a] + latency_s[b]), ((a, b), (b, a)))
        return links

    def _lines(self, cloudlets: list[int], latency_s: F8, line_s: F8) -> list[Link]:
        """Return the links between cloudlets, on the up-link of the premises that sends."""
        rate_bps = min(self.line_up_rate_bps, self.line_down_rate_bps)
        links: list[Link] = []
        for first, second in combinations(range(self.premises), 2):
            a, b = cloudlets[first], cloudlets[second]
            delay_s = float(latency_s[a] + line_s[first] + line_s[second] + latency_s[b])
            links += two_way(a, b, (rate_bps, rate_bps), delay_s, (("line", first), ("line", second)))
        return links
