"""Arrivals, job sizes and durations like those of the Alibaba cluster of 2018, with the sizes of edge applications.

Time is the trace's until the last step. Jobs arrive as a doubly stochastic Poisson process. Its rate is the mean rate
times G, which is constant within a second: G = exp(s Z - s**2 / 2) with Z a stationary AR(1) sequence of standard
normals. s and Z's correlation follow from the index of dispersion D and the lag-1 autocorrelation R of the trace's
job counts in a second, whose mean is m: var G = (D - 1) / m, and the lag-1 autocorrelation of G is R D / (D - 1).
The law of G is kept at other rates, as when a part of the jobs were picked by chance: counts of mean q m have the
dispersion 1 + q (D - 1). The trace's slower waves (its dispersion over 60 s is 74) are not in G.

A job has 1 to 30 tasks, created together at one device. The logarithm of a task's duration is the sum of a part that
the tasks of a job share and of one of its own, both normal; the result is clipped. Work is duration times
``work_hz``: a task takes a whole core, and precedence within a job is not modelled. The trace has no data sizes; each
job draws a profile of an edge application, and its tasks' sizes are exponential with the profile's means.

``time_scale`` is the number of edge seconds that stand for one second of the trace, and scales durations and the
course of arrivals alike: a task takes duration * time_scale seconds on a core of ``work_hz``, G changes every
``time_scale`` seconds, and the day of the diurnal factor lasts 86,400 * time_scale seconds. It does not scale the
mean rate, which ``tasks_per_s`` gives in edge seconds, nor sizes. Drawing G costs 20 ns a trace second of the horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, I8
from envs.rng import Draws, unit_pair
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.alibaba_fit import DAY_S, JOB_TASKS_PROB, TRACE_JOBS_PER_S
from envs.workloads.arrivals import interval_ends, poisson_instants
from envs.workloads.checks import check_positive, check_weights, check_within, refuse
from envs.workloads.laws import Deadline, SizeProfile, draw_choices, draw_devices, draw_sizes
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class AlibabaLike(Workload):
    """Bursty jobs whose tasks resemble each other; see the module for the law."""

    tasks_per_s: float  # mean over the devices of the tasks that one creates per (edge) second, > 0
    time_scale: float  # edge seconds for one second of the trace, > 0
    work_hz: float  # clock of the core on which a task takes duration * time_scale, > 0
    index_of_dispersion: float  # of the trace's job counts in a second, >= 1; 1 is Poisson
    lag1_acf: float  # autocorrelation of the trace's job counts in successive seconds, in [0, 1 - 1 / dispersion)
    diurnal_amplitude: float  # of the rate's sinusoid over a day of the trace, in [0, 1]; its phase is drawn
    job_tasks_max: int  # 1 to 30; the fitted law of tasks per job is cut here, 1 makes tasks independent
    log_mean: float  # mean of the logarithm of a task's duration in trace seconds
    log_sd: float  # standard deviation of that logarithm, >= 0
    job_share: float  # part of its variance that the tasks of a job share (intraclass correlation), in [0, 1]
    duration_min_s: float  # shorter durations are raised to this, trace seconds, > 0
    duration_max_s: float  # longer durations are cut to this, trace seconds
    size_scale: float  # bits for one that the profiles name, > 0
    sizes: tuple[SizeProfile, ...]  # at least one
    deadline: Deadline
    device_weights: tuple[float, ...]  # share of the jobs of each device, by node id; empty: equal shares

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "tasks_per_s", "time_scale", "work_hz", "size_scale", "duration_min_s", "duration_max_s")
        check_within(self, "index_of_dispersion", 1.0)
        highest = 1.0 - 1.0 / self.index_of_dispersion
        check_within(self, "lag1_acf", 0.0, highest)
        if 0.0 < highest == self.lag1_acf:
            raise refuse(self, "lag1_acf", f"a number < 1 - 1 / index_of_dispersion = {highest:.4g}")
        check_within(self, "diurnal_amplitude", 0.0, 1.0)
        if not (isinstance(self.job_tasks_max, int) and 1 <= self.job_tasks_max <= len(JOB_TASKS_PROB)):
            raise refuse(self, "job_tasks_max", f"an integer from 1 to {len(JOB_TASKS_PROB)}")
        check_within(self, "log_mean", -math.inf)
        check_within(self, "log_sd", 0.0)
        check_within(self, "job_share", 0.0, 1.0)
        if self.duration_max_s < self.duration_min_s:
            raise refuse(self, "duration_max_s", f"a number >= duration_min_s = {self.duration_min_s}")
        if not self.sizes:
            raise refuse(self, "sizes", "at least one profile")
        check_weights(self, "device_weights")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        job_s = poisson_instants(draws, *self._job_rate(draws, topology, horizon_s))
        n_jobs = len(job_s)
        sizes = np.arange(1, self.job_tasks_max + 1)
        job = np.repeat(np.arange(n_jobs), draw_choices(draws, streams.JOB_TASKS, n_jobs, sizes, self._job_tasks_prob))
        created_s, node = job_s[job], draw_devices(draws, topology, n_jobs, self.device_weights)[job]
        size_bits, result_bits = draw_sizes(draws, self.sizes, self.size_scale, job, n_jobs)
        work_cycles = self._durations_s(draws, n_jobs, job) * (self.time_scale * self.work_hz)
        return TaskTable(
            created_s=created_s,
            node=node,
            size_bits=size_bits,
            result_bits=result_bits,
            work_cycles=work_cycles,
            due_s=self.deadline.due_s(draws, topology, created_s, node, work_cycles),
            priority=np.zeros(len(job), np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per (edge) second of the whole network."""
        return self.tasks_per_s * int(topology.is_device.sum())

    def _job_rate(self, draws: Draws, topology: Topology, horizon_s: float) -> tuple[F8, F8]:
        """Return ends and rates of the pieces of the job process, one a trace second, in edge seconds."""
        end_s = interval_ends(horizon_s, self.time_scale)
        rate_hz = np.empty(len(end_s), np.float64)
        log_sd, log_acf = self._modulation
        fill_modulation(
            rate_hz, log_sd, log_acf, draws.key, np.uint64(streams.MODULATION), draws.world_id, draws.episode
        )
        rate_hz *= self.mean_rate_hz(topology) / float(self._job_tasks_prob @ np.arange(1, self.job_tasks_max + 1))
        if self.diurnal_amplitude > 0.0:
            day = np.arange(len(end_s)) / DAY_S + draws.uniform(streams.PHASE, 1)
            rate_hz *= 1.0 + self.diurnal_amplitude * np.sin(2.0 * np.pi * day)
        return end_s, rate_hz

    def _durations_s(self, draws: Draws, n_jobs: int, job: I8) -> F8:
        """Return the durations of tasks in trace seconds."""
        shared = self.log_sd * math.sqrt(self.job_share) * draws.normal(streams.JOB_EFFECT, n_jobs)
        own = self.log_sd * math.sqrt(1.0 - self.job_share) * draws.normal(streams.WORK, len(job))
        durations_s: F8 = np.exp(self.log_mean + shared[job] + own)
        return durations_s.clip(self.duration_min_s, self.duration_max_s)

    @cached_property
    def _modulation(self) -> tuple[float, float]:
        """Standard deviation s of log G, and the lag-1 autocorrelation of Z."""
        excess = self.index_of_dispersion - 1.0
        if excess == 0.0:
            return 0.0, 0.0
        variance = excess / TRACE_JOBS_PER_S
        log_variance = math.log1p(variance)
        acf = self.lag1_acf * self.index_of_dispersion / excess
        return math.sqrt(log_variance), math.log1p(acf * variance) / log_variance

    @cached_property
    def _job_tasks_prob(self) -> F8:
        """Probabilities of 1, 2, ... job_tasks_max tasks."""
        prob = np.array(JOB_TASKS_PROB[: self.job_tasks_max])
        return prob / prob.sum()


@kernel
def fill_modulation(
    out: F8,
    log_sd: float,
    log_acf: float,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> None:
    """Fill ``out`` with a stationary log-normal AR(1) sequence of mean 1."""
    innovation_sd = math.sqrt(1.0 - log_acf * log_acf)
    state = 0.0
    spare = 0.0
    for i in range(out.size):
        if i & 1:
            normal = spare
        else:
            u, v = unit_pair(key, np.uint64(i >> 1), stream, world_id, episode)
            radius = math.sqrt(-2.0 * math.log(u))
            normal = radius * math.cos(2.0 * math.pi * v)
            spare = radius * math.sin(2.0 * math.pi * v)
        state = normal if i == 0 else log_acf * state + innovation_sd * normal
        out[i] = math.exp(log_sd * (state - 0.5 * log_sd))
