"""A PeersimGym configuration, understood and checked: what its simulator would do with it, or why it would not.

Configurations that hang or crash PeersimGym are refused under its own semantics, with the reason. Under correct
semantics what its documentation promises is taken at its word: a deadline of 0 is none, a list has one for each type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_rllib.reference.peersim_fields import Fields
from edge_rllib.reference.peersim_file import RawConfig
from edge_rllib.reference.peersim_keys import FIBER_CLASS, WIRELESS_CLASS, WORKLOAD_PATH
from edge_rllib.reference.peersim_notes import notes_of
from envs.errors import WorkloadError
from envs.workloads.peersim_trace import Job, read_jobs

Semantics = Literal["peersim", "correct"]
Pair = tuple[int, int]
PATTERNS = {
    "linear": "linear",
    "zigzag": "zigzag",
    "uniform": "uniform",
    "uniformrandom": "uniform",
    "heterouniform": "hetero_uniform",
    "heterogeneousuniform": "hetero_uniform",
    "heterozigzag": "hetero_zigzag",
    "heterogeneouszigzag": "hetero_zigzag",
}
STATE_INFOS = ("none", "next", "queue", "queue_next", "qaggr", "qaggr_next")
_SCHEDULE_ENTRY = re.compile(r"(?P<rate>[0-9.]+(?:[eE][+-]?[0-9]+)?)-(?P<duration>[0-9]+(?:\.0*)?)")


@dataclass(frozen=True)
class LayerConfig:
    """Equal nodes of PeersimGym: a layer, or one node of a manual configuration."""

    n_nodes: int
    n_cores: int
    core_hz: float  # of one core, before the draw; a tick is a second
    core_hz_spread: float
    queue_places: int
    has_clients: bool
    takes_tasks: bool
    reaches_cloud: bool
    pieces: tuple[tuple[float, float], ...]  # seconds and tasks per second; empty where it has no clients


@dataclass(frozen=True)
class TypeConfig:
    """One task type."""

    weight: float
    size_mb: float
    work_cycles: float
    deadline_s: float  # the least time to the deadline; 0: none


@dataclass(frozen=True)
class TraceConfig:
    """A file of jobs, each of which is a task type."""

    path: str  # absolute
    work_hz: float  # of a core of the trace
    mb: float  # of input, and of output, for one of the file's unit of memory
    deadline_s: float  # the least time to the deadline; 0: none


@dataclass(frozen=True)
class CloudConfig:
    """The cloud node."""

    n_vms: int
    vm_hz: float
    place_m: tuple[float, float]


@dataclass(frozen=True)
class PeersimConfig:
    """Everything that a scenario needs, in seconds, hertz and metres; one tick is one second."""

    raw: RawConfig
    notes: tuple[str, ...]
    seed: int
    scale: int  # slots of a tick
    slots_per_step: int
    decisions_per_step: int
    horizon_slots: int
    controllers: tuple[int, ...]
    layers: tuple[LayerConfig, ...]
    cloud: CloudConfig | None
    positions_m: tuple[tuple[float, float], ...]  # empty: drawn
    links: tuple[Pair, ...] | None  # in the order in which neighbours enter the lists; None: by radius
    radius_m: float
    channel_types: tuple[tuple[str, ...], ...]  # by layer; empty: wireless everywhere
    types: tuple[TypeConfig, ...]  # empty with a trace
    trace: TraceConfig | None
    pattern: str  # of the rates; empty: the layers' own pieces
    client_is_self: bool
    extra_delay_s: tuple[float, float]
    bandwidth_hz: float
    transmit_dbm: float
    fiber_snr_db: float
    grace_slots: int
    energy_per_mb: float
    energy_per_cycle: float
    belief_hz: float  # arrival rate that the dense reward believes in
    reward_type: str
    state_info: str
    utility: float
    delay_weights: tuple[float, float, float]  # queue, exec, comm
    overload_weight: float
    no_op_reward: float


def understand(raw: RawConfig, semantics: Semantics) -> PeersimConfig:
    """Return the configuration of a file; raise ConfigError naming file, key and reason for what cannot be played."""
    fields = Fields(raw)
    simtype = _simtype(fields, semantics)
    notes = [*raw.notes, *notes_of(fields, simtype)]
    scale = fields.whole("SCALE", 1)
    factor = scale if raw.is_rescaled else 1  # a text file holds what was divided by SCALE
    n_layers, is_manual = _count_layers(fields)
    layers, pattern = _layers(fields, n_layers, is_manual, scale, factor)
    places = [layer.queue_places for layer in layers for _ in range(layer.n_nodes)]
    n_nodes = len(places)
    controllers = _controllers(fields, n_nodes)
    slots_per_step = fields.whole("CYCLE", 1)
    horizon = fields.whole("CYCLES", 1) * scale
    if horizon % slots_per_step:
        raise fields.error("CYCLES", f"times SCALE is {horizon}, not a multiple of CYCLE = {slots_per_step}")
    queue_weight, exec_weight, comm_weight = _delay_weights(fields)
    return PeersimConfig(
        raw=raw,
        notes=tuple(notes),
        seed=fields.whole("random.seed", 0),
        scale=scale,
        slots_per_step=slots_per_step,
        decisions_per_step=max(places[node] for node in controllers) if simtype == "batch" else 1,
        horizon_slots=horizon,
        controllers=controllers,
        layers=layers,
        cloud=_cloud(fields, scale, factor),
        positions_m=_positions(fields, n_nodes, is_manual),
        links=_links(fields, n_nodes, is_manual),
        radius_m=float(fields.whole("init.Net1.r", 1)),
        channel_types=_channel_types(fields, n_layers, is_manual),
        types=() if simtype == "basic-workload" else _types(fields, semantics),
        trace=_trace(fields, semantics) if simtype == "basic-workload" else None,
        pattern=pattern,
        client_is_self=fields.flag("clientIsSelf"),
        extra_delay_s=_extra_delay(fields, 1 if raw.is_rescaled else scale),
        bandwidth_hz=1e6 * fields.number("protocol.props.B", 1e-9),
        transmit_dbm=fields.number("protocol.props.P_ti"),
        fiber_snr_db=fields.number("protocol.urt.SNR"),
        grace_slots=fields.whole("protocol.wrk.maxTimeAfterDeadline", 0) if raw.is_rescaled else 5,
        energy_per_mb=fields.number("protocol.wrk.energyCostComm", 0.0),
        energy_per_cycle=fields.number("protocol.wrk.energyCostComp", 0.0),
        belief_hz=0.0 if pattern else fields.number("protocol.clt.taskArrivalRate", 0.0),
        reward_type=_choice(fields, "reward_type", ("sparse", "dense")),
        state_info=_choice(fields, "state_info", STATE_INFOS),
        utility=fields.number("utility_reward", 0.0),
        delay_weights=(queue_weight, exec_weight, comm_weight),
        overload_weight=fields.number("overload_weight", 0.0),
        no_op_reward=fields.number("no_op_reward"),
    )


def _choice(fields: Fields, key: str, choices: tuple[str, ...]) -> str:
    value = fields.text(key)
    if value not in choices:
        raise fields.error(key, f"expected {' or '.join(choices)}")
    return value


def _simtype(fields: Fields, semantics: Semantics) -> str:
    """Return the mode of the simulator; refuse those that nobody can play."""
    simtype = _choice(fields, "simtype", ("basic", "basic-workload", "batch", "dag"))
    if simtype == "dag":
        reason = "PeersimGym rejects it ('not yet supported'), and its base file names a class that does not exist"
        raise fields.error("simtype", f"{reason}; expected basic, basic-workload or batch")
    if simtype == "batch" and semantics == "peersim":
        reason = "from Python it cannot be used: the environment sends a number where a list is required"
        raise fields.error("simtype", f"{reason}; --semantics correct reads it as decisions_per_step")
    return simtype


def _count_layers(fields: Fields) -> tuple[int, bool]:
    """Return the number of layers and whether each node is given by itself."""
    is_manual = fields.flag("MANUAL_CONFIG")
    n_layers, size = fields.whole("NO_LAYERS", 1), fields.whole("SIZE", 1)
    per_layer = fields.wholes("NO_NODES_PER_LAYERS", 1)
    if sum(per_layer) != size:
        raise fields.error("NO_NODES_PER_LAYERS", f"{sum(per_layer)} nodes in all; expected SIZE = {size}")
    if is_manual:
        for key in ("RANDOMIZETOPOLOGY", "RANDOMIZEPOSITIONS"):
            if fields.flag(key):
                raise fields.error(key, "PeersimGym has no random places or links with MANUAL_CONFIG; expected False")
        return size, True
    fields.expect_length("NO_NODES_PER_LAYERS", per_layer, n_layers, "NO_LAYERS")
    return n_layers, False


def _layers(
    fields: Fields, n_layers: int, is_manual: bool, scale: int, factor: int
) -> tuple[tuple[LayerConfig, ...], str]:
    """Return the layers with their roles and rates, and the name of the pattern of the rates."""
    hz, cores, places, spreads, counts = _capacities(fields, n_layers, is_manual, scale, factor)
    client_layers = _layer_ids(fields, "clientLayers", n_layers)
    task_layers = _layer_ids(fields, "layersThatGetTasks", n_layers)
    cloud_layers = _cloud_layers(fields, n_layers, counts)
    own_only = fields.flag("clientIsSelf")
    active = [layer for layer in sorted(client_layers) if not own_only or layer in task_layers]
    if not active:
        raise fields.error("clientLayers", "no layer creates tasks: with clientIsSelf it must be in layersThatGetTasks")
    pattern, schedules = _schedules(fields, len(task_layers))
    if len(active) > len(task_layers) and not pattern:
        raise fields.error("schedules", f"{len(task_layers)} schedules for {len(active)} layers with clients")
    pieces = dict(zip(active, schedules, strict=False)) if schedules else {}
    return tuple(
        LayerConfig(
            n_nodes=counts[i],
            n_cores=cores[i],
            core_hz=hz[i],
            core_hz_spread=spreads[i],
            queue_places=places[i],
            has_clients=i in active,
            takes_tasks=i in task_layers,
            reaches_cloud=i in cloud_layers,
            pieces=pieces.get(i, ()),
        )
        for i in range(n_layers)
    ), pattern


def _capacities(
    fields: Fields, n_layers: int, is_manual: bool, scale: int, factor: int
) -> tuple[list[float], list[int], list[int], list[float], list[int]]:
    """Return hertz of a core, cores, queue places, spreads and numbers of nodes, by layer."""
    if is_manual:
        cores = fields.wholes("MANUAL_CORES", 1, ";")
        if any(count != 1 for count in cores):
            reason = "PeersimGym takes it for the nodes of each layer, too, and stops; give 1 each and faster clocks"
            raise fields.error("MANUAL_CORES", reason)
        hz = [scale * value for value in fields.numbers("MANUAL_FREQS", 1e-9, ";")]  # per slot, whatever SCALE is
        places = fields.wholes("MANUAL_QMAX", 1, ";")
        manual: dict[str, Sequence[float]] = {"MANUAL_CORES": cores, "MANUAL_FREQS": hz, "MANUAL_QMAX": places}
        for key, values in manual.items():
            fields.expect_length(key, values, n_layers, "one for each node")
        return hz, cores, places, [0.0] * n_layers, [1] * n_layers
    in_slots = [int(value * factor / scale) for value in fields.numbers("FREQS", 1e-9)]  # it writes whole numbers
    cores, places = fields.wholes("NO_CORES", 1), fields.wholes("Q_MAX", 1)
    spreads, counts = fields.numbers("VARIATIONS", 0.0), fields.wholes("NO_NODES_PER_LAYERS", 1)
    lists: dict[str, Sequence[float]] = {"FREQS": in_slots, "NO_CORES": cores, "Q_MAX": places, "VARIATIONS": spreads}
    for key, entries in lists.items():
        fields.expect_length(key, entries, n_layers, "one for each of NO_LAYERS")
    for value, spread in zip(in_slots, spreads, strict=True):
        if value < 1 or value <= spread:
            raise fields.error(
                "FREQS", f"a node would have {value} - {spread:g} instructions a slot; expected more than 0"
            )
    # VARIATIONS is drawn in instructions of a slot, as FREQS / SCALE is
    return [float(scale * v) for v in in_slots], cores, places, [scale * spread for spread in spreads], counts


def _layer_ids(fields: Fields, key: str, n_layers: int) -> list[int]:
    ids = fields.wholes(key, 0)
    for layer in ids:
        if layer >= n_layers:
            raise fields.error(key, f"no layer {layer}; there are 0 to {n_layers - 1}")
    if not ids or len(set(ids)) < len(ids):
        raise fields.error(key, "expected at least one layer, each once")
    return ids


def _cloud_layers(fields: Fields, n_layers: int, counts: list[int]) -> set[int]:
    if not fields.flag("CLOUD_EXISTS"):
        return set()
    access = fields.wholes("CLOUD_ACCESS", 0)
    if len(access) < n_layers:
        raise fields.error(
            "CLOUD_ACCESS", f"{len(access)} entries for {n_layers} layers; the simulator stops at the next one"
        )
    return {layer for layer in range(n_layers) if access[layer] == 1}


def _schedules(fields: Fields, n_task_layers: int) -> tuple[str, list[tuple[tuple[float, float], ...]]]:
    """Return the name of a pattern, or the schedules as pairs of seconds and tasks per second."""
    text = fields.text("schedules")
    if text[:1].isalpha():
        if text.lower() not in PATTERNS:
            raise fields.error("schedules", f"expected rate-duration,... or one of {', '.join(PATTERNS)}")
        return PATTERNS[text.lower()], []
    schedules = []
    for row in fields.table("schedules"):
        entries = [_SCHEDULE_ENTRY.fullmatch(entry) for entry in row]
        if not all(entries):
            raise fields.error("schedules", "expected rate-duration,rate-duration,... and ; between layers")
        pieces = tuple((float(entry["duration"]), float(entry["rate"])) for entry in entries if entry)
        schedules.append(pieces)
    if len(schedules) != n_task_layers:
        reason = f"{len(schedules)} schedules for {n_task_layers} of layersThatGetTasks; PeersimGym asks for one each"
        raise fields.error("schedules", reason)
    if not all(length > 0.0 for pieces in schedules for length, _ in pieces):
        raise fields.error("schedules", "a piece of no length")
    return "", schedules


def _controllers(fields: Fields, n_nodes: int) -> tuple[int, ...]:
    value = fields.raw.values["CONTROLLERS"]
    separator = ";" if isinstance(value, str) and ";" in value else ","
    controllers = fields.wholes("CONTROLLERS", 0, separator)
    for node in controllers:
        if node >= n_nodes:
            raise fields.error(
                "CONTROLLERS", f"no node {node}; there are 0 to {n_nodes - 1}, and the cloud has no agent"
            )
    if not controllers or len(set(controllers)) < len(controllers):
        raise fields.error("CONTROLLERS", "expected at least one node, each once")
    return tuple(sorted(controllers))


def _cloud(fields: Fields, scale: int, factor: int) -> CloudConfig | None:
    if not fields.flag("CLOUD_EXISTS"):
        return None
    x_m, y_m = fields.wholes("CLOUD_POS", -(10**9)) if len(fields.items("CLOUD_POS")) == 2 else (None, None)
    if x_m is None or y_m is None:
        raise fields.error("CLOUD_POS", "expected two whole numbers, metres")
    vm_hz = factor * fields.number("protocol.cld.VMProcessingPower", 1e-9)
    return CloudConfig(fields.whole("protocol.cld.no_vms", 1), vm_hz, (float(x_m), float(y_m)))


def _positions(fields: Fields, n_nodes: int, is_manual: bool) -> tuple[tuple[float, float], ...]:
    if fields.flag("RANDOMIZEPOSITIONS") and not is_manual:
        return ()
    rows = fields.table("init.Net0.POSITIONS")
    fields.expect_length("init.Net0.POSITIONS", rows, n_nodes, "one for each node")
    try:
        places = tuple((float(x), float(y)) for x, y in rows)
    except ValueError:
        raise fields.error("init.Net0.POSITIONS", "expected x,y;x,y;... in metres") from None
    return places


def _links(fields: Fields, n_nodes: int, is_manual: bool) -> tuple[Pair, ...] | None:
    """Return the pairs in the order in which the simulator links them; it makes each row's links both ways."""
    if fields.flag("RANDOMIZETOPOLOGY") and not is_manual:
        return None
    key = "init.Net1.TOPOLOGY"
    try:
        rows = [[int(entry) for entry in row if entry] for row in fields.table(key)]
    except ValueError:
        raise fields.error(key, "expected 0,neighbour,neighbour;1,neighbour,...") from None
    fields.expect_length(key, rows, n_nodes, "one for each node")
    pairs: dict[Pair, None] = {}
    for i, row in enumerate(rows):
        if not row or row[0] != i:
            raise fields.error(
                key, f"row {i} begins with {row[:1]}; the simulator stops unless it is {i}, the node itself"
            )
        for other in row[1:]:
            if not 0 <= other < n_nodes:
                raise fields.error(key, f"row {i} names node {other}; there are 0 to {n_nodes - 1}")
            if other != i and (other, i) not in pairs:
                pairs[i, other] = None
    return tuple(pairs)


def _channel_types(fields: Fields, n_layers: int, is_manual: bool) -> tuple[tuple[str, ...], ...]:
    key = "protocol.urt.channelTypesBetweenLayers"
    names = [entry.rpartition(".")[2] for entry in fields.items("protocol.urt.channelTypes", ";")]
    known = {WIRELESS_CLASS: "wireless", FIBER_CLASS: "fiber"}
    for name in names:
        if name not in known:
            raise fields.error("protocol.urt.channelTypes", f"{name}: expected {' or '.join(known)}")
    first = known[names[0]] if names else "wireless"
    rows = fields.table(key)
    if rows and len(rows) != n_layers:
        reason = f"{len(rows)} rows for {n_layers} {'nodes' if is_manual else 'layers'}; the simulator does not start"
        raise fields.error(key, reason)
    if not rows or (fields.flag("RANDOMIZETOPOLOGY") and not is_manual):  # all links are of the first type
        return () if first == "wireless" else ((first,) * n_layers,) * n_layers
    matrix = []
    for number, row in enumerate(rows):
        if len(row) < n_layers:
            raise fields.error(key, f"row {number} has {len(row)} entries; expected {n_layers}")
        try:
            entries = [int(entry) for entry in row[:n_layers]]
        except ValueError:
            raise fields.error(key, f"row {number} is not of whole numbers") from None
        if not all(-1 <= entry < len(names) for entry in entries):
            raise fields.error(
                key, f"row {number}: expected -1 (none) or the place of one of {len(names)} channelTypes"
            )
        matrix.append([known[names[entry]] if entry >= 0 else "none" for entry in entries])
    return tuple(
        tuple("none" if "none" in (matrix[a][b], matrix[b][a]) else matrix[a][b] for b in range(n_layers))
        for a in range(n_layers)
    )


def _types(fields: Fields, semantics: Semantics) -> tuple[TypeConfig, ...]:
    n_types = fields.whole("protocol.clt.numberOfTasks", 1)
    weights, sizes = fields.numbers("protocol.clt.weight", 0.0), fields.numbers("protocol.clt.T", 0.0)
    work = fields.numbers("protocol.clt.I", 1e-9)
    per_cycle = fields.wholes("protocol.clt.CPI", 1)
    lists: dict[str, Sequence[float]] = {"weight": weights, "T": sizes, "I": work, "CPI": per_cycle}
    for key, values in lists.items():
        fields.expect_length(f"protocol.clt.{key}", values, n_types, "protocol.clt.numberOfTasks")
    if not any(weights):
        raise fields.error("protocol.clt.weight", "expected a weight > 0")
    least = min(weight for weight in weights if weight > 0.0) * 1e-9  # a type of weight 0 holds a place, never drawn
    deadlines = _deadlines(fields, n_types, semantics)
    return tuple(
        TypeConfig(weight or least, size, instructions * cycles, deadline)
        for weight, size, instructions, cycles, deadline in zip(weights, sizes, work, per_cycle, deadlines, strict=True)
    )


def _trace(fields: Fields, semantics: Semantics) -> TraceConfig:
    """Return the file of jobs and its units; refuse one that is missing or holds something else."""
    given = fields.text(WORKLOAD_PATH)
    path = Path(given).expanduser()
    expected = f"expected the path of a JSON file of jobs with {', '.join(Job._fields)}"
    if given.lower() in ("", "none"):
        raise fields.error(WORKLOAD_PATH, f"PeersimGym's default is a file of its author's; {expected}")
    if not path.is_file():
        raise fields.error(WORKLOAD_PATH, f"no file {path.absolute()}; {expected}")
    try:
        read_jobs(path)
    except WorkloadError as error:
        raise fields.error(WORKLOAD_PATH, str(error)) from None
    return TraceConfig(
        path=str(path.resolve()),
        work_hz=fields.number("protocol.clt.defaultCPUWorkload", 1e-9),
        mb=fields.number("protocol.clt.defaultMemoryWorkload", 0.0),
        deadline_s=_deadlines(fields, 1, semantics)[0],
    )


def _deadlines(fields: Fields, n_types: int, semantics: Semantics) -> list[float]:
    key = "protocol.clt.minDeadline"
    deadlines = fields.wholes(key, -(10**12))
    if semantics == "peersim":
        if len(deadlines) != 1:
            raise fields.error(
                key, "PeersimGym's parser stops at a list: one value holds for all types (see --semantics)"
            )
        if deadlines[0] <= 0:
            raise fields.error(key, "PeersimGym documents it as none, but stops at the first task; expected > 0")
    if len(deadlines) not in (1, n_types):
        raise fields.error(key, f"expected one value, or one for each of {n_types} types")
    return [float(max(deadline, 0)) for deadline in (deadlines * n_types if len(deadlines) == 1 else deadlines)]


def _extra_delay(fields: Fields, scale: int) -> tuple[float, float]:
    """Return least and largest additional delay in ticks: hundredths of what is given, without fractions."""
    low, high = (int(fields.number(key, 0.0) / scale / 100.0) for key in ("MINDELAY", "MAXDELAY"))
    if high < low:
        raise fields.error("MAXDELAY", "less than MINDELAY; the simulator does not start")
    return float(low), float(high)


def _delay_weights(fields: Fields) -> tuple[float, float, float]:
    key = "delay_weight"
    value = fields.raw.values[key]
    parts = ("queue", "exec", "comm")
    if not isinstance(value, dict):
        if fields.text("reward_type") == "dense":
            raise fields.error(key, f"PeersimGym's dense reward stops at a number; expected {dict.fromkeys(parts, 1)}")
        weight = fields.number(key, 0.0)
        return weight, weight, weight
    if not set(parts) <= set(value):
        raise fields.error(key, f"expected numbers for {', '.join(parts)}")
    queue, work, comm = (fields._number(key, value[part], 0.0) for part in parts)
    return queue, work, comm
