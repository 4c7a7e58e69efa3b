"""Negative binomial arrivals: counts of an interval scatter more than Poisson counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8
from envs.rng import Draws, unit_pair
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.arrivals import interval_ends, poisson_instants
from envs.workloads.checks import check_positive
from envs.workloads.laws import TaskLaw
from envs.workloads.workload import TaskTable, Workload

_COUNTERS_A_DRAW = np.uint64(128)  # room for 64 attempts, of which each fails with probability < 0.05


@dataclass(frozen=True)
class NegativeBinomial(Workload):
    """Counts of the whole network in successive intervals are independent NB(r, p), p = r / (r + mean count).

    Their variance is mean + mean**2 / r, so their index of dispersion is 1 / p. An NB count is a Poisson count whose
    mean is gamma distributed with shape r; instants are uniform within the interval.
    """

    tasks_per_s: float  # mean over the devices of the tasks that one creates per second, > 0
    interval_s: float  # length of the intervals, seconds, > 0
    r: float  # shape, > 0; smaller is burstier, infinity would be Poisson
    task: TaskLaw

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "tasks_per_s", "interval_s", "r")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        end_s = interval_ends(horizon_s, self.interval_s)
        rate_hz = np.empty(len(end_s), np.float64)
        fill_gamma(rate_hz, float(self.r), draws.key, np.uint64(streams.MODULATION), draws.world_id, draws.episode)
        rate_hz *= self.mean_rate_hz(topology) / self.r
        return self.task.table(draws, topology, poisson_instants(draws, end_s, rate_hz))

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network."""
        return self.tasks_per_s * int(topology.is_device.sum())


@kernel
def fill_gamma(
    out: F8, shape: float, key: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64
) -> None:
    """Fill ``out`` with gamma variates of scale 1.

    Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000), with their boost for
    shapes below 1.
    """
    d = (shape + 1.0 if shape < 1.0 else shape) - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for i in range(out.size):
        counter = np.uint64(i) * _COUNTERS_A_DRAW
        while True:
            a, b = unit_pair(key, counter, stream, world_id, episode)
            u, boost = unit_pair(key, counter + np.uint64(1), stream, world_id, episode)
            counter += np.uint64(2)
            normal = math.sqrt(-2.0 * math.log(a)) * math.cos(2.0 * math.pi * b)
            cube = (1.0 + c * normal) ** 3
            if cube > 0.0 and math.log(u) < 0.5 * normal * normal + d - d * cube + d * math.log(cube):
                break
        out[i] = d * cube
        if shape < 1.0:
            out[i] *= boost ** (1.0 / shape)
