"""What a workload is: a source of task tables, one for each world and episode, and the check of such a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.errors import WorkloadError
from envs.rng import Draws
from envs.topologies.topology import Topology


class TaskTable(NamedTuple):
    """The tasks that the devices of one world create in one episode, in order of creation."""

    created_s: Annotated[F8, "A", "instant of creation, seconds since the episode's start, ascending"]
    node: Annotated[I8, "A", "device that creates the task"]
    size_bits: Annotated[F8, "A", "input that travels with the task"]
    result_bits: Annotated[F8, "A", "output that returns"]
    work_cycles: Annotated[F8, "A", "cycles on one core"]
    due_s: Annotated[F8, "A", "deadline, seconds since the episode's start; infinite for none"]
    priority: Annotated[I8, "A", "0 is served first, where nodes serve by priority"]


class Workload(ABC):
    """A recipe for tasks. Subclasses are frozen dataclasses whose fields are the yaml keys, without defaults."""

    @abstractmethod
    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s); a function of the arguments alone."""

    @abstractmethod
    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, averaged over time."""


def check_tasks(table: TaskTable, topology: Topology, label: str) -> TaskTable:
    """Return the table with exact dtypes; raise WorkloadError for NaN, negative, unsorted or misplaced tasks."""
    ints = {name: np.ascontiguousarray(getattr(table, name), np.int64) for name in ("node", "priority")}
    floats = {
        name: np.ascontiguousarray(getattr(table, name), np.float64) for name in table._fields if name not in ints
    }
    node, length = ints["node"], len(ints["node"])
    if ints["priority"].shape != (length,) or (ints["priority"] < 0).any():
        raise WorkloadError(f"{label}: priority must hold {length} numbers >= 0; tasks of priority 0 are served first")
    for name, values in floats.items():
        if values.shape != (length,):
            raise WorkloadError(f"{label}: {name} has shape {values.shape}, node has ({length},)")
        bad = np.isnan(values) | (values < 0.0)
        if name != "due_s":
            bad |= np.isinf(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise WorkloadError(f"{label}: {name} of task {row} is {values[row]}; it must be a number >= 0")
    created_s, due_s = floats["created_s"], floats["due_s"]
    if (due_s < created_s).any():
        row = int(np.argmax(due_s < created_s))
        raise WorkloadError(
            f"{label}: due_s of task {row} is {due_s[row]}, before its creation at {created_s[row]}; deadlines are "
            "instants since the episode's start"
        )
    if length and (np.diff(created_s) < 0.0).any():
        row = int(np.argmax(np.diff(created_s) < 0.0))
        raise WorkloadError(f"{label}: task {row + 1} is created before task {row}; created_s must ascend")
    if length and ((node < 0) | (node >= topology.n_nodes)).any():
        raise WorkloadError(f"{label}: a task is created at a node outside 0 .. {topology.n_nodes - 1}")
    if length and not topology.is_device[node].all():
        row = int(np.argmin(topology.is_device[node]))
        raise WorkloadError(f"{label}: task {row} is created at node {node[row]}, which is not a device")
    columns: dict[str, Any] = {**ints, **floats}
    return TaskTable(**columns)
