"""The controller's side of all connections: who is there, what they say, and who has gone."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from edge_rllib.testbed.errors import FrameError
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.listening import Listener
from edge_rllib.testbed.peers import ROLES, expect
from envs.errors import EdgeError

log = logging.getLogger(__name__)

_HELLO_WAIT_S = 10.0


@dataclass
class Peer:
    """A process of the run."""

    role: str
    index: int
    channel: Channel
    host: str  # from which it called
    is_up: bool = True

    @property
    def label(self) -> str:
        """Return its name for people."""
        return f"{self.role} {self.index}"

    def send(self, kind: str, **fields: Any) -> None:
        """Send a frame; a peer that has gone is found out by the receiving side."""
        try:
            self.channel.send(kind, **fields)
        except EdgeError as error:
            log.info("%s: %s", self.label, error)


Said = tuple[Peer, Frame | None]  # None: it has gone


class Gathering:
    """Listens for the peers of a run; what they say comes out of one queue."""

    def __init__(self, host: str, port: int, token: bytes, wanted: Mapping[str, int]) -> None:
        """Take how many peers of each role there shall be; others are refused."""
        self._wanted = dict(wanted)
        self._peers: dict[tuple[str, int], Peer] = {}
        self._lock = threading.Lock()
        self._said: queue.Queue[Said] = queue.Queue()
        self._listener = Listener(host, port, token, self._serve)
        self.host, self.port = self._listener.host, self._listener.port

    def all(self, role: str, is_up: bool = True) -> list[Peer]:
        """Return the peers of a role by index; those that are there, or all that ever were."""
        with self._lock:
            found = [peer for peer in self._peers.values() if peer.role == role and (peer.is_up or not is_up)]
        return sorted(found, key=lambda peer: peer.index)

    def missing(self) -> list[str]:
        """Return who has not come yet, or has gone."""
        here = {(peer.role, peer.index) for role in self._wanted for peer in self.all(role)}
        wanted = [(role, index) for role, number in self._wanted.items() for index in range(number)]
        return [f"{role} {index}" for role, index in wanted if (role, index) not in here]

    def forget(self, peer: Peer) -> None:
        """Let the place of a peer that has gone be taken by another."""
        with self._lock:
            self._peers.pop((peer.role, peer.index), None)

    def next(self, end_s: float) -> Said | None:
        """Return what a peer says next, or None at a time on the monotonic clock."""
        try:
            peer, frame = self._said.get(timeout=max(0.0, end_s - time.monotonic()))
        except queue.Empty:
            return None
        if frame is None:
            peer.is_up = False
        return peer, frame

    def collect(
        self, kind: str, peers: Collection[Peer], end_s: float, other: Callable[[Peer, Frame | None], None]
    ) -> dict[tuple[str, int], Frame]:
        """Return a frame of a kind from each peer, as far as they come in time; ``other`` hears everything else."""
        found: dict[tuple[str, int], Frame] = {}
        awaited = {(peer.role, peer.index) for peer in peers if peer.is_up}
        while awaited - set(found):
            said = self.next(end_s)
            if said is None:
                break
            peer, frame = said
            if frame is not None and frame.kind == kind and (peer.role, peer.index) in awaited:
                found[peer.role, peer.index] = frame
                continue
            if frame is None:
                awaited.discard((peer.role, peer.index))
            other(peer, frame)
        return found

    def close(self) -> None:
        """Close every connection, upon which the processes end."""
        self._listener.close()

    def __enter__(self) -> Gathering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, channel: Channel, address: str) -> None:
        hello = expect(channel.receive(_HELLO_WAIT_S), "hello")
        peer = self._admit(hello, channel, address)
        log.info("%s is here, from %s", peer.label, address)
        self._said.put((peer, hello))
        try:
            while True:
                self._said.put((peer, channel.receive()))
        finally:
            self._said.put((peer, None))

    def _admit(self, hello: Frame, channel: Channel, address: str) -> Peer:
        role, index = hello.fields.get("role"), hello.fields.get("index")
        if role not in ROLES or not isinstance(index, int):
            raise FrameError(f"expected a role of {', '.join(ROLES)} and an index, got {role!r} and {index!r}")
        with self._lock:
            taken = {peer.index for peer in self._peers.values() if peer.role == role}
            free = [number for number in range(self._wanted.get(role, 0)) if number not in taken]
            if index < 0 and free:
                index = free[0]
            if index not in free:
                raise FrameError(f"{role} {index} is not wanted, or there already; free: {free or 'none'}")
            peer = Peer(role, index, channel, address.rpartition(":")[0])
            self._peers[role, index] = peer
        return peer
