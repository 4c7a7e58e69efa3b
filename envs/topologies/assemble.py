"""From lists of nodes and links to a topology: the one place where the arrays are filled."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology

Position = tuple[float, float]


class Node(NamedTuple):
    """A node to be; its id is its place in the list."""

    name: str
    type: str
    tier: int
    is_device: bool
    settings: NodeSettings
    position_m: Position


class Link(NamedTuple):
    """A directed link to be; links with equal channel labels share one channel."""

    source: int
    target: int
    rate_bps: float
    delay_s: float
    channel: Hashable


def assemble(name: str, nodes: Sequence[Node], links: Sequence[Link]) -> Topology:
    """Return the topology of these nodes and links; channels are numbered as their labels first appear."""
    channel_number = {label: number for number, label in enumerate(dict.fromkeys(link.channel for link in links))}
    settings = [node.settings for node in nodes]
    return Topology(
        name=name,
        node_name=tuple(node.name for node in nodes),
        node_type=tuple(node.type for node in nodes),
        tier=np.array([node.tier for node in nodes], np.int64),
        is_device=np.array([node.is_device for node in nodes], np.bool_),
        n_cores=np.array([node.n_cores for node in settings], np.int64),
        core_hz=np.array([node.core_hz for node in settings], np.float64),
        queue_places=np.array([node.queue_places for node in settings], np.int64),
        queue_bits=np.array([node.queue_bits for node in settings], np.float64),
        idle_w=np.array([node.idle_w for node in settings], np.float64),
        busy_w=np.array([node.busy_w for node in settings], np.float64),
        transmit_w=np.array([node.transmit_w for node in settings], np.float64),
        position_m=np.array([node.position_m for node in nodes], np.float64).reshape(-1, 2),
        link_source=np.array([link.source for link in links], np.int64),
        link_target=np.array([link.target for link in links], np.int64),
        link_rate_bps=np.array([link.rate_bps for link in links], np.float64),
        link_delay_s=np.array([link.delay_s for link in links], np.float64),
        link_channel=np.array([channel_number[link.channel] for link in links], np.int64),
    )


def two_way(
    a: int, b: int, rates_bps: tuple[float, float], delay_s: float, channels: tuple[Hashable, Hashable]
) -> list[Link]:
    """Return the links a -> b and b -> a, with the rate and the channel of each direction."""
    return [Link(a, b, rates_bps[0], delay_s, channels[0]), Link(b, a, rates_bps[1], delay_s, channels[1])]


def circle(n: int, radius_m: float, centre_m: Position = (0.0, 0.0)) -> list[Position]:
    """Return n places, evenly spread on a circle, counter-clockwise from the right."""
    angles = 2.0 * np.pi * np.arange(n) / max(n, 1)
    x, y = centre_m
    return [(x + radius_m * float(np.cos(angle)), y + radius_m * float(np.sin(angle))) for angle in angles]
