"""Markov-modulated Poisson arrivals with two states: calm and burst."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8
from envs.rng import Draws, unit_pair
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.arrivals import fill_exactly, poisson_instants
from envs.workloads.checks import check_positive, check_within, refuse
from envs.workloads.laws import TaskLaw
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class Mmpp(Workload):
    """The whole network switches between two Poisson rates after exponential times, at exact instants.

    The state at instant 0 is drawn from the stationary law. With p the share of burst time, d the difference of the
    network's rates, m its mean rate and s = 1 / calm_s + 1 / burst_s, the index of dispersion of counts over t
    seconds is 1 + 2 p (1 - p) d**2 / (m s) * (1 - (1 - exp(-s t)) / (s t)). (Fischer and Meier-Hellstern, "The
    Markov-modulated Poisson process cookbook", Performance Evaluation 18, 1993.)
    """

    calm_tasks_per_s: float  # of each device, mean over the devices, in the calm state, >= 0
    burst_tasks_per_s: float  # the same in the burst state, > 0
    calm_s: float  # mean stay in the calm state, seconds, > 0
    burst_s: float  # mean stay in the burst state, seconds, > 0
    task: TaskLaw

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_within(self, "calm_tasks_per_s", 0.0)
        check_positive(self, "burst_tasks_per_s", "calm_s", "burst_s")
        if self.burst_tasks_per_s < self.calm_tasks_per_s:
            raise refuse(self, "burst_tasks_per_s", f"a number >= calm_tasks_per_s = {self.calm_tasks_per_s}")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        starts_in_burst = bool(draws.uniform(streams.PHASE, 1)[0] < self._burst_share)
        stay_s = (self.burst_s, self.calm_s) if starts_in_burst else (self.calm_s, self.burst_s)
        rates = (self.burst_tasks_per_s, self.calm_tasks_per_s)[:: 1 if starts_in_burst else -1]

        def fill(out: F8) -> int:
            return fill_switches(
                out, float(horizon_s), float(stay_s[0]), float(stay_s[1]),
                draws.key, np.uint64(streams.MODULATION), draws.world_id, draws.episode,
            )  # fmt: skip

        end_s = fill_exactly(fill, 2.0 * horizon_s / (self.calm_s + self.burst_s))
        rate_hz = np.resize(np.array(rates, np.float64), len(end_s)) * int(topology.is_device.sum())
        return self.task.table(draws, topology, poisson_instants(draws, end_s, rate_hz))

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network."""
        share = self._burst_share
        each_hz = share * self.burst_tasks_per_s + (1.0 - share) * self.calm_tasks_per_s
        return each_hz * int(topology.is_device.sum())

    @property
    def _burst_share(self) -> float:
        return self.burst_s / (self.calm_s + self.burst_s)


@kernel
def fill_switches(
    out: F8,
    horizon_s: float,
    first_stay_s: float,
    second_stay_s: float,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> int:
    """Fill ``out`` with the ends of stays, as many as fit, the last at the horizon; return how many there are."""
    now_s = 0.0
    count = 0
    while now_s < horizon_s:
        u, v = unit_pair(key, np.uint64(count >> 1), stream, world_id, episode)
        now_s -= second_stay_s * math.log(v) if count & 1 else first_stay_s * math.log(u)
        if count < out.size:
            out[count] = min(now_s, horizon_s)
        count += 1
    return count
