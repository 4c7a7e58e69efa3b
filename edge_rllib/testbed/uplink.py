"""A device's connection to one edge server: uploads one task after another, hears of results, and tries again.

Every event goes to one queue, so that the device itself has no threads to reason about.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from edge_rllib.testbed.errors import PeerGone, PeerSilent
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.listening import call
from edge_rllib.testbed.peers import boot_id, expect
from envs.errors import EdgeError

log = logging.getLogger(__name__)

N_TRIES = 2  # of a task, on a connection each
CALL_WAIT_S = 0.5
LEAST_MEASURED_BYTES = 4_096  # smaller uploads tell the delay, not the rate
DROPPED = "it was given up before it was uploaded"
NOBODY = -1  # no task's number
_N_PINGS = 3
_NEW_WEIGHT = 0.3  # of the newest rate in the moving average


@dataclass(frozen=True)
class Uploaded:
    """A server has a task; said again if the task had to be sent again."""

    server: int
    task: int
    start_s: float  # first byte sent
    end_s: float  # last byte received, on the device's clock


@dataclass(frozen=True)
class Answered:
    """A server has sent a result."""

    server: int
    task: int
    offset_s: float  # to be taken from the server's times to have the device's
    frame: Frame


@dataclass(frozen=True)
class Lost:
    """Nothing will come of these tasks at this server."""

    server: int
    tasks: tuple[int, ...]
    reason: str


class Uplink:
    """Uploads to one server, in the order of submission."""

    def __init__(
        self,
        server: int,
        address: tuple[str, int],
        token: bytes,
        rate_bps: float,
        wait_s: float,
        events: queue.Queue[Any],
    ) -> None:
        """Take the server's address, a first guess of the rate, and the longest wait for a confirmation."""
        self.rate_bps = rate_bps
        self.is_up = True  # whether the last try worked
        self._server, self._address, self._token, self._wait_s, self._events = server, address, token, wait_s, events
        self._tasks: queue.Queue[tuple[int, dict[str, Any], bytes] | None] = queue.Queue()
        self._dropped: set[int] = set()
        self._unanswered: set[int] = set()
        self._current = NOBODY  # the task that is being uploaded
        self._confirmed: queue.Queue[tuple[int, float]] = queue.Queue()
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._offset_s = 0.0
        self._start_s = 0.0  # of the latest upload
        self._thread = threading.Thread(target=self._work, name=f"uplink-{server}", daemon=True)
        self._thread.start()

    def submit(self, task: int, first: int, n_frames: int, payload: bytes) -> None:
        """Upload a task whose stages from ``first`` on are to be done there."""
        self._tasks.put((task, {"first": first, "frames": n_frames}, payload))

    def drop(self, task: int) -> None:
        """Give a task up: it is not uploaded if it still waits, and not served if it waits there.

        A result that comes all the same is reported.
        """
        with self._lock:
            self._dropped.add(task)
            is_there, channel = task in self._unanswered, self._channel
        if is_there and channel is not None:
            try:
                channel.send("forget", task=task)
            except EdgeError as error:
                log.info("server %d was not told to forget task %d: %s", self._server, task, error)

    def close(self) -> None:
        """End both threads."""
        self._tasks.put(None)
        self._close_channel()

    def _work(self) -> None:
        while (entry := self._tasks.get()) is not None:
            self._upload(*entry)
        self._close_channel()

    def _upload(self, task: int, fields: dict[str, Any], payload: bytes) -> None:
        """Send one task; report it as lost after the last try, or if it was given up before."""
        reason = DROPPED
        for _ in range(N_TRIES):
            if task in self._dropped:
                break
            try:
                channel = self._connected()
                with self._lock:
                    self._unanswered.add(task)
                    self._current = task
                    self._start_s = start_s = time.monotonic()
                channel.send("task", payload, task=task, **fields)
                end_s = self._confirmation(task)
                self._settle(channel, task)
            except EdgeError as error:
                reason = str(error)
                log.info("server %d: task %d: %s", self._server, task, error)
                with self._lock:
                    self._unanswered.discard(task)
                    self._current = NOBODY
                self._close_channel()
            else:
                self._measure(len(payload), end_s - start_s)
                self.is_up = True
                return
        else:
            self.is_up = False
        self._events.put(Lost(self._server, (task,), reason))

    def _settle(self, channel: Channel, task: int) -> None:
        """From here on the task is one of those that are lost with their connection."""
        with self._lock:
            self._current = NOBODY
            if self._channel is not channel and task in self._unanswered:
                raise PeerGone("the connection was lost right after the upload")

    def _confirmation(self, task: int) -> float:
        """Return when the server had the whole task."""
        while True:
            try:
                confirmed, at_s = self._confirmed.get(timeout=self._wait_s)
            except queue.Empty:
                raise PeerSilent(f"no confirmation for {self._wait_s:.3g} s") from None
            if confirmed == task:
                return at_s
            if confirmed == NOBODY:
                raise PeerGone("the connection was lost before the server had the task")

    def _connected(self) -> Channel:
        with self._lock:
            channel = self._channel
        if channel is not None:
            return channel
        confirmed: queue.Queue[tuple[int, float]] = queue.Queue()
        pongs: queue.Queue[Frame] = queue.Queue()
        channel = call(*self._address, self._token, CALL_WAIT_S)
        name = f"uplink-{self._server}-in"
        threading.Thread(target=self._hear, args=(channel, confirmed, pongs), name=name, daemon=True).start()
        try:
            self._offset_s = self._clock_offset_s(channel, pongs)
        except EdgeError:
            channel.close()
            raise
        with self._lock:
            self._channel, self._confirmed = channel, confirmed
        return channel

    def _clock_offset_s(self, channel: Channel, pongs: queue.Queue[Frame]) -> float:
        """Return what the server's clock is ahead of this one, from the quickest of some round trips (as NTP does)."""
        best_s, offset_s = float("inf"), 0.0
        for _ in range(_N_PINGS):
            start_s = time.monotonic()
            channel.send("ping")
            try:
                pong = expect(pongs.get(timeout=self._wait_s), "pong")
            except queue.Empty:
                raise PeerSilent(f"no answer to a ping for {self._wait_s:.3g} s") from None
            if pong.fields["boot"] == boot_id() != "":
                return 0.0  # one machine, one clock
            trip_s = pong.last_byte_s - start_s
            if trip_s < best_s:
                best_s, offset_s = trip_s, pong.fields["at_s"] - (start_s + trip_s / 2)
        return offset_s

    def _hear(self, channel: Channel, confirmed: queue.Queue[tuple[int, float]], pongs: queue.Queue[Frame]) -> None:
        """Sort what a server sends until the connection ends; then everything unanswered on it is lost."""
        try:
            while True:
                frame = channel.receive()
                if frame.kind == "confirmed":
                    confirmed.put(self._uploaded(frame))
                elif frame.kind == "pong":
                    pongs.put(frame)
                elif frame.kind == "result":
                    self._answer(frame)
        except EdgeError as error:
            reason = str(error)
        except (KeyError, TypeError, ValueError) as error:  # a frame that lacks what its kind must have
            reason = f"a frame cannot be used: {type(error).__name__}: {error}"
        self._end(channel, reason)
        confirmed.put((NOBODY, 0.0))
        pongs.put(Frame("gone"))

    def _uploaded(self, frame: Frame) -> tuple[int, float]:
        """Report an upload, here so that it comes before the result; return the task and when it was complete."""
        task, end_s = int(frame.fields["task"]), float(frame.fields["at_s"]) - self._offset_s
        self._events.put(Uploaded(self._server, task, self._start_s, end_s))
        return task, end_s

    def _answer(self, frame: Frame) -> None:
        task = int(frame.fields["task"])
        with self._lock:
            is_awaited = task in self._unanswered
            self._unanswered.discard(task)
        if is_awaited:
            self._events.put(Answered(self._server, task, self._offset_s, frame))

    def _end(self, channel: Channel, reason: str) -> None:
        with self._lock:
            lost = tuple(sorted(self._unanswered - {self._current}))  # the current one is tried again
            self._unanswered &= {self._current}
            if self._channel is channel:
                self._channel = None
        channel.close()
        if lost:
            self._events.put(Lost(self._server, lost, reason))

    def _close_channel(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _measure(self, n_bytes: int, took_s: float) -> None:
        if n_bytes >= LEAST_MEASURED_BYTES and took_s > 0.0:
            self.rate_bps += _NEW_WEIGHT * (8 * n_bytes / took_s - self.rate_bps)
