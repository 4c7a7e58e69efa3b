"""Clips of a camera in which faces are looked for, one a period: the tasks of the testbed, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.arrays import F8, I8
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_positive, refuse
from envs.workloads.workload import TaskTable, Workload

N_STAGES = 4  # decode, detect, crop, encode


@dataclass(frozen=True)
class CameraClips(Workload):
    """Each device gets a clip at each period. Cycles and bytes are those of a frame; a clip's own factors vary them.

    World ``testbed`` takes a period as its step and reads the clips by itself.
    """

    period_s: float  # between two clips
    frames: tuple[int, int]  # least and most frames of a clip, evenly drawn
    listed_frames: tuple[tuple[int, ...], ...]  # rows of devices, columns of periods; empty: drawn
    stage_cycles: tuple[float, float, float, float]  # of decode, detect, crop and encode
    overhead_s: float  # of a frame, however fast the processor is
    cut_bytes: tuple[float, float, float, float]  # raw, and after each stage but the last
    result_bytes: float  # after the last stage
    work_spread_frac: float  # standard deviation of a clip's own factor on cycles, mean 1, log-normal
    bytes_spread_frac: float  # the same on bytes after the first stage
    deadline_s: float  # after creation

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        check_positive(self, "period_s", "deadline_s", "result_bytes")
        for name in ("stage_cycles", "cut_bytes"):
            if not all(0.0 < value < math.inf for value in getattr(self, name)):
                raise refuse(self, name, "finite numbers > 0")
        for name in ("overhead_s", "work_spread_frac", "bytes_spread_frac"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise refuse(self, name, "a finite number of at least 0")
        low, high = self.frames
        if not 1 <= low <= high:
            raise refuse(self, "frames", "[least, most] with 1 <= least <= most")
        rows = self.listed_frames
        if rows and (len({len(row) for row in rows}) > 1 or not rows[0] or min(map(min, rows)) < 1):
            raise refuse(self, "listed_frames", "rows of the same length, of whole numbers of at least 1")

    def listed(self, n_devices: int, n_periods: int) -> I8:
        """Return the given frames, (N, T), or (0, 0) where they are drawn; refuse too few, or of other devices."""
        rows = self.listed_frames
        if not rows:
            return np.zeros((0, 0), np.int64)
        if len(rows) != n_devices or len(rows[0]) < n_periods:
            raise refuse(self, "listed_frames", f"{n_devices} rows of at least {n_periods} numbers, or none")
        return np.array([row[:n_periods] for row in rows], np.int64)

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the clips created in [0, horizon_s), whole and of mean work."""
        devices = topology.device_nodes
        n_periods = max(math.ceil(horizon_s / self.period_s), 1)
        instants: F8 = np.arange(n_periods, dtype=np.float64) * self.period_s
        created_s: F8 = np.repeat(instants[instants < horizon_s], len(devices))
        low, high = self.frames
        drawn: F8 = draws.uniform(streams.WORK, len(created_s))
        n_frames = low + np.floor(drawn * (high - low + 1))
        return TaskTable(
            created_s=created_s,
            node=np.tile(devices, len(created_s) // max(len(devices), 1)),
            size_bits=8.0 * self.cut_bytes[0] * n_frames,
            result_bits=8.0 * self.result_bytes * n_frames,
            work_cycles=sum(self.stage_cycles) * n_frames,
            due_s=created_s + self.deadline_s,
            priority=np.zeros(len(created_s), np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the tasks per second of the whole network."""
        return int(topology.is_device.sum()) / self.period_s
