"""Edge applications: each device runs one, which sends tasks while it is active and none while it is idle."""

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
from envs.workloads.checks import check_positive, check_within, refuse
from envs.workloads.laws import Amount, Deadline, draw_choices
from envs.workloads.workload import TaskTable, Workload

_UNIT_EXPONENTIAL = Amount(law="exponential", mean=1.0, spread=0.0)
_GUESS_FACTOR = 1.3  # spare places over the mean count; a larger count is filled a second time
_GUESS_PLACES = 64


@dataclass(frozen=True)
class AppProfile:
    """One application; its work and sizes are exponential with the given means."""

    name: str
    share: float  # of the devices, relative to the other applications, > 0
    interarrival_s: float  # mean time between tasks while active, > 0
    active_s: float  # length of an active period, > 0
    idle_s: float  # length of the idle period after it, >= 0
    size_bits: float  # mean upload, >= 0
    result_bits: float  # mean download, >= 0
    work_cycles: float  # mean work, > 0
    deadline: Deadline

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "share", "interarrival_s", "active_s", "work_cycles")
        for field in ("idle_s", "size_bits", "result_bits"):
            check_within(self, field, 0.0)


@dataclass(frozen=True)
class EdgeApps(Workload):
    """Poisson tasks within active periods that alternate with idle ones, both of fixed length, as in EdgeCloudSim.

    A device draws its application for an episode by the shares, and its place in the cycle of periods at instant 0
    uniformly, so that the process is stationary. (Sonmez, Ozgovde, Ersoy, "EdgeCloudSim: an environment for
    performance evaluation of edge computing systems", Trans. Emerging Telecommunications Technologies 29, 2018.)
    """

    rate_scale: float  # tasks for one that the profiles name, > 0; periods keep their length
    apps: tuple[AppProfile, ...]  # at least one

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "rate_scale")
        if not self.apps:
            raise refuse(self, "apps", "at least one application")

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        devices, numbers = topology.device_nodes, np.arange(len(self.apps))
        app_of_device = draw_choices(draws, streams.APPLICATION, len(devices), numbers, self._columns[0])
        created_s, owner = self._instants(draws, app_of_device, horizon_s)
        order = np.argsort(created_s, kind="stable")
        created_s, owner = created_s[order], owner[order]
        node, app = devices[owner], app_of_device[owner]
        _, _, _, _, size_bits, result_bits, work = self._columns
        work_cycles = _UNIT_EXPONENTIAL.draw(draws, streams.WORK, len(node)) * work[app]
        due_s = np.empty(len(node), np.float64)
        for number, profile in enumerate(self.apps):
            is_of_app = app == number
            due_s[is_of_app] = profile.deadline.due_s(draws, topology, created_s, node, work_cycles)[is_of_app]
        return TaskTable(
            created_s=created_s,
            node=node,
            size_bits=_UNIT_EXPONENTIAL.draw(draws, streams.SIZE, len(node)) * size_bits[app],
            result_bits=_UNIT_EXPONENTIAL.draw(draws, streams.RESULT, len(node)) * result_bits[app],
            work_cycles=work_cycles,
            due_s=due_s,
            priority=np.zeros(len(node), np.int64),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, over the draw of applications as well."""
        share, interarrival_s, active_s, idle_s, *_ = self._columns
        each_hz = self.rate_scale / interarrival_s * active_s / (active_s + idle_s)
        return float(np.average(each_hz, weights=share)) * int(topology.is_device.sum())

    def _instants(self, draws: Draws, app_of_device: I8, horizon_s: float) -> tuple[F8, I8]:
        """Return instants and the device's place in the list of devices, device by device."""
        _, interarrival_s, active_s, idle_s, *_ = np.take(self._columns, app_of_device, axis=1)
        rate_hz = self.rate_scale / interarrival_s
        begun_s = draws.uniform(streams.PHASE, len(app_of_device)) * (active_s + idle_s)
        places = int(_GUESS_FACTOR * horizon_s * float(rate_hz.sum())) + _GUESS_PLACES
        while True:
            created_s, owner = np.empty(places, np.float64), np.empty(places, np.int64)
            count = fill_active(
                created_s, owner, float(horizon_s), rate_hz, active_s, idle_s, begun_s,
                draws.key, np.uint64(streams.GAPS), draws.world_id, draws.episode,
            )  # fmt: skip
            if count <= places:
                return created_s[:count], owner[:count]
            places = count

    @cached_property
    def _columns(self) -> F8:
        """Rows share, interarrival_s, active_s, idle_s, size_bits, result_bits and work_cycles of the applications."""
        rows = [
            [a.share, a.interarrival_s, a.active_s, a.idle_s, a.size_bits, a.result_bits, a.work_cycles]
            for a in self.apps
        ]
        return np.array(rows, np.float64).T.copy()


@kernel
def fill_active(
    created_s: F8,
    owner: I8,
    horizon_s: float,
    rate_hz: F8,
    active_s: F8,
    idle_s: F8,
    begun_s: F8,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> int:
    """Fill instants and owners with as many arrivals as fit; return how many there are.

    A device's process is a Poisson process of its own active time, which stands still while the device is idle.
    """
    count = 0
    drawn = 0
    for device in range(rate_hz.size):
        cycle_s = active_s[device] + idle_s[device]
        clock_s = min(begun_s[device], active_s[device])  # active time since the first cycle began
        while True:
            first, second = unit_pair(key, np.uint64(drawn >> 1), stream, world_id, episode)
            clock_s -= math.log(second if drawn & 1 else first) / rate_hz[device]
            drawn += 1
            cycles = math.floor(clock_s / active_s[device])
            instant_s = cycles * cycle_s + (clock_s - cycles * active_s[device]) - begun_s[device]
            if instant_s >= horizon_s:
                break
            if count < created_s.size:
                created_s[count] = max(instant_s, 0.0)  # rounding at a period's end
                owner[count] = device
            count += 1
    return count
