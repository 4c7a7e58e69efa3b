"""What the checks of workloads must reject: impossible tables, files that are no traces, values out of range."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from envs.errors import ConfigError, WorkloadError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.alibaba_like import AlibabaLike
from envs.workloads.diurnal import Diurnal
from envs.workloads.edge_apps import AppProfile, EdgeApps
from envs.workloads.laws import Amount, Deadline, SizeProfile, TaskLaw
from envs.workloads.mmpp import Mmpp
from envs.workloads.negative_binomial import NegativeBinomial
from envs.workloads.peersim_trace import Job, PeersimTrace, read_jobs
from envs.workloads.periodic import Periodic
from envs.workloads.poisson import Poisson
from envs.workloads.schedule import Schedule
from envs.workloads.task_types import NodeSchedule
from envs.workloads.trace import Trace
from envs.workloads.trace_file import read_trace
from envs.workloads.workload import TaskTable, Workload, check_tasks

NO_DEADLINE = Deadline("none", 0.0, 0.0)
TASK = TaskLaw(Amount("fixed", 1e6, 0.0), Amount("fixed", 1e3, 0.0), Amount("fixed", 0.0, 0.0), NO_DEADLINE, ())
PROFILE = SizeProfile("camera", 1.0, 1e6, 1e5)


@pytest.fixture
def pair():
    """Return a network of an edge server, node 0, and a device, node 1."""
    return Topology(
        name="pair",
        node_name=("server", "device"),
        node_type=("server", "device"),
        tier=np.array([1, 0]),
        is_device=np.array([False, True]),
        n_cores=np.ones(2, np.int64),
        core_hz=np.full(2, 1e9),
        queue_places=np.full(2, 10),
        queue_bits=np.full(2, np.inf),
        idle_w=np.zeros(2),
        busy_w=np.zeros(2),
        transmit_w=np.zeros(2),
        position_m=np.zeros((2, 2)),
        link_source=np.array([0, 1]),
        link_target=np.array([1, 0]),
        link_rate_bps=np.full(2, 1e8),
        link_delay_s=np.zeros(2),
        link_channel=np.arange(2),
    )


@dataclasses.dataclass(frozen=True)
class UsersWorkload(Workload):
    """Tasks at 1, 2 and 3 s on the device, with one column replaced."""

    column: str
    values: tuple[float, ...]

    def tasks(self, draws, topology, horizon_s):
        three = np.ones(3)
        table = TaskTable(
            np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1]), three, three, three, 9.0 * three, np.zeros(3, np.int64)
        )
        return table._replace(**{self.column: np.array(self.values)})

    def mean_rate_hz(self, topology):
        return 1.0


def test_the_users_workload_itself_passes(pair):
    table = UsersWorkload("due_s", (9.0, math.inf, 9.0)).tasks(Draws(1, 0, 0), pair, 10.0)
    assert check_tasks(table, pair, "mine").node.dtype == np.int64


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("work_cycles", (1.0, math.nan, 1.0), r"mine: work_cycles of task 1 is nan; it must be a number >= 0"),
        ("size_bits", (1.0, 1.0, -1.0), r"mine: size_bits of task 2 is -1\.0"),
        ("result_bits", (math.inf, 1.0, 1.0), r"mine: result_bits of task 0 is inf"),
        ("due_s", (1.0, math.nan, 1.0), r"mine: due_s of task 1 is nan"),
        ("created_s", (1.0, 3.0, 2.0), r"mine: task 2 is created before task 1; created_s must ascend"),
        ("node", (1, 0, 1), r"mine: task 1 is created at node 0, which is not a device"),
        ("node", (1, 2, 1), r"mine: a task is created at a node outside 0 \.\. 1"),
        ("node", (-1, 1, 1), r"mine: a task is created at a node outside 0 \.\. 1"),
        ("size_bits", (1.0, 1.0), r"mine: size_bits has shape \(2,\), node has \(3,\)"),
    ],
)
def test_an_impossible_table_is_rejected(pair, column, values, message):
    table = UsersWorkload(column, values).tasks(Draws(1, 0, 0), pair, 10.0)
    with pytest.raises(WorkloadError, match=message):
        check_tasks(table, pair, "mine")


GOOD = "M1,1,j_1,1,Terminated,3,13,100.0,0.3\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("M1,1,j_1,1,Terminated,3,13,100.0", r"line 2: 8 columns; expected 9 \(task_name, .*\) or 7 "),
        ("", r"line 2: 0 columns; expected 9"),
        (
            "M1,1,j_1,1,Terminated,soon,13,100.0,0.3",
            r"line 2, column start_time: 'soon'; expected a finite number >= 0",
        ),
        ("M1,1,j_1,1,Terminated,-3,13,100.0,0.3", r"line 2, column start_time: '-3'; expected a finite number >= 0"),
        ("M1,1,j_1,1,Terminated,3,nan,100.0,0.3", r"line 2, column end_time: 'nan'; expected a finite number >= 3"),
        ("M1,1,j_1,1,Terminated,3,2,100.0,0.3", r"line 2, column end_time: '2'; expected a finite number >= 3"),
        ("M1,1,j_1,1,Terminated,3,13,0,0.3", r"line 2, column plan_cpu: '0'; expected a finite number >= 0\.01"),
        ("0,j_7,R2_1,five,50.0,0.3,9", r"line 2, column duration: 'five'; expected a finite number >= 0"),
    ],
)
def test_a_malformed_row_is_rejected_with_file_line_and_column(tmp_path, line, message):
    path = tmp_path / "batch_task.csv"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(WorkloadError, match=rf"batch_task\.csv, {message}"):
        read_trace(str(path), 0.0, math.inf)


def test_a_missing_file_is_rejected(tmp_path):
    with pytest.raises(WorkloadError, match=r"none\.csv: cannot be read as a trace \(No such file"):
        read_trace(str(tmp_path / "none.csv"), 0.0, math.inf)


def test_a_folder_is_rejected(tmp_path):
    with pytest.raises(WorkloadError, match=r"cannot be read as a trace \(Is a directory\); expected a CSV file"):
        read_trace(str(tmp_path), 0.0, math.inf)


def test_a_binary_file_is_rejected(tmp_path):
    path = tmp_path / "trace.parquet"
    path.write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(WorkloadError, match=r"trace\.parquet: cannot be read as a trace"):
        read_trace(str(path), 0.0, math.inf)


@pytest.mark.parametrize(
    ("text", "window", "found"),
    [
        (GOOD, (4.0, 9.0), r"in the window 4 s to 9 s; the last one starts at 3 s"),
        (GOOD.replace("Terminated", "Failed"), (0.0, math.inf), r"the file has none"),
        ("", (0.0, math.inf), r"the file has none"),
    ],
)
def test_a_window_without_tasks_is_rejected(tmp_path, text, window, found):
    path = tmp_path / "batch_task.csv"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=rf"no finished task starts .*{found}"):
        read_trace(str(path), *window)


ALIBABA = {
    "tasks_per_s": 1.0, "time_scale": 0.01, "work_hz": 1e9, "index_of_dispersion": 4.0, "lag1_acf": 0.5,
    "diurnal_amplitude": 0.1, "job_tasks_max": 30, "log_mean": 2.0, "log_sd": 1.0, "job_share": 0.6,
    "duration_min_s": 0.5, "duration_max_s": 100.0, "size_scale": 1.0, "sizes": (PROFILE,), "deadline": NO_DEADLINE,
    "device_weights": (),
}  # fmt: skip
TRACE = {
    "path": "spar", "tasks_per_s": 1.0, "time_scale": 0.01, "work_hz": 1e9, "window_start_s": 0.0,
    "window_end_s": math.inf, "duration_min_s": 0.5, "duration_max_s": 100.0, "size_scale": 1.0, "sizes": (PROFILE,),
    "deadline": NO_DEADLINE,
}  # fmt: skip
APP = {
    "name": "app", "share": 1.0, "interarrival_s": 1.0, "active_s": 1.0, "idle_s": 0.0, "size_bits": 1.0,
    "result_bits": 1.0, "work_cycles": 1.0, "deadline": NO_DEADLINE,
}  # fmt: skip
VALID = {
    Amount: {"law": "lognormal", "mean": 1.0, "spread": 0.5},
    Deadline: {"law": "factor", "low": 1.5, "high": 5.0},
    SizeProfile: {"name": "camera", "share": 1.0, "size_bits": 1.0, "result_bits": 1.0},
    TaskLaw: {field.name: getattr(TASK, field.name) for field in dataclasses.fields(TASK)},
    Poisson: {"tasks_per_s": 1.0, "task": TASK},
    Periodic: {"tasks_per_s": 1.0, "offset_drawn": True, "task": TASK},
    NegativeBinomial: {"tasks_per_s": 1.0, "interval_s": 0.1, "r": 1.0, "task": TASK},
    Mmpp: {"calm_tasks_per_s": 1.0, "burst_tasks_per_s": 2.0, "calm_s": 1.0, "burst_s": 1.0, "task": TASK},
    Diurnal: {
        "tasks_per_s": 1.0,
        "amplitude": 0.5,
        "period_s": 9.0,
        "phase_drawn": True,
        "phase_frac": 0.0,
        "task": TASK,
    },
    Schedule: {"pieces": ((1.0, 2.0),), "offset_drawn": True, "task": TASK},
    AlibabaLike: ALIBABA,
    AppProfile: APP,
    EdgeApps: {"rate_scale": 1.0, "apps": (AppProfile(**APP),)},
    Trace: TRACE,
}


@pytest.mark.parametrize("part", VALID, ids=lambda part: part.__name__)
def test_the_values_that_the_broken_ones_replace_are_accepted(part):
    assert part(**VALID[part]) == part(**VALID[part])


@pytest.mark.parametrize(
    ("part", "field", "value", "expected"),
    [
        (Amount, "law", "gaussian", "fixed or uniform or exponential or lognormal"),
        (Amount, "mean", 0.0, "a finite number > 0"),
        (Amount, "mean", math.nan, "a finite number > 0"),
        (Amount, "mean", "7e8", "a finite number > 0"),
        (Amount, "spread", -0.1, "a finite number >= 0"),
        (Deadline, "law", "soon", "none or factor or absolute"),
        (Deadline, "low", 0.0, "a finite number > 0"),
        (Deadline, "high", 1.0, "a number >= low = 1.5"),
        (SizeProfile, "share", 0.0, "a finite number > 0"),
        (SizeProfile, "result_bits", -1.0, "a finite number >= 0"),
        (TaskLaw, "device_weights", (1.0, -1.0), "one finite number >= 0 for each device"),
        (TaskLaw, "device_weights", (0.0, 0.0), "not all 0"),
        (Poisson, "tasks_per_s", 0.0, "a finite number > 0"),
        (Poisson, "tasks_per_s", math.inf, "a finite number > 0"),
        (Periodic, "tasks_per_s", True, "a finite number > 0"),
        (NegativeBinomial, "interval_s", 0.0, "a finite number > 0"),
        (NegativeBinomial, "r", -1.0, "a finite number > 0"),
        (Mmpp, "calm_tasks_per_s", -1.0, "a finite number >= 0"),
        (Mmpp, "burst_tasks_per_s", 0.5, "a number >= calm_tasks_per_s = 1.0"),
        (Mmpp, "calm_s", 0.0, "a finite number > 0"),
        (Diurnal, "amplitude", 1.1, "a finite number >= 0 and <= 1"),
        (Diurnal, "period_s", 0.0, "a finite number > 0"),
        (Diurnal, "phase_frac", 2.0, "a finite number >= 0 and <= 1"),
        (Schedule, "pieces", (), "a list of pairs"),
        (Schedule, "pieces", ((1.0, 2.0, 3.0),), "a list of pairs"),
        (Schedule, "pieces", ((0.0, 2.0),), "duration in seconds > 0"),
        (Schedule, "pieces", ((1.0, 0.0), (2.0, 0.0)), "not all 0"),
        (Schedule, "pieces", ((1.0, 0.0), (2.0, math.nan)), "a list of pairs"),
        (Schedule, "pieces", ((1.0, 0.0), ("long", 1.0)), "a list of pairs"),
        (AlibabaLike, "time_scale", 0.0, "a finite number > 0"),
        (AlibabaLike, "index_of_dispersion", 0.9, "a finite number >= 1"),
        (AlibabaLike, "lag1_acf", 0.75, "a number < 1 - 1 / index_of_dispersion = 0.75"),
        (AlibabaLike, "lag1_acf", 0.8, "a finite number >= 0 and <= 0.75"),
        (AlibabaLike, "job_tasks_max", 31, "an integer from 1 to 30"),
        (AlibabaLike, "job_tasks_max", 2.5, "an integer from 1 to 30"),
        (AlibabaLike, "log_mean", math.inf, "a finite number"),
        (AlibabaLike, "job_share", 1.5, "a finite number >= 0 and <= 1"),
        (AlibabaLike, "duration_max_s", 0.1, "a number >= duration_min_s = 0.5"),
        (AlibabaLike, "sizes", (), "at least one profile"),
        (AlibabaLike, "device_weights", (math.nan,), "one finite number >= 0 for each device"),
        (AppProfile, "active_s", 0.0, "a finite number > 0"),
        (AppProfile, "idle_s", -1.0, "a finite number >= 0"),
        (EdgeApps, "rate_scale", 0.0, "a finite number > 0"),
        (EdgeApps, "apps", (), "at least one application"),
        (Trace, "path", "", "'spar' or the path of a file"),
        (Trace, "window_start_s", -1.0, "a finite number >= 0"),
        (Trace, "window_end_s", 0.0, "a number > window_start_s = 0.0, or .inf"),
        (Trace, "duration_max_s", 0.1, "a number >= duration_min_s = 0.5"),
        (Trace, "sizes", (), "at least one profile"),
    ],
)
def test_a_value_out_of_range_is_rejected_with_field_and_expectation(part, field, value, expected):
    with pytest.raises(ConfigError) as caught:
        part(**{**VALID[part], field: value})
    assert str(caught.value).startswith(f"{part.__name__}.{field} = {value!r}; expected ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("law", ["fixed", "exponential"])
def test_a_spread_that_a_law_does_not_have_is_rejected(law):
    with pytest.raises(ConfigError, match=rf"Amount\.spread = 0\.5; expected 0, because law {law} has no spread"):
        Amount(law, 1.0, 0.5)


def test_a_deadline_that_is_none_takes_no_numbers():
    with pytest.raises(ConfigError, match=r"Deadline\.high = 5\.0; expected a finite number >= 0 and <= 0"):
        Deadline("none", 0.0, 5.0)


def test_weights_for_another_number_of_devices_are_rejected(pair):
    workload = Poisson(5.0, dataclasses.replace(TASK, device_weights=(1.0, 2.0)))
    with pytest.raises(ConfigError, match=r"device_weights has 2 numbers, but pair has 1 devices"):
        workload.tasks(Draws(1, 0, 0), pair, 10.0)


JOB = '{"max_cpu": 100.0, "total_resources_duration": 1, "max_mem": %s}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{1}", r"jobs.json, line 1: not valid JSON"),
        ("[]", r"jobs.json: expected a JSON object of jobs, each an object with max_cpu, total_resources_d"),
        ("{}", r"jobs.json: expected a JSON object of jobs"),
        ('{"j_1": 3}', r"jobs.json: expected a JSON object of jobs"),
        (f'{{"j_1": {JOB % 1}, "j_2": {JOB % -1}}}', r"job 'j_2', key 'max_mem' = -1; expected a finite number >= 0"),
        (f'{{"j_1": {JOB % "true"}}}', r"job 'j_1', key 'max_mem' = True; expected a finite number >= 0"),
        (f'{{"j_1": {JOB % "NaN"}}}', r"job 'j_1', key 'max_mem' = nan; expected a finite number >= 0"),
        (f'{{"j_1": {JOB % 1}}}'.replace("max_mem", "max_memory"), r"job 'j_1': no 'max_mem'; is it 'max_memory'\?"),
    ],
)
def test_files_that_hold_no_jobs_are_refused(tmp_path, text, message):
    path = tmp_path / "jobs.json"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=message):
        read_jobs(path)


PEERSIM_TRACE = PeersimTrace("none.json", 1e9, 1e-3, 8e8, 1.0, 2.0, (NodeSchedule("", ((1.0, 1.0),)),), None)


def test_a_missing_file_of_jobs_is_refused_when_it_is_read(pair):
    with pytest.raises(WorkloadError, match=r"PeersimTrace.path = 'none.json': no such file in .* nor a sample") as one:
        PEERSIM_TRACE.tasks(Draws(1, 0, 0), pair, 1.0)
    assert all(key in str(one.value) for key in Job._fields)
    with pytest.raises(WorkloadError, match=r"cannot be read: No such file"):
        read_jobs(Path("none.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, r"PeersimTrace.path = ''; expected the path of a JSON file"),
        ({"work_hz": 0.0}, r"PeersimTrace.work_hz = 0.0; expected a finite number > 0"),
        ({"time_scale": -1.0}, r"PeersimTrace.time_scale = -1.0; expected"),
        ({"mem_bits": -1.0}, r"PeersimTrace.mem_bits = -1.0; expected"),
        ({"deadline_high_s": 0.5}, r"deadline_low_s = 1.0; expected a number > 0 and <= deadline_high_s = 0.5"),
        ({"schedules": ()}, r"schedules = \(\); expected at least one schedule"),
    ],
)
def test_peersims_traces_refuse_values_out_of_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(PEERSIM_TRACE, **changes)
