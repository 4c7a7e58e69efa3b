"""PeersimGym's trace mode: a job of the file is a kind of task, all equally often, under either semantics."""

import json
import os

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.rng import Draws
from envs.scenario import make
from envs.workloads.peersim_trace import SAMPLES, PeersimTrace
from envs.workloads.task_types import NodeSchedule, TaskTypes

# the other numbers of a job (critical_path_..., total_resources_cpu, ...) change nothing
JOBS = {
    "j_a": {"max_cpu": 100.0, "total_resources_duration": 2000, "max_mem": 0.5, "critical_path_duration": 9.0},
    "j_b": {"max_cpu": 50.0, "total_resources_duration": 500.0, "max_mem": 0.0, "critical_path_duration": 9.0},
    "j_c": {"max_cpu": 200.0, "total_resources_duration": 0.0, "max_mem": 2.0, "critical_path_duration": 9.0},
}
# max_cpu / 100 * duration / 1000 * 1e8; a job without time counts one cycle
WORK_CYCLES = [2e8, 2.5e7, 1.0]
MEM_BITS = [4e8, 0.0, 1.6e9]  # max_mem * 100 MB of 8e6 bits
SCHEDULES = (NodeSchedule("", ((1.0, 50.0),)),)


def trace(path, **changes):
    units = {"work_hz": 1e8, "time_scale": 0.001, "mem_bits": 8e8, "deadline_low_s": 3.0, "deadline_high_s": 5.0}
    return PeersimTrace(**{"path": str(path), **units, "schedules": SCHEDULES, "pattern": None, **changes})


@pytest.fixture
def jobs(tmp_path):
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps(JOBS))
    return path


def test_jobs_become_types_of_equal_shares(jobs):
    types = trace(jobs).as_types()
    assert isinstance(types, TaskTypes)
    assert (types.schedules, types.pattern) == (SCHEDULES, None)
    assert [each.name for each in types.types] == ["j_a", "j_b", "j_c"]
    assert [each.work_cycles for each in types.types] == pytest.approx(WORK_CYCLES)
    assert [each.size_bits for each in types.types] == pytest.approx(MEM_BITS)
    assert [each.result_bits for each in types.types] == pytest.approx(MEM_BITS)
    assert {(each.share, each.deadline_low_s, each.deadline_high_s) for each in types.types} == {(1.0, 3.0, 5.0)}


def test_tasks_are_jobs_equally_often_at_the_rates_of_the_schedules(jobs, star):
    topology = star(2)
    table = trace(jobs).tasks(Draws(7, 0, 0), topology, 60.0)
    n_tasks = len(table.node)
    # 50 a second of each of two devices for a minute: 6000, standard deviation 77
    assert n_tasks == pytest.approx(6000, abs=310)
    assert trace(jobs).mean_rate_hz(topology) == 100.0
    counts = [int(np.isclose(table.work_cycles, cycles).sum()) for cycles in WORK_CYCLES]
    assert sum(counts) == n_tasks
    assert np.array(counts) / n_tasks == pytest.approx([1 / 3] * 3, abs=4.0 * np.sqrt(2 / 9 / n_tasks))
    assert np.isclose(table.work_cycles, 2e8).tolist() == np.isclose(table.size_bits, 4e8).tolist()
    after_s = table.due_s - table.created_s
    assert (after_s.min() >= 3.0 - 1e-9, after_s.max() <= 5.0 + 1e-9) == (True, True)


def test_an_unchanged_file_is_read_once_and_a_changed_one_anew(jobs):
    workload = trace(jobs)
    first = workload.as_types()
    assert workload.as_types() is first
    jobs.write_text(json.dumps({"only": JOBS["j_a"]}))
    os.utime(jobs, ns=(1, 1))  # another time, however coarse the clock of the file system
    assert [each.name for each in workload.as_types().types] == ["only"]


def test_paths_count_from_the_working_folder_then_from_the_samples(jobs, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(jobs.parent)
    workload = trace("jobs.json")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert workload.path == str(jobs)
    assert len(workload.as_types().types) == 3
    sample = trace("peersim_jobs.json")
    assert sample.path == "peersim_jobs.json"  # the same on every machine
    assert [each.name for each in sample.as_types().types] == list(
        json.loads((SAMPLES / "peersim_jobs.json").read_text())
    )


def trace_tree(jobs):
    return {"name": "peersim_trace", "path": str(jobs), "work_hz": 1e8, "time_scale": 0.001, "mem_bits": 8e8}


def types_tree():
    """Return the same three types, written out."""
    numbers = zip(JOBS, MEM_BITS, WORK_CYCLES, strict=True)
    law = {"share": 1.0, "deadline_low_s": 2.0, "deadline_high_s": 4.0, "priority": 0}
    types = [{"name": n, "size_bits": b, "result_bits": b, "work_cycles": c, **law} for n, b, c in numbers]
    return {"name": "task_types", "types": types}


def played(workload, **params):
    """Return the scenario and the sums of 64 worlds of a device of 1e9 Hz, 60 slots of a second, half a task each."""
    tree = {
        "world": "fog",
        "topology": "single",
        "topology_seed": 0,
        "workload": {**workload, "schedules": [{"node_type": "", "pieces": [[1.0, 0.5]]}]},
        "params": {"slot_s": 1.0, "horizon_slots": 60, "decide_on": "slots", **params},
    }
    scenario = load_scenario("by_hand", tree)
    world = make(scenario, 64, seed=3)
    out = world.outcome()
    world.reset(None, out)
    decision = np.zeros((64, world.spec.n_agents), np.int64)
    for _ in range(world.spec.horizon_steps):
        world.step(decision, out)
    assert out.truncated.all()
    return scenario, dict(zip(world.spec.sum_names, out.final_sums.T, strict=True))


@pytest.mark.parametrize("semantics", ["correct", "peersim"])
def test_under_either_semantics_episodes_are_those_of_the_same_types(jobs, semantics):
    params = {"semantics": semantics, "peersim": {"type_sampler": "exact"}}
    scenario, sums = played(trace_tree(jobs), **params)
    _, expected = played(types_tree(), **params)
    assert isinstance(scenario.workload, PeersimTrace)
    # half a task a second; with gaps of whole slots 0.454 a slot (the first one beginning at 0)
    rate_hz = {"correct": 0.5, "peersim": 0.454}[semantics]
    mean = 64 * 60 * rate_hz
    assert sums["created"].sum() == pytest.approx(mean, abs=4.0 * np.sqrt(mean) + 64)
    assert sums["completed"].sum() > 0.9 * sums["created"].sum()
    n_compared = 0
    for name, values in sums.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, err_msg=name)
        n_compared += 1
    assert n_compared > 30
