"""What a fog scenario asks of its network, before anybody plays it: is it idle, sensible or hopeless?

Mean rates only, no queues: the tasks that are created in a second, the work and data that they bring, and three ways
of running them. Every device keeps its tasks; every task goes to the nearest server; or tasks are split as well as can
be. At a load of 1 or above under the best split no policy is stable (L. Tassiulas, A. Ephremides, "Stability properties
of constrained queueing systems", 1992). Bursts, places in queues, what agents know and their reports are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from envs.arrays import BOOL, F8
from envs.errors import ConfigError
from envs.fog.network import build_network
from envs.fog.params import FogParams
from envs.fog.split import Demand, Nearest, Split, best_split, nearest_servers
from envs.rng import Draws, key_from_seed
from envs.scenario import Scenario
from envs.topologies.topology import Topology
from envs.workloads.laws import device_shares
from envs.workloads.workload import Workload

# Below this load of the busiest device, all tasks local, M/M/1 waits less than half of a service: 0.3 / 0.7 = 0.43.
IDLE_BELOW = 0.3
# Above this load of the busiest core or channel under the best split, M/M/1 waits 19 services and never settles within
# an episode.
HOPELESS_ABOVE = 0.95
MAX_HOPS = 6  # links of the ways that are looked at, where params.max_hops allows more
N_TASKS, MAX_WORLDS = 200_000, 512  # tasks to take means of, and the worlds that they may come from
SEED = 0


@dataclass(frozen=True, eq=False)
class Load:
    """The load of a scenario."""

    scenario: str
    topology: Topology
    is_agent: Annotated[BOOL, "M", "somebody decides at the node"]
    demand: Demand
    capacity_hz: Annotated[F8, "M", "cycles per second of all cores"]
    task_hz: Annotated[F8, "M", "cycles per second that a task gets which is alone there"]
    local_frac: Annotated[F8, "M", "load of each node if all tasks stay where they are created"]
    nearest: Nearest
    best: Split
    decisions_frac: float  # tasks that the busiest device creates in a step, over those that it can decide on
    alive_frac: float  # tasks alive if each had its device for itself, over max_alive_tasks

    @property
    def total_frac(self) -> float:
        """Work offered over the capacity of all nodes together."""
        return float((self.demand.rate_hz * self.demand.work_cycles).sum() / self.capacity_hz.sum())

    @property
    def busiest(self) -> str:
        """Name of the busiest node or channel under the best split."""
        nodes, channels = self.best.node_frac, self.best.channel_frac
        if len(channels) and channels.max() > nodes.max():
            return channel_name(self.topology, int(channels.argmax()))
        return self.topology.node_name[int(nodes.argmax())]

    @property
    def verdict(self) -> str:
        """One of idle, sensible, hopeless."""
        return self.judgement[0]

    @property
    def judgement(self) -> tuple[str, str]:
        """The verdict and the reason for it."""
        if self.best.busiest_frac > HOPELESS_ABOVE:
            return "hopeless", (
                f"{self.busiest} has the load {self.best.busiest_frac:.2f} under the best split of the tasks; "
                f"above {HOPELESS_ABOVE} queues grow whatever the policy"
            )
        if self.decisions_frac > HOPELESS_ABOVE:
            return "hopeless", (
                f"a device creates {self.decisions_frac:.2f} tasks for each that its agent can decide on, and with "
                "undecided = hold they wait for it; take shorter slots, decide_on = events, or fewer tasks"
            )
        if self.alive_frac > HOPELESS_ABOVE:
            return "hopeless", (
                f"tasks that do not wait at all already fill {self.alive_frac:.2f} of max_alive_tasks, and the world "
                "drops what does not fit; raise it"
            )
        highest = float(self.local_frac.max())
        if highest < IDLE_BELOW:
            return "idle", (
                f"the busiest device has the load {highest:.2f} if all tasks stay; below {IDLE_BELOW} hardly any task "
                "waits, and there is little to decide"
            )
        return "sensible", (
            f"the busiest device has the load {highest:.2f} if all tasks stay, the busiest core or channel "
            f"{self.best.busiest_frac:.2f} under the best split"
        )


def channel_name(topology: Topology, channel: int) -> str:
    """Return what a channel is, for people: its first link, and how many share it."""
    links = np.flatnonzero(topology.link_channel == channel)
    source, target = (topology.node_name[ends[links[0]]] for ends in (topology.link_source, topology.link_target))
    return f"channel {source} -> {target}" + (f" (of {len(links)} links)" if len(links) > 1 else "")


def scenario_load(scenario: Scenario) -> Load:
    """Return the load of a fog scenario; raise ConfigError for a scenario of another world."""
    params = scenario.params
    if not isinstance(params, FogParams):
        raise ConfigError(f"scenario {scenario.name}: loads are known of world 'fog', not of world {scenario.world!r}")
    topology = scenario.network()
    network = build_network(topology, params)
    demand = mean_demand(scenario.workload, topology, params.horizon_s)
    capacity_hz = topology.n_cores * topology.core_hz
    offered_hz = demand.rate_hz * demand.work_cycles
    max_hops = min(params.max_hops, MAX_HOPS)
    step_s = params.slot_s * params.slots_per_step
    waits = params.undecided == "hold" and params.decide_on == "slots"  # tasks do, until their agent's next step
    decided_hz = params.decisions_per_step / step_s if waits else np.inf
    channels_are_shared = params.contention != "none"
    task_hz = capacity_hz if params.service == "aggregate" else topology.core_hz
    return Load(
        scenario=scenario.name,
        topology=topology,
        is_agent=network.agent_of_node >= 0,
        demand=demand,
        capacity_hz=capacity_hz,
        task_hz=task_hz,
        local_frac=offered_hz / capacity_hz,
        nearest=nearest_servers(topology, network, demand, max_hops, channels_are_shared),
        best=best_split(topology, network, demand, max_hops, channels_are_shared),
        decisions_frac=float(demand.rate_hz.max() / decided_hz),
        alive_frac=float((offered_hz / task_hz).sum() / params.max_alive_tasks),
    )


def mean_demand(workload: Workload, topology: Topology, horizon_s: float) -> Demand:
    """Return what devices ask for: the workload's own mean rate, and the means of some 200,000 drawn tasks."""
    n_tasks, work, size, result = sums = np.zeros((4, topology.n_nodes))
    key = key_from_seed(SEED, "world")
    for world_id in range(MAX_WORLDS):
        table = workload.tasks(Draws(key, world_id, 0), topology, horizon_s)
        for of_node, weights in zip(sums, (None, table.work_cycles, table.size_bits, table.result_bits), strict=True):
            of_node += np.bincount(table.node, weights, topology.n_nodes)
        if n_tasks.sum() >= N_TASKS:
            break
    if not n_tasks.any():
        raise ConfigError(f"{type(workload).__name__}: no task in {MAX_WORLDS} episodes of {horizon_s} s")
    types = np.array(topology.node_type)
    for node_type in np.unique(types[topology.is_device]):  # the means of a type, as those of a node scatter
        nodes: BOOL = (types == node_type) & topology.is_device
        sums[1:, nodes] = sums[1:, nodes].sum(axis=1, keepdims=True) / max(n_tasks[nodes].sum(), 1.0)
        n_tasks[nodes] = n_tasks[nodes].mean()
    shares = _device_weights(workload)
    if shares:
        n_tasks[topology.device_nodes] = device_shares(topology, shares)
    return Demand(workload.mean_rate_hz(topology) * n_tasks / n_tasks.sum(), work, size, result)


def _device_weights(workload: Workload) -> tuple[float, ...]:
    """Return the shares of the devices where a workload has such a setting, of its own or in its law of tasks."""
    for record in (workload, getattr(workload, "task", None)):
        weights: tuple[float, ...] = getattr(record, "device_weights", ())
        if weights:
            return weights
    return ()
