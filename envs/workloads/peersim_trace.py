"""Jobs of a cluster trace as kinds of tasks, as PeersimGym's trace mode (``simtype="basic-workload"``) makes them.

The file is what PeersimGym's cleaner writes of Alibaba's batch_task.csv: a JSON object of jobs, each with numbers. A
job becomes one independent task with max_cpu / 100 cores for total_resources_duration, and max_mem of input and of
output. Every job comes equally often; arrivals and the order among a job's parts are not in the file. (M. Freitas et
al., "PeersimGym", ECML PKDD 2024, commit aff2286: its draws have no seed; these follow the world's.)
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import WorkloadError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.checks import check_positive, check_within, refuse
from envs.workloads.task_types import NodeSchedule, RatePattern, TaskType, TaskTypes
from envs.workloads.workload import TaskTable, Workload

SAMPLES = Path(__file__).parent / "samples"
_PERCENT_A_CORE = 100.0
_LEAST_CYCLES = 1.0  # of a job that the trace gives no time or no CPU; a task without work does not exist


class Job(NamedTuple):
    """What is read of a job, in the file's units."""

    max_cpu: float  # hundredths of a core
    total_resources_duration: float
    max_mem: float


@dataclass(frozen=True)
class PeersimTrace(Workload):
    """Poisson tasks that are jobs of a file, each drawn uniformly; see the module.

    A file is read wherever a world is built: on a cluster it must lie on storage that every machine sees. A relative
    path counts from the working folder, else from the samples that come with the package.
    """

    path: str  # JSON file of jobs
    work_hz: float  # cycles per second of a core of the trace, > 0
    time_scale: float  # (edge) seconds for one of the file's unit of durations, > 0; PeersimGym's is 0.001
    mem_bits: float  # bits of input, and of output, for one of the file's unit of memory, >= 0
    deadline_low_s: float  # shortest time from creation to the deadline; both 0: no deadline
    deadline_high_s: float  # longest one; the law between them is uniform
    schedules: tuple[NodeSchedule, ...]  # at least one; each device has exactly one
    pattern: RatePattern | None  # null: the schedules' own pieces

    def __post_init__(self) -> None:
        """Check all but the file, which is read when its jobs are asked for; make its path absolute."""
        check_positive(self, "work_hz", "time_scale")
        check_within(self, "mem_bits", 0.0)
        if not self.path:
            raise refuse(self, "path", "the path of a JSON file of jobs")
        self._types_of({"job": Job(_PERCENT_A_CORE, 1.0, 0.0)})
        if Path(self.path).expanduser().is_file():  # other processes work in other folders
            object.__setattr__(self, "path", str(Path(self.path).expanduser().resolve()))

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s); raise WorkloadError for a file that cannot be read."""
        return self.as_types().tasks(draws, topology, horizon_s)

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, over the listed pieces or over the pattern."""
        return self.as_types().mean_rate_hz(topology)

    def as_types(self) -> TaskTypes:
        """Return the same tasks as types, one for each job in the file's order; an unchanged file is read once."""
        file = _find(self.path)
        return _cached(self, file, file.stat().st_mtime_ns)

    def _types_of(self, jobs: Mapping[str, Job]) -> TaskTypes:
        work_cycles = self.time_scale * self.work_hz / _PERCENT_A_CORE
        types = tuple(
            TaskType(
                name=name,
                share=1.0,
                size_bits=job.max_mem * self.mem_bits,
                result_bits=job.max_mem * self.mem_bits,
                work_cycles=max(job.max_cpu * job.total_resources_duration * work_cycles, _LEAST_CYCLES),
                deadline_low_s=self.deadline_low_s,
                deadline_high_s=self.deadline_high_s,
                priority=0,
            )
            for name, job in jobs.items()
        )
        return TaskTypes(types, self.schedules, self.pattern)


def read_jobs(file: Path) -> dict[str, Job]:
    """Return the jobs of a file by name; raise WorkloadError naming file, job and key."""
    try:
        contents: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except json.JSONDecodeError as error:
        raise WorkloadError(f"{file}, line {error.lineno}: not valid JSON: {error.msg}") from None
    if not isinstance(contents, dict) or not contents or not all(isinstance(job, dict) for job in contents.values()):
        raise WorkloadError(f"{file}: expected a JSON object of jobs, each an object with {', '.join(Job._fields)}")
    return {name: Job(*(_number(file, name, job, key) for key in Job._fields)) for name, job in contents.items()}


@lru_cache(maxsize=4)
def _cached(workload: PeersimTrace, file: Path, changed_ns: int) -> TaskTypes:
    return workload._types_of(read_jobs(file))


def _find(path: str) -> Path:
    for candidate in (Path(path).expanduser(), SAMPLES / path):
        if candidate.is_file():
            return candidate
    raise WorkloadError(
        f"PeersimTrace.path = {path!r}: no such file in {Path.cwd()}, nor a sample; expected a JSON file of jobs with "
        f"{', '.join(Job._fields)}"
    )


def _number(file: Path, name: str, job: Mapping[str, Any], key: str) -> float:
    if key not in job:
        near = difflib.get_close_matches(key, list(job), n=1, cutoff=0.5)
        hint = f"; is it {near[0]!r}?" if near else ""
        raise WorkloadError(f"{file}, job {name!r}: no {key!r}{hint}")
    value = job[key]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and value >= 0.0):
        raise WorkloadError(f"{file}, job {name!r}, key {key!r} = {value!r}; expected a finite number >= 0")
    return float(value)
