"""A cell of many users around one edge server, and the channels on which they reach it: the place of ``multiuser``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_DEVICE, TIER_EDGE
from envs.radio.shannon import capacity_bps
from envs.topologies.assemble import Link, Node, Position, assemble, two_way
from envs.topologies.checks import require, require_count, require_positive
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder

_QUEUE_PLACES = 1000  # no drops: a queue is seconds of work
_LEAST_SNR = 1e-200  # below, a rate might be 0
_DELAY_S = 0.0  # propagation over a hundred metres takes a third of a microsecond


@dataclass(frozen=True)
class MultiuserCell(TopologyBuilder):
    """N users at whole metres in a square around one edge server, which stands at its centre with the base station.

    Places are drawn evenly, the centre itself excluded, or given. World ``multiuser`` reads all of it. As a network it
    has a link from every user to the server, at the rate that the user has alone on a channel; there nobody disturbs.
    """

    n_users: int
    user_hz: tuple[float, ...]  # cycles per second: one number for all users, or N
    edge_hz: float  # cycles per second of the edge server
    n_channels: int  # orthogonal channels of the base station
    bandwidth_hz: float  # of a channel
    noise_w: float  # in a channel, at the base station
    path_loss_exponent: float  # received power = transmit_w * metres ** -exponent
    transmit_w: float  # power of a user while it sends
    reach_m: float  # half a side of the square
    position_m: tuple[tuple[float, float], ...]  # N places; empty: drawn

    def __post_init__(self) -> None:
        """Refuse impossible numbers, places in the server or outside the square, and lists of another length."""
        require_count(self, 1, "n_users", "n_channels")
        require_positive(self, "edge_hz", "bandwidth_hz", "noise_w", "path_loss_exponent", "transmit_w", "reach_m")
        is_hz = all(math.isfinite(hz) and hz > 0.0 for hz in self.user_hz)
        fits = len(self.user_hz) in (1, self.n_users)
        require(self, "user_hz", is_hz and fits, f"one finite number > 0 for all users, or n_users = {self.n_users}")
        require(self, "reach_m", self.reach_m >= 1.0, "at least 1: users stand at whole metres")
        places = self.position_m
        fits = len(places) in (0, self.n_users)
        require(self, "position_m", fits, f"n_users = {self.n_users} places, or none to draw them")
        inside = all(max(abs(x), abs(y)) <= self.reach_m and (x, y) != (0.0, 0.0) for x, y in places)
        require(self, "position_m", inside, f"places within {self.reach_m:g} m of the server, and not in it")

    def hz(self) -> F8:
        """Return the cycles per second of each user, (N,)."""
        return np.array(np.broadcast_to(self.user_hz, self.n_users), np.float64)

    def places_m(self, rng: np.random.Generator) -> F8:
        """Return the places of the users, (N, 2): those that are given, or whole metres drawn from [-reach, reach)."""
        if self.position_m:
            return np.array(self.position_m, np.float64)
        reach = int(self.reach_m)
        places = rng.integers(-reach, reach, (self.n_users, 2))
        is_server = ~places.any(axis=1)
        while is_server.any():  # one place in 25,600
            places[is_server] = rng.integers(-reach, reach, (int(is_server.sum()), 2))
            is_server = ~places.any(axis=1)
        return places.astype(np.float64)

    def received_w(self, places_m: F8) -> F8:
        """Return the power of each user's signal at the base station, (N,); refuse one that is next to nothing."""
        distance_m = np.hypot(places_m[:, 0], places_m[:, 1])
        received_w = np.asarray(self.transmit_w * distance_m**-self.path_loss_exponent, np.float64)
        least_snr = float(received_w.min()) / self.noise_w
        require(self, "path_loss_exponent", least_snr > _LEAST_SNR, "less: the signal of a user is lost in rounding")
        return received_w

    def build(self, rng: np.random.Generator) -> Topology:
        """Return the cell as a network; the server is the last node."""
        places = self.places_m(rng)
        rates = capacity_bps(self.bandwidth_hz, self.received_w(places) / self.noise_w)
        hz, server = self.hz(), self.n_users
        nodes = [
            _node(f"user_{u}", TIER_DEVICE, float(hz[u]), self.transmit_w, (float(x), float(y)))
            for u, (x, y) in enumerate(places)
        ]
        nodes.append(_node("edge_server", TIER_EDGE, self.edge_hz, 0.0, (0.0, 0.0)))
        links: list[Link] = []
        for u, bps in enumerate(rates.tolist()):
            links += two_way(u, server, (bps, bps), _DELAY_S, (("up", u), ("down", u)))
        return assemble("multiuser_cell", nodes, links)


def _node(name: str, tier: int, hz: float, transmit_w: float, position_m: Position) -> Node:
    settings = NodeSettings(1, hz, _QUEUE_PLACES, 0.0, 0.0, transmit_w, math.inf)
    return Node(name, name.partition("_")[0], tier, tier == TIER_DEVICE, settings, position_m)
