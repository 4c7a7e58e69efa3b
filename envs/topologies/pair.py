"""One device and one server: the smallest network with a decision in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.constants import TIER_DEVICE, TIER_EDGE
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.checks import require_not_negative, require_positive
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Pair(TopologyBuilder):
    """Node 0, the device, and node 1, the server, with a link each way; no chance is involved."""

    device: NodeSettings
    server: NodeSettings
    rate_bps: float  # of either link
    delay_s: float  # of either link

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_positive(self, "rate_bps")
        require_not_negative(self, "delay_s")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the two nodes."""
        nodes = [
            Node("device", "device", TIER_DEVICE, True, self.device, (0.0, 0.0)),
            Node("server", "server", TIER_EDGE, False, self.server, (1.0, 0.0)),
        ]
        links = [Link(0, 1, self.rate_bps, self.delay_s, "up"), Link(1, 0, self.rate_bps, self.delay_s, "down")]
        return assemble("pair", nodes, links)
