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
from envs.topologies.assemble import Link


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


def two_way(
    a: int, b: int, rates_bps: tuple[float, float], delay_s: float, channels: tuple[Hashable, Hashable]
) -> list[Link]:
    """Return the links a -> b and b -> a, with the rate and the channel of each direction."""
    return [Link(a, b, rates_bps[0], delay_s, channels[0]), Link(b, a, rates_bps[1], delay_s, channels[1])]


def shared_cell(members: Sequence[int], latency_s: F8, rate_bps: float, channel: Hashable) -> list[Link]:
    """Return the links of a cell whose nodes reach each other directly on one channel; latencies are by node id."""
    links: list[Link] = []
    for a, b in combinations(members, 2):
        links += two_way(a, b, (rate_bps, rate_bps), float(latency_s[a] + latency_s[b]), (channel, channel))
    return links
