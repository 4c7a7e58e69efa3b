"""Replay of a file: each number from its cell to the task table, windows, thinning by jobs, and spar's sample."""

import dataclasses
import math
import sys

import numpy as np
import pytest

from envs.errors import ConfigError, WorkloadError
from envs.rng import Draws
from envs.workloads.laws import Deadline, SizeProfile
from envs.workloads.trace import Trace
from envs.workloads.trace_file import find_spar, read_trace

# task_name, instance_num, job_name, task_type, status, start_time, end_time, plan_cpu, plan_mem
FOUR_TASKS = """\
M1,2,j_1,1,Terminated,3,13,100.0,0.3
R2_1,1,j_1,1,Terminated,6,8,50.0,0.2
task_x,1,j_2,12,Failed,4,0,100.0,0.2
M1,1,j_3,1,Terminated,1,1,200.0,0.2
M1,1,j_2,1,Terminated,7,10,,0.2
"""
# By start: j_3 at 1 for 0 s on 2 cores, j_1 at 3 for 10 s on 1, j_1 at 6 for 2 s on 1/2, j_2 at 7 for 3 s on 1.


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write_text(text):
        path = tmp_path / "tasks.csv"
        path.write_text(text)
        return str(path)

    return write_text


@pytest.fixture
def replay(write):
    """Return a replay of all four tasks on two devices: 4 tasks in 8 s at scale 1/2 are 0.5 tasks/s for each."""
    return Trace(
        path=write(FOUR_TASKS),
        tasks_per_s=0.5,
        time_scale=0.5,
        work_hz=1e9,
        window_start_s=0.0,
        window_end_s=math.inf,
        duration_min_s=0.25,
        duration_max_s=1e6,
        size_scale=1.0,
        sizes=(SizeProfile("camera", 1.0, 1e6, 1e5),),
        deadline=Deadline("none", 0.0, 0.0),
    )


def test_rows_that_terminated_are_read_by_start(write):
    rows = read_trace(write(FOUR_TASKS), 0.0, math.inf)
    assert rows.start_s.tolist() == [1.0, 3.0, 6.0, 7.0]
    assert rows.duration_s.tolist() == [0.0, 10.0, 2.0, 3.0]
    assert rows.cores.tolist() == [2.0, 1.0, 0.5, 1.0]  # an empty plan_cpu is one core
    assert rows.job.tolist() == [0, 1, 1, 2]
    assert len(set(rows.job_hash.tolist())) == 3
    assert rows.window_s == 8.0  # a second after the last start


def test_only_the_window_is_read(write):
    rows = read_trace(write(FOUR_TASKS), 3.0, 7.0)
    assert rows.start_s.tolist() == [0.0, 3.0]
    assert rows.job.tolist() == [0, 0]
    assert rows.window_s == 4.0


def test_a_line_of_column_names_is_passed_over(write):
    header = "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n"
    assert len(read_trace(write(header + FOUR_TASKS), 0.0, math.inf).start_s) == 4


def test_a_changed_file_is_read_again(write):
    assert len(read_trace(write(FOUR_TASKS), 0.0, math.inf).start_s) == 4
    assert len(read_trace(write(FOUR_TASKS * 2), 0.0, math.inf).start_s) == 8


def test_each_task_is_replayed_once_in_each_turn_of_the_window(replay, star):
    table = replay.tasks(Draws(1, 0, 0), star(2, core_hz=1e9), 8.0)  # two turns of 8 s at scale 1/2
    # duration * time_scale * work_hz * cores; a duration of 0 counts as 0.25 s
    once = [0.25 * 0.5 * 1e9 * 2.0, 10.0 * 0.5 * 1e9, 2.0 * 0.5 * 1e9 * 0.5, 3.0 * 0.5 * 1e9]
    assert sorted(table.work_cycles.tolist()) == pytest.approx(sorted(once * 2))
    assert table.created_s[4:] == pytest.approx(table.created_s[:4] + 4.0)
    assert (np.diff(table.created_s) >= 0.0).all()


def test_starts_keep_their_distances_in_edge_seconds(replay, star):
    table = replay.tasks(Draws(1, 0, 0), star(2), 8.0)
    longest = np.argmax(table.work_cycles)  # j_1 at 3 s; j_2 at 7 s has 1.5e9 cycles
    after = longest + 2
    assert table.work_cycles[after] == pytest.approx(1.5e9)
    assert table.created_s[after] - table.created_s[longest] == pytest.approx(4.0 * 0.5)


def test_worlds_begin_at_different_places_of_the_window(replay, star):
    first_s = [replay.tasks(Draws(1, world, 0), star(2), 8.0).created_s[0] for world in range(20)]
    assert len(set(first_s)) == 20


def test_tasks_of_a_job_go_to_one_device_that_worlds_draw(replay, star):
    devices = set()
    for world in range(20):
        table = replay.tasks(Draws(1, world, 0), star(2), 4.0)
        of_job = table.node[np.isin(table.work_cycles, (5e9, 0.5e9))]  # j_1
        assert len(of_job) == 2
        assert len(set(of_job.tolist())) == 1
        devices.update(of_job.tolist())
    assert devices == {1, 2}


def synthetic(n_jobs):
    """Return lines of jobs of two tasks, one job a second; task durations tell the job: 1 + job seconds."""
    return "".join(
        f"M{part},1,j_{job},1,Terminated,{job + part},{2 * job + part + 1},100.0,0.1\n"
        for job in range(n_jobs)
        for part in (0, 1)
    )


def test_jobs_are_kept_whole_and_as_many_as_the_rate_asks_for(replay, write, star):
    thin = dataclasses.replace(replay, path=write(synthetic(2_000)), time_scale=0.01, tasks_per_s=20.0)
    kept = []
    for world in range(40):
        job = np.round(thin.tasks(Draws(1, world, 0), star(2), 15.0).work_cycles / 1e7).astype(int)
        kept.append(len(job))
        tasks_of_job = np.bincount(job)
        assert (tasks_of_job == 1).sum() <= 4  # cut by the seam, the beginning or the horizon
        assert tasks_of_job.max() == 2
    # 600 tasks in pairs: 300 pairs of 1,500 kept with probability 0.2, each counting 2
    assert np.mean(kept) == pytest.approx(600.0, abs=4.0 * 2.0 * math.sqrt(1_500 * 0.2 * 0.8 / 40))


def test_another_turn_of_the_window_keeps_other_jobs(replay, write, star):
    thin = dataclasses.replace(replay, path=write(synthetic(200)), time_scale=0.01, tasks_per_s=20.0)
    table = thin.tasks(Draws(1, 0, 0), star(2), 4.0)
    job = np.round(table.work_cycles / 1e7).astype(int)
    first, second = (set(job[(table.created_s // 2.01) == turn].tolist()) for turn in (0, 1))
    # each turn keeps a fifth of the jobs, so about a fifth of the first turn's jobs come again
    assert len(first) > 20
    assert 0 < len(first & second) < 0.5 * len(first)


def test_more_tasks_than_the_trace_has_are_refused(replay, star):
    greedy = dataclasses.replace(replay, tasks_per_s=0.6)
    with pytest.raises(ConfigError, match=r"tasks_per_s = 0\.6; the window has 4 tasks in 8 s.* 2 devices.*0\.5 each"):
        greedy.tasks(Draws(1, 0, 0), star(2), 1.0)


def test_a_quiet_part_of_the_trace_gives_an_empty_table(replay, star):
    tables = [replay.tasks(Draws(1, world, 0), star(2), 0.01) for world in range(20)]
    lengths = [len(table.node) for table in tables]
    assert 0 in lengths
    assert all(column.shape == (0,) for column in tables[lengths.index(0)])


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make a folder the only one that holds distributions, and install a distribution spar with the given files."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    find_spar.cache_clear()

    def install(files):
        info = tmp_path / "spar-0.0.7.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spar\nVersion: 0.0.7\n")
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield install
    find_spar.cache_clear()


def test_the_sample_of_an_installed_spar_is_found_and_read(installed):
    # arrival, job, task, duration, plan_cpu, plan_mem, instances
    sample = "0,j_7,R2_1,5,50.0,0.3,9\n0,j_7,M1,7,100.0,0.3,1\n4,j_9,task_y,0,100.0,0.1,1\n"
    # The package raises on import, so that the test fails if its code is imported.
    installed({"spar/__init__.py": "raise RuntimeError", "spar/data/samples/sample_tasks.csv": sample})
    rows = read_trace("spar", 0.0, math.inf)
    assert rows.start_s.tolist() == [0.0, 0.0, 4.0]
    assert rows.duration_s.tolist() == [5.0, 7.0, 0.0]
    assert rows.cores.tolist() == [0.5, 1.0, 1.0]
    assert rows.job.tolist() == [0, 0, 1]


def test_without_spar_the_error_tells_what_to_install(installed):
    with pytest.raises(WorkloadError, match=r"not installed; run `pip install edge-rllib\[traces\]`"):
        read_trace("spar", 0.0, math.inf)


def test_a_spar_without_its_sample_is_refused(installed):
    installed({"spar/__init__.py": ""})
    with pytest.raises(WorkloadError, match=r"spar 0\.0\.7 has no sample_tasks\.csv"):
        read_trace("spar", 0.0, math.inf)
