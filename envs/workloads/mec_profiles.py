"""One task a period and device, of a mean and a deadline that the device's profile says: the tasks of world ``mec``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.errors import ConfigError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_positive, check_within
from envs.workloads.workload import TaskTable, Workload

# A normal drawn from 53 bits by Box-Muller is below sqrt(2 * 54 * ln 2) = 8.66: no size can be negative.
MAX_NORMAL = 8.66


@dataclass(frozen=True)
class MecProfiles(Workload):
    """Every device holds a profile through an episode; at each period it creates a task of normal size about the mean.

    With as many profiles as devices they are dealt out, in order or in a random one. In a network with another number
    of devices, the profiles repeat. World ``mec`` takes a period as its slot and draws the same law by itself.
    """

    period_s: float  # between two tasks of a device
    mean_work_cycles: tuple[float, ...]  # of each profile
    work_sd_cycles: float  # standard deviation of the work, every task anew
    deadline_s: tuple[float, ...]  # of each profile, from the creation of a task
    cycles_per_bit: float  # a task of w cycles has w / cycles_per_bit bits
    permute: bool  # deal the profiles out anew for each episode; false: device n holds profile n

    def __post_init__(self) -> None:
        """Refuse what could give a negative size, and profiles without a deadline."""
        check_positive(self, "period_s", "cycles_per_bit")
        check_within(self, "work_sd_cycles", 0.0)
        if not self.mean_work_cycles or len(self.deadline_s) != len(self.mean_work_cycles):
            raise ConfigError(
                f"MecProfiles: {len(self.mean_work_cycles)} means and {len(self.deadline_s)} deadlines; expected one "
                "of each for every profile, and at least one profile"
            )
        for deadline_s in self.deadline_s:
            if not deadline_s > 0.0:
                raise ConfigError(f"MecProfiles.deadline_s: {deadline_s!r}; expected numbers > 0")
        least = MAX_NORMAL * self.work_sd_cycles
        for mean in self.mean_work_cycles:
            if not (math.isfinite(mean) and mean > least):
                raise ConfigError(
                    f"MecProfiles.mean_work_cycles: {mean!r}; expected more than {MAX_NORMAL:g} standard deviations "
                    f"({least:g} cycles), so that no task has negative work"
                )

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        devices, n_profiles = topology.device_nodes, len(self.mean_work_cycles)
        n_periods = max(math.ceil(horizon_s / self.period_s), 1)
        created_s = np.arange(n_periods) * self.period_s
        created_s = created_s[created_s < horizon_s]
        order = draws.uniform(streams.PROFILE, n_profiles).argsort() if self.permute else np.arange(n_profiles)
        profile = np.tile(order[np.arange(len(devices)) % n_profiles], len(created_s))
        n_tasks = len(profile)
        normal = draws.normal(streams.WORK, n_tasks)
        work_cycles = np.array(self.mean_work_cycles)[profile] + self.work_sd_cycles * normal
        instant_s = np.repeat(created_s, len(devices))
        return TaskTable(
            created_s=instant_s,
            node=np.tile(devices, len(created_s)),
            size_bits=work_cycles / self.cycles_per_bit,
            result_bits=np.zeros(n_tasks),
            work_cycles=work_cycles,
            due_s=instant_s + np.array(self.deadline_s)[profile],
            priority=np.zeros(n_tasks, np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the tasks per second of the whole network."""
        return int(topology.is_device.sum()) / self.period_s
