"""A tiny network, and the arrivals of many worlds counted in windows."""

from collections.abc import Callable

import numpy as np
import pytest

from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.laws import Amount, Deadline, TaskLaw
from envs.workloads.workload import Workload, check_tasks

KEY = 20_24


def make_star(n_devices: int, core_hz: float) -> Topology:
    """Return a star: node 0 is an edge server, nodes 1 to n_devices are devices that are linked to it."""
    n_nodes = n_devices + 1
    devices = np.arange(1, n_nodes)
    hub = np.zeros(n_devices, np.int64)
    is_device = np.arange(n_nodes) > 0
    return Topology(
        name="star",
        node_name=tuple(f"node_{m}" for m in range(n_nodes)),
        node_type=("server",) + ("device",) * n_devices,
        tier=np.where(is_device, 0, 1),
        is_device=is_device,
        n_cores=np.full(n_nodes, 4),
        core_hz=np.full(n_nodes, core_hz),
        queue_places=np.full(n_nodes, 10),
        queue_bits=np.full(n_nodes, np.inf),
        idle_w=np.zeros(n_nodes),
        busy_w=np.zeros(n_nodes),
        transmit_w=np.zeros(n_nodes),
        position_m=np.zeros((n_nodes, 2)),
        link_source=np.concatenate([devices, hub]),
        link_target=np.concatenate([hub, devices]),
        link_rate_bps=np.full(2 * n_devices, 1e8),
        link_delay_s=np.zeros(2 * n_devices),
        link_channel=np.arange(2 * n_devices),
    )


@pytest.fixture
def star() -> Callable[..., Topology]:
    """Build a star of a number of devices."""

    def build(n_devices: int = 3, core_hz: float = 1e9) -> Topology:
        return make_star(n_devices, core_hz)

    return build


@pytest.fixture
def unit_task() -> TaskLaw:
    """Return the law of tasks that are all alike and have no deadline."""
    return TaskLaw(
        work_cycles=Amount("fixed", 1e6, 0.0),
        size_bits=Amount("fixed", 1e3, 0.0),
        result_bits=Amount("fixed", 0.0, 0.0),
        deadline=Deadline("none", 0.0, 0.0),
        device_weights=(),
    )


@pytest.fixture
def counts() -> Callable[..., np.ndarray]:
    """Count the arrivals of worlds 0 to n_worlds - 1 in windows of one width, (n_worlds, windows)."""

    def count(workload: Workload, topology: Topology, n_worlds: int, n_windows: int, width_s: float) -> np.ndarray:
        edges = np.arange(n_windows + 1) * width_s
        rows = []
        for world in range(n_worlds):
            table = workload.tasks(Draws(KEY, world, 0), topology, float(edges[-1]))
            rows.append(np.histogram(check_tasks(table, topology, "test").created_s, edges)[0])
        return np.array(rows)

    return count
