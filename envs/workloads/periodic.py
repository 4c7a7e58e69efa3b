"""Periodic arrivals: sensors that report at a fixed interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_positive
from envs.workloads.laws import TaskLaw, device_shares
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class Periodic(Workload):
    """Each device creates a task at a fixed interval, the inverse of its rate, from an offset on."""

    tasks_per_s: float  # mean over the devices of the tasks that one creates per second, > 0
    offset_drawn: bool  # true: each device's offset is uniform in its interval; false: all begin at instant 0
    task: TaskLaw  # device_weights share out the rate among the devices

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "tasks_per_s")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        rate_hz = self.mean_rate_hz(topology) * device_shares(topology, self.task.device_weights)
        devices = topology.device_nodes[rate_hz > 0.0]
        interval_s = 1.0 / rate_hz[rate_hz > 0.0]
        offset_s = np.zeros(len(devices))
        if self.offset_drawn:
            offset_s = draws.uniform(streams.PHASE, len(devices)) * interval_s
        count = np.maximum(np.ceil((horizon_s - offset_s) / interval_s), 0.0).astype(np.int64)
        owner = np.repeat(np.arange(len(devices)), count)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        created_s = offset_s[owner] + place * interval_s[owner]
        order = np.argsort(created_s, kind="stable")
        order = order[created_s[order] < horizon_s]  # rounding may have put one at the horizon
        return self.task.table(draws, topology, created_s[order], devices[owner[order]])

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the tasks per second of the whole network."""
        return self.tasks_per_s * int(topology.is_device.sum())
