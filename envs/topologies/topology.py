"""What a network is: nodes with CPUs and queues, directed links with rates and delays, and the checks on both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import networkx as nx
import numpy as np

from envs.arrays import BOOL, F8, I8, check_record
from envs.errors import TopologyError


@dataclass(frozen=True, eq=False)
class Topology:
    """One network. A channel is what transmissions queue for: links that name the same channel share its time."""

    name: str
    node_name: tuple[str, ...]
    node_type: tuple[str, ...]
    tier: Annotated[I8, "M", "0 device, 1 edge, 2 cloud or cloudlet"]
    is_device: Annotated[BOOL, "M", "the node creates tasks"]
    n_cores: Annotated[I8, "M", "tasks that run at once, each on one core"]
    core_hz: Annotated[F8, "M", "cycles per second of one core"]
    queue_places: Annotated[I8, "M", "capacity in tasks, those in service counted"]
    queue_bits: Annotated[F8, "M", "capacity in bits of input, those in service counted; infinite for no limit"]
    idle_w: Annotated[F8, "M", "power when no core is busy"]
    busy_w: Annotated[F8, "M", "power when all cores are busy"]
    transmit_w: Annotated[F8, "M", "additional power while transmitting"]
    position_m: Annotated[F8, "M X", "coordinates; for drawing where links are given"]
    link_source: Annotated[I8, "L", "node that transmits"]
    link_target: Annotated[I8, "L", "node that receives"]
    link_rate_bps: Annotated[F8, "L", "bits per second while transmitting"]
    link_delay_s: Annotated[F8, "L", "propagation and switching, after the last bit left"]
    link_channel: Annotated[I8, "L", "channel that the link transmits on, 0 .. n_channels - 1"]

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated: wrong arrays, impossible values, a node that cannot reach another."""
        check_record(self)
        self._check_nodes()
        self._check_links()
        self._check_connected()

    @property
    def n_nodes(self) -> int:
        """Number of nodes M."""
        return len(self.tier)

    @property
    def n_links(self) -> int:
        """Number of directed links L."""
        return len(self.link_source)

    @property
    def n_channels(self) -> int:
        """Number of channels C."""
        return int(self.link_channel.max()) + 1 if self.n_links else 0

    @property
    def device_nodes(self) -> I8:
        """Ids of the nodes that create tasks, ascending."""
        return np.flatnonzero(self.is_device).astype(np.int64)

    def out_links(self, node: int) -> I8:
        """Return the ids of the links that leave a node, by target node."""
        links = np.flatnonzero(self.link_source == node)
        return links[np.argsort(self.link_target[links], kind="stable")].astype(np.int64)

    def graph(self) -> nx.DiGraph:
        """Return the network as a networkx graph, with rates and delays on the edges."""
        graph = nx.DiGraph(name=self.name)
        graph.add_nodes_from(range(self.n_nodes))
        for link in range(self.n_links):
            graph.add_edge(
                int(self.link_source[link]),
                int(self.link_target[link]),
                rate_bps=float(self.link_rate_bps[link]),
                delay_s=float(self.link_delay_s[link]),
            )
        return graph

    def _check_nodes(self) -> None:
        if not self.is_device.any():
            raise TopologyError(f"{self.name}: no node creates tasks (is_device is False everywhere)")
        positive = {"n_cores": self.n_cores, "queue_places": self.queue_places}
        for field, values in positive.items():
            if (values < 1).any():
                node = int(np.argmax(values < 1))
                raise TopologyError(f"{self.name}: {field} of node {node} is {values[node]}; it must be at least 1")
        if not (np.isfinite(self.core_hz) & (self.core_hz > 0.0)).all():
            node = int(np.argmin(np.isfinite(self.core_hz) & (self.core_hz > 0.0)))
            raise TopologyError(f"{self.name}: core_hz of node {node} is {self.core_hz[node]}; it must be positive")
        if not (self.queue_bits > 0.0).all():
            node = int(np.argmin(self.queue_bits > 0.0))
            raise TopologyError(
                f"{self.name}: queue_bits of node {node} is {self.queue_bits[node]}; it must be positive"
            )
        at_least_zero = {"idle_w": self.idle_w, "transmit_w": self.transmit_w}
        for field, power in {**at_least_zero, "busy_w": self.busy_w}.items():
            bad = ~(np.isfinite(power) & (power >= 0.0))
            if bad.any():
                node = int(np.argmax(bad))
                raise TopologyError(f"{self.name}: {field} of node {node} is {power[node]}; it must be finite and >= 0")
        if (self.queue_places < self.n_cores).any():
            node = int(np.argmax(self.queue_places < self.n_cores))
            raise TopologyError(
                f"{self.name}: node {node} has {self.n_cores[node]} cores but {self.queue_places[node]} queue places; "
                "a task in service holds a place, so there must be at least as many places as cores"
            )
        if ((self.tier < 0) | (self.tier > 2)).any():
            raise TopologyError(f"{self.name}: tiers must be 0 (device), 1 (edge) or 2 (cloud), got {self.tier}")

    def _check_links(self) -> None:
        for field, ends in {"link_source": self.link_source, "link_target": self.link_target}.items():
            if ((ends < 0) | (ends >= self.n_nodes)).any():
                raise TopologyError(f"{self.name}: {field} names a node outside 0 .. {self.n_nodes - 1}")
        if (self.link_source == self.link_target).any():
            raise TopologyError(f"{self.name}: a node has a link to itself; staying local needs no link")
        pairs = set(zip(self.link_source.tolist(), self.link_target.tolist(), strict=True))
        if len(pairs) < self.n_links:
            raise TopologyError(f"{self.name}: two links have the same source and target")
        for a, b in pairs:
            if (b, a) not in pairs:
                raise TopologyError(f"{self.name}: link {a} -> {b} has no way back; results return on the same path")
        if not (np.isfinite(self.link_rate_bps) & (self.link_rate_bps > 0.0)).all():
            raise TopologyError(f"{self.name}: every link_rate_bps must be finite and positive")
        if not (np.isfinite(self.link_delay_s) & (self.link_delay_s >= 0.0)).all():
            raise TopologyError(f"{self.name}: every link_delay_s must be finite and >= 0")
        if self.n_links and (self.link_channel.min() < 0 or len(set(self.link_channel.tolist())) != self.n_channels):
            raise TopologyError(f"{self.name}: link_channel must use every number from 0 to its maximum")

    def _check_connected(self) -> None:
        parts: list[set[int]] = list(nx.strongly_connected_components(self.graph()))
        if len(parts) > 1:
            smallest: set[int] = min(parts, key=len)
            raise TopologyError(
                f"{self.name}: the network is disconnected ({len(parts)} parts; one is nodes {sorted(smallest)[:8]}); "
                "add links, a larger radio range or a higher link probability"
            )


class TopologyBuilder(ABC):
    """A recipe for networks. Subclasses are frozen dataclasses whose fields are the yaml keys, without defaults."""

    @abstractmethod
    def build(self, rng: np.random.Generator) -> Topology:
        """Return one network; all chance comes from the generator."""
