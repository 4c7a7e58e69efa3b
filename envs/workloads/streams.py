"""Numbers of the random streams that workloads draw from: one a quantity, never shared.

They start at 1000, so that a world that draws under the same key has the numbers below for itself.
"""

GAPS = 1000  # gaps between arrivals
THINNING = 1001  # whether a candidate arrival stands
MODULATION = 1002  # the random rate of doubly stochastic arrivals
PHASE = 1003  # where in its cycle or in its file a world begins
DEVICE = 1004  # the device that a task belongs to
WORK = 1005
SIZE = 1006
RESULT = 1007
DEADLINE = 1008
APPLICATION = 1009  # the application that a task, a job or a device runs
JOB_TASKS = 1010  # tasks of a job
JOB_EFFECT = 1011  # what the durations of a job's tasks share
PROFILE = 1012  # who holds which profile
