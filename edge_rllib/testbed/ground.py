"""The ground of a run: what each process is told to be, and the limits of its tier."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.listening import LOOPBACK
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.shaping import cgroups
from edge_rllib.testbed.shaping.namespaces import Cables
from edge_rllib.testbed.shaping.relay import RelayLink

MACHINES = -1  # in the place of a tier: every process on a machine of its own, nothing is slowed


class Ground:
    """Control groups and cables of a run at a tier. ``scale`` stretches time: 2 runs at half the speed."""

    def __init__(self, scenario: BedScenario, tier: int, scale: float) -> None:
        self.tier, self.scale = tier, scale
        self._scenario = scenario
        self._groups = cgroups.open_groups() if tier >= 1 else None
        self._named: list[str] = []
        self._cables: Cables | None = None
        try:
            self._cables = Cables(scenario.n_devices, scenario.n_servers) if tier >= 2 else None
            for device in range(scenario.n_devices if self._cables else 0):
                for server in range(scenario.n_servers):
                    self.set_rate(device, server, scenario.up_bps(device, server) / scale)
        except SetupError:
            self.close()
            raise

    def server_setup(self, server: int) -> dict[str, Any]:
        """Return what a server is told; its cores are those of wall-clock time."""
        params = self._scenario.servers[server]
        is_shared = params.discipline == "processor_sharing"
        cores = float(params.n_lanes) if self.tier == MACHINES else params.cores / self.scale
        groups: list[list[str]] = []
        if is_shared:
            groups = [self._group(f"server{server}", cores)] * params.n_lanes
        else:
            groups = [self._group(f"server{server}lane{i}", cores / params.n_lanes) for i in range(params.n_lanes)]
        return {
            **self._work(),
            "listen": [LOOPBACK, 0],
            "n_lanes": params.n_lanes,
            "cores": cores,
            "is_shared": is_shared,
            "is_throttled": self.tier == 0,
            "groups": [group for group in groups if group],
        }

    def device_setup(self, device: int, addresses: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Return what a device is told; ``addresses`` are those by which it reaches the servers."""
        scenario, work = self._scenario, self._scenario.work
        cores = 1.0 if self.tier == MACHINES else scenario.cores_of(device) / self.scale
        group = self._group(f"device{device}", cores)
        rates_bps = [scenario.up_bps(device, server) / self.scale for server in range(scenario.n_servers)]
        return {
            **self._work(),
            "index": device,
            "seed": scenario.seed,
            "clips": work.clips,
            "frames": list(work.frames),
            "most_faces": work.most_faces,
            "servers": [[host, port, rate] for (host, port), rate in zip(addresses, rates_bps, strict=True)],
            "patience_s": scenario.patience_frac * scenario.deadline_s * self.scale,
            "deadline_s": scenario.deadline_s,
            "scale": self.scale,
            "cores": cores,
            "is_throttled": self.tier == 0,
            "groups": [group] if group else [],
            "namespace": self.namespace(device),
        }

    def relay_setup(self, ports: Sequence[int]) -> dict[str, Any]:
        """Return what the relay is told: a row for each link, devices first, to the servers' ports on this machine."""
        scenario, rows = self._scenario, []
        for device in range(scenario.n_devices):
            for server, port in enumerate(ports):
                host, up_bps, down_bps = LOOPBACK, float("inf"), float("inf")
                if self._cables:
                    host = self._cables.host(device, server)
                else:
                    up_bps = scenario.up_bps(device, server) / self.scale
                    down_bps = scenario.down_bps(device, server) / self.scale
                link = RelayLink(host, LOOPBACK, port, up_bps, down_bps, scenario.link.delay_s * self.scale)
                rows.append(list(dataclasses.astuple(link)))
        return {"links": rows}

    def namespace(self, device: int) -> str:
        """Return the network namespace of a device; empty below tier 2."""
        return self._cables.namespace(device) if self._cables else ""

    def relay_addresses(self, device: int, ports: Sequence[int]) -> list[tuple[str, int]]:
        """Return by which addresses a device reaches the servers, from the relay's ports of all links."""
        n_servers = self._scenario.n_servers
        hosts = [self._cables.host(device, m) if self._cables else LOOPBACK for m in range(n_servers)]
        return [(hosts[m], ports[device * n_servers + m]) for m in range(n_servers)]

    @property
    def is_kernel_shaped(self) -> bool:
        """Return whether the kernel limits the links; else the relay does."""
        return self._cables is not None

    def set_rate(self, device: int, server: int, up_bps: float) -> None:
        """Change the rate from a device to a server where the kernel limits it, in bits a second of wall-clock time."""
        assert self._cables is not None
        self._cables.set_rate(device, server, up_bps, self._scenario.down_bps(device, server) / self.scale)

    def cpu_s(self) -> Mapping[str, float]:
        """Return the CPU time of each control group, network included; empty at tier 0."""
        if self._groups is None:
            return {}
        found = {}
        for name in self._named:
            with contextlib.suppress(OSError):
                found[name] = self._groups.cpu_s(name)
        return found

    def close(self) -> None:
        """Remove groups and cables; their processes have ended."""
        if self._groups is not None:
            self._groups.close()
        if self._cables is not None:
            self._cables.close()

    def __enter__(self) -> Ground:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> dict[str, Any]:
        work = self._scenario.work
        return {"work": [work.jpeg_quality, work.detector], "side_px": work.side_px}

    def _group(self, name: str, cores: float) -> list[str]:
        if self._groups is None:
            return []
        self._named.append(name)
        return self._groups.add(name, cores)
