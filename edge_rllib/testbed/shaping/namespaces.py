"""Links of the kernel's own: a network namespace a device, a pair of virtual cables a link, a token bucket at each end.

The kernel limits the rate (tc-tbf(8)). It adds no delay, because the queue that can (netem) is absent from many
kernels: the delay stays in user space. Everything is named after the process that made it.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edge_rllib.testbed.errors import SetupError

PREFIX = "ertb"
FOLDER = Path("/var/run/netns")
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MTU_BYTES = 1500
_FIRST_OCTET, _N_OCTETS = 64, 192
_LATENCY_MS = 200  # how long a packet may wait in the bucket's queue before it is dropped
_LEAST_BURST_BYTES = 4 * _MTU_BYTES
_BURST_S = 0.005


class Cables:
    """Namespaces and cables of one run; each link is a network of two addresses in 10.B.0.0/16, B free before."""

    def __init__(self, n_devices: int, n_servers: int) -> None:
        clear_dead()
        self._octet = free_octet(_output("ip", "-4", "-o", "addr"), os.getpid())
        self._names = [f"{PREFIX}{os.getpid()}d{device}" for device in range(n_devices)]
        self._n_servers = n_servers
        try:
            for device in range(n_devices):
                self._add(device)
        except SetupError:
            self.close()
            raise

    def namespace(self, device: int) -> str:
        """Return the name of a device's namespace."""
        return self._names[device]

    def host(self, device: int, server: int) -> str:
        """Return the address of the server's end of a link, which the device calls."""
        return self._address(device, server, 1)

    def set_rate(self, device: int, server: int, up_bps: float, down_bps: float) -> None:
        """Limit a link, each way on its own; what waits in the queues stays there."""
        near, far = self._ends(device, server)
        _run("tc", "qdisc", "replace", "dev", near, "root", *_bucket(down_bps))
        _run("ip", "netns", "exec", self._names[device], "tc", "qdisc", "replace", "dev", far, "root", *_bucket(up_bps))

    def close(self) -> None:
        """Remove everything."""
        for device, name in enumerate(self._names):
            for server in range(self._n_servers):  # a namespace takes its cables with it too, but some time later
                _run("ip", "link", "del", self._ends(device, server)[0], is_checked=False)
            _run("ip", "netns", "del", name, is_checked=False)

    def _address(self, device: int, server: int, end: int) -> str:
        """Return one of the two addresses of a link: 64 networks of four fit into a third octet."""
        link = device * self._n_servers + server
        return f"10.{self._octet}.{link // 64}.{4 * (link % 64) + end}"

    def _ends(self, device: int, server: int) -> tuple[str, str]:
        stem = f"e{os.getpid()}d{device}s{server}"  # an interface's name has 15 characters at most
        return f"{stem}a", f"{stem}b"

    def _add(self, device: int) -> None:
        name = self._names[device]
        _run("ip", "netns", "add", name)
        for server in range(self._n_servers):
            near, far = self._ends(device, server)
            _run("ip", "link", "add", near, "mtu", str(_MTU_BYTES), "type", "veth", "peer", "name", far, "netns", name)
            _run("ip", "addr", "add", f"{self._address(device, server, 1)}/30", "dev", near)
            _run("ip", "link", "set", near, "up")
            _run("ip", "-n", name, "addr", "add", f"{self._address(device, server, 2)}/30", "dev", far)
            _run("ip", "-n", name, "link", "set", far, "up")


def enter(namespace: str) -> None:
    """Move this process into a network namespace; sockets that it has stay where they were made."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (FOLDER / namespace).open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise SetupError(f"cannot enter the network namespace {namespace}: {os.strerror(ctypes.get_errno())}")


def check() -> None:
    """Raise SetupError with the reason where namespaces and token buckets cannot be made; tries one of each."""
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise SetupError(f"the program {program} is missing; install iproute2")
    if os.geteuid() != 0:
        raise SetupError("network namespaces need root")
    name, near = f"{PREFIX}{os.getpid()}try", f"e{os.getpid()}try"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", "e0", "netns", name)
        _run("tc", "qdisc", "replace", "dev", near, "root", *_bucket(1e6))
    finally:
        _run("ip", "netns", "del", name, is_checked=False)


def free_octet(addresses: str, start: int) -> int:
    """Return B of a range 10.B.0.0/16 of which the machine has no address, 64 to 255, so that runs do not meet.

    ``addresses`` is what ``ip -o addr`` prints; the search begins at a place that depends on ``start``.
    """
    taken = {int(found) for found in re.findall(r"\binet 10\.(\d+)\.", addresses)}
    for step in range(_N_OCTETS):
        octet = _FIRST_OCTET + (start + step) % _N_OCTETS
        if octet not in taken:
            return octet
    raise SetupError("no range from 10.64.0.0/16 to 10.255.0.0/16 is free for the links of a run")


def clear_dead() -> None:
    """Remove the namespaces of runs whose process is gone."""
    if not FOLDER.is_dir():
        return
    for entry in FOLDER.iterdir():
        owner = entry.name.removeprefix(PREFIX).partition("d")[0]
        if entry.name.startswith(PREFIX) and owner.isdigit() and not Path("/proc", owner).exists():
            _run("ip", "netns", "del", entry.name, is_checked=False)


def _bucket(rate_bps: float) -> Sequence[str]:
    burst_bytes = max(_LEAST_BURST_BYTES, int(rate_bps * _BURST_S / 8))
    return ("tbf", "rate", f"{max(int(rate_bps), 8)}bit", "burst", str(burst_bytes), "latency", f"{_LATENCY_MS}ms")


def _run(*command: str, is_checked: bool = True) -> None:
    _output(*command, is_checked=is_checked)


def _output(*command: str, is_checked: bool = True) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{' '.join(command)}: {error}") from error
    if is_checked and done.returncode != 0:
        raise SetupError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
