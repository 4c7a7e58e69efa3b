"""CPU quotas by control groups: version 1 (``cpu.cfs_quota_us``) and version 2 (``cpu.max``).

Linux kernel documentation, scheduler/sched-bwc.rst and admin-guide/cgroup-v2.rst. The tree of groups is named after the
process that made it, so what a killed run left behind is found and removed by the next.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

from edge_rllib.testbed.errors import SetupError

PERIOD_US = 10_000  # a quota is refilled so often: 25 % of a core is 2.5 ms of every 10
LEAST_QUOTA_US = 1_000  # the kernel refuses less, so small shares have longer periods
MOST_PERIOD_US = 1_000_000  # the kernel refuses more
# The highest that there is: what the quotas allow is had against everything else that the machine does.
_WEIGHT_V2, _SHARES_V1 = 10_000, 262_144
PREFIX = "edge_rllib_"
MOUNTS = Path("/proc/mounts")


class CpuGroups:
    """Control groups of one run."""

    def __init__(self, cpu: Path, accounting: Path, is_v2: bool, name: str) -> None:
        """Take the folders of the cpu and the accounting controllers, which are one folder in version 2."""
        self.is_v2 = is_v2
        self._roots = tuple(dict.fromkeys((cpu, accounting)))  # each once
        self._cpu, self._accounting, self._name = cpu / name, accounting / name, name
        self._groups: list[str] = []
        for root in self._roots:
            self._make(root / name)
        if is_v2:
            for folder in (cpu, cpu / name):
                _write(folder / "cgroup.subtree_control", "+cpu")
            _write(cpu / name / "cpu.weight", str(_WEIGHT_V2))
        else:
            _write(cpu / name / "cpu.shares", str(_SHARES_V1))

    @property
    def version(self) -> int:
        """Return which version of control groups this is."""
        return 2 if self.is_v2 else 1

    def add(self, group: str, cores: float) -> list[str]:
        """Make a group that gets so many cores at most, and return the files into which a process writes its id."""
        period_us = min(MOST_PERIOD_US, max(PERIOD_US, math.ceil(LEAST_QUOTA_US / cores)))
        quota_us = max(LEAST_QUOTA_US, round(cores * period_us))
        for root in self._roots:
            self._make(root / self._name / group)
        self._groups.append(group)
        if self.is_v2:
            _write(self._cpu / group / "cpu.max", f"{quota_us} {period_us}")
        else:
            _write(self._cpu / group / "cpu.cfs_period_us", str(period_us))
            _write(self._cpu / group / "cpu.cfs_quota_us", str(quota_us))
        return [str(root / self._name / group / "cgroup.procs") for root in self._roots]

    def cpu_s(self, group: str) -> float:
        """Return the CPU time that a group's processes have used."""
        if not self.is_v2:
            return int((self._accounting / group / "cpuacct.usage").read_text()) / 1e9
        lines = dict(line.split() for line in (self._cpu / group / "cpu.stat").read_text().splitlines())
        return int(lines["usage_usec"]) / 1e6

    def close(self) -> None:
        """Remove the groups; their processes have ended."""
        for root in self._roots:
            for group in [*self._groups, ""]:
                with contextlib.suppress(OSError):  # a process that is just ending: the next run removes the group
                    (root / self._name / group).rmdir()

    @staticmethod
    def _make(folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot make the control group {folder}: {error.strerror}") from error


def controllers(mounts: Path = MOUNTS) -> tuple[Path, Path, bool]:
    """Return the folders of the cpu and accounting controllers and whether they are of version 2.

    Raises SetupError with the reason where there are none that this process may use.
    """
    v1, v2 = _mounted(mounts.read_text(encoding="utf-8"))
    if "cpu" in v1 and "cpuacct" in v1:
        cpu, accounting, is_v2 = v1["cpu"], v1["cpuacct"], False
    elif v2 is not None and "cpu" in (v2 / "cgroup.controllers").read_text(encoding="utf-8").split():
        cpu, accounting, is_v2 = v2, v2, True
    elif v2 is not None:
        raise SetupError(f"the control groups of {v2} have no cpu controller")
    else:
        raise SetupError("no control groups are mounted")
    for folder in (cpu, accounting):
        if not os.access(folder, os.W_OK):
            raise SetupError(f"no right to make control groups in {folder}; run as root, or let tier 0 do")
    return cpu, accounting, is_v2


def open_groups() -> CpuGroups:
    """Return groups for this process, after removing what dead runs left."""
    cpu, accounting, is_v2 = controllers()
    for root in {cpu, accounting}:
        for folder in root.glob(f"{PREFIX}*"):
            if not Path("/proc", folder.name.removeprefix(PREFIX)).exists():
                for inner in [*folder.glob("*/"), folder]:
                    with contextlib.suppress(OSError):
                        inner.rmdir()
    return CpuGroups(cpu, accounting, is_v2, f"{PREFIX}{os.getpid()}")


def enter(files: Sequence[str]) -> None:
    """Move this process into control groups; those that it forks from here on are in them too."""
    for file in files:
        _write(Path(file), "0")  # 0 is whoever writes


def _mounted(text: str) -> tuple[dict[str, Path], Path | None]:
    """Return the folder of each controller of version 1, and that of version 2, from the text of /proc/mounts."""
    v1: dict[str, Path] = {}
    v2 = None
    for line in text.splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup":
            v1.update((option, Path(folder)) for option in options.split(",") if option in ("cpu", "cpuacct"))
        elif kind == "cgroup2":
            v2 = Path(folder)
    return v1, v2


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="ascii")
    except OSError as error:
        raise SetupError(f"cannot write {text!r} to {file}: {error.strerror}") from error
