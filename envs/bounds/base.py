"""What a bound is: for a figure that is a ratio of sums, the best that a policy can reach in each world.

Figures are taken over the tasks that a policy finished, so a policy can look better by finishing fewer. A bound is
therefore asked with the metric sums of the policy that it is for: it holds for every policy that finished as many
tasks in each world, or turned as many away, as those sums say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.errors import EdgeError
from envs.rng import Draws, key_from_seed
from envs.scenario import Scenario
from envs.workloads.workload import TaskTable, check_tasks


class NoBound(EdgeError):
    """A scenario, or a figure of it, has no such bound; the message says why."""


class Limit(NamedTuple):
    """The best value of a figure in each of W worlds; of several worlds together it is sum(top) / sum(bottom)."""

    top: Annotated[F8, "W", "what the figure adds up, at its best"]
    bottom: Annotated[F8, "W", "what it is taken over"]

    @property
    def value(self) -> float:
        """Return the best value over all worlds; NaN where there is nothing to take it over."""
        bottom = float(self.bottom.sum())
        return float(self.top.sum()) / bottom if bottom > 0.0 else float("nan")


class Bound(ABC):
    """Bounds on figures of the first episodes of worlds that every policy plays."""

    name: str  # as reports say it
    meaning: str  # one sentence: what the value bounds, and for whom
    figures: tuple[str, ...]  # that it can bound; "return" is the return added over agents

    @abstractmethod
    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Prepare the bound of the worlds ``first_world_id``, ..., ``first_world_id + n_worlds - 1``."""

    def limits(self, figure: str, sums: Mapping[str, F8]) -> dict[str, Limit]:
        """Return the limit for each of several policies that played the same worlds."""
        return {policy: self.limit(figure, each) for policy, each in sums.items()}

    def of_all(self, figure: str) -> float:
        """Return the best value for whoever finishes every task, however late; NaN where that is not known."""
        return float("nan")

    @abstractmethod
    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of one of ``figures`` for a policy with these metric sums (W, G)."""


def episode_tasks(scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> list[TaskTable]:
    """Return the tasks of the first episode of each world, the same that the worlds draw themselves."""
    topology, key = scenario.network(), key_from_seed(seed, "world")
    label = f"workload {type(scenario.workload).__name__}"
    horizon_s = float(scenario.params.horizon_s)
    return [
        check_tasks(scenario.workload.tasks(Draws(key, world_id, 0), topology, horizon_s), topology, label)
        for world_id in range(first_world_id, first_world_id + n_worlds)
    ]


def rows_of(tasks: TaskTable, rows: I8) -> TaskTable:
    """Return some tasks of a table."""
    return TaskTable(**{name: column[rows] for name, column in tasks._asdict().items()})


def pooled_tasks(tables: Sequence[TaskTable]) -> TaskTable:
    """Return the tasks of several tables, one after the other."""
    return TaskTable(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in TaskTable._fields})
