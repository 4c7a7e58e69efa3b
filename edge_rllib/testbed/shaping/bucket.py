"""A token bucket that remembers when the link will be free: the generic cell rate algorithm of ITU-T I.371."""

from __future__ import annotations

from envs.errors import ConfigError


class TokenBucket:
    """Tells when bits have left a link of a given rate.

    A link that was idle may catch up ``burst_s`` of its rate at most, which hides that a sleeper wakes late.
    """

    def __init__(self, rate_bps: float, burst_s: float) -> None:
        self.set_rate(rate_bps)
        self._burst_s = burst_s
        self._free_s = 0.0

    @property
    def rate_bps(self) -> float:
        """Return the rate."""
        return self._rate_bps

    def set_rate(self, rate_bps: float) -> None:
        """Change the rate of bits that are still to come."""
        if not rate_bps > 0.0:
            raise ConfigError(f"rate_bps = {rate_bps}: expected more than 0")
        self._rate_bps = rate_bps

    def leave_s(self, n_bits: int, now_s: float) -> float:
        """Return when the last of some bits has left that came at ``now_s``; they stand behind all earlier ones."""
        self._free_s = max(self._free_s, now_s - self._burst_s) + n_bits / self._rate_bps
        return max(self._free_s, now_s)
