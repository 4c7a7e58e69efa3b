"""Reading of trace files: one row a task, in the layout of Alibaba's batch_task.csv or of spar's sample."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.errors import WorkloadError

SPAR = "spar"  # as a path: the sample inside the installed distribution of this name
_SPAR_SAMPLE = "sample_tasks.csv"
_FINISHED = "Terminated"
_PERCENT_A_CORE = 100.0
_SMALLEST_PERCENT = 0.01  # a task that plans no CPU has no work

# https://github.com/alibaba/clusterdata, cluster-trace-v2018, schema.txt
ALIBABA_COLUMNS = (
    "task_name",
    "instance_num",
    "job_name",
    "task_type",
    "status",
    "start_time",
    "end_time",
    "plan_cpu",
    "plan_mem",
)
SPAR_COLUMNS = ("arrival", "job_name", "task_name", "duration", "plan_cpu", "plan_mem", "instance_num")
_LAYOUTS = {len(columns): columns for columns in (ALIBABA_COLUMNS, SPAR_COLUMNS)}
_EXPECTED_COLUMNS = f"{len(ALIBABA_COLUMNS)} ({', '.join(ALIBABA_COLUMNS)}) or {len(SPAR_COLUMNS)} (spar's sample)"


class TraceRows(NamedTuple):
    """The finished tasks of a trace that start within a window, by start."""

    start_s: Annotated[F8, "A", "since the window's start, ascending, in trace seconds"]
    duration_s: Annotated[F8, "A", "in trace seconds"]
    cores: Annotated[F8, "A", "cores that the task planned to use"]
    job: Annotated[I8, "A", "number of the task's job; jobs count from 0 by their first start"]
    job_hash: I8  # CRC-32 of the job's name, one for each job
    window_s: float  # length of the window, trace seconds


def read_trace(path: str, window_start_s: float, window_end_s: float) -> TraceRows:
    """Return the rows of a file, or of spar's sample; a file that has not changed is read once a process.

    Of batch_task.csv the rows with status Terminated count, because the others have no end; an empty plan_cpu counts
    as one core. An infinite window ends one second after the last start. Instances of a task are not told apart.
    """
    file = find_spar() if path == SPAR else Path(path).expanduser()
    try:
        stat = file.stat()
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None
    return _read(file, stat.st_mtime_ns, window_start_s, window_end_s)


@lru_cache(maxsize=1)
def find_spar() -> Path:
    """Return the path of the task sample of the installed distribution spar; none of its code is imported."""
    try:
        distribution = metadata.distribution(SPAR)
    except metadata.PackageNotFoundError:
        raise WorkloadError(
            "trace: path 'spar' needs the distribution spar, which is not installed; run "
            "`pip install edge-rllib[traces]`, or give the path of a file in the layout of Alibaba's batch_task.csv"
        ) from None
    for file in distribution.files or ():
        if file.name == _SPAR_SAMPLE:
            return Path(str(file.locate()))
    raise WorkloadError(f"trace: the installed spar {distribution.version} has no {_SPAR_SAMPLE}; expected spar 0.0.7")


@lru_cache(maxsize=4)
def _read(file: Path, changed_ns: int, window_start_s: float, window_end_s: float) -> TraceRows:
    rows: list[_Row] = []
    latest_s = -math.inf
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            for row in _finished_rows(file, lines):
                latest_s = max(latest_s, row.start_s)
                if window_start_s <= row.start_s < window_end_s:
                    rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, getattr(error, "strerror", None) or str(error)) from None
    if not rows:
        found = f"the last one starts at {latest_s:g} s" if latest_s >= 0.0 else "the file has none"
        raise WorkloadError(
            f"{file}: no finished task starts in the window {window_start_s:g} s to {window_end_s:g} s; {found}"
        )
    rows.sort(key=lambda row: row.start_s)
    number: dict[str, int] = {}
    job = [number.setdefault(row.job_name, len(number)) for row in rows]
    return TraceRows(
        start_s=np.array([row.start_s for row in rows]) - window_start_s,
        duration_s=np.array([row.duration_s for row in rows]),
        cores=np.array([row.cores for row in rows]),
        job=np.array(job, np.int64),
        job_hash=np.array([zlib.crc32(name.encode()) for name in number], np.int64),
        window_s=(latest_s + 1.0 if math.isinf(window_end_s) else window_end_s) - window_start_s,
    )


class _Row(NamedTuple):
    start_s: float
    duration_s: float
    cores: float
    job_name: str


def _finished_rows(file: Path, lines: Iterable[str]) -> Iterator[_Row]:
    """Yield the rows that count; a first line that repeats the names of the columns is passed over."""
    for line, cells in enumerate(csv.reader(lines), start=1):
        columns = _LAYOUTS.get(len(cells))
        if columns is None:
            raise WorkloadError(f"{file}, line {line}: {len(cells)} columns; expected {_EXPECTED_COLUMNS}")
        if line == 1 and cells == list(columns):
            continue
        place = _Place(file, line, dict(zip(columns, cells, strict=True)))
        if columns is ALIBABA_COLUMNS:
            if place.cells["status"] != _FINISHED:
                continue
            start_s = place.number("start_time", 0.0)
            duration_s = place.number("end_time", start_s) - start_s
        else:
            start_s, duration_s = place.number("arrival", 0.0), place.number("duration", 0.0)
        is_planned = bool(place.cells["plan_cpu"])
        cores = place.number("plan_cpu", _SMALLEST_PERCENT) / _PERCENT_A_CORE if is_planned else 1.0
        yield _Row(start_s, duration_s, cores, place.cells["job_name"])


class _Place(NamedTuple):
    """One line of a file, by column."""

    file: Path
    line: int
    cells: dict[str, str]

    def number(self, column: str, lowest: float) -> float:
        """Return a cell's number; raise WorkloadError unless it is finite and at least the lowest."""
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= lowest):
            raise WorkloadError(
                f"{self.file}, line {self.line}, column {column}: {text!r}; expected a finite number >= {lowest:g}"
            )
        return value


def _unreadable(file: Path, reason: str) -> WorkloadError:
    return WorkloadError(
        f"{file}: cannot be read as a trace ({reason}); expected a CSV file in the layout of Alibaba's "
        "batch_task.csv, or the path 'spar' for the sample of the installed distribution spar"
    )
