"""What a workload is: a source of task tables, one for each world and episode, and the check of such a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

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
    floats = {name: np.ascontiguousarray(getattr(table, name), np.float64) for name in table._fields if name != "node"}
    node = np.ascontiguousarray(table.node, np.int64)
    length = len(node)
    for name, values in floats.items():
        if values.shape != (length,):
            raise WorkloadError(f"{label}: {name} has shape {values.shape}, node has ({length},)")
        bad = np.isnan(values) | (values < 0.0)
        if name != "due_s":
            bad |= np.isinf(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise WorkloadError(f"{label}: {name} of task {row} is {values[row]}; it must be a number >= 0")
    created_s = floats["created_s"]
    if length and (np.diff(created_s) < 0.0).any():
        row = int(np.argmax(np.diff(created_s) < 0.0))
        raise WorkloadError(f"{label}: task {row + 1} is created before task {row}; created_s must ascend")
    if length and ((node < 0) | (node >= topology.n_nodes)).any():
        raise WorkloadError(f"{label}: a task is created at a node outside 0 .. {topology.n_nodes - 1}")
    if length and not topology.is_device[node].all():
        row = int(np.argmin(topology.is_device[node]))
        raise WorkloadError(f"{label}: task {row} is created at node {node[row]}, which is not a device")
    return TaskTable(node=node, **floats)
