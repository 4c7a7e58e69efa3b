"""What can go wrong with an exported policy."""

from __future__ import annotations

from envs.errors import EdgeError


class PolicyError(EdgeError, ValueError):
    """A policy cannot be exported, or an exported one cannot be read or used."""
