"""A network of layers of equal nodes, with a cloud behind some: PeersimGym's way to describe one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import networkx as nx
import numpy as np

from envs.arrays import F8, I8
from envs.constants import TIER_CLOUD, TIER_NAMES
from envs.errors import TopologyError
from envs.radio.path_loss import log_distance_gain
from envs.radio.shannon import capacity_bps, noise_w
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.checks import require, require_count, require_not_negative, require_one_of, require_positive
from envs.topologies.drawn import MAX_DRAWS
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder

CHANNEL_TYPES = ("wireless", "fiber", "none")
WIRELESS, FIBER, NO_CHANNEL = range(3)  # numbers of the channel types in Layout.channel
CARRIER_HZ = 2.4e9  # PeersimGym's radio (M. Freitas et al., ECML PKDD 2024)
FREE_SPACE_EXPONENT = 2.0
REFERENCE_M = 1.0  # nearer nodes count as this far: the far field begins at some wavelengths, 0.125 m each
NOISE_DBM_PER_HZ = -174.0  # thermal noise at 290 K


@dataclass(frozen=True)
class Layer:
    """Equal nodes with consecutive ids; layers of one name share what is said by node type, such as schedules."""

    name: str  # node type of its nodes
    n_nodes: int  # >= 1
    tier: Literal["device", "edge", "cloud"]
    n_cores: int  # tasks that run at once; under peersim semantics a factor of the clock
    core_hz: float  # cycles per second of one core
    core_hz_spread: float  # half width of one uniform draw for the whole layer; below core_hz
    queue_places: int  # tasks that fit, those in service counted; >= n_cores
    queue_bits: float  # bits of input that fit, those in service counted; .inf for no limit
    has_clients: bool  # its nodes create tasks
    takes_tasks: bool  # under peersim semantics: clients may send tasks to its nodes; otherwise clients use their own
    reaches_cloud: bool  # its nodes have links to the cloud, if there is one
    idle_w: float  # power when no core is busy
    busy_w: float  # power when all cores are busy
    transmit_w: float  # additional power while transmitting

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(self, "name", bool(self.name), "a name that is not empty")
        require_count(self, 1, "n_nodes")
        require_one_of(self, "tier", TIER_NAMES)
        require_positive(self, "core_hz")
        require_not_negative(self, "core_hz_spread")
        require(self, "core_hz_spread", self.core_hz_spread < self.core_hz, f"less than core_hz = {self.core_hz}")
        self.settings(self.core_hz)

    def settings(self, core_hz: float) -> NodeSettings:
        """Return the figures of its nodes at the clock that was drawn."""
        return NodeSettings(
            n_cores=self.n_cores,
            core_hz=core_hz,
            queue_places=self.queue_places,
            idle_w=self.idle_w,
            busy_w=self.busy_w,
            transmit_w=self.transmit_w,
            queue_bits=self.queue_bits,
        )


@dataclass(frozen=True)
class LayeredCloud:
    """One more node, the last one, of equal virtual machines with one queue."""

    n_vms: int  # virtual machines, each runs one task at a time
    vm_hz: float  # cycles per second of one
    x_m: float  # place
    y_m: float
    queue_places: int  # tasks that fit, those in service counted; >= n_vms; unlimited under peersim semantics
    idle_w: float  # power when no machine is busy
    busy_w: float  # power when all machines are busy
    transmit_w: float  # additional power while transmitting

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "n_vms", "queue_places")
        require_positive(self, "vm_hz")
        for field in ("x_m", "y_m"):
            require(self, field, bool(np.isfinite(getattr(self, field))), "a finite number")
        self.settings()

    def settings(self) -> NodeSettings:
        """Return the figures of its node."""
        return NodeSettings(
            n_cores=self.n_vms,
            core_hz=self.vm_hz,
            queue_places=self.queue_places,
            idle_w=self.idle_w,
            busy_w=self.busy_w,
            transmit_w=self.transmit_w,
            queue_bits=np.inf,
        )


class Layout(NamedTuple):
    """A layered network after its draws, before rates: who stands where and whose neighbour is who."""

    layer: Annotated[I8, "M", "layer of a node; the cloud counts as one of layer 0"]
    position_m: Annotated[F8, "M X", "places; the cloud is the last node"]
    core_hz: Annotated[F8, "M", "cycles per second of one core, after the draw of its layer"]
    channel: Annotated[I8, "M M", "type of the channel between two nodes, an index of CHANNEL_TYPES"]
    neighbours: tuple[tuple[int, ...], ...]  # of each node, itself first, the cloud last: the order of its targets

    def distance_m(self) -> F8:
        """Return the distances between nodes, (M, M) metres."""
        difference_m = self.position_m[:, None, :] - self.position_m[None, :, :]
        return np.asarray(np.hypot(difference_m[..., 0], difference_m[..., 1]), np.float64)


@dataclass(frozen=True)
class Layered(TopologyBuilder):
    """Layers of equal nodes in PeersimGym's manner, with the rates of Shannon-Hartley; each link has its own channel.

    (M. Freitas et al., "PeersimGym: an environment for solving the task offloading problem with reinforcement
    learning", ECML PKDD 2024.) Devices are the nodes of layers that have clients. Drawn networks are drawn again until
    they are connected.
    """

    layers: tuple[Layer, ...]  # at least one; node ids follow their order
    cloud: LayeredCloud | None  # null: none
    node_name: tuple[str, ...]  # of the nodes without the cloud; empty: the layer's name and a number
    positions_m: tuple[tuple[float, float], ...]  # of the nodes without the cloud; empty: drawn in the square
    side_m: float  # of the square in which places are drawn
    links: tuple[tuple[int, int], ...] | None  # pairs, in the order in which they enter the lists of both neighbours;
    # null: all pairs of one layer or of adjacent ones that are nearer than radius_m
    radius_m: float  # see links
    bandwidth_hz: float  # of each channel
    transmit_dbm: float  # radiated power, 20 is 0.1 W
    channel_types: tuple[tuple[Literal["wireless", "fiber", "none"], ...], ...]  # by layer of sender and receiver; the
    # cloud counts as one of layer 0; empty: wireless everywhere
    fiber_snr_db: float  # signal-to-noise ratio of fiber channels
    extra_delay_s: tuple[float, float]  # smallest and largest delay of a link, drawn uniformly

    def __post_init__(self) -> None:
        """Refuse values out of range and lists of the wrong length."""
        require(self, "layers", bool(self.layers), "at least one layer")
        require(self, "layers", any(layer.has_clients for layer in self.layers), "a layer with has_clients: true")
        require_positive(self, "side_m", "radius_m", "bandwidth_hz")
        for field in ("node_name", "positions_m"):
            n_given = len(getattr(self, field))
            require(
                self, field, n_given in (0, self.n_nodes), f"an entry for each of the {self.n_nodes} nodes, or none"
            )
        numbers = [self.transmit_dbm, self.fiber_snr_db, *self.extra_delay_s, *np.ravel(self.positions_m)]
        require(self, "transmit_dbm", bool(np.isfinite(numbers).all()), "finite numbers, also in the other fields")
        low_s, high_s = self.extra_delay_s
        require(self, "extra_delay_s", 0.0 <= low_s <= high_s, "two numbers, 0 <= smallest <= largest")
        for pair in self.links or ():
            is_pair = len(set(pair)) == 2 and all(0 <= node < self.n_nodes for node in pair)
            require(self, "links", is_pair, f"pairs of different nodes from 0 to {self.n_nodes - 1}, not {pair}")
        self._check_channel_types()

    @property
    def n_nodes(self) -> int:
        """Number of nodes without the cloud."""
        return sum(layer.n_nodes for layer in self.layers)

    def build(self, rng: np.random.Generator) -> Topology:
        """Return one network; raise TopologyError where its nodes cannot be connected."""
        layout = self.lay_out(rng)
        nodes = self._nodes(layout)
        rate_bps = self.rate_bps(layout)
        links: list[Link] = []
        for a, list_of_a in enumerate(layout.neighbours):
            for b in list_of_a:
                if a < b:
                    delay_s = float(rng.uniform(*self.extra_delay_s))
                    links += [Link(s, t, float(rate_bps[s, t]), delay_s, (s, t)) for s, t in ((a, b), (b, a))]
        return assemble("layered", nodes, links)

    def lay_out(self, rng: np.random.Generator) -> Layout:
        """Return places, clocks and neighbours; ``build`` of an equal generator begins with the same draws."""
        layer = np.repeat(np.arange(len(self.layers)), [each.n_nodes for each in self.layers])
        clocks = [each.core_hz - each.core_hz_spread * (2.0 * rng.random() - 1.0) for each in self.layers]
        core_hz = np.array(clocks)[layer]
        if self.cloud is not None:
            layer, core_hz = np.append(layer, 0), np.append(core_hz, self.cloud.vm_hz)
        types = [[CHANNEL_TYPES.index(entry) for entry in row] for row in self.channel_types]
        by_layer = np.array(types or np.zeros((len(self.layers),) * 2), np.int64)
        channel = by_layer[np.ix_(layer, layer)]
        position_m, neighbours = self._places(rng, layer, channel)
        return Layout(layer.astype(np.int64), position_m, core_hz, channel, neighbours)

    def rate_bps(self, layout: Layout) -> F8:
        """Return the rate between any two nodes, (M, M); 0 where they have no channel. Noise fills the bandwidth."""
        noise = noise_w(self.bandwidth_hz, _watts(NOISE_DBM_PER_HZ))
        gain = log_distance_gain(layout.distance_m(), CARRIER_HZ, FREE_SPACE_EXPONENT, REFERENCE_M)
        wireless = capacity_bps(self.bandwidth_hz, _watts(self.transmit_dbm) * gain / noise)
        fiber = capacity_bps(self.bandwidth_hz, np.full_like(gain, 10.0 ** (self.fiber_snr_db / 10.0)))
        return np.asarray(np.choose(layout.channel, [wireless, fiber, np.zeros_like(gain)]), np.float64)

    def _places(self, rng: np.random.Generator, layer: I8, channel: I8) -> tuple[F8, tuple[tuple[int, ...], ...]]:
        """Return places and neighbours; drawn places are drawn again until all nodes are connected."""
        is_drawn = not self.positions_m
        for _ in range(MAX_DRAWS if is_drawn else 1):
            place_m = (
                self.side_m * rng.random((self.n_nodes, 2)) if is_drawn else np.array(self.positions_m, np.float64)
            )
            if self.cloud is not None:
                place_m = np.vstack([place_m, (self.cloud.x_m, self.cloud.y_m)])
            neighbours = self._neighbours(place_m, layer, channel)
            graph = nx.Graph([(a, b) for a, list_of_a in enumerate(neighbours) for b in list_of_a])
            # places decide who is linked only where the links are not given
            if nx.is_connected(graph) or not is_drawn or self.links is not None:
                return place_m, neighbours
        raise TopologyError(
            f"layered: radius_m = {self.radius_m}; expected more for {self.n_nodes} nodes in a square of "
            f"{self.side_m} m; none of {MAX_DRAWS} draws was connected"
        )

    def _neighbours(self, place_m: F8, layer: I8, channel: I8) -> tuple[tuple[int, ...], ...]:
        """Return each node's neighbours in PeersimGym's order: itself, then as the pairs come, then the cloud."""
        n_nodes, cloud_id = len(layer), self.n_nodes
        if self.links is None:
            distance_m = np.hypot(*(place_m[:, None] - place_m[None, :]).transpose(2, 0, 1))
            is_near = (distance_m < self.radius_m) & (np.abs(layer[:, None] - layer[None, :]) <= 1)
            is_near[:, cloud_id:] = is_near[cloud_id:] = False
            pairs = [(int(a), int(b)) for a, b in np.argwhere(is_near & (channel != NO_CHANNEL)) if a != b]
        else:
            pairs = list(self.links)
        if self.cloud is not None:
            pairs += [(m, cloud_id) for m in range(cloud_id) if self.layers[layer[m]].reaches_cloud]
        lists: list[dict[int, None]] = [{m: None} for m in range(n_nodes)]
        for a, b in pairs:
            if channel[a, b] == NO_CHANNEL:
                names = [self.layers[layer[m]].name for m in (a, b)]
                raise TopologyError(
                    f"layered: link {a} - {b}, but channel_types has none between {' and '.join(names)}"
                )
            lists[a][b] = lists[b][a] = None
        return tuple(tuple(each) for each in lists)

    def _nodes(self, layout: Layout) -> list[Node]:
        nodes: list[Node] = []
        numbers: dict[str, int] = {}
        for m, layer in enumerate(each for each in self.layers for _ in range(each.n_nodes)):
            number = numbers[layer.name] = numbers.get(layer.name, -1) + 1
            name = self.node_name[m] if self.node_name else f"{layer.name}_{number}"
            settings = layer.settings(float(layout.core_hz[m]))
            x_m, y_m = layout.position_m[m].tolist()
            nodes.append(Node(name, layer.name, TIER_NAMES.index(layer.tier), layer.has_clients, settings, (x_m, y_m)))
        if self.cloud is not None:
            place_m = (self.cloud.x_m, self.cloud.y_m)
            nodes.append(Node("cloud", "cloud", TIER_CLOUD, False, self.cloud.settings(), place_m))
        return nodes

    def _check_channel_types(self) -> None:
        n_layers = len(self.layers)
        is_square = all(len(row) == n_layers for row in self.channel_types) and len(self.channel_types) in (0, n_layers)
        require(self, "channel_types", is_square, f"{n_layers} rows of {n_layers}, one for each layer, or none")
        for a, row in enumerate(self.channel_types):
            for b, entry in enumerate(row):
                is_both_ways = (entry == "none") == (self.channel_types[b][a] == "none")
                expected = f"{' or '.join(CHANNEL_TYPES)}, none both ways or not at all"
                require(self, "channel_types", entry in CHANNEL_TYPES and is_both_ways, expected)


def _watts(dbm: float) -> float:
    return float(10.0 ** ((dbm - 30.0) / 10.0))
