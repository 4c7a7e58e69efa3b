"""A cell of mobile edge computing: devices that each reach every edge server directly, and nobody else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.constants import TIER_DEVICE, TIER_EDGE
from envs.errors import ConfigError
from envs.topologies.assemble import Link, Node, Position, assemble, circle, two_way
from envs.topologies.checks import require, require_not_negative, require_positive
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder

# The time of a transfer is the delay of its link and does not depend on the bits: the rate only has to be out of sight.
_RATE_BPS = 1e12
_QUEUE_PLACES = 1000  # no drops: a queue is seconds of work


@dataclass(frozen=True)
class MecCell(TopologyBuilder):
    """N devices and E servers, every pair with its own transfer and start-up time; no chance is involved.

    World ``mec`` reads all of it. As a network it is a link from every device to every server whose delay is the
    transfer time; there a start-up takes no time.
    """

    device_hz: tuple[float, ...]  # N, cycles per second of each device
    server_hz: tuple[float, ...]  # E, of each server
    transfer_s: tuple[tuple[float, ...], ...]  # N rows of E: constant time from device to server
    startup_s: tuple[tuple[float, ...], ...]  # N rows of E: once an episode, before the server's first work for it
    transmit_w: float  # additional power of a device while it sends
    side_m: float  # of the square in which devices move and servers stand
    server_position_m: tuple[tuple[float, float], ...]  # E places in the square

    def __post_init__(self) -> None:
        """Refuse empty lists, tables of another shape, negative times and servers outside the square."""
        for name in ("device_hz", "server_hz"):
            values = getattr(self, name)
            require(self, name, len(values) > 0 and all(_is_positive(hz) for hz in values), "finite numbers > 0")
        shape = (len(self.device_hz), len(self.server_hz))
        for name in ("transfer_s", "startup_s"):
            table = getattr(self, name)
            fits = len(table) == shape[0] and all(len(row) == shape[1] for row in table)
            if not fits:
                raise ConfigError(f"MecCell.{name}: expected {shape[0]} rows (devices) of {shape[1]} times (servers)")
            is_time = all(math.isfinite(time_s) and time_s >= 0.0 for row in table for time_s in row)
            require(self, name, is_time, "finite numbers >= 0")
        require_not_negative(self, "transmit_w")
        require_positive(self, "side_m")
        inside = all(0.0 <= coordinate <= self.side_m for place in self.server_position_m for coordinate in place)
        is_met = inside and len(self.server_position_m) == shape[1]
        require(self, "server_position_m", is_met, f"{shape[1]} places within 0 .. side_m = {self.side_m:g}")

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the cell as a network; devices are drawn on a circle."""
        n_devices, half_m = len(self.device_hz), self.side_m / 2.0
        places = circle(n_devices, half_m, (half_m, half_m))
        nodes = [
            _node(f"device_{n}", TIER_DEVICE, hz, self.transmit_w, places[n]) for n, hz in enumerate(self.device_hz)
        ]
        nodes += [
            _node(f"server_{e}", TIER_EDGE, hz, 0.0, self.server_position_m[e]) for e, hz in enumerate(self.server_hz)
        ]
        links: list[Link] = []
        for n, row in enumerate(self.transfer_s):
            for e, time_s in enumerate(row):
                ends = (n, n_devices + e)
                links += two_way(*ends, (_RATE_BPS, _RATE_BPS), time_s, (("up", *ends), ("down", *ends)))
        return assemble("mec_cell", nodes, links)


def _node(name: str, tier: int, hz: float, transmit_w: float, position_m: Position) -> Node:
    settings = NodeSettings(1, hz, _QUEUE_PLACES, 0.0, 0.0, transmit_w, math.inf)
    return Node(name, name.partition("_")[0], tier, tier == TIER_DEVICE, settings, position_m)


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0.0
