"""What sites have seen, kept in shards until the master learns from it or it is too old."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from edge_rllib.algorithms import checks
from envs.rng import key_from_seed


@dataclass(frozen=True)
class ExperienceParams:
    """Values of shared experience."""

    share: bool  # the master learns from what sites have seen; else from what they send of their policies alone
    n_shards: int
    most_stale: int  # generations that experience may be older than the newest
    most_steps: int  # env steps that a shard keeps of one site
    prob: float  # chance that a site sends a generation's experience

    def __post_init__(self) -> None:
        checks.positive(self, "n_shards", "most_steps")
        checks.not_negative(self, "most_stale")
        checks.in_unit_interval(self, "prob")


class Seen(NamedTuple):
    """A fragment of a site's worlds."""

    site: str
    generation: int
    version: int  # of the population's policy that the site took over last
    n_steps: int  # env steps
    rollout: Any  # a Rollout, or a reference to one


class Shard:
    """Experience of some sites, oldest first."""

    def __init__(self, values: ExperienceParams) -> None:
        """Begin empty."""
        self._values = values
        self._kept: dict[str, deque[Seen]] = {}
        self._newest = -1
        self.counts = {"taken_steps": 0, "stale_steps": 0, "crowded_steps": 0}

    def add(self, fragments: list[Seen]) -> None:
        """Take in fragments of one site; its oldest ones make room."""
        for seen in fragments:
            kept = self._kept.setdefault(seen.site, deque())
            kept.append(seen)
            self._newest = max(self._newest, seen.generation)
            while sum(each.n_steps for each in kept) > self._values.most_steps and len(kept) > 1:
                self.counts["crowded_steps"] += kept.popleft().n_steps

    def take(self, newest: int) -> list[Seen]:
        """Return what is young enough beside generation ``newest``, in the order of sites' names, and forget all."""
        newest = max(newest, self._newest)
        found: list[Seen] = []
        for site in sorted(self._kept):
            for seen in self._kept[site]:
                if newest - seen.generation > self._values.most_stale:
                    self.counts["stale_steps"] += seen.n_steps
                else:
                    self.counts["taken_steps"] += seen.n_steps
                    found.append(seen)
        self._kept.clear()
        return found


def shard_of(site: str, n_shards: int) -> int:
    """Return which shard a site sends to: the same in every process."""
    return key_from_seed(0, site) % n_shards
