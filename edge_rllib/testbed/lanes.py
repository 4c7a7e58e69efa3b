"""Lanes: processes that do the stages of one task at a time, each at its share of a core.

A device has one lane, an edge server several. Jobs wait in one queue in the order in which they came. At tier 0 a lane
holds itself back by the CPU time it used; above, a control group does.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgpack

from edge_rllib.testbed.forking import fork_with_pipe
from edge_rllib.testbed.shaping import cgroups
from edge_rllib.testbed.shaping.throttle import Throttle
from edge_rllib.testbed.vision.stages import WorkSettings, run_stages
from envs.errors import EdgeError

log = logging.getLogger(__name__)

USELESS = "nobody waits for it any more"


@dataclass(frozen=True)
class LaneLimits:
    """How fast lanes are."""

    cores: float  # of all lanes together
    is_shared: bool  # whether the jobs being done share the cores; else each lane has an equal part
    is_throttled: bool  # whether lanes hold themselves back; else ``groups`` does, or nothing
    groups: tuple[tuple[str, ...], ...]  # of each lane: files of control groups into which it writes its id


@dataclass(frozen=True)
class StageTime:
    """One stage of one task, as the lane measured it."""

    name: str
    start_s: float  # on the monotonic clock of the lane's machine
    end_s: float  # with the pause that makes the lane as slow as it should be
    cpu_s: float
    n_bytes: int  # of what came out


@dataclass(frozen=True)
class Job:
    """Stages of a task that are to be done."""

    label: Any  # what the owner of the lanes knows it by
    first: int  # index of the first stage
    last: int  # and behind the last
    n_frames: int
    payload: bytes


@dataclass(frozen=True)
class Done:
    """What came of a job."""

    job: Job
    payload: bytes
    stages: tuple[StageTime, ...]
    error: str  # empty: it went well


class Lanes:
    """Some lanes and the queue before them. The constructor forks, so no thread may run yet; ``start`` opens them."""

    def __init__(self, n_lanes: int, limits: LaneLimits, settings: WorkSettings) -> None:
        self._limits, self._n_lanes = limits, n_lanes
        self._n_busy = multiprocessing.get_context("fork").RawValue("i", 0)
        self._lock = threading.Lock()
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._waiting_frames, self._running = 0, dict[int, tuple[Job, float]]()
        self._frame_s = 0.0
        self._cpu_s = 0.0
        self._threads: list[threading.Thread] = []
        self._pipes = [self._fork(lane, settings)[1] for lane in range(n_lanes)]

    def start(self, finished: Callable[[Done], None], frame_cpu_s: float, is_useless: Callable[[Job], bool]) -> None:
        """Begin to serve; ``finished`` hears of each job in a thread of the lane's.

        ``frame_cpu_s`` is the first guess of the CPU time of a frame; measured times take its place. A job that
        ``is_useless`` when its turn comes is not done, and finishes with an error.
        """
        self._is_useless = is_useless
        self._frame_s = frame_cpu_s / min(1.0, self._limits.cores / self._n_lanes)
        for lane, pipe in enumerate(self._pipes):
            thread = threading.Thread(target=self._serve, args=(lane, pipe, finished), name=f"lane-{lane}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        with self._lock:
            self._waiting_frames += job.n_frames
        self._jobs.put(job)

    @property
    def cpu_s(self) -> float:
        """Return the CPU time of all finished jobs."""
        return self._cpu_s

    def frame_s(self) -> float:
        """Return the time that a frame takes in a lane, as a moving average."""
        return self._frame_s

    def n_jobs(self) -> tuple[int, int]:
        """Return how many jobs are being done and how many wait."""
        with self._lock:
            return len(self._running), self._jobs.qsize()

    def backlog_s(self) -> float:
        """Return the expected time until all jobs that are here have been done."""
        now_s = time.monotonic()
        with self._lock:
            left = sum(
                max(job.n_frames * self._frame_s - (now_s - start_s), 0.0) for job, start_s in self._running.values()
            )
            return (left + self._waiting_frames * self._frame_s) / self._n_lanes

    def close(self) -> None:
        """End the lanes: a job that is being done is given up."""
        for pipe in self._pipes:
            pipe.close()
        for _ in self._threads:
            self._jobs.put(None)

    def _fork(self, lane: int, settings: WorkSettings) -> tuple[int, Connection]:
        limits = self._limits
        groups = limits.groups[lane] if limits.groups else ()

        def share() -> float:
            busy = max(1, self._n_busy.value) if limits.is_shared else self._n_lanes
            return min(1.0, limits.cores / busy)

        return fork_with_pipe(lambda pipe: _lane(pipe, share if limits.is_throttled else None, groups, settings))

    def _serve(self, lane: int, pipe: Connection, finished: Callable[[Done], None]) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._waiting_frames -= job.n_frames
                self._running[lane] = (job, time.monotonic())
                self._n_busy.value = len(self._running)
            try:
                done = Done(job, b"", (), USELESS) if self._is_useless(job) else _through(pipe, job)
            except (OSError, EOFError, ValueError) as error:
                done = Done(job, b"", (), f"the lane has ended: {error or type(error).__name__}")
            with self._lock:
                del self._running[lane]
                self._n_busy.value = len(self._running)
                self._learn(done)
            finished(done)

    def _learn(self, done: Done) -> None:
        """Take a job's times into the moving averages; whole jobs only, since most of the work is one stage."""
        self._cpu_s += sum(stage.cpu_s for stage in done.stages)
        if any(stage.name == "detect" for stage in done.stages) and done.job.n_frames:
            took_s = done.stages[-1].end_s - done.stages[0].start_s
            self._frame_s += 0.3 * (took_s / done.job.n_frames - self._frame_s)


def _through(pipe: Connection, job: Job) -> Done:
    """Send a job to a lane and wait for what comes of it."""
    pipe.send_bytes(msgpack.packb([job.first, job.last, job.payload]))
    payload, rows, error = msgpack.unpackb(pipe.recv_bytes())
    return Done(job, payload, tuple(StageTime(*row) for row in rows), error)


def _lane(pipe: Connection, share: Callable[[], float] | None, groups: Sequence[str], settings: WorkSettings) -> None:
    """Do jobs until the pipe is closed: the life of a lane's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who closes the pipe
    cgroups.enter(groups)
    throttle = None if share is None else Throttle(share)
    with contextlib.suppress(EOFError, OSError):
        while True:
            first, last, payload = msgpack.unpackb(pipe.recv_bytes())
            pipe.send_bytes(msgpack.packb(_done(payload, first, last, settings, throttle)))


def _done(payload: bytes, first: int, last: int, settings: WorkSettings, throttle: Throttle | None) -> list[Any]:
    """Return [payload, rows of StageTime, error]."""
    rows: list[list[Any]] = []
    start_s, cpu_start_s = time.monotonic(), time.thread_time()

    def after(name: str, result: bytes) -> None:
        nonlocal start_s, cpu_start_s
        cpu_s = time.thread_time() - cpu_start_s
        if throttle is not None:
            throttle.pause()
        end_s = time.monotonic()
        rows.append([name, start_s, end_s, cpu_s, len(result)])
        start_s, cpu_start_s = end_s, time.thread_time()

    if throttle is not None:
        throttle.begin()
    try:
        return [run_stages(payload, first, last, settings, after), rows, ""]
    except (EdgeError, ValueError, KeyError, TypeError, IndexError) as error:  # what a strange payload can cause
        log.warning("a task failed: %s: %s", type(error).__name__, error)
        return [b"", rows, f"{type(error).__name__}: {error}"]
