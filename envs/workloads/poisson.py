"""Poisson arrivals: independent, without memory, one constant rate."""

from __future__ import annotations

from dataclasses import dataclass

from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.arrivals import constant_instants
from envs.workloads.checks import check_positive
from envs.workloads.laws import TaskLaw
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class Poisson(Workload):
    """One Poisson process for the whole network; each task belongs to a device drawn by the task law.

    Equal shares make it the superposition of independent Poisson processes of ``tasks_per_s`` at each device. With
    fixed work it is the input of M/D/1, with exponential work that of M/M/1.
    """

    tasks_per_s: float  # mean over the devices of the tasks that one creates per second, > 0
    task: TaskLaw

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "tasks_per_s")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        created_s = constant_instants(draws, horizon_s, self.mean_rate_hz(topology))
        return self.task.table(draws, topology, created_s)

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network."""
        return self.tasks_per_s * int(topology.is_device.sum())
