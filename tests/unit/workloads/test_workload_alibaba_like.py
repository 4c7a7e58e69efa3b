"""The fitted law: bursts in the trace's time, resemblance of a job's tasks, heavy tails, and what time_scale scales."""

import dataclasses
import math

import numpy as np
import pytest

from envs.rng import Draws
from envs.workloads.alibaba_fit import DAY_S, JOB_TASKS_PROB, TRACE_JOBS_PER_S
from envs.workloads.alibaba_like import AlibabaLike
from envs.workloads.laws import Deadline, SizeProfile

TIME_SCALE = 0.5
N_DEVICES = 4
JOBS_PER_S = TRACE_JOBS_PER_S / TIME_SCALE / N_DEVICES  # of each device, so that a trace second has the trace's jobs
DISPERSION, ACF = 4.36, 0.597


@pytest.fixture
def single_jobs():
    """Return a workload whose jobs have one task each and arrive at the trace's rate."""
    return AlibabaLike(
        tasks_per_s=JOBS_PER_S,
        time_scale=TIME_SCALE,
        work_hz=1e9,
        index_of_dispersion=DISPERSION,
        lag1_acf=ACF,
        diurnal_amplitude=0.0,
        job_tasks_max=1,
        log_mean=2.46,
        log_sd=1.77,
        job_share=0.64,
        duration_min_s=1e-9,
        duration_max_s=1e12,
        size_scale=1.0,
        sizes=(SizeProfile("camera", 1.0, 8e6, 8e4),),
        deadline=Deadline("none", 0.0, 0.0),
        device_weights=(),
    )


@pytest.fixture
def jobs(single_jobs):
    """Return a workload with the whole law of tasks per job."""
    return dataclasses.replace(single_jobs, job_tasks_max=30)


def lag1(counts):
    deviation = counts - counts.mean()
    return (deviation[:, :-1] * deviation[:, 1:]).mean() / counts.var()


def test_job_counts_of_a_trace_second_have_the_fitted_dispersion_and_autocorrelation(star, single_jobs, counts):
    # 100,000 counts; their effective number is about a tenth, because neighbours within 5 s are correlated
    seen = counts(single_jobs, star(N_DEVICES), n_worlds=200, n_windows=500, width_s=TIME_SCALE)
    assert seen.mean() == pytest.approx(TRACE_JOBS_PER_S, rel=0.03)
    assert seen.var() / seen.mean() == pytest.approx(DISPERSION, rel=0.05)
    assert lag1(seen) == pytest.approx(ACF, abs=0.03)


def test_at_another_rate_the_law_of_the_modulation_stays(star, single_jobs, counts):
    fewer = dataclasses.replace(single_jobs, tasks_per_s=JOBS_PER_S / 4.0)
    seen = counts(fewer, star(N_DEVICES), n_worlds=200, n_windows=500, width_s=TIME_SCALE)
    # a quarter of the jobs, picked by chance: 1 + (D - 1) / 4
    assert seen.var() / seen.mean() == pytest.approx(1.0 + (DISPERSION - 1.0) / 4.0, rel=0.05)


def test_dispersion_one_is_a_poisson_process(star, single_jobs, counts):
    poisson = dataclasses.replace(single_jobs, index_of_dispersion=1.0, lag1_acf=0.0)
    seen = counts(poisson, star(N_DEVICES), n_worlds=40, n_windows=500, width_s=TIME_SCALE)
    assert seen.var() / seen.mean() == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / seen.size))
    assert abs(lag1(seen)) < 4.0 / math.sqrt(seen.size)


def jobs_of(table):
    """Return the number of each task's job; jobs differ in instants, which are continuous."""
    return np.unique(table.created_s, return_inverse=True)[1]


def log_durations(workload, topology, n_worlds=20):
    """Return the logarithms of durations in trace seconds, and the job of each."""
    logs, numbers, first = [], [], 0
    for world in range(n_worlds):
        table = workload.tasks(Draws(11, world, 0), topology, 100.0)
        logs.append(np.log(table.work_cycles / (workload.time_scale * workload.work_hz)))
        numbers.append(jobs_of(table) + first)
        first = int(numbers[-1].max()) + 1
    return np.concatenate(logs), np.concatenate(numbers)


def test_durations_are_log_normal_with_the_fitted_mean_and_sd(star, jobs):
    logs, _ = log_durations(jobs, star(N_DEVICES))
    n_jobs = 20 * 100.0 * JOBS_PER_S * N_DEVICES / 3.9
    assert logs.mean() == pytest.approx(2.46, abs=4.0 * 1.77 / math.sqrt(n_jobs))
    assert logs.std() == pytest.approx(1.77, rel=4.0 / math.sqrt(2.0 * n_jobs))


def test_tasks_of_a_job_share_the_intraclass_correlation(star, jobs):
    # one-way analysis of variance over jobs of at least two tasks, as the fit was made
    logs, job = log_durations(jobs, star(N_DEVICES))
    size = np.bincount(job)
    keep = size[job] >= 2
    job = np.unique(job[keep], return_inverse=True)[1]
    logs, size = logs[keep], np.bincount(job)
    mean = np.bincount(job, logs) / size
    within = ((logs - mean[job]) ** 2).sum() / (len(logs) - len(size))
    between = (size * (mean - logs.mean()) ** 2).sum() / (len(size) - 1)
    typical_size = (len(logs) - (size**2).sum() / len(logs)) / (len(size) - 1)
    job_variance = (between - within) / typical_size
    assert len(size) > 3_000
    assert job_variance / (job_variance + within) == pytest.approx(0.64, abs=0.03)
    assert math.sqrt(within) == pytest.approx(1.77 * math.sqrt(0.36), rel=0.03)


def test_tasks_of_a_job_come_together_at_one_device(star, jobs):
    table = jobs.tasks(Draws(11, 0, 0), star(N_DEVICES), 50.0)
    job = jobs_of(table)
    first = np.unique(job, return_index=True)[1]
    assert (np.bincount(job) > 1).any()
    assert table.node.tolist() == table.node[first][job].tolist()
    assert set(table.node.tolist()) == {1, 2, 3, 4}


def test_the_number_of_tasks_of_a_job_follows_the_fitted_probabilities(star, jobs):
    size = np.bincount(log_durations(jobs, star(N_DEVICES))[1])
    share = np.bincount(size, minlength=31)[1:] / len(size)
    expected = np.array(JOB_TASKS_PROB) / sum(JOB_TASKS_PROB)
    assert share == pytest.approx(expected, abs=4.0 * math.sqrt(0.25 / len(size)))
    assert size.max() > 20


def test_the_number_of_tasks_of_a_job_is_cut_at_the_maximum(star, jobs):
    few = dataclasses.replace(jobs, job_tasks_max=2)
    size = np.bincount(log_durations(few, star(N_DEVICES))[1])
    one = JOB_TASKS_PROB[0] / sum(JOB_TASKS_PROB[:2])
    assert set(size.tolist()) == {1, 2}
    assert (size == 1).mean() == pytest.approx(one, abs=4.0 * math.sqrt(0.25 / len(size)))


def test_the_task_rate_does_not_depend_on_the_tasks_per_job(star, jobs, counts):
    seen = counts(jobs, star(N_DEVICES), n_worlds=100, n_windows=1, width_s=100.0)
    rate_hz = jobs.mean_rate_hz(star(N_DEVICES))
    assert rate_hz == pytest.approx(JOBS_PER_S * N_DEVICES)
    # a job's mean square over its mean is 9; slow modulation adds about (D - 1) * 9 to the dispersion of job counts
    sd = math.sqrt(rate_hz * 100.0 * 4.0 * (9.0 + 3.4 * 9.0))
    assert seen.mean() == pytest.approx(rate_hz * 100.0, abs=4.0 * sd / math.sqrt(100))


def test_durations_are_clipped(star, jobs):
    clipped = dataclasses.replace(jobs, duration_min_s=5.0, duration_max_s=50.0)
    logs, _ = log_durations(clipped, star(N_DEVICES), n_worlds=2)
    assert np.exp(logs.min()) == pytest.approx(5.0)
    assert np.exp(logs.max()) == pytest.approx(50.0)


def test_time_scale_scales_work_and_bursts_alike(star, jobs):
    # Half the scale, half the horizon, twice the rate: the same draws, so the same tasks in half the time.
    half = dataclasses.replace(jobs, time_scale=TIME_SCALE / 2.0, tasks_per_s=2.0 * JOBS_PER_S)
    long, short = jobs.tasks(Draws(5, 0, 0), star(), 40.0), half.tasks(Draws(5, 0, 0), star(), 20.0)
    assert len(long.node) > 100
    assert short.created_s == pytest.approx(long.created_s / 2.0)
    assert short.work_cycles == pytest.approx(long.work_cycles / 2.0)
    assert short.size_bits.tolist() == long.size_bits.tolist()


def test_the_diurnal_factor_has_the_period_of_a_day_of_the_trace(star, single_jobs, counts):
    # A day of the trace is 4 s here, amplitude 1: half a day apart, means are 1 + x and 1 - x times the mean.
    day = dataclasses.replace(
        single_jobs, time_scale=4.0 / DAY_S, index_of_dispersion=1.0, lag1_acf=0.0, diurnal_amplitude=1.0,
        tasks_per_s=50.0,
    )  # fmt: skip
    seen = counts(day, star(N_DEVICES), n_worlds=30, n_windows=4, width_s=1.0)
    both_halves = seen[:, :2] + seen[:, 2:]
    assert both_halves.mean() == pytest.approx(400.0, abs=4.0 * math.sqrt(400.0 / both_halves.size))
    assert both_halves.var() < 800.0 < seen.var()  # Poisson: 400; a sinusoid: 200 + (2 sqrt(2) / pi * 200)**2 / 2
    assert np.corrcoef(seen[:, 0], seen[:, 2])[0, 1] < -0.9


def test_sizes_are_those_of_a_profile_drawn_for_each_job(star, jobs):
    profiles = (SizeProfile("small", 1.0, 1e3, 0.0), SizeProfile("large", 3.0, 1e9, 2e9))
    table = dataclasses.replace(jobs, sizes=profiles, size_scale=2.0).tasks(Draws(1, 0, 0), star(), 400.0)
    is_large = table.result_bits > 0.0
    assert table.size_bits[is_large].mean() == pytest.approx(2e9, abs=4.0 * 2e9 / math.sqrt(is_large.sum()))
    assert table.size_bits[~is_large].mean() == pytest.approx(2e3, abs=4.0 * 2e3 / math.sqrt((~is_large).sum()))
    job = jobs_of(table)
    of_job = np.bincount(job, is_large) / np.bincount(job)
    assert set(of_job.tolist()) == {0.0, 1.0}
    assert of_job.mean() == pytest.approx(0.75, abs=4.0 * math.sqrt(0.75 * 0.25 / len(of_job)))
