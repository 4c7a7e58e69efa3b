"""Published laws of edge networks that the Ether scenarios share: latencies, sizes, and what a connection adds up to.

T. Rausch, C. Lachner, P. A. Frangoudis, P. Raith, S. Dustdar, "Synthesizing plausible infrastructure configurations for
evaluating edge computing systems", HotEdge 2020. Every connection of a node, a cell or a cloudlet has a one-way latency
that is drawn once; the delay of a link is the sum along its way.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_CLOUD, TIER_DEVICE, TIER_EDGE
from envs.topologies.assemble import Link, Node, Position, circle, two_way
from envs.topologies.nodes import NODE_TYPES


class ShiftedLogNormal(NamedTuple):
    """A law of positive numbers: shift + scale * exp(sigma * Z) with Z standard normal."""

    sigma: float
    shift: float
    scale: float

    def draw(self, rng: np.random.Generator, n: int) -> F8:
        """Return n draws."""
        return self.shift + self.scale * np.exp(self.sigma * rng.standard_normal(n))


# One-way seconds of a connection.
LATENCY_S: dict[str, ShiftedLogNormal] = {
    "lan": ShiftedLogNormal(0.25, 0.35e-3, 0.16e-3),
    "wlan": ShiftedLogNormal(0.635, 1.18e-3, 3.27e-3),
    "business_isp": ShiftedLogNormal(0.87, 5.95e-3, 1.21e-3),
    "mobile_isp": ShiftedLogNormal(0.49, 16.2e-3, 8.02e-3),
}

# Sensing units of a neighbourhood, before rounding down.
URBAN_UNITS = ShiftedLogNormal(0.82, 0.0, 2.02)

SERVER_TYPE = "server"  # what a cloudlet's racks hold


def ether_node(type_name: str, name: str, position_m: Position, task_memory_bytes: float, machines: int = 1) -> Node:
    """Return a node for machines of a published type; Raspberry Pis are the devices, servers the cloudlet."""
    tier = {"rpi3": TIER_DEVICE, SERVER_TYPE: TIER_CLOUD}.get(type_name, TIER_EDGE)
    settings = NODE_TYPES[type_name].settings(task_memory_bytes, machines)
    return Node(name, type_name, tier, tier == TIER_DEVICE, settings, position_m)


def ether_site(
    counts: dict[str, int], before: Sequence[Node], centre_m: Position, radius_m: float, task_memory_bytes: float
) -> list[Node]:
    """Return the nodes of one place, so many of each type, named in continuation of the nodes before it."""
    places = iter(circle(sum(counts.values()), radius_m, centre_m))
    nodes: list[Node] = []
    for type_name, count in counts.items():
        first = sum(node.type == type_name for node in before)
        for number in range(first, first + count):
            nodes.append(ether_node(type_name, f"{type_name}_{number}", next(places), task_memory_bytes))
    return nodes


def shared_cell(members: Sequence[int], latency_s: F8, rate_bps: float, channel: Hashable) -> list[Link]:
    """Return the links of a cell whose nodes reach each other directly on one channel; latencies are by node id."""
    links: list[Link] = []
    for a, b in combinations(members, 2):
        links += two_way(a, b, (rate_bps, rate_bps), float(latency_s[a] + latency_s[b]), (channel, channel))
    return links
