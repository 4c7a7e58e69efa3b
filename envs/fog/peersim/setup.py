"""From a scenario to the arrays that the kernels read: neighbour lists, delays in slots, types, schedules."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8, ROWS, allocate
from envs.constants import BITS_PER_BYTE, PADDING
from envs.errors import ConfigError
from envs.fog.params import AGENT_TIERS, FogParams
from envs.fog.peersim.params import PeersimParams
from envs.fog.peersim.state import Setup
from envs.scenario import Scenario
from envs.topologies.layered import CHANNEL_TYPES, Layered
from envs.topologies.topology import Topology
from envs.workloads.peersim_trace import PeersimTrace
from envs.workloads.task_types import TaskTypes

BITS_PER_MB = 1e6 * BITS_PER_BYTE
WAVELENGTH_M = 3e8 / 2.4e9  # as PeersimGym rounds it
NOISE_DBM_PER_HZ = -174.0
_WIRELESS = CHANNEL_TYPES.index("wireless")


class Facts(NamedTuple):
    """A network as this world needs it, whoever built it."""

    neighbours: tuple[tuple[int, ...], ...]  # of each node, itself first, the cloud last
    has_client: Annotated[BOOL, "M", "the node has a client"]
    takes_tasks: Annotated[BOOL, "M", "clients may send tasks to the node"]
    layer: Annotated[I8, "M", "layer of a node; the cloud counts as one of layer 0"]
    rate_bps: Annotated[F8, "M M", "rate between nodes, noise filling the channel's bandwidth"]
    delay_s: Annotated[F8, "M M", "seconds beside the transmission"]
    cloud: int  # the cloud's node, -1 for none
    # received power (dBm, M M) and bandwidth (Hz) of wireless channels; None where only rates are known
    radio: tuple[F8, BOOL, float] | None


def facts_of(scenario: Scenario, topology: Topology) -> Facts:
    """Return the facts of a scenario's network; of builders other than ``layered`` devices have and take tasks."""
    n_nodes = topology.n_nodes
    rate_bps, delay_s = np.zeros((2, n_nodes, n_nodes))
    rate_bps[topology.link_source, topology.link_target] = topology.link_rate_bps
    delay_s[topology.link_source, topology.link_target] = topology.link_delay_s
    builder = scenario.topology
    if not isinstance(builder, Layered):
        neighbours = tuple(
            (m, *topology.link_target[topology.out_links(m)].astype(int).tolist()) for m in range(n_nodes)
        )
        layer = np.zeros(n_nodes, np.int64)
        return Facts(neighbours, topology.is_device, topology.is_device, layer, rate_bps, delay_s, PADDING, None)
    layout = builder.lay_out(np.random.default_rng(scenario.topology_seed))
    n_layered = builder.n_nodes
    takes = np.array([builder.layers[layer].takes_tasks for layer in layout.layer], np.bool_)
    takes[n_layered:] = builder.layers[0].takes_tasks  # the cloud's idle worker counts as one of layer 0
    distance_m = layout.distance_m()
    is_apart = distance_m > 0.0
    loss_db = -20.0 * np.log10(WAVELENGTH_M / (4.0 * np.pi * np.where(is_apart, distance_m, 1.0)))
    radio = (builder.transmit_dbm - loss_db, layout.channel == _WIRELESS, builder.bandwidth_hz)
    rate_bps[~is_apart] = np.inf  # nodes at one place
    cloud = n_layered if n_nodes > n_layered else PADDING
    return Facts(layout.neighbours, topology.is_device, takes, layout.layer, rate_bps, delay_s, cloud, radio)


def transfer_s(facts: Facts, a: int, b: int, bits: float, noise_fills_message: bool) -> float:
    """Return the seconds of a transmission between nodes; see the switch noise_bandwidth."""
    if a == b or bits <= 0.0 or np.isinf(facts.rate_bps[a, b]):
        return 0.0
    if noise_fills_message and facts.radio is not None and facts.radio[1][a, b]:
        received_dbm, _, bandwidth_hz = facts.radio
        snr_db = received_dbm[a, b] - (NOISE_DBM_PER_HZ + 10.0 * np.log10(bits))
        return float(bits / (bandwidth_hz * np.log2(1.0 + 10.0 ** (snr_db / 10.0))))
    return float(bits / facts.rate_bps[a, b])


def delay_slots(facts: Facts, a: int, b: int, bits: float, slot_s: float, params: PeersimParams) -> int:
    """Return the slots until a message arrives; see delay_rounding, scale and min_delay_slots."""
    seconds = transfer_s(facts, a, b, bits, params.noise_bandwidth == "message") + facts.delay_s[a, b]
    if params.delay_rounding == "ticks":
        slots = int(np.floor(seconds / (slot_s * params.scale) + 0.5)) * params.scale
    else:
        slots = int(np.ceil(seconds / slot_s - 1e-9))
    return max(slots, params.min_delay_slots)


def agent_nodes(topology: Topology, params: FogParams) -> I8:
    """Return the nodes that decide, ascending: those named, else those of the tiers."""
    named = params.agent_nodes
    if not named:
        return np.flatnonzero(np.isin(topology.tier, AGENT_TIERS[params.agents]) | topology.is_device).astype(np.int64)
    for name in named:
        if name not in topology.node_name:
            raise ConfigError(f"agent_nodes: {name!r} is no node of {topology.name}: {', '.join(topology.node_name)}")
    return np.array(sorted(topology.node_name.index(name) for name in named), np.int64)


def types_of(scenario: Scenario) -> TaskTypes:
    """Return the types and schedules of a scenario's tasks; raise ConfigError for a workload without types."""
    workload = scenario.workload
    if isinstance(workload, PeersimTrace):
        if scenario.params.peersim.type_sampler != "exact":
            raise ConfigError(
                "params.peersim.type_sampler = 'binary_search': expected 'exact' with the workload 'peersim_trace', as "
                "PeersimGym's client for traces draws every job equally often"
            )
        return workload.as_types()
    if not isinstance(workload, TaskTypes):
        raise ConfigError(
            f"workload {type(workload).__name__}: with semantics 'peersim' expected 'task_types' or 'peersim_trace', "
            "whose arrivals the world draws itself"
        )
    return workload


def build_setup(scenario: Scenario, topology: Topology) -> Setup:
    """Return the arrays of a scenario; raise ConfigError for a workload without types or too many targets."""
    params: FogParams = scenario.params
    workload = types_of(scenario)
    facts = facts_of(scenario, topology)
    agents = agent_nodes(topology, params)
    agents = agents[agents != facts.cloud]
    lists = facts.neighbours
    n_targets = max(len(lists[node]) for node in agents)
    if n_targets > params.max_targets:
        raise ConfigError(f"{topology.name}: an agent has {n_targets} targets; the limit is {params.max_targets}")
    sizes = {
        "M": topology.n_nodes,
        "L": sum(map(len, lists)),
        "J": len(workload.types),
        "N": len(agents),
        "K": n_targets,
    }
    setup: Setup = allocate(Setup, sizes)
    setup.node_of_agent[:] = agents
    setup.target_node[:] = PADDING
    for n, node in enumerate(agents):
        setup.target_node[n, : len(lists[node])] = lists[node]
    _fill_types(setup, workload, params.slot_s)
    _fill_nodes(setup, facts, topology, params)
    _fill_entries(setup, facts, workload, params)
    _fill_beliefs(setup, facts, workload, topology, params.peersim)
    return setup


def fill_pieces(pieces: ROWS, row: F8, slot_s: float) -> None:
    """Write a schedule (pieces, 2) of durations in seconds and rates in hertz; the last piece holds for ever."""
    end_s = np.cumsum(row[:, 0])
    pieces["until_slot"] = np.inf
    pieces["until_slot"][: len(row) - 1] = end_s[:-1] / slot_s
    pieces["per_slot"] = row[-1, 1] * slot_s
    pieces["per_slot"][: len(row)] = row[:, 1] * slot_s


def _fill_types(setup: Setup, workload: TaskTypes, slot_s: float) -> None:
    shares = np.array([each.share for each in workload.types], np.float64)
    setup.type["cumulative"][:] = np.cumsum(shares / shares.sum())
    setup.type["cumulative"][-1] = 1.0
    for j, each in enumerate(workload.types):
        row = setup.type[j]
        row.work_cycles = each.work_cycles
        row.size_mb = each.size_bits / BITS_PER_MB
        row.result_mb = each.result_bits / BITS_PER_MB
        row.due_low = round(each.deadline_low_s / slot_s) if each.deadline_high_s > 0.0 else PADDING
        row.due_high = round(each.deadline_high_s / slot_s)


def _fill_nodes(setup: Setup, facts: Facts, topology: Topology, params: FogParams) -> None:
    node = setup.node
    is_cloud = np.arange(topology.n_nodes) == facts.cloud
    own_only = params.peersim.client_targets != "all"
    node["tier"][:] = topology.tier
    node["is_cloud"][:] = is_cloud
    node["is_client"][:] = facts.has_client & (facts.takes_tasks | (not own_only))
    node["hz"][:] = np.where(is_cloud, 1, topology.n_cores) * topology.core_hz
    node["slot_cycles"][:] = np.where(is_cloud, node["hz"] * params.slot_s, np.floor(node["hz"] * params.slot_s))
    node["queue_places"][:] = topology.queue_places
    node["agent"][:] = PADDING
    node["agent"][setup.node_of_agent] = np.arange(len(setup.node_of_agent))
    node["n_entries"][:] = [len(each) for each in facts.neighbours]
    node["first_entry"][:] = np.cumsum(node["n_entries"]) - node["n_entries"]


def _fill_entries(setup: Setup, facts: Facts, workload: TaskTypes, params: FogParams) -> None:
    switches = params.peersim
    # each size once: the jobs of a trace are thousands
    sizes, place = np.unique(
        [[each.size_bits for each in workload.types], [each.result_bits for each in workload.types]],
        return_inverse=True,
    )
    place = place.reshape(2, -1)
    for m, neighbours in enumerate(facts.neighbours):
        for k, other in enumerate(neighbours):
            number = int(setup.node["first_entry"][m]) + k
            row = setup.entry[number]
            row.source, row.node = m, other
            row.back = int(setup.node["first_entry"][other]) + facts.neighbours[other].index(m)
            may_take = bool(facts.takes_tasks[other])
            if other == facts.cloud:
                may_take &= switches.cloud_client_tasks == "lost"
            row.is_stream = may_take and (k == 0 or switches.client_targets != "own")
            row.report_slots = delay_slots(facts, m, other, switches.report_bits, params.slot_s, switches)
            slots = [delay_slots(facts, m, other, bits, params.slot_s, switches) for bits in sizes.tolist()]
            setup.out_slots[number], setup.back_slots[number] = np.array(slots, np.int64)[place]


def _fill_beliefs(setup: Setup, facts: Facts, workload: TaskTypes, topology: Topology, switches: PeersimParams) -> None:
    """Fill what the dense reward takes for granted."""
    node, entry = setup.node, setup.entry
    is_implemented = switches.reward.formula == "as_implemented"
    shares = np.array([each.share for each in workload.types])
    bits = np.array([each.size_bits for each in workload.types])
    mean_bits = float(bits[-1] if is_implemented else np.average(bits, weights=shares))
    for number in range(len(entry)):
        a, b = int(entry["source"][number]), int(entry["node"][number])
        entry["reward_s"][number] = transfer_s(facts, a, b, mean_bits, noise_fills_message=False)
    node["reward_hz"][:] = topology.n_cores * topology.core_hz
    node["reward_places"][:] = topology.queue_places
    if facts.cloud >= 0 and is_implemented:  # the cloud has no layer of its own and is taken for one of the last
        node["reward_hz"][facts.cloud] = node["reward_hz"][facts.cloud - 1]
        node["reward_places"][facts.cloud] = node["reward_places"][facts.cloud - 1]
    for m, neighbours in enumerate(facts.neighbours):
        if facts.takes_tasks[m] and m != facts.cloud:
            node["reward_clients"][m] = sum(bool(facts.has_client[other]) for other in neighbours)
