"""A device does what was decided, and does it itself when a server is dead, slow or wrong."""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from edge_rllib.testbed.device import NO_DECISION, TOO_SLOW, Device
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.lanes import Done, Job, StageTime
from edge_rllib.testbed.listening import LOOPBACK, Listener, listening_socket
from edge_rllib.testbed.meter import TaskRecord, record_of
from edge_rllib.testbed.peers import boot_id
from edge_rllib.testbed.uplink import Answered, Lost, Uplink, Uploaded
from edge_rllib.testbed.vision.clips import Clip, make_clip
from edge_rllib.testbed.vision.stages import STAGE_NAMES, WorkSettings, run_stages

TOKEN = b"token"
WAIT_S = 60.0  # longest wait for anything that must come: machines can be busy
WORK = WorkSettings(80, "lbp")
CLIP = make_clip((0,), 2, 96, 1)


class QuickLane:
    """Does jobs in a thread, without a process; ``delay_s`` before each."""

    cpu_s = 0.0

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.jobs: list[tuple[int, int]] = []
        self.finished: Callable[[Done], None] = lambda done: None

    def submit(self, job: Job) -> None:
        self.jobs.append((job.first, job.last))
        threading.Timer(self.delay_s, lambda: self.finished(done_of(job))).start()

    def backlog_s(self) -> float:
        return 0.5

    def frame_s(self) -> float:
        return 0.25


def done_of(job: Job) -> Done:
    """Return a job done for real, with made-up times."""
    now_s = time.monotonic()
    rows = [StageTime(name, now_s, now_s, 0.01, 1) for name in STAGE_NAMES[job.first : job.last]]
    return Done(job, run_stages(job.payload, job.first, job.last, WORK), tuple(rows), "")


def answer(channel: Channel, frame: Frame, payload: bytes | None = None, error: str = "") -> None:
    """Do a task as a server would, or send another payload."""
    first = frame.fields["first"]
    now_s = time.monotonic()
    rows = [[name, now_s, now_s, 0.01, 1] for name in STAGE_NAMES[first:]]
    result = run_stages(frame.payload, first, len(STAGE_NAMES), WORK) if payload is None else payload
    channel.send("result", result, task=frame.fields["task"], stages=rows, error=error)


def server(act: Callable[[Channel, Frame], None]) -> Callable[[Channel, str], None]:
    """Return a server that answers pings, confirms tasks, and then does with them what it is told."""

    def serve(channel: Channel, _: str) -> None:
        while True:
            frame = channel.receive()
            if frame.kind == "ping":
                channel.send("pong", at_s=frame.last_byte_s, boot=boot_id())
            elif frame.kind == "task":
                channel.send("confirmed", task=frame.fields["task"], at_s=frame.last_byte_s)
                act(channel, frame)

    return serve


class Rig:
    """A device between a made-up controller and a made-up server."""

    def __init__(self, port: int, patience_s: float = 30.0, lane_delay_s: float = 0.0) -> None:
        near, far = socket.socketpair()
        made: list[Channel] = []
        thread = threading.Thread(target=lambda: made.append(Channel(far, TOKEN, is_caller=False)))
        thread.start()
        self.control = control = Channel(near, TOKEN, is_caller=True)
        thread.join()
        self.controller = made[0]
        self.lane = QuickLane(lane_delay_s)
        setup = {
            "index": 3,
            "seed": 1,
            "frames": [2, 2],
            "scale": 1.0,
            "patience_s": patience_s,
            "deadline_s": 60.0,
            "servers": [[LOOPBACK, port, 1e6]],
        }
        clips: list[Clip] = [CLIP]
        self.device = Device(control, setup, self.lane, clips, TOKEN)  # type: ignore[arg-type]
        self.lane.finished = self.device.events.put
        self.links: list[bool] = []
        self.thread = threading.Thread(target=self.device.run, daemon=True)
        self.thread.start()

    def create(self, epoch: int = 0) -> dict[str, Any]:
        """Let the device create a task, and return its report."""
        self.controller.send("epoch", epoch=epoch)
        return dict(self.said("report").fields)

    def said(self, kind: str) -> Frame:
        """Return the device's next frame of a kind; note what it says of links."""
        while True:
            frame = self.controller.receive(WAIT_S)
            if frame.kind == "link":
                self.links.append(frame.fields["is_busy"])
            if frame.kind == kind:
                return frame

    def played(self, target: int, cut: int = 0) -> TaskRecord:
        """Create a task, decide, and return the record of its end."""
        self.create()
        self.controller.send("decision", epoch=0, target=target, cut=cut)
        return record_of(self.said("done").fields["record"])

    def close(self) -> None:
        self.controller.close()
        self.thread.join(WAIT_S)
        self.control.close()


@contextlib.contextmanager
def rig(act: Callable[[Channel, Frame], None], **options: float) -> Iterator[Rig]:
    with Listener(LOOPBACK, 0, TOKEN, server(act)) as listener:
        made = Rig(listener.port, **options)
        try:
            yield made
        finally:
            made.close()


def check_parts(record: TaskRecord) -> None:
    parts = (record.upload_s, record.wait_s, record.service_s, record.return_s)
    assert sum(parts) == pytest.approx(record.response_s)
    assert all(part >= -1e-6 for part in parts)


def test_device_reports_before_it_is_decided_for() -> None:
    with rig(answer) as bed:
        report = bed.create()

    assert (report["epoch"], report["frames"], report["raw_bytes"]) == (0, 2, 2 * 3 * 96 * 96)
    assert (report["backlog_s"], report["frame_s"]) == (0.5, 0.25)
    assert (report["rates_bps"], report["is_up"]) == ([1e6], [True])


def test_local_task_is_done_by_the_device() -> None:
    with rig(answer) as bed:
        record = bed.played(target=0)

    assert (record.done_by, record.fallback, record.sent_bytes) == ("device", "", 0)
    assert bed.lane.jobs == [(0, 4)]
    assert [stage.name for stage in record.stages] == list(STAGE_NAMES)
    assert record.hits + record.misses == sum(len(boxes) for boxes in CLIP.true_boxes)
    check_parts(record)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_divided_task_is_done_by_both(cut: int) -> None:
    with rig(answer) as bed:
        record = bed.played(target=1, cut=cut)

    assert (record.done_by, record.fallback) == ("server", "")
    assert [stage.place for stage in record.stages] == ["device"] * cut + ["server"] * (4 - cut)
    assert bed.lane.jobs == ([(0, cut)] if cut else [])
    assert record.sent_bytes > 0
    assert bed.links == [True, False]
    check_parts(record)


def test_both_ways_find_the_same_faces() -> None:
    with rig(answer) as bed:
        local = bed.played(target=0)
    with rig(answer) as bed:
        remote = bed.played(target=1)

    assert (local.hits, local.misses, local.false_alarms) == (remote.hits, remote.misses, remote.false_alarms)


def test_dead_server_makes_the_device_work_itself() -> None:
    with listening_socket(LOOPBACK, 0) as once:
        port = once.getsockname()[1]
    bed = Rig(port)
    try:
        record = bed.played(target=1)
        report = bed.create(epoch=1)
    finally:
        bed.close()

    assert record.done_by == "device"
    assert f"nobody answers at 127.0.0.1:{port}" in record.fallback
    assert report["is_up"] == [False]
    assert bed.links == [True, False]
    check_parts(record)


def test_server_that_dies_at_a_task_makes_the_device_work_itself() -> None:
    def die(channel: Channel, _: Frame) -> None:
        channel.close()

    with rig(die) as bed:
        record = bed.played(target=1)

    assert record.done_by == "device"
    assert record.fallback.startswith("server 0: ")
    assert bed.lane.jobs == [(0, 4)]


def test_slow_server_ends_the_devices_patience() -> None:
    with rig(lambda channel, frame: None, patience_s=0.1) as bed:
        record = bed.played(target=1)

    assert (record.done_by, record.fallback) == ("device", TOO_SLOW)
    assert record.sent_bytes > 0
    assert record.upload_s == 0.0  # the upload did not lead to the result: it is time waited
    assert record.wait_s >= 0.1
    check_parts(record)


def test_late_result_counts_if_it_is_first() -> None:
    def late(channel: Channel, frame: Frame) -> None:
        threading.Timer(0.2, lambda: answer(channel, frame)).start()

    with rig(late, patience_s=0.1, lane_delay_s=3.0) as bed:
        record = bed.played(target=1)

    assert (record.done_by, record.fallback) == ("server", TOO_SLOW)
    check_parts(record)


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (b"\xc1", "", "its result cannot be read"),
        (msgpack.packb({"kind": "descriptors", "found": [[99, [0, 0, 1, 1], b""]]}), "", "frame 99 of a clip of 2"),
        (msgpack.packb({"kind": "descriptors", "found": 5}), "", "its result cannot be read"),
        (b"", "FrameError: a picture is no JPEG", "a picture is no JPEG"),
    ],
)
def test_wrong_result_makes_the_device_work_itself(payload: bytes, error: str, message: str) -> None:
    with rig(lambda channel, frame: answer(channel, frame, payload, error)) as bed:
        record = bed.played(target=1)

    assert record.done_by == "device"
    assert message in record.fallback


def test_device_decides_itself_where_no_decision_comes() -> None:
    with rig(answer, patience_s=0.1) as bed:
        bed.create()
        record = record_of(bed.said("done").fields["record"])

    assert (record.target, record.done_by, record.fallback) == (0, "device", NO_DECISION)


def test_task_in_flight_is_reported_when_the_run_ends() -> None:
    with rig(lambda channel, frame: None) as bed:
        bed.create()
        bed.controller.send("decision", epoch=0, target=1, cut=0)
        bed.controller.send("stop")
        record = record_of(bed.said("done").fields["record"])
        bed.said("bye")

    assert (record.done_by, record.result_s) == ("nobody", None)
    assert record.is_late


def uplink_events(act: Callable[[Channel, Frame], None], n_tasks: int, n_events: int) -> list[Any]:
    events: queue.Queue[Any] = queue.Queue()
    with Listener(LOOPBACK, 0, TOKEN, server(act)) as listener:
        uplink = Uplink(0, (LOOPBACK, listener.port), TOKEN, 1e6, 5.0, events)
        for task in range(n_tasks):
            uplink.submit(task, 0, 1, bytes(10_000))
        found = [events.get(timeout=WAIT_S) for _ in range(n_events)]
        uplink.close()
    return found


def test_uploads_keep_their_order_and_measure_the_rate() -> None:
    found = uplink_events(lambda channel, frame: None, n_tasks=3, n_events=3)

    assert [(type(event), event.task) for event in found] == [(Uploaded, 0), (Uploaded, 1), (Uploaded, 2)]
    assert all(event.start_s <= event.end_s for event in found)
    assert all(first.end_s <= second.start_s for first, second in itertools.pairwise(found))


def test_upload_is_tried_again_on_a_new_connection() -> None:
    tries: list[int] = []

    def fail_once(channel: Channel, _: str) -> None:
        while True:
            frame = channel.receive()
            if frame.kind == "ping":
                channel.send("pong", at_s=frame.last_byte_s, boot=boot_id())
            elif frame.kind == "task":
                tries.append(frame.fields["task"])
                if len(tries) == 1:
                    return  # which closes the connection, before a confirmation
                channel.send("confirmed", task=frame.fields["task"], at_s=frame.last_byte_s)

    events: queue.Queue[Any] = queue.Queue()
    with Listener(LOOPBACK, 0, TOKEN, fail_once) as listener:
        uplink = Uplink(0, (LOOPBACK, listener.port), TOKEN, 1e6, 5.0, events)
        uplink.submit(7, 0, 1, bytes(10))
        event = events.get(timeout=WAIT_S)
        uplink.close()

    assert (type(event), event.task) == (Uploaded, 7)
    assert tries == [7, 7]


def test_tasks_of_a_lost_connection_are_lost_together() -> None:
    def close_at_second(channel: Channel, frame: Frame) -> None:
        if frame.fields["task"] == 1:
            time.sleep(0.05)  # the confirmation is on its way
            channel.close()

    found = uplink_events(close_at_second, n_tasks=2, n_events=3)

    assert {type(event) for event in found} == {Uploaded, Lost}
    (lost,) = [event for event in found if isinstance(event, Lost)]
    assert lost.tasks == (0, 1)


def test_task_given_up_in_the_queue_is_not_uploaded() -> None:
    events: queue.Queue[Any] = queue.Queue()
    begin = threading.Event()

    def wait(channel: Channel, frame: Frame) -> None:
        answer(channel, frame, payload=b"")

    def serve(channel: Channel, address: str) -> None:
        begin.wait(WAIT_S)
        server(wait)(channel, address)

    with Listener(LOOPBACK, 0, TOKEN, serve) as listener:
        uplink = Uplink(0, (LOOPBACK, listener.port), TOKEN, 1e6, 5.0, events)
        uplink.submit(0, 0, 1, b"")
        uplink.submit(1, 0, 1, b"")
        uplink.drop(1)
        begin.set()
        found = [events.get(timeout=WAIT_S) for _ in range(3)]
        uplink.close()

    assert {type(event) for event in found} == {Uploaded, Answered, Lost}
    (lost,) = [event for event in found if isinstance(event, Lost)]
    assert lost.tasks == (1,)
