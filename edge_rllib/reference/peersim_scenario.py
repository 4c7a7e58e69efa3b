"""From a PeersimGym configuration to a scenario of the fog world, under its own semantics or under correct ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import networkx as nx

from edge_rllib.config.load import load_scenario
from edge_rllib.config.tree import Tree
from edge_rllib.reference.peersim_config import PeersimConfig, Semantics
from envs.constants import BITS_PER_BYTE
from envs.errors import ConfigError, EdgeError
from envs.scenario import Scenario

BITS_PER_MB = 1e6 * BITS_PER_BYTE
MAX_SEED = 2**63
MAX_ALIVE_TASKS = 8192  # memory of a world; PeersimGym has no limit
_CLOUD_PLACES = 100_000  # PeersimGym's cloud has no limit
# PeersimGym's rates of a pattern: from 1 to 10 by 1, a hundred ticks each
_PATTERN: Tree = {"low_hz": 1.0, "high_hz": 10.0, "step_hz": 1.0, "piece_s": 100.0}
_MS = 0.001  # PeersimGym takes a trace's durations for milliseconds
_NO_POWER = {"idle_w": 0.0, "busy_w": 0.0, "transmit_w": 0.0}  # PeersimGym counts price units instead of joules


class Names(NamedTuple):
    """What nodes are called; PeersimGym has numbers."""

    nodes: Sequence[str]
    layers: Sequence[str]  # layers of one name have one schedule


def to_scenario(
    config: PeersimConfig, name: str, semantics: Semantics, names: Names | None = None, topology: Tree | None = None
) -> tuple[Scenario, list[str]]:
    """Return the scenario of a configuration and what the user should know about it.

    ``topology`` replaces the network of the configuration; its nodes must have the same names and types.
    """
    notes = list(config.notes)
    names = names or _numbered(config)
    _check_links(config)
    params, more = _params(config, names, semantics)
    tree: Tree = {
        "world": "fog",
        "topology": topology or _topology(config, names, notes),
        "topology_seed": config.seed % MAX_SEED,
        "workload": _workload(config, names),
        "params": params,
    }
    try:
        scenario = load_scenario(name, tree)
        scenario.network()
    except EdgeError as error:
        raise ConfigError(f"{config.raw.label}: {error}") from error
    return scenario, notes + more


def _numbered(config: PeersimConfig) -> Names:
    nodes = [f"node_{m}" for m in range(sum(layer.n_nodes for layer in config.layers))]
    return Names(nodes, [f"layer_{i}" for i in range(len(config.layers))])


def _check_links(config: PeersimConfig) -> None:
    """Refuse a network in parts, and links without a channel; drawn networks are drawn until they are connected."""
    raw = config.raw
    layer = [i for i, each in enumerate(config.layers) for _ in range(each.n_nodes)]
    links = list(config.links) if config.links is not None else _near(config, layer)
    if links is None:
        return
    cloud_links = [(m, len(layer)) for m, i in enumerate(layer) if config.cloud and config.layers[i].reaches_cloud]
    graph = nx.empty_graph(len(layer) + (config.cloud is not None))
    graph.add_edges_from([*links, *cloud_links])
    if not nx.is_connected(graph):
        smallest = min((sorted(part) for part in nx.connected_components(graph)), key=len)
        given = "init.Net1.TOPOLOGY" if config.links is not None else "init.Net1.r"
        if smallest == [len(layer)]:
            raise raw.error("CLOUD_ACCESS", "no layer reaches the cloud; set CLOUD_EXISTS = 0 or give one access")
        reason = f"the network falls apart: nodes {smallest[:8]} reach no other"
        if len(config.controllers) > 1:
            reason += "; with two controllers or more PeersimGym's start-up then never ends"
        raise raw.error(given, reason)
    for a, b in [*links, *((m, -1) for m, _ in cloud_links)]:
        i, j = layer[a], layer[b] if b >= 0 else 0  # the cloud counts as one of layer 0
        if config.channel_types and config.channel_types[i][j] == "none":
            end = f"node {b}" if b >= 0 else "the cloud (which counts as layer 0)"
            reason = f"none between layers {i} and {j}, but node {a} has a link to {end}; the simulator stops there"
            raise raw.error("protocol.urt.channelTypesBetweenLayers", reason)


def _near(config: PeersimConfig, layer: Sequence[int]) -> Any:
    """Return the links by radius of given places; None where places are drawn."""
    if not config.positions_m:
        return None
    places = config.positions_m
    return [
        (a, b)
        for a in range(len(places))
        for b in range(a)
        if math.dist(places[a], places[b]) < config.radius_m and abs(layer[a] - layer[b]) <= 1
    ]


def _topology(config: PeersimConfig, names: Names, notes: list[str]) -> Tree:
    layers = []
    for name, each in zip(names.layers, config.layers, strict=True):
        n_cores, core_hz, spread = each.n_cores, each.core_hz, each.core_hz_spread
        if each.queue_places < n_cores:  # cores only multiply the clock there: the product is all that counts
            notes.append(
                f"{config.raw.label}: {name} has fewer places than cores; written as one core {n_cores} times as fast"
            )
            n_cores, core_hz, spread = 1, core_hz * n_cores, spread * n_cores
        layers.append(
            {
                "name": name,
                "n_nodes": each.n_nodes,
                "tier": "device" if each.has_clients else "edge",
                "n_cores": n_cores,
                "core_hz": core_hz,
                "core_hz_spread": spread,
                "queue_places": each.queue_places,
                "queue_bits": math.inf,
                "has_clients": each.has_clients,
                "takes_tasks": each.takes_tasks,
                "reaches_cloud": each.reaches_cloud,
                **_NO_POWER,
            }
        )
    cloud = None
    if config.cloud is not None:
        x_m, y_m = config.cloud.place_m
        machines = {"n_vms": config.cloud.n_vms, "vm_hz": config.cloud.vm_hz, "x_m": x_m, "y_m": y_m}
        cloud = {**machines, "queue_places": _CLOUD_PLACES, **_NO_POWER}
    return {
        "name": "layered",
        "layers": layers,
        "cloud": cloud,
        "node_name": list(names.nodes),
        "positions_m": [list(place) for place in config.positions_m],
        "side_m": 100.0,
        "links": None if config.links is None else [list(pair) for pair in config.links],
        "radius_m": config.radius_m,
        "bandwidth_hz": config.bandwidth_hz,
        "transmit_dbm": config.transmit_dbm,
        "channel_types": [list(row) for row in config.channel_types],
        "fiber_snr_db": config.fiber_snr_db,
        "extra_delay_s": list(config.extra_delay_s),
    }


def _workload(config: PeersimConfig, names: Names) -> Tree:
    pieces: dict[str, list[list[float]]] = {}
    for name, layer in zip(names.layers, config.layers, strict=True):
        if layer.has_clients and pieces.setdefault(name, rows := [list(piece) for piece in layer.pieces]) != rows:
            raise config.raw.error("schedules", f"machines of type {name} have different ones; expected one for a type")
    rates: Tree = {
        "schedules": [{"node_type": name, "pieces": rows} for name, rows in pieces.items()],
        "pattern": {"name": config.pattern, **_PATTERN} if config.pattern else None,
    }
    if config.trace is not None:
        return {
            "name": "peersim_trace",
            "path": config.trace.path,
            "work_hz": config.trace.work_hz,
            "time_scale": _MS,
            "mem_bits": BITS_PER_MB * config.trace.mb,
            **_deadline(config, config.trace.deadline_s),
            **rates,
        }
    types = [
        {
            "name": f"type_{number}",
            "share": each.weight,
            "size_bits": BITS_PER_MB * each.size_mb,
            "result_bits": BITS_PER_MB * each.size_mb,
            "work_cycles": each.work_cycles,
            **_deadline(config, each.deadline_s),
            "priority": 0,
        }
        for number, each in enumerate(config.types)
    ]
    return {"name": "task_types", "types": types, **rates}


def _deadline(config: PeersimConfig, least_s: float) -> Tree:
    """Return the law of a deadline: U{d, ..., 2 d - 1} slots, d the least in slots; documented as d to 2 d."""
    high_s = 2.0 * least_s - 1.0 / config.scale if least_s > 0.0 else 0.0
    return {"deadline_low_s": least_s, "deadline_high_s": high_s}


def _params(config: PeersimConfig, names: Names, semantics: Semantics) -> tuple[Tree, list[str]]:
    notes = []
    params: Tree = {
        "slot_s": 1.0 / config.scale,
        "slots_per_step": config.slots_per_step,
        "decisions_per_step": config.decisions_per_step,
        "horizon_slots": config.horizon_slots,
        "agent_nodes": [names.nodes[node] for node in config.controllers],
        "max_targets": len(names.nodes) + (config.cloud is not None),
        "max_alive_tasks": _max_alive_tasks(config),
    }
    if semantics == "correct":
        if not config.client_is_self or not all(layer.takes_tasks for layer in config.layers if layer.has_clients):
            notes.append(
                f"{config.raw.label}: PeersimGym's clients feed their neighbours, too; with --semantics correct each "
                "creates tasks for its own node alone, so that the load is lower"
            )
        return {
            **params,
            "semantics": "correct",
            "deadlines": "waiting",
            "reward": {"preset": config.reward_type},
        }, notes
    queue_weight, exec_weight, comm_weight = config.delay_weights
    params["semantics"] = "peersim"
    params["peersim"] = {
        **({} if config.trace is None else {"type_sampler": "exact"}),  # the client for traces draws by itself
        "scale": config.scale,
        "client_targets": "own_first" if config.client_is_self else "all",
        "expiry_grace_slots": config.grace_slots,
        "energy_per_mb": config.energy_per_mb,
        "energy_per_cycle": config.energy_per_cycle,
        "state_info": config.state_info,
        "listed_tasks": max(layer.queue_places for layer in config.layers),
        "reward": {
            "form": config.reward_type,
            "utility": config.utility,
            "wait_weight": queue_weight,
            "service_weight": exec_weight,
            "transfer_weight": comm_weight,
            "overload_weight": config.overload_weight,
            "no_op_reward": config.no_op_reward,
            "tasks_per_s": config.belief_hz,
        },
    }
    return params, notes


def _max_alive_tasks(config: PeersimConfig) -> int:
    """Return room for full queues and for as many tasks on their way, a power of two."""
    places = sum(layer.n_nodes * layer.queue_places for layer in config.layers)
    n_nodes = sum(layer.n_nodes for layer in config.layers)
    wanted = 2 * places + 32 * n_nodes + (256 if config.cloud else 0)
    return int(min(MAX_ALIVE_TASKS, 2 ** math.ceil(math.log2(wanted))))
