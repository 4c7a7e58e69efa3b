"""Replay of a trace: tasks start when, and take as long as, a file says.

``time_scale`` is the number of edge seconds that stand for one second of the trace and scales durations and starts
alike. A task that took d seconds on c planned cores has d * time_scale * work_hz * c cycles. A network of devices is
far smaller than the cluster that was traced, so each world keeps a part of the jobs, drawn by chance, such that
``tasks_per_s`` tasks a second reach each device. A job goes to a device by the hash of its name, shifted by an offset
that each world and episode draws; they also draw where in the window they begin. After the window's end they go on at
its start. Starts keep the file's resolution, whole seconds. Data sizes are not in the trace; each job draws a profile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_positive, check_within, refuse
from envs.workloads.laws import Deadline, SizeProfile, draw_sizes
from envs.workloads.trace_file import TraceRows, read_trace
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class Trace(Workload):
    """Real tasks; see the module for how they are brought to the edge."""

    path: str  # 'spar' for the installed distribution's sample, or a file like batch_task.csv (from the working folder)
    tasks_per_s: float  # mean over the devices of the tasks that reach one per (edge) second, > 0
    time_scale: float  # edge seconds for one second of the trace, > 0
    work_hz: float  # clock of the core on which a task takes duration * time_scale, > 0
    window_start_s: float  # only tasks that start from here on are replayed, trace seconds, >= 0
    window_end_s: float  # and before this; infinite for all; another window for evaluation is another trace
    duration_min_s: float  # shorter durations are raised to this, trace seconds, > 0; the file rounds to seconds
    duration_max_s: float  # longer durations are cut to this, trace seconds
    size_scale: float  # bits for one that the profiles name, > 0
    sizes: tuple[SizeProfile, ...]  # at least one
    deadline: Deadline

    def __post_init__(self) -> None:
        """Check the ranges; the file is read when the first tasks are asked for."""
        check_positive(self, "tasks_per_s", "time_scale", "work_hz", "size_scale", "duration_min_s", "duration_max_s")
        check_within(self, "window_start_s", 0.0)
        if math.isnan(self.window_end_s) or self.window_end_s <= self.window_start_s:
            raise refuse(self, "window_end_s", f"a number > window_start_s = {self.window_start_s}, or .inf")
        if self.duration_max_s < self.duration_min_s:
            raise refuse(self, "duration_max_s", f"a number >= duration_min_s = {self.duration_min_s}")
        if not self.path:
            raise refuse(self, "path", "'spar' or the path of a file")
        if not self.sizes:
            raise refuse(self, "sizes", "at least one profile")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        rows = self._rows()
        begin, turn = draws.uniform(streams.PHASE, 2)
        kept = _replay(rows, draws, begin * rows.window_s, horizon_s / self.time_scale, self._kept_share(topology))
        created_s = kept.position_s * self.time_scale
        row, job = kept.row[created_s < horizon_s], kept.job[created_s < horizon_s]  # rounding
        created_s = created_s[created_s < horizon_s]
        devices = topology.device_nodes
        node = devices[(rows.job_hash[rows.job[row]] + int(turn * len(devices))) % len(devices)]
        duration_s = rows.duration_s[row].clip(self.duration_min_s, self.duration_max_s)
        work_cycles = duration_s * rows.cores[row] * (self.time_scale * self.work_hz)
        names, job = np.unique(job, return_inverse=True)
        size_bits, result_bits = draw_sizes(draws, self.sizes, self.size_scale, job, len(names))
        due_s = self.deadline.due_s(draws, topology, created_s, node, work_cycles)
        priority = np.zeros(len(row), np.int64)
        return TaskTable(created_s, node, size_bits, result_bits, work_cycles, due_s, priority)

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per (edge) second of the whole network, over the place where a world begins."""
        return self.tasks_per_s * int(topology.is_device.sum())

    def _rows(self) -> TraceRows:
        return read_trace(self.path, float(self.window_start_s), float(self.window_end_s))

    def _kept_share(self, topology: Topology) -> float:
        """Return the part of the jobs that is replayed; raise ConfigError if the trace has too few."""
        rows = self._rows()
        offered = len(rows.start_s) / rows.window_s / self.time_scale / int(topology.is_device.sum())
        if self.tasks_per_s > offered:
            raise ConfigError(
                f"Trace.tasks_per_s = {self.tasks_per_s}; the window has {len(rows.start_s)} tasks in "
                f"{rows.window_s:g} s: at time_scale = {self.time_scale} and with {int(topology.is_device.sum())} "
                f"devices that is {offered:.4g} each; expected at most that, or a smaller time_scale"
            )
        return self.tasks_per_s / offered


class _Kept(NamedTuple):
    """Tasks of one replay, in order."""

    position_s: F8  # trace seconds since the replay began
    row: I8
    job: I8  # from 0, another number in each turn of the window


def _replay(rows: TraceRows, draws: Draws, begin_s: float, length_s: float, kept_share: float) -> _Kept:
    """Return the tasks of the kept jobs in ``length_s`` trace seconds that begin at ``begin_s`` of the window."""
    n_jobs = len(rows.job_hash)
    parts = []
    for turn in range(int((begin_s + length_s) // rows.window_s) + 1):
        shift_s = turn * rows.window_s - begin_s
        first, last = np.searchsorted(rows.start_s, (-shift_s, length_s - shift_s))
        if first == last:
            continue
        job = rows.job[first:last]
        lowest = int(job.min())
        kept_job = draws.uniform(streams.THINNING, int(job.max()) + 1 - lowest, turn * n_jobs + lowest) < kept_share
        row = first + np.flatnonzero(kept_job[job - lowest])
        parts.append(_Kept(rows.start_s[row] + shift_s, row, rows.job[row] + turn * n_jobs))
    if not parts:
        return _Kept(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    position_s, row, job = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return _Kept(position_s, row, job)
