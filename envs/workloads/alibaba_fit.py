"""Laws fitted to one hour of the Alibaba cluster trace of 2018: 16,749 jobs with 67,634 tasks.

The hour is the sample in the PyPI distribution ``spar`` 0.0.7, the software of "Characterizing and synthesizing task
dependencies of data-parallel jobs in Alibaba cloud" (SoCC 2019, DOI 10.1145/3357223.3362710). Only fitted numbers
stand here, no rows. Seconds are the trace's.
"""

# Tasks of a job, 1 to 30. The 0.36 % of the jobs with more (91 at most) are left out: the mean falls from 4.04 to 3.90.
JOB_TASKS_PROB = (
    0.23506, 0.21356, 0.22061, 0.07935, 0.05594, 0.03714, 0.03248, 0.02364, 0.01821, 0.01690,
    0.01128, 0.01015, 0.00639, 0.00484, 0.00472, 0.00561, 0.00364, 0.00203, 0.00203, 0.00173,
    0.00394, 0.00078, 0.00066, 0.00137, 0.00137, 0.00078, 0.00060, 0.00096, 0.00036, 0.00030,
)  # fmt: skip
TRACE_JOBS_PER_S = 4.6525  # mean arrivals in a second
DAY_S = 86_400.0
