"""A scenario: a name for a world, its network, its tasks and its parameters; and the one door that opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import ConfigError, TopologyError, WorkloadError
from envs.registry import resolve
from envs.rng import MAX_WORLD_ID, check_seed
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.workload import Workload
from envs.world import World


@dataclass(frozen=True)
class Scenario:
    """Everything that defines the learning problem; two equal scenarios give equal trajectories under a seed."""

    name: str
    world: str  # registry name of the world's class
    topology: TopologyBuilder
    topology_seed: int  # seed of the network's own chance; worlds of a scenario share one network
    workload: Workload
    params: Any  # the world's parameters, e.g. envs.fog.params.FogParams

    def __post_init__(self) -> None:
        check_seed(self.topology_seed, "topology_seed")

    def network(self) -> Topology:
        """Return the network; the same for every call."""
        return self.topology.build(np.random.default_rng(self.topology_seed))


def make(scenario: Scenario, n_worlds: int, seed: int = 0, first_world_id: int = 0) -> World:
    """Return a batch of worlds with ids first_world_id, ..., first_world_id + n_worlds - 1."""
    check_seed(seed)
    if isinstance(n_worlds, bool) or not isinstance(n_worlds, (int, np.integer)) or n_worlds < 1:
        raise ConfigError(f"n_worlds = {n_worlds!r}: expected a whole number of at least 1")
    if not 0 <= first_world_id <= MAX_WORLD_ID + 1 - n_worlds:
        raise ConfigError(f"first_world_id = {first_world_id}: expected ids from 0 to 2**32 - 1 for {n_worlds} worlds")
    try:
        world: World = resolve("world", scenario.world)(scenario, n_worlds, seed, first_world_id)
    except (ConfigError, TopologyError, WorkloadError) as error:
        raise type(error)(f"scenario {scenario.name}: {error}") from error
    return world
