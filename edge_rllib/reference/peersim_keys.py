"""The keys of a PeersimGym configuration: defaults, the argument names of its ConfigHelper, and those without effect.

(M. Freitas et al., "PeersimGym: an environment for solving the task offloading problem with reinforcement learning",
ECML PKDD 2024; names and defaults as of its repository's commit aff2286.)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_POSITIONS = (
    "18.55895350495783,17.02475796027715;47.56499372388999,57.28732691557995;5.366872150976409,43.28729893321355;"
    "17.488160666668694,29.422819514162434;81.56549175388358,53.14564532018814;85.15660881172089,74.47408014762478;"
    "18.438454887921974,44.310130148722195;72.04311826903107,62.06952644109185;25.60125368295145,15.54795598202745;"
    "17.543669122835837,70.7258178169151"
)
_TOPOLOGY = (
    "0,1,2,3,6,8;1,0,2,3,4,5,6,7,8,9;2,0,1,3,6,8,9;3,0,1,2,6,8,9;4,1,5,7;5,1,4,7;6,0,1,2,3,8,9;7,1,4,5;8,0,1,2,3,6;"
    "9,1,2,3,6"
)
WORKLOAD_PATH = "protocol.clt.workloadPath"
WIRELESS_CLASS, FIBER_CLASS = "WirelessSNR", "OpticalFiberSNR"
_CLASSES = "PeersimSimulator.peersim.env.Transport."


class Key(NamedTuple):
    """One key of the file."""

    default: Any  # where the file lacks it; None: no default
    argument: str = ""  # of ConfigHelper.generate_config_dict; empty: none, or the key itself
    argument_default: Any = None  # None: as the file's
    dead: str = ""  # why it changes nothing in PeersimGym; empty: it does


KEYS: dict[str, Key] = {
    "random.seed": Key("1234567890"),
    "SCALE": Key("1", "scale"),
    "SIZE": Key("6", "size", 10),
    "CYCLE": Key("1"),
    "CYCLES": Key("1000", "simulation_time"),
    "MINDELAY": Key("0"),
    "MAXDELAY": Key("0"),
    "DROP": Key("0", dead="no transport loses messages"),
    "CONTROLLERS": Key("0;5", "controllers", [0]),
    "CLOUD_EXISTS": Key("1", "has_cloud"),
    "CLOUD_POS": Key("300,300", "cloud_position"),
    "CLOUD_ACCESS": Key("0,1", "cloud_access", [0]),
    "NO_LAYERS": Key("2", "", ""),
    "NO_NODES_PER_LAYERS": Key("5,1", "nodes_per_layer", [10]),
    "clientLayers": Key("0", "clientLayers"),
    "layersThatGetTasks": Key("0", "layersThatGetTasks"),
    "clientIsSelf": Key("1", "clientIsSelf"),
    "FREQS": Key("1e7,3e7", "freqs_per_layer", [1e7]),
    "NO_CORES": Key("4,8", "no_cores_per_layer", [4]),
    "Q_MAX": Key("10,50", "q_max_per_layer", [50]),
    "VARIATIONS": Key("1e3,1e3", "variations_per_layer", [0]),
    "MANUAL_CONFIG": Key("false", "MANUAL_CONFIG"),
    "MANUAL_CORES": Key("1", "MANUAL_CORES"),
    "MANUAL_FREQS": Key("1e7", "MANUAL_FREQS"),
    "MANUAL_QMAX": Key("10", "MANUAL_QMAX"),
    "RANDOMIZEPOSITIONS": Key("true", "RANDOMIZEPOSITIONS"),
    "init.Net0.POSITIONS": Key(_POSITIONS, "POSITIONS"),
    "RANDOMIZETOPOLOGY": Key("true", "RANDOMIZETOPOLOGY"),
    "init.Net1.TOPOLOGY": Key(_TOPOLOGY, "TOPOLOGY"),
    "init.Net1.r": Key("500", "radius", 50),
    "protocol.clt.numberOfTasks": Key("1", "", ""),
    "protocol.clt.weight": Key("1", "task_probs"),
    "protocol.clt.CPI": Key("1", "task_CPI"),
    "protocol.clt.T": Key("38", "task_sizes"),
    "protocol.clt.I": Key("4e7", "task_instr"),
    "protocol.clt.minDeadline": Key("100", "task_deadlines"),
    "protocol.clt.taskArrivalRate": Key("0.6", "lambda_task_arrival_rate", 0.5),
    "schedules": Key("0.6-1000;0.6-1000", "schedule_task_arrival_rate", ""),
    "protocol.clt.numberOfDAG": Key("1", dead="only DAG mode reads it"),
    "protocol.clt.dagWeights": Key("1", dead="only DAG mode reads it"),
    "protocol.clt.edges": Key("", dead="only DAG mode reads it"),
    "protocol.clt.vertices": Key("1", dead="only DAG mode reads it"),
    WORKLOAD_PATH: Key("none", "workloadPath", "none"),
    "protocol.clt.defaultCPUWorkload": Key("1e8", "defaultCPUWorkload", "2.4e+9"),
    "protocol.clt.defaultMemoryWorkload": Key("100", "defaultMemoryWorkload"),
    "protocol.cld.no_vms": Key("3", "cloud_no_vms"),
    "protocol.cld.VMProcessingPower": Key("1e8", "cloud_VM_processing_power"),
    "protocol.props.B": Key("2", "comm_B", 4),
    "protocol.props.P_ti": Key("20", "comm_Power"),
    "protocol.props.Beta1": Key("0.001", "comm_Beta1", dead="the path loss is that of free space"),
    "protocol.props.Beta2": Key("4", "comm_Beta2", dead="the path loss is that of free space"),
    "protocol.urt.channelTypes": Key(
        f"{_CLASSES}{WIRELESS_CLASS}", "channelTypes", f"{_CLASSES}{FIBER_CLASS};{_CLASSES}{WIRELESS_CLASS}"
    ),
    # the file's default of 10 rows, and the helper's of 12, stop the simulator: a missing matrix is read as channel 0
    "protocol.urt.channelTypesBetweenLayers": Key("", "channelTypesBetweenLayers", ""),
    "protocol.urt.SNR": Key("45", "snr"),
    "protocol.wrk.energyCostComm": Key("10", "energyCostComm"),
    "protocol.wrk.energyCostComp": Key("1", "energyCostComp", dead="cycles are charged at energyCostComm"),
    "protocol.wrk.maxTimeAfterDeadline": Key("5"),
    "protocol.mng.cycle": Key("5", "frequency_of_action", 1, dead="agents decide every CYCLE"),
    "target_time_for_occupancy": Key(None, "target_time_for_occupancy", dead="nothing reads it"),
    "utility_reward": Key(10, "weight_utility"),
    "delay_weight": Key(1, "weight_delay"),
    "overload_weight": Key(50, "weight_overload"),
    "no_op_reward": Key(0, "no_op_reward"),
    # of the constructor PeersimEnv, which some keep beside the configuration
    "simtype": Key("basic"),
    "reward_type": Key("sparse"),
    "state_info": Key("none"),
    # of older versions
    "protocol.mng.r_u": Key(None, dead="an older version's reward"),
    "protocol.mng.X_d": Key(None, dead="an older version's reward"),
    "protocol.mng.X_o": Key(None, dead="an older version's reward"),
    "protocol.clt.clientClasses": Key(None, "clientClasses", dead="the basic client does not read it"),
}
ARGUMENTS: dict[str, str] = {key.argument: name for name, key in KEYS.items() if key.argument}
# what a JSON file with a key of this kind alone was written for
ONLY_ARGUMENTS = frozenset(argument for argument, name in ARGUMENTS.items() if argument != name)
# older spelling -> key
OLD_NAMES = {"protocol.clt.layersThatGetTasks": "layersThatGetTasks", "protocol.clt.schedules": "schedules"}

_WIRING = re.compile(
    r"(network|simulation|include|order|control|random)\..+"
    r"|protocol\.\w+(\.(linkable|name|step|transport|mindelay|maxdelay|drop|props|protocol|SCALE|clientIsSelf))?"
    r"|init\.\w+(\.(protocol|coord_protocol|randstart|k|undir))?"
)


def is_wiring(key: str) -> bool:
    """Return whether a line of a text file names PeerSim's own parts, which say nothing about the scenario."""
    return _WIRING.fullmatch(key) is not None


def nearest(name: str) -> str:
    """Return the hint that names the nearest known key or argument, or nothing."""
    near = difflib.get_close_matches(name, [*KEYS, *ONLY_ARGUMENTS], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def dead_keys(given: Iterable[str]) -> dict[str, str]:
    """Return the keys without effect among those given, each with the reason."""
    return {name: KEYS[name].dead for name in given if name in KEYS and KEYS[name].dead}
