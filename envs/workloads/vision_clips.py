"""Clips of films in which faces are looked for, one a period: what was measured on a testbed of Raspberry Pis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.arrays import F8
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.checks import check_choice, check_positive, refuse
from envs.workloads.workload import TaskTable, Workload

# Cycles of each of 23 clips on the testbed's edge server (a PC), 1e9: perf logs in the repository qiuxy23/DC-DRL of
# X. Qiu et al., "Distributed and Collective Deep Reinforcement Learning for Computation Offloading: A Practical
# Perspective", IEEE TPDS 2021. They sum to 8,900.5.
_GIGACYCLES = (
    *(434.7, 450.8, 423.0),  # one film's teaser
    *(343.5, 341.6, 380.3, 345.1, 337.4, 320.6),  # its trailer
    *(317.0, 318.5, 322.2, 317.8, 336.1),  # another trailer
    *(316.4, 324.0, 321.0, 309.0, 318.6),  # another teaser, in parts
    1587.7,  # the same as a whole
    *(233.1, 227.8, 274.3),  # a sneak peek
)
_GIGA = 1e9


@dataclass(frozen=True)
class VisionClips(Workload):
    """Each device gets a clip at each period: the 23 clips in their order, the same for all, or each its own at random.

    The cycles are measured. The sizes of the clips are not published: they are in proportion to the cycles here.
    World ``multiuser`` takes a period as its slot and reads the clips by itself.
    """

    period_s: float  # between two clips
    order: Literal["listed", "random"]  # random: each device's own draw of equal chances
    bits_per_cycle: float  # size of a clip over its work
    deadline_s: tuple[float, float]  # least and most, from the creation of a clip

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive."""
        check_positive(self, "period_s", "bits_per_cycle")
        check_choice(self, "order", ("listed", "random"))
        low, high = self.deadline_s
        if not (math.isfinite(high) and 0.0 < low <= high):
            raise refuse(self, "deadline_s", "two finite numbers > 0, the least and the most")

    def clip_cycles(self) -> F8:
        """Return the work of each clip, (23,)."""
        return np.array(_GIGACYCLES) * _GIGA

    def clip_bits(self) -> F8:
        """Return the size of each clip, (23,)."""
        return self.clip_cycles() * self.bits_per_cycle

    @property
    def work_cycles(self) -> tuple[float, float]:
        """The least and the most work of a clip."""
        return min(_GIGACYCLES) * _GIGA, max(_GIGACYCLES) * _GIGA

    @property
    def size_bits(self) -> tuple[float, float]:
        """The least and the most bits of a clip."""
        low, high = self.work_cycles
        return low * self.bits_per_cycle, high * self.bits_per_cycle

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the clips created in [0, horizon_s)."""
        devices = topology.device_nodes
        n_periods = max(math.ceil(horizon_s / self.period_s), 1)
        created_s = np.arange(n_periods) * self.period_s
        created_s = created_s[created_s < horizon_s]
        clip = np.repeat(np.arange(len(created_s)) % len(_GIGACYCLES), len(devices))
        if self.order == "random":
            clip = (draws.uniform(streams.WORK, len(clip)) * len(_GIGACYCLES)).astype(np.int64)
        instant_s = np.repeat(created_s, len(devices))
        low, high = self.deadline_s
        return TaskTable(
            created_s=instant_s,
            node=np.tile(devices, len(created_s)),
            size_bits=self.clip_bits()[clip],
            result_bits=np.zeros(len(clip)),
            work_cycles=self.clip_cycles()[clip],
            due_s=instant_s + low + (high - low) * draws.uniform(streams.DEADLINE, len(clip)),
            priority=np.zeros(len(clip), np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the tasks per second of the whole network."""
        return int(topology.is_device.sum()) / self.period_s
