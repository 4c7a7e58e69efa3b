"""What a population refuses."""

from __future__ import annotations

from envs.errors import EdgeError


class PushError(EdgeError):
    """What a site sent cannot be one of the population: not finite, of another size, or of a site that is not known."""
