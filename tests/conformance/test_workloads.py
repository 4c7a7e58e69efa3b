"""Every registered workload keeps the contract on a small network, with the values of its yaml."""

import dataclasses
import importlib
import math
import pickle
import pkgutil

import numpy as np
import pytest

import envs.workloads
from envs import registry
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.camera_clips import CameraClips
from envs.workloads.mec_profiles import MecProfiles
from envs.workloads.multiuser_tasks import MultiuserTasks
from envs.workloads.vision_clips import VisionClips
from envs.workloads.workload import Workload, check_tasks

NAMES = registry.names("workload")
HORIZON_S = 50.0
FROM_THE_START = (CameraClips, MecProfiles, MultiuserTasks, VisionClips)  # their first period begins at instant 0


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory):
    """Return a made file: 900 jobs of two tasks in an hour."""
    path = tmp_path_factory.mktemp("trace") / "batch_task.csv"
    rows = (
        f"M{part},1,j_{job},1,Terminated,{4 * job + part},{4 * job + part + 1 + job % 90},100.0,0.1\n"
        for job in range(900)
        for part in (0, 1)
    )
    path.write_text("".join(rows))
    return str(path)


@pytest.fixture(params=NAMES)
def workload(request, part, trace_file):
    return part("workload", {"name": "trace", "path": trace_file} if request.param == "trace" else request.param)


@pytest.fixture
def topology():
    """Return two devices, nodes 0 and 2, and an edge server between them, node 1."""
    return Topology(
        name="three",
        node_name=("left", "server", "right"),
        node_type=("device", "server", "device"),
        tier=np.array([0, 1, 0]),
        is_device=np.array([True, False, True]),
        n_cores=np.full(3, 4),
        core_hz=np.full(3, 1.4e9),
        queue_places=np.full(3, 10),
        queue_bits=np.full(3, np.inf),
        idle_w=np.zeros(3),
        busy_w=np.zeros(3),
        transmit_w=np.zeros(3),
        position_m=np.zeros((3, 2)),
        link_source=np.array([0, 1, 1, 2]),
        link_target=np.array([1, 0, 2, 1]),
        link_rate_bps=np.full(4, 1e8),
        link_delay_s=np.zeros(4),
        link_channel=np.arange(4),
    )


def columns(table):
    return [column.tolist() for column in table]


def test_fields_have_no_defaults_and_cannot_be_changed(workload):
    assert isinstance(workload, Workload)
    assert dataclasses.fields(workload)
    for field in dataclasses.fields(workload):
        assert field.default is field.default_factory is dataclasses.MISSING
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(workload, field.name, None)


def test_tasks_are_possible_sorted_and_within_the_horizon(workload, topology):
    table = workload.tasks(Draws(1, 0, 0), topology, HORIZON_S)
    checked = check_tasks(table, topology, "test")
    assert all(before is after for before, after in zip(table, checked, strict=True))  # exact dtypes, nothing copied
    assert 0.0 <= table.created_s[0] <= table.created_s[-1] < HORIZON_S
    assert (table.work_cycles > 0.0).all()
    assert (table.due_s > table.created_s).all()


def test_tasks_are_a_function_of_key_world_and_episode(workload, topology):
    tables = {
        name: columns(workload.tasks(Draws(*name), topology, HORIZON_S))
        for name in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 2**31, 0)]
    }
    assert columns(workload.tasks(Draws(1, 0, 0), topology, HORIZON_S)) == tables[1, 0, 0]
    for a in tables:
        for b in tables:
            assert (tables[a] == tables[b]) is (a == b)


def test_a_pickled_workload_gives_the_same_tasks(workload, topology):
    before = columns(workload.tasks(Draws(1, 0, 0), topology, HORIZON_S))
    restored = pickle.loads(pickle.dumps(workload))
    assert restored == workload
    assert columns(restored.tasks(Draws(1, 0, 0), topology, HORIZON_S)) == before


def test_a_horizon_of_almost_nothing_gives_a_valid_table(workload, topology):
    lengths = {
        len(check_tasks(workload.tasks(Draws(1, world, 0), topology, 1e-6), topology, "test").node)
        for world in range(20)
    }
    assert 0 in lengths or isinstance(workload, FROM_THE_START)


def test_the_long_run_rate_is_the_mean_rate(workload, topology):
    n_worlds = 400
    seen = np.array(
        [len(workload.tasks(Draws(3, world, 0), topology, HORIZON_S).node) / HORIZON_S for world in range(n_worlds)]
    )
    error = max(seen.std() / math.sqrt(n_worlds), 0.5 / HORIZON_S)  # periodic counts differ by rounding alone
    assert seen.mean() == pytest.approx(workload.mean_rate_hz(topology), abs=4.0 * error)


def test_every_kernel_was_compiled_for_one_signature(workload, topology):
    workload.tasks(Draws(1, 0, 0), topology, HORIZON_S)
    compiled = {}
    for module in pkgutil.iter_modules(envs.workloads.__path__, "envs.workloads."):
        for name, value in vars(importlib.import_module(module.name)).items():
            compiled[name] = len(getattr(value, "signatures", ()))
    assert {name: count for name, count in compiled.items() if count > 1} == {}
