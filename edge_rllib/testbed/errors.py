"""Errors of the testbed: what a machine lacks, and what a peer does wrong."""

from __future__ import annotations

from envs.errors import EdgeError


class SetupError(EdgeError):
    """The testbed cannot be built on this machine as asked: a package, a port, a right or a process is missing."""


class FrameError(EdgeError, ValueError):
    """A peer sent something that is no frame of ours: garbage, another version, another token, damaged or too large."""


class PeerGone(EdgeError, ConnectionError):
    """A peer closed the connection, or it broke."""


class PeerSilent(EdgeError, TimeoutError):
    """A peer did not send or take a byte for too long."""
