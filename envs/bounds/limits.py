"""From times that each task takes at least to limits on the figures of a policy, whatever it leaves unfinished.

The mean response time is taken over finished tasks, so a policy that leaves the slow ones unfinished looks quick. Two
bounds on the sum of the response times of one world allow for that; each uses of the policy only what its sums say:

1. It finished n tasks. They took at least as long as the n tasks that take least, of those that can be home in time.
2. Let a task be alive from its creation until it leaves or the horizon cuts it. A task that was not dropped was alive
   for at least a = min(least response, time to the horizon). All tasks together were therefore alive for at least the
   sum of a, less the largest a's of as many tasks as were dropped. What the unfinished tasks were alive for is known,
   alive_task_s - response_s; the rest is the sum of the response times.

The first is sharp where tasks are dropped, the second where a few are under way when the horizon cuts the episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8
from envs.bounds.base import Limit
from envs.fog import state as s
from envs.workloads.workload import TaskTable

ROUNDING_S = 1e-9  # two orders of adding up a few seconds differ by less


class Floor(NamedTuple):
    """Times that the tasks of one world take at least, if all of them together may save ``saved_s``."""

    finished_s: Annotated[F8, "A", "least response time of each task; infinite if it cannot be home by the horizon"]
    alive_s: Annotated[F8, "A", "least time alive of each task, unless it is dropped"]
    saved_s: float


def floor_of(least_s: F8, tasks: TaskTable, horizon_s: float, saved_s: float = 0.0) -> Floor:
    """Return the floor of tasks with these least response times."""
    left_s = horizon_s - tasks.created_s
    return Floor(
        finished_s=np.where(least_s <= left_s + ROUNDING_S, least_s, np.inf),
        alive_s=np.minimum(least_s, left_s),
        saved_s=saved_s,
    )


def response_limit(floors: Sequence[Floor], sums: F8) -> Limit:
    """Return the limit of the mean response time for policies with these sums (W, G)."""
    n_finished, n_dropped = sums[:, s.COMPLETED], n_dropped_of(sums)
    unfinished_s = sums[:, s.ALIVE_TASK_S] - sums[:, s.RESPONSE_S]
    least_s = np.zeros(len(sums))
    for w, floor in enumerate(floors):
        can_finish = np.sort(floor.finished_s[np.isfinite(floor.finished_s)])
        quickest_s = can_finish[: int(n_finished[w])].sum()
        alive_s = np.sort(floor.alive_s)[: len(floor.alive_s) - int(n_dropped[w])].sum()
        least_s[w] = max(quickest_s - floor.saved_s, alive_s - floor.saved_s - unfinished_s[w], 0.0)
    return Limit(least_s, n_finished.astype(np.float64))


def in_time_limit(n_in_time: F8, sums: F8) -> Limit:
    """Return the limit of the share in time, if at most ``n_in_time`` (W,) tasks of each world can be in time."""
    n_left = sums[:, s.COMPLETED] + n_dropped_of(sums)
    return Limit(np.minimum(n_in_time, n_left), n_left.astype(np.float64))


def n_dropped_of(sums: F8) -> F8:
    """Return the dropped tasks of each world (W,)."""
    dropped: F8 = sums[:, s.DROPPED : s.DROPPED + len(s.DROP_REASONS)].sum(axis=1)
    return dropped
