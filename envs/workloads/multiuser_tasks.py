"""One task a period and device, of uniform work, size and deadline: the tasks of world ``multiuser``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.arrays import F8
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_positive, refuse
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class MultiuserTasks(Workload):
    """Every device creates a task at each period; its work, size and deadline are uniform between two numbers.

    World ``multiuser`` takes a period as its slot and draws the same law by itself.
    """

    period_s: float  # between two tasks of a device
    work_cycles: tuple[float, float]  # least and most
    size_bits: tuple[float, float]  # least and most
    deadline_s: tuple[float, float]  # least and most, from the creation of a task

    def __post_init__(self) -> None:
        """Refuse ranges that are empty or reach 0."""
        check_positive(self, "period_s")
        for name in ("work_cycles", "size_bits", "deadline_s"):
            low, high = getattr(self, name)
            if not (math.isfinite(high) and 0.0 < low <= high):
                raise refuse(self, name, "two finite numbers > 0, the least and the most")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        devices = topology.device_nodes
        n_periods = max(math.ceil(horizon_s / self.period_s), 1)
        created_s = np.arange(n_periods) * self.period_s
        created_s = created_s[created_s < horizon_s]
        n_tasks = len(created_s) * len(devices)
        instant_s = np.repeat(created_s, len(devices))
        return TaskTable(
            created_s=instant_s,
            node=np.tile(devices, len(created_s)),
            size_bits=_between(self.size_bits, draws.uniform(streams.SIZE, n_tasks)),
            result_bits=np.zeros(n_tasks),
            work_cycles=_between(self.work_cycles, draws.uniform(streams.WORK, n_tasks)),
            due_s=instant_s + _between(self.deadline_s, draws.uniform(streams.DEADLINE, n_tasks)),
            priority=np.zeros(n_tasks, np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the tasks per second of the whole network."""
        return int(topology.is_device.sum()) / self.period_s


def _between(limits: tuple[float, float], unit: F8) -> F8:
    return np.asarray(limits[0] + (limits[1] - limits[0]) * unit, np.float64)
