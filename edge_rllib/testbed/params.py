"""What a testbed scenario says. Times, rates and cores are those of the scenario; a run may stretch or squeeze time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from envs.errors import ConfigError
from envs.rng import check_seed

MOST_DEVICES, MOST_SERVERS = 64, 16


@dataclass(frozen=True)
class WorkParams:
    """The tasks: clips in which faces are to be found."""

    side_px: int  # of a square frame, 64 to 2048
    frames: tuple[int, int]  # least and most frames of a task
    most_faces: int  # in a frame
    clips: int  # different clips of a device, from which its tasks are drawn
    jpeg_quality: int  # of frames after the stage decode, 1 to 95
    detector: Literal["lbp", "haar"]  # haar needs the extra testbed-opencv

    def __post_init__(self) -> None:
        _within(self, "side_px", 64, 2048)
        _within(self, "most_faces", 0, 100)
        _within(self, "clips", 1, 1000)
        _within(self, "jpeg_quality", 1, 95)
        if not 1 <= self.frames[0] <= self.frames[1] <= 1000:
            raise ConfigError(f"frames = {list(self.frames)}: expected [least, most] with 1 <= least <= most <= 1000")


@dataclass(frozen=True)
class ServerParams:
    """An edge server."""

    cores: float  # cores of the machine on which the testbed runs
    n_lanes: int  # tasks that are served at once; more wait in the order in which they came
    # fifo: each lane has an equal part of the cores. processor_sharing: the tasks being served share the cores equally
    discipline: Literal["fifo", "processor_sharing"]

    def __post_init__(self) -> None:
        _within(self, "cores", 0.01, 1024)
        _within(self, "n_lanes", 1, 64)


@dataclass(frozen=True)
class LinkParams:
    """The links between devices and servers. Rows are devices and columns servers; both repeat if there are more."""

    up_bps: tuple[tuple[float, ...], ...]  # device to server
    down_bps: tuple[tuple[float, ...], ...]  # server to device
    delay_s: float  # each way
    sharing: Literal["own", "shared"]  # shared: devices that upload to one server at the same time share the rate

    def __post_init__(self) -> None:
        for name in ("up_bps", "down_bps"):
            rows = getattr(self, name)
            if not rows or not all(rows) or not all(rate >= 1e3 for row in rows for rate in row):
                raise ConfigError(f"{name} = {[list(row) for row in rows]}: expected rows of rates of at least 1000")
        _within(self, "delay_s", 0.0, 10.0)


@dataclass(frozen=True)
class CostParams:
    """Prices of DC-DRL's system cost, applied to measured seconds and bytes."""

    local_per_gcycle: float  # for 1e9 cycles on a device
    edge_per_gcycle: float  # for 1e9 cycles on an edge server
    per_joule: float  # for the energy of transmitting
    late: float  # for a task that misses its deadline
    transmit_w: float  # power of a device's transmitter
    core_hz: float  # cycles that a second of CPU time stands for

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _within(self, field.name, 0.0, float("inf"))


@dataclass(frozen=True)
class BedScenario:
    """Devices, edge servers, links and tasks of a testbed."""

    name: str  # stem of its file
    n_devices: int  # each creates one task an epoch
    device_cores: tuple[float, ...]  # share of a core of each device, at most 1; repeats if there are more devices
    servers: tuple[ServerParams, ...]
    link: LinkParams
    work: WorkParams
    cost: CostParams
    epoch_s: float  # time between two decisions
    n_epochs: int  # decisions of a run
    deadline_s: float  # of a task, since it was created; a late task is finished all the same
    patience_frac: float  # share of the deadline after which a device stops waiting for an edge server and works itself
    drain_s: float  # how long tasks may take after the last epoch before they count as in flight
    is_partial: bool  # whether the stages of a task may be divided between the device and a server
    seed: int  # of clips, of the tasks drawn from them, and of rules that draw

    def __post_init__(self) -> None:
        check_seed(self.seed)
        _within(self, "n_devices", 1, MOST_DEVICES)
        _within(self, "n_epochs", 1, 1_000_000)
        _within(self, "patience_frac", 0.01, 1e6)
        _within(self, "drain_s", 0.0, 3600.0)
        for name in ("epoch_s", "deadline_s"):
            _within(self, name, 0.01, 3600.0)
        if not 1 <= len(self.servers) <= MOST_SERVERS:
            raise ConfigError(f"{len(self.servers)} servers: expected 1 to {MOST_SERVERS}")
        if not self.device_cores or not all(0.01 <= cores <= 1.0 for cores in self.device_cores):
            raise ConfigError(f"device_cores = {list(self.device_cores)}: expected shares of a core from 0.01 to 1")

    @property
    def n_servers(self) -> int:
        """Return the number of edge servers."""
        return len(self.servers)

    def cores_of(self, device: int) -> float:
        """Return a device's share of a core."""
        return self.device_cores[device % len(self.device_cores)]

    def up_bps(self, device: int, server: int) -> float:
        """Return the rate from a device to a server."""
        return _cell(self.link.up_bps, device, server)

    def down_bps(self, device: int, server: int) -> float:
        """Return the rate from a server to a device."""
        return _cell(self.link.down_bps, device, server)

    def cores(self) -> float:
        """Return the cores of everything together."""
        return sum(self.cores_of(device) for device in range(self.n_devices)) + sum(s.cores for s in self.servers)


def lane_share(server: ServerParams) -> float:
    """Return the share of a core that a lane of a server has while it is alone."""
    cores = server.cores if server.discipline == "processor_sharing" else server.cores / server.n_lanes
    return min(1.0, cores)


def least_scale(scenario: BedScenario) -> float:
    """Return the least stretch of time at which no lane needs more than a whole core."""
    lanes = [scenario.cores_of(device) for device in range(scenario.n_devices)]
    lanes += [s.cores / s.n_lanes for s in scenario.servers if s.discipline == "fifo"]
    return max(lanes)


def _cell(rows: tuple[tuple[float, ...], ...], device: int, server: int) -> float:
    row = rows[device % len(rows)]
    return row[server % len(row)]


def _within(config: Any, name: str, least: float, most: float) -> None:
    value = getattr(config, name)
    if not least <= value <= most:
        raise ConfigError(f"{name} = {value}: expected {least} to {most}")
