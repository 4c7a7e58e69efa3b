"""Lanes do jobs in the order of arrival, know their backlog, and turn what goes wrong into a result that says so."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import msgpack
import pytest

from edge_rllib.testbed import lanes
from edge_rllib.testbed.lanes import USELESS, Done, Job, LaneLimits, Lanes
from edge_rllib.testbed.vision.clips import make_clip
from edge_rllib.testbed.vision.stages import STAGE_NAMES, WorkSettings, raw_payload, run_stages

WORK = WorkSettings(80, "lbp")
WAIT_S = 60.0  # longest wait for anything that must come: machines can be busy
PAYLOAD = raw_payload(make_clip((0,), 1, 64, 0))
SHARED = LaneLimits(cores=0.5, is_shared=True, is_throttled=True, groups=())


class Bench:
    """Lanes whose processes are threads of this one, which wait for ``go`` before each job and may be made to die."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n_lanes: int, limits: LaneLimits = SHARED) -> None:
        self.go = threading.Semaphore(0)
        self.begun: queue.Queue[bytes] = queue.Queue()
        self.done: queue.Queue[Done] = queue.Queue()
        self.shares: list[Callable[[], float] | None] = []
        monkeypatch.setattr(lanes, "fork_with_pipe", self.fork)
        monkeypatch.setattr(lanes, "_lane", lambda pipe, share, groups, settings: self.shares.append(share))
        self.lanes = Lanes(n_lanes, limits, WORK)

    def fork(self, body: Callable[[Connection], None]) -> tuple[int, Connection]:
        near, far = Pipe()
        body(far)
        threading.Thread(target=self.serve, args=(far,), daemon=True).start()
        return 0, near

    def serve(self, pipe: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), pipe:
            while True:
                first, last, payload = msgpack.unpackb(pipe.recv_bytes())
                self.begun.put(payload)
                self.go.acquire()
                if payload == b"die":
                    return
                pipe.send_bytes(msgpack.packb(lanes._done(payload, first, last, WORK, None)))

    def start(self, is_useless: Callable[[Job], bool] = lambda job: False) -> None:
        self.lanes.start(self.done.put, frame_cpu_s=0.1, is_useless=is_useless)

    def submit(self, label: str, payload: bytes = PAYLOAD, n_frames: int = 1) -> None:
        self.lanes.submit(Job(label, 0, 4, n_frames, payload))


def test_jobs_are_done_in_the_order_of_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, n_lanes=1)
    bench.start()
    for label in "abc":
        bench.submit(label)
        bench.go.release()

    found = [bench.done.get(timeout=WAIT_S) for _ in range(3)]
    bench.lanes.close()

    assert [done.job.label for done in found] == ["a", "b", "c"]
    assert all(done.payload == run_stages(PAYLOAD, 0, 4, WORK) for done in found)
    assert [stage.name for stage in found[0].stages] == list(STAGE_NAMES)
    assert bench.lanes.cpu_s == pytest.approx(sum(stage.cpu_s for done in found for stage in done.stages))


def test_backlog_counts_what_runs_and_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, n_lanes=1)
    bench.start()
    bench.submit("a", n_frames=2)
    bench.begun.get(timeout=WAIT_S)
    bench.submit("b", n_frames=3)

    # 0.1 s of CPU a frame at 0.5 of a core is 0.2 s a frame: 5 frames, of which the first two have just begun
    assert bench.lanes.frame_s() == pytest.approx(0.2)
    assert 0.6 < bench.lanes.backlog_s() <= 1.0
    assert bench.lanes.n_jobs() == (1, 1)
    bench.go.release(2)
    for _ in range(2):
        bench.done.get(timeout=WAIT_S)
    assert bench.lanes.backlog_s() == 0.0
    bench.lanes.close()


def test_lanes_that_share_have_less_the_more_of_them_work(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, n_lanes=2)
    bench.start()
    share = bench.shares[0]
    assert share is not None

    assert share() == 0.5  # the first to work has it all
    for label in "ab":
        bench.submit(label)
        bench.begun.get(timeout=WAIT_S)
    assert share() == 0.25
    bench.go.release(2)
    for _ in range(2):
        bench.done.get(timeout=WAIT_S)
    assert share() == 0.5
    bench.lanes.close()


def test_lanes_of_their_own_have_equal_parts_whoever_works(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, 2, LaneLimits(cores=0.5, is_shared=False, is_throttled=True, groups=()))

    assert [share() for share in bench.shares if share is not None] == [0.25, 0.25]


def test_lane_above_tier_0_does_not_hold_itself_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, 1, LaneLimits(cores=0.5, is_shared=False, is_throttled=False, groups=(("f",),)))

    assert bench.shares == [None]


def test_job_that_nobody_waits_for_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, n_lanes=1)
    bench.start(is_useless=lambda job: job.label == "b")
    for label in "abc":
        bench.submit(label)
    bench.go.release(2)

    found = [bench.done.get(timeout=WAIT_S) for _ in range(3)]
    bench.lanes.close()

    assert [done.error for done in found] == ["", USELESS, ""]


def test_lane_that_dies_is_told_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, n_lanes=1)
    bench.start()
    bench.submit("a", b"die")
    bench.go.release()

    assert bench.done.get(timeout=WAIT_S).error.startswith("the lane has ended")
    bench.submit("b")
    assert bench.done.get(timeout=WAIT_S).error.startswith("the lane has ended")
    bench.lanes.close()


@pytest.mark.parametrize("payload", [b"\xc1", msgpack.packb({"kind": "raw", "side_px": 8, "frames": 5})])
def test_payload_that_cannot_be_read_is_an_error_and_no_end(payload: bytes) -> None:
    result, rows, error = lanes._done(payload, 0, 4, WORK, None)

    assert (result, rows) == (b"", [])
    assert error.split(":")[0] in ("FrameError", "TypeError")
