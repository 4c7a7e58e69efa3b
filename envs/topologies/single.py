"""One device alone: a single queue, for comparison with queueing theory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.constants import TIER_DEVICE
from envs.topologies.assemble import Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder


@dataclass(frozen=True)
class Single(TopologyBuilder):
    """One node that creates tasks and runs them, without links; no chance is involved."""

    device: NodeSettings

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the node."""
        return assemble("single", [Node("device", "device", TIER_DEVICE, True, self.device, (0.0, 0.0))], [])
