"""Reading Ether's networks as PeersimGym ships them (JSON), and what PeersimGym makes of one.

(T. Rausch et al., "Synthesizing plausible infrastructure configurations for evaluating edge computing systems",
HotEdge 2020.) PeersimGym gives every machine one core of cpu_milis * 1000 instructions a tick and memory / task size
places, takes machines named rpi for clients, and rpi, nuc and server for agents; it leaves the links' own bandwidths
and round-trip times unused and puts its radio on each link.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.config.tree import Tree
from envs.errors import ConfigError
from envs.topologies.edge_files import LINK_FIELDS, NODE_FIELDS

TASK_BYTES = 32e7  # PeersimGym's scripts divide a machine's memory by this
MBIT_PER_S, MS = 1e6, 1e-3
_CLIENTS, _AGENTS = ("rpi",), ("rpi", "nuc", "server")
_SIDE_M = 100.0
# the experiments of PeersimGym's authors on these networks, where the user says nothing else
EXPERIMENT: Tree = {
    "CYCLES": 1000,
    "protocol.clt.T": 150,
    "protocol.clt.I": 3.2e8,
    "protocol.clt.minDeadline": 100,
    "protocol.clt.taskArrivalRate": 0.5,
    "protocol.props.B": 2,
    "utility_reward": 10,
    "delay_weight": {"queue": 1, "exec": 10, "comm": 10},
    "overload_weight": 2,
    "clientIsSelf": 1,
}


@dataclass(frozen=True)
class EtherOptions:
    """How a network is read; PeersimGym's arguments of the same names."""

    expected_task_size: float  # bytes of memory that a task takes
    project_coordinates: bool  # stretch the places to a square of 100 m
    skip_cloudlet: bool  # link the server with the nucs alone


@dataclass(frozen=True)
class Machine:
    """A node of Ether."""

    key: int
    name: str
    cpu_milis: float
    memory_bytes: float
    place_m: tuple[float, float]

    @property
    def type(self) -> str:
        """Return the name without its number: rpi3_0 is an rpi3."""
        head, _, tail = self.name.rpartition("_")
        return head if head and tail.isdigit() else self.name

    def is_one_of(self, types: tuple[str, ...]) -> bool:
        """Return whether PeersimGym takes the machine for one of these types: it looks for the word in the name."""
        return any(word in self.name for word in types)


@dataclass(frozen=True)
class EtherNetwork:
    """Machines and who is linked to whom; links are by place in the list of machines."""

    machines: tuple[Machine, ...]
    rows: tuple[tuple[int, ...], ...]  # neighbours of each, in PeersimGym's order
    paths: dict[tuple[int, int], tuple[float, float]]  # bits per second and one-way seconds of each direction


def is_ether(contents: Any) -> bool:
    """Return whether a JSON file's contents are a network of Ether."""
    return isinstance(contents, Mapping) and {"nodes", "links"} <= set(contents)


def read_ether(contents: Mapping[str, Any], label: str, options: EtherOptions) -> EtherNetwork:
    """Return the network; raise ConfigError naming the file and the entry for what it cannot be."""
    try:
        machines = _machines(contents["nodes"], options)
        place = {machine.key: i for i, machine in enumerate(machines)}
        links = contents["links"]
        paths = {
            (place[int(path["source"])], place[int(path["target"])]): (
                MBIT_PER_S * float(path["min_bandwidth"]),
                0.5 * MS * float(path["expected_rtt"]),
            )
            for path in links.get("path_info", [])
        }
        named = links.get("neighbours")
        if named is None:
            pairs = list(paths)
        else:
            pairs = [(place[int(key)], place[int(other)]) for key, others in named.items() for other in others]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{label}: not a network of Ether as PeersimGym reads it: {reason}; expected nodes (id, "
            "coordinates, capacity: cpu_milis, memory) and links (neighbours, path_info: source, target, "
            "min_bandwidth, expected_rtt)"
        ) from None
    if options.skip_cloudlet:
        pairs = _without_cloudlet(machines, pairs)
    lists: list[dict[int, None]] = [{} for _ in machines]
    for a, b in pairs:
        if a != b:
            lists[a][b] = lists[b][a] = None
    return EtherNetwork(machines, tuple(tuple(each) for each in lists), paths)


def _machines(nodes: Mapping[str, Any], options: EtherOptions) -> tuple[Machine, ...]:
    places = [(float(node["coordinates"][0]), float(node["coordinates"][1])) for node in nodes.values()]
    if options.project_coordinates:
        lows, spans = zip(
            *((min(axis), (max(axis) - min(axis)) or 1.0) for axis in zip(*places, strict=True)), strict=True
        )
        places = [(_SIDE_M * (x - lows[0]) / spans[0], _SIDE_M * (y - lows[1]) / spans[1]) for x, y in places]
    taken: set[tuple[float, float]] = set()
    machines = []
    for (name, node), (x, y) in zip(nodes.items(), places, strict=True):
        while (x, y) in taken:  # no two at one place
            x, y = x + 1.0, y + 1.0
        taken.add((x, y))
        capacity = node["capacity"]
        machines.append(Machine(int(node["id"]), name, float(capacity["cpu_milis"]), float(capacity["memory"]), (x, y)))
    return tuple(machines)


def _without_cloudlet(machines: tuple[Machine, ...], pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the links without those of the last server, but for its links with nucs."""
    servers = [i for i, machine in enumerate(machines) if "server" in machine.name]
    if not servers:
        return pairs
    cloudlet = servers[-1]
    kept = [pair for pair in pairs if cloudlet not in pair]
    return kept + [(cloudlet, i) for i, machine in enumerate(machines) if "nuc" in machine.name]


def peersim_values(network: EtherNetwork, options: EtherOptions, label: str, user: Mapping[str, Any]) -> Tree:
    """Return the configuration that PeersimGym makes of the network; ``user`` has the last word."""
    machines, n_nodes = network.machines, len(network.machines)
    places = [round(machine.memory_bytes / options.expected_task_size) for machine in machines]
    if min(places) < 1:
        small = machines[places.index(min(places))].name
        raise ConfigError(
            f"{label}: no task of {options.expected_task_size:g} bytes fits in {small}; expected a smaller one"
        )
    clients = [i for i, machine in enumerate(machines) if machine.is_one_of(_CLIENTS)]
    if not clients:
        raise ConfigError(f"{label}: no machine is named rpi, so that PeersimGym has no clients")
    values: Tree = {
        **EXPERIMENT,
        "SIZE": n_nodes,
        "NO_LAYERS": n_nodes,
        "NO_NODES_PER_LAYERS": [1] * n_nodes,
        "CONTROLLERS": [i for i, machine in enumerate(machines) if machine.is_one_of(_AGENTS)],
        "CLOUD_EXISTS": 0,
        "clientLayers": clients,
        "layersThatGetTasks": clients,
        "MANUAL_CONFIG": True,
        "MANUAL_CORES": [1] * n_nodes,
        "MANUAL_FREQS": [1000.0 * machine.cpu_milis for machine in machines],
        "MANUAL_QMAX": places,
        "RANDOMIZEPOSITIONS": False,
        "init.Net0.POSITIONS": [list(machine.place_m) for machine in machines],
        "RANDOMIZETOPOLOGY": False,
        "init.Net1.TOPOLOGY": [[i, *row] for i, row in enumerate(network.rows)],
        **user,
    }
    if "schedules" not in user:
        rate, length = values["protocol.clt.taskArrivalRate"], values["CYCLES"]
        is_pattern = isinstance(rate, str) and rate[:1].isalpha()
        values["schedules"] = rate if is_pattern else ";".join([f"{rate}-{length}"] * len(clients))
    return values


def write_files(network: EtherNetwork, options: EtherOptions, label: str, nodes: Path, links: Path) -> None:
    """Write nodes and links, with Ether's own bandwidths and half its round-trip times, for topology edge_list."""
    names = [machine.name for machine in network.machines]
    node_rows = []
    for machine in network.machines:
        is_device = machine.is_one_of(_CLIENTS)
        tier = "device" if is_device else ("cloud" if "server" in machine.name else "edge")
        places = max(1, round(machine.memory_bytes / options.expected_task_size))
        hz = 1000.0 * machine.cpu_milis
        values = (machine.name, machine.type, tier, str(is_device).lower(), 1, hz, places, 0, 0, 0, *machine.place_m)
        node_rows.append(values)
    link_rows = []
    for a, row in enumerate(network.rows):
        for b in row:
            path = network.paths.get((a, b)) or network.paths.get((b, a))
            if path is None:
                raise ConfigError(
                    f"{label}: links.path_info has nothing of {names[a]} and {names[b]}, which are neighbours"
                )
            link_rows.append((names[a], names[b], *path, ""))
    for path_of, fields, rows in ((nodes, NODE_FIELDS, node_rows), (links, LINK_FIELDS, link_rows)):
        with path_of.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(fields)
            writer.writerows(rows)
