"""Names of everything that can be chosen: name -> "module:attribute", imported when it is used.

Another distribution adds its own through the entry-point group ``edge_rllib.<kind>``; ``register`` adds at run time.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from envs.errors import EdgeError, UnknownName

BUILT_IN: dict[str, dict[str, str]] = {
    "world": {
        "cartpole": "envs.cartpole.world:CartpoleWorld",
        "fog": "envs.fog.build:fog_world",
        "lunar_lander": "envs.lunar_lander.world:LunarLanderWorld",
        "matching": "envs.matching.world:MatchingWorld",
        "mec": "envs.mec.world:MecWorld",
        "multiuser": "envs.multiuser.world:MultiuserWorld",
        "testbed": "envs.testbed.world:BedWorld",
    },
    "world_params": {
        "cartpole": "envs.cartpole.world:CartpoleParams",
        "fog": "envs.fog.params:FogParams",
        "lunar_lander": "envs.lunar_lander.world:LunarLanderParams",
        "matching": "envs.matching.world:MatchingParams",
        "mec": "envs.mec.params:MecParams",
        "multiuser": "envs.multiuser.params:MultiuserParams",
        "testbed": "envs.testbed.params:BedWorldParams",
    },
    "topology": {
        "bridged_clusters": "envs.topologies.bridged_clusters:BridgedClusters",
        "edge_lan": "envs.topologies.edge_lan:EdgeLan",
        "edge_list": "envs.topologies.edge_list:EdgeList",
        "ether_iiot": "envs.topologies.ether_iiot:EtherIiot",
        "ether_urban": "envs.topologies.ether_urban:EtherUrban",
        "full": "envs.topologies.full:Full",
        "geometric": "envs.topologies.geometric:Geometric",
        "grid": "envs.topologies.grid:Grid",
        "layered": "envs.topologies.layered:Layered",
        "mec_cell": "envs.topologies.mec_cell:MecCell",
        "multiuser_cell": "envs.topologies.multiuser_cell:MultiuserCell",
        "pair": "envs.topologies.pair:Pair",
        "random": "envs.topologies.random:Random",
        "ring": "envs.topologies.ring:Ring",
        "single": "envs.topologies.single:Single",
    },
    "workload": {
        "alibaba_like": "envs.workloads.alibaba_like:AlibabaLike",
        "camera_clips": "envs.workloads.camera_clips:CameraClips",
        "diurnal": "envs.workloads.diurnal:Diurnal",
        "edge_apps": "envs.workloads.edge_apps:EdgeApps",
        "mec_profiles": "envs.workloads.mec_profiles:MecProfiles",
        "mmpp": "envs.workloads.mmpp:Mmpp",
        "multiuser_tasks": "envs.workloads.multiuser_tasks:MultiuserTasks",
        "negative_binomial": "envs.workloads.negative_binomial:NegativeBinomial",
        "peersim_trace": "envs.workloads.peersim_trace:PeersimTrace",
        "periodic": "envs.workloads.periodic:Periodic",
        "poisson": "envs.workloads.poisson:Poisson",
        "schedule": "envs.workloads.schedule:Schedule",
        "task_types": "envs.workloads.task_types:TaskTypes",
        "trace": "envs.workloads.trace:Trace",
        "vision_clips": "envs.workloads.vision_clips:VisionClips",
    },
    "baseline": {
        "best_assignment": "envs.baselines.best_assignment:BestAssignment",
        "cloud_only": "envs.baselines.cloud_only:CloudOnly",
        "edge_only": "envs.baselines.edge_only:EdgeOnly",
        "greedy_slot": "envs.baselines.greedy_slot:GreedySlot",
        "least_queue": "envs.baselines.least_queue:LeastQueue",
        "least_response_time": "envs.baselines.least_response_time:LeastResponseTime",
        "local": "envs.baselines.local:Local",
        "myopic_oracle": "envs.baselines.myopic_oracle:MyopicOracle",
        "one_server": "envs.baselines.one_server:OneServer",
        "power_of_two": "envs.baselines.power_of_two:PowerOfTwo",
        "random": "envs.baselines.random:Random",
        "round_robin": "envs.baselines.round_robin:RoundRobin",
        "round_robin_k": "envs.baselines.round_robin_k:RoundRobinK",
        "size_rank": "envs.baselines.size_rank:SizeRank",
        "top_backlog": "envs.baselines.top_backlog:TopBacklog",
    },
}

_ADDED: dict[str, dict[str, Any]] = {}


def register(kind: str, name: str, target: Any) -> None:
    """Add a name at run time; the target is "module:attribute" or the object itself. A taken name is refused."""
    if name in names(kind):
        raise EdgeError(f"{kind} {name!r} is registered already; choose another name")
    _ADDED.setdefault(kind, {})[name] = target


def names(kind: str) -> list[str]:
    """Return the sorted names of a kind."""
    return sorted(_table(kind))


def resolve(kind: str, name: str, where: str = "") -> Any:
    """Return what a name stands for; raise UnknownName with the nearest name, ``where`` says whose setting it is."""
    table = _table(kind)
    if name not in table:
        raise UnknownName(kind, name, table, where)
    target = table[name]
    if not isinstance(target, str):
        return target
    return _imported(f"{kind} {name!r} is registered as {target!r}", target, f" ({where})" if where else "")


def lookup(kind: str, name: str) -> Any:
    """Return what is registered under a name without importing it: "module:attribute", or the object itself."""
    return _table(kind)[name]


def _imported(label: str, target: str, where: str) -> Any:
    """Return what stands at "module:attribute"; whatever a plugin's module raises becomes one line for the user."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise EdgeError(f"{label}: expected 'module:attribute'{where}")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise EdgeError(f"{label}: {module!r} cannot be imported: {reason}{where}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            near = difflib.get_close_matches(part, dir(found), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise EdgeError(f"{label}: module {module!r} has no {attribute!r}{hint}{where}") from error
    return found


def _table(kind: str) -> dict[str, Any]:
    return {**BUILT_IN.get(kind, {}), **_plugins(kind), **_ADDED.get(kind, {})}


@cache
def _plugins(kind: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=f"edge_rllib.{kind}")}
