"""The process of an edge server: takes tasks from devices, has its lanes do them, and sends back what came out."""

from __future__ import annotations

import logging
import threading
from typing import Any

from edge_rllib.testbed.errors import PeerGone
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.lanes import Done, Job, LaneLimits, Lanes
from edge_rllib.testbed.listening import Listener
from edge_rllib.testbed.peers import boot_id, join
from edge_rllib.testbed.vision.stages import N_STAGES, WorkSettings, warm_up
from envs.errors import EdgeError

log = logging.getLogger(__name__)


class _Label:
    """Where a job came from."""

    def __init__(self, channel: Channel, task: int, received_s: float) -> None:
        self.channel, self.task, self.received_s = channel, task, received_s


class Server:
    """What the threads of a server share."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._forgotten: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def serve(self, channel: Channel, address: str) -> None:
        """Take the tasks of one device until it goes."""
        log.info("%s is connected", address)
        while True:
            frame = channel.receive()
            if frame.kind == "ping":
                channel.send("pong", at_s=frame.last_byte_s, boot=boot_id())
            elif frame.kind == "task":
                self._take(channel, frame)
            elif frame.kind == "forget":
                with self._lock:
                    self._forgotten.add((id(channel), int(frame.fields["task"])))
            else:
                log.warning("%s: a frame of unknown kind %r is ignored", address, frame.kind)

    def finished(self, done: Done) -> None:
        """Send a task's result; a device that has gone needs none."""
        label: _Label = done.job.label
        with self._lock:
            self._forgotten.discard((id(label.channel), label.task))
        rows = [[stage.name, stage.start_s, stage.end_s, stage.cpu_s, stage.n_bytes] for stage in done.stages]
        try:
            label.channel.send("result", done.payload, task=label.task, stages=rows, error=done.error)
        except EdgeError as error:
            log.info("the result of task %d found nobody: %s", label.task, error)

    def is_forgotten(self, job: Job) -> bool:
        """Return whether a job that waits is of no use any more."""
        with self._lock:
            return (id(job.label.channel), job.label.task) in self._forgotten

    def _take(self, channel: Channel, frame: Frame) -> None:
        task, first, n_frames = (int(frame.fields[key]) for key in ("task", "first", "frames"))
        channel.send("confirmed", task=task, at_s=frame.last_byte_s)
        label = _Label(channel, task, frame.last_byte_s)
        self._lanes.submit(Job(label, first, N_STAGES, n_frames, frame.payload))


def main(host: str, port: int, token: bytes, index: int) -> None:
    """Be a server of a run until the controller says stop or is gone."""
    control, setup = join(host, port, token, "server", index)
    with control:
        run(control, setup, token)


def run(control: Channel, setup: dict[str, Any], token: bytes) -> None:
    """Serve as the controller has said."""
    settings = WorkSettings(*setup["work"])
    frame_cpu_s, _ = warm_up(settings, setup["side_px"])
    lanes = Lanes(setup["n_lanes"], limits_of(setup), settings)
    server = Server(lanes)
    try:
        lanes.start(server.finished, frame_cpu_s, server.is_forgotten)
        with Listener(setup["listen"][0], setup["listen"][1], token, server.serve) as listener:
            control.send("ready", port=listener.port, frame_cpu_s=frame_cpu_s)
            _obey(control, lanes)
    finally:
        lanes.close()


def limits_of(setup: dict[str, Any]) -> LaneLimits:
    """Return the limits that a controller has set."""
    groups = tuple(tuple(files) for files in setup["groups"])
    return LaneLimits(setup["cores"], setup["is_shared"], setup["is_throttled"], groups)


def _obey(control: Channel, lanes: Lanes) -> None:
    try:
        while (frame := control.receive()).kind == "report":
            running, waiting = lanes.n_jobs()
            control.send(
                "report",
                epoch=frame.fields["epoch"],
                backlog_s=lanes.backlog_s(),
                frame_s=lanes.frame_s(),
                running=running,
                waiting=waiting,
            )
        control.send("bye", cpu_s=lanes.cpu_s)
    except PeerGone as error:
        log.info("the controller has gone: %s", error)
