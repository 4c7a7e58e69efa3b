"""Devices and edge servers as a testbed has them: shares of cores, shaped links; the place of world ``testbed``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_DEVICE, TIER_EDGE
from envs.topologies.assemble import Link, Node, assemble, circle, two_way
from envs.topologies.checks import require, require_count, require_positive
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder

_QUEUE_PLACES = 1000  # no drops: a queue is seconds of work
_RADIUS_M = 50.0  # places are for pictures only
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EdgeServer:
    """An edge server."""

    cores: float
    n_lanes: int  # tasks that are served at once
    # fifo: each lane has an equal part of the cores. processor_sharing: the tasks being served share the cores equally
    discipline: Literal["fifo", "processor_sharing"]


@dataclass(frozen=True)
class EdgeLan(TopologyBuilder):
    """N devices, each linked to each of M edge servers. Rows of rates are devices, columns servers; both repeat."""

    n_devices: int
    device_cores: tuple[float, ...]  # share of a core of each device, at most 1; repeats if there are more devices
    servers: tuple[EdgeServer, ...]
    core_hz: float  # cycles that a core does in a second
    up_bps: Rows  # device to server
    down_bps: Rows  # server to device
    delay_s: float  # each way
    sharing: Literal["own", "shared"]  # shared: devices that upload to one server at the same time share the rate
    goodput_frac: float  # of a rate that payloads get
    # With c tasks at once, more than it has cores, a server that shares its cores needs 1 + crowding (c / cores - 1)
    # times as long for each: 1 is ideal processor sharing, 0 no slowing
    crowding: float

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        require_count(self, 1, "n_devices")
        require_positive(self, "core_hz")
        shares = self.device_cores
        require(
            self, "device_cores", bool(shares) and all(0.0 < c <= 1.0 for c in shares), "shares of a core in (0, 1]"
        )
        require(self, "servers", bool(self.servers), "at least one")
        is_possible = all(0.0 < s.cores < math.inf and s.n_lanes >= 1 for s in self.servers)
        require(self, "servers", is_possible, "cores > 0 and at least one lane for each")
        for name in ("up_bps", "down_bps"):
            rows: Rows = getattr(self, name)
            is_rate = bool(rows) and all(row and all(0.0 < bps < math.inf for bps in row) for row in rows)
            require(self, name, is_rate, "rows of finite rates > 0")
        require(self, "delay_s", 0.0 <= self.delay_s < math.inf, "a finite number of at least 0")
        require(self, "goodput_frac", 0.0 < self.goodput_frac <= 1.0, "a number in (0, 1]")
        require(self, "crowding", 0.0 <= self.crowding < math.inf, "a finite number of at least 0")

    def cores(self) -> F8:
        """Return the share of a core of each device, (N,)."""
        return np.resize(np.array(self.device_cores, np.float64), self.n_devices)

    def rates_bps(self, rows: Rows) -> F8:
        """Return ``up_bps`` or ``down_bps`` for all links, (N, M)."""
        pairs = [(n, m) for n in range(self.n_devices) for m in range(len(self.servers))]
        rates = [rows[n % len(rows)][m % len(rows[n % len(rows)])] for n, m in pairs]
        return np.array(rates, np.float64).reshape(self.n_devices, len(self.servers))

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the devices, and behind them the servers; places are on a circle, servers inside."""
        devices = circle(self.n_devices, _RADIUS_M)
        servers = circle(len(self.servers), _RADIUS_M / 4) if len(self.servers) > 1 else [(0.0, 0.0)]
        nodes = [
            Node(f"device_{n}", "device", TIER_DEVICE, True, _settings(1, float(share) * self.core_hz), place)
            for n, (share, place) in enumerate(zip(self.cores(), devices, strict=True))
        ]
        for m, (server, place) in enumerate(zip(self.servers, servers, strict=True)):
            lane_hz = min(1.0, server.cores / server.n_lanes) * self.core_hz
            nodes.append(Node(f"server_{m}", "server", TIER_EDGE, False, _settings(server.n_lanes, lane_hz), place))
        up_bps, down_bps = self.rates_bps(self.up_bps), self.rates_bps(self.down_bps)
        links: list[Link] = []
        for n in range(self.n_devices):
            for m in range(len(self.servers)):
                rates = float(up_bps[n, m]) * self.goodput_frac, float(down_bps[n, m]) * self.goodput_frac
                shared = ("up", m) if self.sharing == "shared" else ("up", n, m)
                links += two_way(n, self.n_devices + m, rates, self.delay_s, (shared, ("down", n, m)))
        return assemble("edge_lan", nodes, links)


def _settings(n_cores: int, core_hz: float) -> NodeSettings:
    return NodeSettings(n_cores, core_hz, _QUEUE_PLACES, 0.0, 0.0, 0.0, math.inf)
