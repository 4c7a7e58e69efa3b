"""The settings that the artificial networks (ring, grid, full, ...) share, and how a network is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_CLOUD, TIER_DEVICE, TIER_EDGE
from envs.errors import ConfigError
from envs.radio.path_loss import log_distance_gain
from envs.radio.shannon import capacity_bps, noise_w
from envs.topologies.assemble import Link, Node, Position, assemble
from envs.topologies.checks import require, require_count, require_not_negative, require_one_of, require_positive
from envs.topologies.nodes import NODE_TYPES, WIRED_TRANSMIT_W, NodeSettings
from envs.topologies.topology import Topology

Pair = tuple[int, int]


@dataclass(frozen=True)
class NodeMix:
    """Which types of nodes a network has; edge servers are spread evenly over the ids, beginning with node 0."""

    device_type: str  # node type of the devices, which create tasks (tier 0)
    edge_type: str  # node type of the edge servers (tier 1)
    n_edge: int  # edge servers among the nodes; fewer than there are nodes
    task_memory_bytes: float  # memory that one task takes: memory / this = places of a queue

    def __post_init__(self) -> None:
        """Refuse values out of range and unknown types."""
        require_count(self, 0, "n_edge")
        require_positive(self, "task_memory_bytes")
        require_one_of(self, "device_type", NODE_TYPES)
        require_one_of(self, "edge_type", NODE_TYPES)

    def nodes(self, positions_m: Sequence[Position]) -> list[Node]:
        """Return a node for each position."""
        n_nodes = len(positions_m)
        if self.n_edge >= n_nodes:
            raise ConfigError(f"NodeMix.n_edge = {self.n_edge}; expected fewer than the {n_nodes} nodes")
        edge_ids = {i * n_nodes // self.n_edge for i in range(self.n_edge)}
        device = NODE_TYPES[self.device_type].settings(self.task_memory_bytes)
        edge = NODE_TYPES[self.edge_type].settings(self.task_memory_bytes)
        return [
            Node(f"{self.edge_type}_{m}", self.edge_type, TIER_EDGE, False, edge, position_m)
            if m in edge_ids
            else Node(f"{self.device_type}_{m}", self.device_type, TIER_DEVICE, True, device, position_m)
            for m, position_m in enumerate(positions_m)
        ]


@dataclass(frozen=True)
class Radio:
    """Links through the air; their rates follow from the distances by Shannon-Hartley."""

    bandwidth_hz: float  # of one channel
    carrier_hz: float  # sets the loss up to the reference distance (Friis)
    radiated_w: float  # power that leaves the antenna, 0.1 is 20 dBm
    noise_w_per_hz: float  # density of the receiver's noise; 4.0e-21 is thermal noise at 290 K, -174 dBm/Hz
    path_loss_exponent: float  # 2 free space, about 3 in cities
    reference_m: float  # distance from which the exponent counts; nearer nodes count as this far

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_positive(self, "bandwidth_hz", "carrier_hz", "radiated_w", "noise_w_per_hz", "reference_m")
        require_not_negative(self, "path_loss_exponent")

    def rate_bps(self, distance_m: F8) -> F8:
        """Return the rate over each distance, same shape; transmissions on other channels do not interfere."""
        gain = log_distance_gain(distance_m, self.carrier_hz, self.path_loss_exponent, self.reference_m)
        snr = self.radiated_w * gain / noise_w(self.bandwidth_hz, self.noise_w_per_hz)
        return capacity_bps(self.bandwidth_hz, snr)


@dataclass(frozen=True)
class Links:
    """Rate, delay and channels of the links between nodes; the rate is given, or follows from a radio."""

    rate_bps: float | None  # bits per second of each link; null: from the radio
    delay_s: float  # after the last bit left; the flight time of light is not added (0.3 us in 100 m)
    channel: Literal[
        "node", "link", "shared"
    ]  # who queues together: node (all that a node sends), link (nobody) or shared (all)
    radio: Radio | None  # null: the rate is given

    def __post_init__(self) -> None:
        """Refuse values out of range, and two sources of the rate or none."""
        has_rate, has_radio = self.rate_bps is not None, self.radio is not None
        require(self, "rate_bps", has_rate != has_radio, "a rate or a radio, the other one null")
        if has_rate:
            require_positive(self, "rate_bps")
        require_not_negative(self, "delay_s")
        require_one_of(self, "channel", ("node", "link", "shared"))

    def between(self, pairs: Sequence[Pair], positions_m: Sequence[Position]) -> list[Link]:
        """Return the two directed links of each pair of nodes, in the pairs' order."""
        ends = np.array(pairs, np.int64).reshape(-1, 2)
        place = np.array(positions_m, np.float64)
        distance_m = np.hypot(*(place[ends[:, 0]] - place[ends[:, 1]]).T)
        rates = np.full(len(ends), self.rate_bps) if self.radio is None else self.radio.rate_bps(distance_m)
        return [
            Link(source, target, float(rate_bps), self.delay_s, self._label(source, target))
            for (a, b), rate_bps in zip(ends.tolist(), rates, strict=True)
            for source, target in ((a, b), (b, a))
        ]

    def _label(self, source: int, target: int) -> tuple[str, int, int]:
        ends = {"node": (source, source), "link": (source, target), "shared": (0, 0)}[self.channel]
        return (self.channel, *ends)


@dataclass(frozen=True)
class Cloud:
    """One more node of equal virtual machines with one queue, linked with the network's nodes."""

    n_vms: int  # virtual machines, each runs one task at a time
    vm_hz: float  # cycles per second of one
    vm_idle_w: float  # power of one that waits
    vm_busy_w: float  # power of one that computes
    queue_places: int  # tasks that fit, those in service counted; >= n_vms
    rate_bps: float  # of each node's own link to the cloud and back
    delay_s: float  # one way
    access: Literal["edge", "all"]  # who has a link: the edge servers, or every node

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "n_vms", "queue_places")
        require(self, "queue_places", self.queue_places >= self.n_vms, f"at least n_vms = {self.n_vms}")
        require_positive(self, "vm_hz", "rate_bps")
        require_not_negative(self, "vm_idle_w", "vm_busy_w", "delay_s")
        require(self, "vm_busy_w", self.vm_busy_w >= self.vm_idle_w, f"at least vm_idle_w = {self.vm_idle_w}")
        require_one_of(self, "access", ("edge", "all"))

    def attach(self, nodes: Sequence[Node]) -> tuple[Node, list[Link]]:
        """Return the cloud's node, which comes after these nodes, and its links."""
        cloud_id = len(nodes)
        linked = [m for m, node in enumerate(nodes) if self.access == "all" or node.tier == TIER_EDGE]
        if not linked:
            raise ConfigError("Cloud.access = 'edge'; expected 'all', as the network has no edge servers")
        settings = NodeSettings(
            n_cores=self.n_vms,
            core_hz=self.vm_hz,
            queue_places=self.queue_places,
            idle_w=self.n_vms * self.vm_idle_w,
            busy_w=self.n_vms * self.vm_busy_w,
            transmit_w=WIRED_TRANSMIT_W,
            queue_bits=np.inf,
        )
        place = np.array([node.position_m for node in nodes])
        above_m = (float(place[:, 0].mean()), float(place[:, 1].max() + 0.3 * np.ptp(place, axis=0).max()))
        ends = [(source, target) for m in linked for source, target in ((m, cloud_id), (cloud_id, m))]
        links = [Link(a, b, self.rate_bps, self.delay_s, ("cloud", a, b)) for a, b in ends]
        return Node("cloud", "cloud", TIER_CLOUD, False, settings, above_m), links


def network(
    name: str,
    positions_m: Sequence[Position],
    pairs: Sequence[Pair],
    mix: NodeMix,
    links: Links,
    cloud: Cloud | None,
    extra_links: Sequence[Link] = (),
) -> Topology:
    """Return the network of linked pairs of nodes at these positions, with its cloud."""
    nodes = mix.nodes(positions_m)
    all_links = [*links.between(pairs, positions_m), *extra_links]
    if cloud is not None:
        cloud_node, cloud_links = cloud.attach(nodes)
        nodes.append(cloud_node)
        all_links.extend(cloud_links)
    return assemble(name, nodes, all_links)
