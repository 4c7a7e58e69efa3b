"""Diurnal arrivals: a Poisson process whose rate follows a sinusoid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8
from envs.rng import Draws, unit_pair
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.arrivals import fill_exactly
from envs.workloads.checks import check_positive, check_within
from envs.workloads.laws import TaskLaw
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class Diurnal(Workload):
    """The rate is tasks_per_s * (1 + amplitude * sin(2 pi (t / period_s + phase_frac))), drawn exactly by thinning."""

    tasks_per_s: float  # mean over a period and over the devices of the tasks that one creates per second, > 0
    amplitude: float  # of the rate over its mean, in [0, 1]
    period_s: float  # seconds, > 0
    phase_drawn: bool  # true: each world and episode draws its phase; false: phase_frac is used
    phase_frac: float  # part of the period that has passed at instant 0, in [0, 1]
    task: TaskLaw

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "tasks_per_s", "period_s")
        check_within(self, "amplitude", 0.0, 1.0)
        check_within(self, "phase_frac", 0.0, 1.0)

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        phase = float(draws.uniform(streams.PHASE, 1)[0]) if self.phase_drawn else float(self.phase_frac)
        mean_hz = self.mean_rate_hz(topology)

        def fill(out: F8) -> int:
            return fill_sinusoid(
                out, float(horizon_s), mean_hz, float(self.amplitude), float(self.period_s), phase,
                draws.key, np.uint64(streams.GAPS), np.uint64(streams.THINNING), draws.world_id, draws.episode,
            )  # fmt: skip

        return self.task.table(draws, topology, fill_exactly(fill, mean_hz * (1.0 + self.amplitude) * horizon_s))

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, over whole periods or drawn phases."""
        return self.tasks_per_s * int(topology.is_device.sum())


@kernel
def fill_sinusoid(
    out: F8,
    horizon_s: float,
    mean_hz: float,
    amplitude: float,
    period_s: float,
    phase: float,
    key: np.uint64,
    gap_stream: np.uint64,
    thinning_stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> int:
    """Fill ``out`` with the first arrivals, as many as fit; return how many there are (Lewis and Shedler, 1979)."""
    peak_hz = mean_hz * (1.0 + amplitude)
    now_s = 0.0
    count = 0
    candidate = 0
    while True:
        first, second = unit_pair(key, np.uint64(candidate >> 1), gap_stream, world_id, episode)
        now_s -= math.log(second if candidate & 1 else first) / peak_hz
        if now_s >= horizon_s:
            return count
        accept, _ = unit_pair(key, np.uint64(candidate), thinning_stream, world_id, episode)
        candidate += 1
        rate_hz = mean_hz * (1.0 + amplitude * math.sin(2.0 * math.pi * (now_s / period_s + phase)))
        if accept * peak_hz < rate_hz:
            if count < out.size:
                out[count] = now_s
            count += 1
