"""The process of a device: creates tasks, asks the controller, and works itself or lets an edge server work.

One thread takes events from one queue: frames of the controller, finished jobs of the lane, news of the uplinks. A task
whose server is dead, or slower than the device's patience, is done by the device; the first result counts.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.lanes import Done, Job, Lanes, StageTime
from edge_rllib.testbed.meter import LOCAL, StageRecord, TaskRecord, parts, stage_records
from edge_rllib.testbed.peers import join
from edge_rllib.testbed.server import limits_of
from edge_rllib.testbed.shaping import cgroups, namespaces
from edge_rllib.testbed.uplink import Answered, Lost, Uplink, Uploaded
from edge_rllib.testbed.vision.boxes import Matches, match
from edge_rllib.testbed.vision.clips import Clip, draw_clip, make_clip
from edge_rllib.testbed.vision.stages import (
    N_STAGES,
    WorkSettings,
    boxes_by_frame,
    found_faces,
    raw_payload,
    warm_up,
)
from envs.errors import EdgeError

log = logging.getLogger(__name__)

TOO_SLOW, NO_DECISION = "the server was slower than the device's patience", "no decision came"


@dataclass
class Work:
    """A task that is not finished."""

    number: int  # that of its epoch
    clip: Clip
    created_s: float
    patience_end_s: float  # when the device stops waiting for a server
    target: int = LOCAL
    cut: int = N_STAGES
    decided_s: float = float("nan")  # until there is a decision
    payload: bytes = b""  # before the stage ``cut``, kept for a fallback
    own: list[StageTime] = field(default_factory=list)  # stages that the device has done
    upload: tuple[float, float] | None = None
    fallback: str = ""

    @property
    def is_decided(self) -> bool:
        """Return whether there is a decision."""
        return not np.isnan(self.decided_s)

    @property
    def n_frames(self) -> int:
        """Return the number of frames."""
        return len(self.clip.frames)


class Device:
    """A device of a run."""

    def __init__(self, control: Channel, setup: dict[str, Any], lanes: Lanes, clips: list[Clip], token: bytes) -> None:
        self._control, self._setup, self._lanes, self._clips = control, setup, lanes, clips
        self._scale: float = setup["scale"]
        self._works: dict[int, Work] = {}
        self._on_links: set[tuple[int, int]] = set()  # server and task of uploads that wait or are under way
        self._start_s = float("nan")
        self.events: queue.Queue[Any] = queue.Queue()
        wait_s = max(2.0, 2.0 * setup["patience_s"])
        self._uplinks = [
            Uplink(server, (host, port), token, rate_bps, wait_s, self.events)
            for server, (host, port, rate_bps) in enumerate(setup["servers"])
        ]

    def run(self) -> None:
        """Handle events until the controller says stop or is gone."""
        threading.Thread(target=self._hear, name="control", daemon=True).start()
        try:
            while True:
                try:
                    event = self.events.get(timeout=self._next_end_s())
                except queue.Empty:
                    self._lose_patience()
                    continue
                if event is None or (isinstance(event, Frame) and event.kind == "stop"):
                    break
                self._handle(event)
                self._lose_patience()
        finally:
            for uplink in self._uplinks:
                uplink.close()
        if event is not None:
            for work in list(self._works.values()):
                self._send(self._record(work, None, [], Matches(0, 0, 0)))
            self._control.send("bye", cpu_s=self._lanes.cpu_s)

    def _handle(self, event: Any) -> None:
        if isinstance(event, Frame) and event.kind == "epoch":
            self._create(event.fields["epoch"])
        elif isinstance(event, Frame) and event.kind == "decision":
            self._decide(event.fields["epoch"], event.fields["target"], event.fields["cut"])
        elif isinstance(event, Done):
            self._worked(event)
        elif isinstance(event, Uploaded):
            if (work := self._works.get(event.task)) is not None:
                work.upload = (event.start_s, event.end_s)
            self._leave_link(event.server, event.task)
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Lost):
            for task in event.tasks:
                self._leave_link(event.server, task)
                if (work := self._works.get(task)) is not None:
                    self._fall_back(work, f"server {event.server}: {event.reason}")

    def _create(self, epoch: int) -> None:
        """Create the epoch's task and report what is known before the decision."""
        now_s = time.monotonic()
        if np.isnan(self._start_s):
            self._start_s = now_s
        setup = self._setup
        number, n_frames = draw_clip(setup["seed"], setup["index"], epoch, len(self._clips), setup["frames"])
        clip = self._clips[number]
        clip = Clip(clip.frames[:n_frames], clip.true_boxes[:n_frames])
        self._works[epoch] = Work(epoch, clip, now_s, now_s + self._setup["patience_s"])
        self._control.send(
            "report",
            epoch=epoch,
            frames=n_frames,
            raw_bytes=sum(frame.nbytes for frame in clip.frames),
            backlog_s=self._lanes.backlog_s(),
            frame_s=self._lanes.frame_s(),
            rates_bps=[uplink.rate_bps for uplink in self._uplinks],
            is_up=[uplink.is_up for uplink in self._uplinks],
        )

    def _decide(self, epoch: int, target: int, cut: int) -> None:
        """Begin with the epoch's task as the controller has decided."""
        work = self._works.get(epoch)
        if work is None or work.is_decided:
            return  # the device has decided by itself meanwhile
        work.target, work.cut = target, N_STAGES if target == LOCAL else cut
        self._begin(work)

    def _begin(self, work: Work) -> None:
        work.decided_s = time.monotonic()
        work.payload = raw_payload(work.clip)
        if work.cut > 0:
            self._lanes.submit(Job(work.number, 0, work.cut, work.n_frames, work.payload))
        else:
            self._upload(work)

    def _upload(self, work: Work) -> None:
        self._on_links.add((work.target - 1, work.number))
        self._control.send("link", server=work.target - 1, is_busy=True)
        self._uplinks[work.target - 1].submit(work.number, work.cut, work.n_frames, work.payload)

    def _leave_link(self, server: int, task: int) -> None:
        """Tell the controller, once, that an upload is over."""
        if (server, task) in self._on_links:
            self._on_links.discard((server, task))
            self._control.send("link", server=server, is_busy=False)

    def _worked(self, done: Done) -> None:
        """Go on with a task after the lane has done its part."""
        work = self._works.get(done.job.label)
        if work is None:
            return  # a server was quicker
        work.own.extend(done.stages)
        if done.error:
            log.warning("task %d failed on the device itself: %s", work.number, done.error)
            self._finish(work, b"", [], is_own=True)
        elif done.job.last == N_STAGES:
            self._finish(work, done.payload, [], is_own=True)
        else:
            work.payload = done.payload
            if not work.fallback:
                self._upload(work)
            else:  # patience ended while the lane was at it
                self._lanes.submit(Job(work.number, work.cut, N_STAGES, work.n_frames, work.payload))

    def _answered(self, event: Answered) -> None:
        work = self._works.get(event.task)
        if work is None:
            return  # the device was quicker
        if event.frame.fields["error"]:
            self._fall_back(work, f"server {event.server}: {event.frame.fields['error']}")
            return
        stages = [StageTime(*row) for row in event.frame.fields["stages"]]
        there = stage_records(stages, "server", self._start_s, event.offset_s, self._scale)
        self._finish(work, event.frame.payload, there, is_own=False)

    def _fall_back(self, work: Work, reason: str) -> None:
        """Do the rest of a task here; a result that comes all the same still counts if it is first."""
        if work.fallback:
            return
        work.fallback = reason
        log.info("task %d falls back: %s", work.number, reason)
        if not work.is_decided:
            self._begin(work)
        elif work.target != LOCAL and (work.cut == 0 or work.own):
            self._lanes.submit(Job(work.number, work.cut, N_STAGES, work.n_frames, work.payload))

    def _lose_patience(self) -> None:
        now_s = time.monotonic()
        for work in list(self._works.values()):
            if now_s < work.patience_end_s or work.fallback:
                continue
            if not work.is_decided:
                self._fall_back(work, NO_DECISION)
            elif work.target != LOCAL:
                self._uplinks[work.target - 1].drop(work.number)
                self._fall_back(work, TOO_SLOW)

    def _next_end_s(self) -> float | None:
        ends = [work.patience_end_s for work in self._works.values() if self._is_waiting(work)]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    @staticmethod
    def _is_waiting(work: Work) -> bool:
        return not work.fallback and not (work.is_decided and work.target == LOCAL)

    def _finish(self, work: Work, payload: bytes, there: list[StageRecord], is_own: bool) -> None:
        now_s = time.monotonic()
        try:
            found = boxes_by_frame(found_faces(payload), work.n_frames) if payload else [[]] * work.n_frames
        except (EdgeError, ValueError, KeyError, TypeError, IndexError) as error:  # whatever a server sent
            if is_own:
                raise
            self._fall_back(work, f"server {work.target - 1}: its result cannot be read: {error}")
            return
        total = Matches(0, 0, 0)
        for boxes, true in zip(found, work.clip.true_boxes, strict=True):
            total = Matches(*(a + b for a, b in zip(total, match(boxes, true), strict=True)))
        del self._works[work.number]
        self._send(self._record(work, now_s, there, total))

    def is_useless(self, job: Job) -> bool:
        """Return whether a job of the lane is of no use any more."""
        return job.label not in self._works

    def _record(self, work: Work, end_s: float | None, there: list[StageRecord], total: Matches) -> TaskRecord:
        own = stage_records(work.own, "device", self._start_s, 0.0, self._scale)
        if there:
            own = [stage for stage in own if stage.name not in {other.name for other in there}]
        stages = [*own, *there]
        upload = work.upload if there else None
        in_scenario = None if upload is None else (self._since(upload[0]), self._since(upload[1]))
        created_s, result_s = self._since(work.created_s), None if end_s is None else self._since(end_s)
        times = (0.0, 0.0, 0.0, 0.0) if result_s is None else parts(created_s, result_s, in_scenario, stages)
        is_sent = work.upload is not None
        return TaskRecord(
            device=self._setup["index"],
            epoch=work.number,
            target=work.target,
            cut=work.cut,
            n_frames=work.n_frames,
            raw_bytes=sum(frame.nbytes for frame in work.clip.frames),
            sent_bytes=len(work.payload) if is_sent else 0,
            created_s=created_s,
            decided_s=self._since(work.decided_s) if work.is_decided else created_s,
            upload_start_s=self._since(work.upload[0]) if work.upload else None,
            upload_end_s=self._since(work.upload[1]) if work.upload else None,
            result_s=result_s,
            deadline_s=self._setup["deadline_s"],
            done_by="nobody" if result_s is None else "server" if there else "device",
            fallback=work.fallback,
            stages=tuple(stages),
            upload_s=times[0],
            wait_s=times[1],
            service_s=times[2],
            return_s=times[3],
            hits=total.hits,
            misses=total.misses,
            false_alarms=total.false_alarms,
        )

    def _send(self, record: TaskRecord) -> None:
        self._control.send("done", record=asdict(record))

    def _since(self, at_s: float) -> float:
        """Return seconds of the scenario since the start of the run."""
        return (at_s - self._start_s) / self._scale

    def _hear(self) -> None:
        """Put the controller's frames among the events; None when it has gone."""
        try:
            while True:
                self.events.put(self._control.receive())
        except EdgeError as error:
            log.info("the controller has gone: %s", error)
            self.events.put(None)


def main(host: str, port: int, token: bytes, index: int) -> None:
    """Be a device of a run until the controller says stop or is gone."""
    control, setup = join(host, port, token, "device", index)
    with control:
        run(control, setup, token)


def run(control: Channel, setup: dict[str, Any], token: bytes) -> None:
    """Do as the controller has said. Clips are made before the limits hold: a camera costs a device no time."""
    settings = WorkSettings(*setup["work"])
    clips = [
        make_clip((setup["seed"], setup["index"], 0, number), setup["frames"][1], setup["side_px"], setup["most_faces"])
        for number in range(setup["clips"])
    ]
    frame_cpu_s, frame_bytes = warm_up(settings, setup["side_px"])
    for files in setup["groups"][:1]:
        cgroups.enter(files)
    if setup["namespace"]:
        namespaces.enter(setup["namespace"])
    lanes = Lanes(1, limits_of({**setup, "groups": [], "is_shared": False}), settings)
    try:
        device = Device(control, setup, lanes, clips, token)
        lanes.start(device.events.put, frame_cpu_s, device.is_useless)
        control.send("ready", frame_cpu_s=frame_cpu_s, frame_bytes=frame_bytes)
        device.run()
    finally:
        lanes.close()
