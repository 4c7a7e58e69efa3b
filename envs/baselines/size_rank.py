"""Size rank: split the tasks among the servers by how large they are, the same way in every slot.

With three tasks and two servers, the largest and the smallest go to the fast one and the middle one to the slow one.
Every device can decide so by itself where it knows all sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import F8, I8
from envs.baselines.base import Choice, Rule
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.errors import ConfigError
from envs.mec.observe import MecView


@dataclass(frozen=True)
class SizeRank(Rule):
    """Give each server tasks in proportion to its speed: the extremes to the fastest, the middle to the slowest.

    Numbers are rounded by the largest remainder, the faster server first. The fastest server takes from both ends of
    the tasks sorted by work: the largest, the smallest, the second largest, and so on until it has its number; the
    next one goes on from there. Of tasks with equal work the earlier device's counts as larger. A device that may not
    use its server stays local.
    """

    share: float  # part of each task that is sent

    worlds: ClassVar[tuple[str, ...]] = ("mec",)

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"size_rank: share = {self.share}: expected a value in [0, 1]")

    def decide(self, view: MecView, step: int, draws: RuleDraws) -> Choice:
        """Return the server that the rank of its task gives to every agent."""
        by_size = np.argsort(-view.work_cycles, axis=1, kind="stable")
        server = np.empty(view.has_task.shape, np.int64)
        for b, order in enumerate(by_size):
            server[b, order[_both_ends(len(order))]] = servers_in_turn(view.server_hz[b], len(order))
        allowed = np.take_along_axis(view.target_mask, 1 + server[:, :, None], axis=2)[:, :, 0]
        return Choice(np.where(allowed, 1 + server, LOCAL), np.full(server.shape, self.share))


def servers_in_turn(server_hz: F8, n_tasks: int) -> I8:
    """Return the server of each task, (n_tasks,): the fastest as often as its speed gives it tasks, then the next."""
    from_fastest = np.argsort(-server_hz, kind="stable")
    exact = n_tasks * server_hz[from_fastest] / server_hz.sum()
    number = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(-(exact - number), kind="stable")
    number[by_remainder[: n_tasks - int(number.sum())]] += 1
    return np.repeat(from_fastest, number)


def _both_ends(n: int) -> I8:
    """Return 0, n - 1, 1, n - 2, ...: places of a sorted list, taken from both ends in turn."""
    return np.array([i // 2 if i % 2 == 0 else n - 1 - i // 2 for i in range(n)], np.int64)
