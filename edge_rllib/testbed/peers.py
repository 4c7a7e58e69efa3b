"""How a process of the testbed joins a run: it calls the controller, says who it is, and is told what to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_rllib.testbed.errors import FrameError
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.listening import call
from envs.errors import EdgeError

ROLES = ("relay", "server", "device")
SETUP_WAIT_S = 120.0  # a controller may wait for other machines; who has waited so long comes again


def join(
    host: str, port: int, token: bytes, role: str, index: int, wait_s: float = 10.0
) -> tuple[Channel, dict[str, Any]]:
    """Return the connection to the controller and what it wants this process to be; index -1 takes any free one."""
    channel = call(host, port, token, wait_s)
    try:
        channel.send("hello", role=role, index=index)
        return channel, dict(expect(channel.receive(SETUP_WAIT_S), "setup").fields)
    except EdgeError:
        channel.close()
        raise


def expect(frame: Frame, kind: str) -> Frame:
    """Return a frame of the kind that must come here; raise FrameError for another."""
    if frame.kind != kind:
        raise FrameError(f"expected a frame of kind {kind!r}, got {frame.kind!r}")
    return frame


def boot_id() -> str:
    """Return what tells machines apart whose clocks start differently; empty where the system has no such number."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
