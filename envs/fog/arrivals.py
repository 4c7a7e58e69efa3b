"""The tasks that will arrive: one table a world, drawn by the workload when an episode begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from envs.arrays import F8, I8, allocate, check_key, check_saved
from envs.errors import ConfigError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.workload import TaskTable, Workload, check_tasks

_GROWTH = 1.25  # spare room, so that a slightly longer episode does not move all tables


class Arrivals(NamedTuple):
    """The task tables of B worlds, each ended by a row that is never created (created_s infinite)."""

    created_s: Annotated[F8, "B A", "instant of creation, ascending; infinite after the last"]
    node: Annotated[I8, "B A", "device that creates the task"]
    size_bits: Annotated[F8, "B A", "input that travels with the task"]
    result_bits: Annotated[F8, "B A", "output that returns"]
    work_cycles: Annotated[F8, "B A", "cycles on one core"]
    due_s: Annotated[F8, "B A", "deadline; infinite for none"]
    priority: Annotated[I8, "B A", "0 is served first, where nodes serve by priority"]


class ArrivalTables:
    """Holds the tables and replaces a world's when its episode begins."""

    def __init__(self, workload: Workload, topology: Topology, horizon_s: float, n_worlds: int, key: int) -> None:
        """Keep room for the expected number of tasks; the tables grow when an episode has more."""
        self._workload, self._topology, self._horizon_s = workload, topology, horizon_s
        self.key = key
        self._label = f"workload {type(workload).__name__}"
        expected = int(workload.mean_rate_hz(topology) * horizon_s)
        self.batch = allocate(Arrivals, {"B": n_worlds, "A": int(_GROWTH * expected) + 16})
        self.batch.created_s.fill(np.inf)

    def renew(self, b: int, world_id: int, episode: int) -> None:
        """Draw the tasks of one world's episode; raise WorkloadError if they cannot exist."""
        draws = Draws(self.key, world_id, episode)
        table = check_tasks(self._workload.tasks(draws, self._topology, self._horizon_s), self._topology, self._label)
        n_tasks = len(table.node)
        if n_tasks >= self.batch.node.shape[1]:
            self._grow(int(_GROWTH * n_tasks) + 16)
        for column, values in zip(self.batch, table, strict=True):
            column[b, :n_tasks] = values
        self.batch.created_s[b, n_tasks:] = np.inf

    def restore(self, key: Any, saved: Any, label: str) -> None:
        """Take over the tables of a snapshot, of any length; raise ConfigError if they cannot be this scenario's."""
        check_key(key, label)
        created = saved.get("created_s") if isinstance(saved, Mapping) else None
        own = self.batch.created_s
        if isinstance(created, np.ndarray) and created.ndim == own.ndim and created.shape[1] > 0:
            own = np.zeros((len(own), created.shape[1]))
        shapes = dict.fromkeys(Arrivals._fields, own.shape)
        check_saved(saved, self.batch._asdict(), f"{label}, arrivals", shapes)
        endless = np.flatnonzero(~np.isposinf(saved["created_s"][:, -1]))
        if len(endless):
            raise ConfigError(
                f"{label}, arrivals: the tasks of world {endless[0]} have no end; expected infinite created_s last"
            )
        self.key = int(key)
        self.batch = Arrivals(**{name: np.array(saved[name], order="C") for name in Arrivals._fields})

    def _grow(self, n_rows: int) -> None:
        """Move all tables to arrays with more rows."""
        old = self.batch
        self.batch = allocate(Arrivals, {"B": len(old.node), "A": n_rows})
        self.batch.created_s.fill(np.inf)
        for column, values in zip(self.batch, old, strict=True):
            column[:, : values.shape[1]] = values


assert Arrivals._fields == TaskTable._fields
