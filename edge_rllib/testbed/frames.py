"""Frames between processes: a header of plain values and a payload of bytes, with lengths, a checksum and a code.

Both sides first say hello: magic, version, and a random number of their own. From the two numbers and the shared token
they derive the key of this connection. A frame is then a prefix (magic, lengths, CRC-32 of the payload), an
authentication code (HMAC-SHA256 of direction, count, prefix and header), a msgpack header, and the payload. A frame of
another connection, direction or place in the order therefore fails its code. The code covers the payload only through
its CRC-32: that finds damage, not a forger between the machines, for whom there are private networks.

Nothing is unpickled, and no length is believed before it was compared with its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import msgpack

from edge_rllib.testbed.errors import FrameError, PeerGone, PeerSilent

VERSION = 1
MAGIC = b"ERTB"
STALL_S = 10.0  # a peer that neither sends nor takes a byte for so long, in the middle of a frame, has gone
HEADER_LIMIT_BYTES = 1 << 20
PAYLOAD_LIMIT_BYTES = 1 << 28  # 256 MiB: a minute of raw frames
_HELLO = struct.Struct(">4sH16s")
_PREFIX = struct.Struct(">4sIII")
_CODE_BYTES = 32
_FROM_CALLER, _FROM_LISTENER = b"c", b"l"


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: str  # what it is about
    fields: Mapping[str, Any] = field(default_factory=dict)  # numbers, texts, lists and mappings of them
    payload: bytes = b""
    first_byte_s: float = 0.0  # when its first byte came, on this machine's monotonic clock; 0 for a frame to send
    last_byte_s: float = 0.0  # when it was complete


class Channel:
    """A connection that carries frames; one thread receives, any number send.

    ``is_caller`` tells which side opened it. The constructor says hello and raises FrameError, PeerGone or PeerSilent.
    """

    def __init__(self, connection: socket.socket, token: bytes, is_caller: bool, stall_s: float = STALL_S) -> None:
        connection.setblocking(False)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._stall_s = stall_s
        self._sending = threading.Lock()
        self._sent, self._received = 0, 0
        self._own, self._other = (_FROM_CALLER, _FROM_LISTENER) if is_caller else (_FROM_LISTENER, _FROM_CALLER)
        own = secrets.token_bytes(16)
        self._write(_HELLO.pack(MAGIC, VERSION, own))
        magic, version, other = _HELLO.unpack(self._read(_HELLO.size, stall_s))
        if magic != MAGIC:
            raise FrameError(f"expected the greeting {MAGIC!r}, got {magic!r}; this is no peer of the testbed")
        if version != VERSION:
            raise FrameError(f"the peer speaks version {version} of the protocol, expected {VERSION}")
        self._key = hmac.digest(token, own + other if is_caller else other + own, hashlib.sha256)

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Send a frame whole; raise PeerSilent if the peer stops taking it and PeerGone if it is closed."""
        header = msgpack.packb({"kind": kind, **fields})
        if len(header) > HEADER_LIMIT_BYTES or len(payload) > PAYLOAD_LIMIT_BYTES:
            raise FrameError(
                f"a frame of kind {kind!r} has a header of {len(header)} and a payload of {len(payload)} bytes; "
                f"allowed are {HEADER_LIMIT_BYTES} and {PAYLOAD_LIMIT_BYTES}"
            )
        prefix = _PREFIX.pack(MAGIC, len(header), len(payload), zlib.crc32(payload))
        with self._sending:
            code = self._code(self._own, self._sent, prefix, header)
            self._sent += 1
            self._write(prefix + code + header)
            self._write(payload)

    def receive(self, wait_s: float | None = None) -> Frame:
        """Return the next frame; ``wait_s`` is the longest wait for its first byte, None waits for ever.

        Raises FrameError for what is no frame. After any error the connection is of no use and must be closed.
        """
        first = self._read(1, wait_s)
        first_byte_s = time.monotonic()
        prefix = first + self._read(_PREFIX.size - 1, self._stall_s)
        magic, n_header, n_payload, checksum = _PREFIX.unpack(prefix)
        if magic != MAGIC:
            raise FrameError(f"expected a frame that begins with {MAGIC!r}, got {magic!r}")
        if n_header > HEADER_LIMIT_BYTES or n_payload > PAYLOAD_LIMIT_BYTES:
            raise FrameError(
                f"the peer announces a header of {n_header} and a payload of {n_payload} bytes; allowed are "
                f"{HEADER_LIMIT_BYTES} and {PAYLOAD_LIMIT_BYTES}"
            )
        code = self._read(_CODE_BYTES, self._stall_s)
        header = self._read(n_header, self._stall_s)
        if not hmac.compare_digest(code, self._code(self._other, self._received, prefix, header)):
            raise FrameError("the authentication code is wrong: the peer has another token, or the frame was changed")
        self._received += 1
        payload = self._read(n_payload, self._stall_s)
        if zlib.crc32(payload) != checksum:
            raise FrameError(f"the checksum of a payload of {n_payload} bytes is wrong")
        fields = _unpacked(header)
        return Frame(fields.pop("kind"), fields, payload, first_byte_s, time.monotonic())

    def close(self) -> None:
        """Close the connection; a thread that receives gets PeerGone."""
        with contextlib.suppress(OSError):  # the peer was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _code(self, direction: bytes, count: int, prefix: bytes, header: bytes) -> bytes:
        return hmac.digest(self._key, direction + struct.pack(">Q", count) + prefix + header, hashlib.sha256)

    def _read(self, n_bytes: int, wait_s: float | None) -> bytes:
        """Return exactly so many bytes; ``wait_s`` holds for each piece of them."""
        taken = bytearray()
        while len(taken) < n_bytes:
            try:
                piece = self._socket.recv(min(n_bytes - len(taken), 1 << 18))
            except BlockingIOError:
                self._wait(select.POLLIN, wait_s, f"nothing came for {wait_s} s after {len(taken)} of {n_bytes} bytes")
                continue
            except OSError as error:
                raise PeerGone(f"the connection broke: {error.strerror or error}") from error
            if not piece:
                raise PeerGone(f"the peer closed the connection after {len(taken)} of {n_bytes} bytes")
            taken += piece
        return bytes(taken)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, self._stall_s, f"the peer took nothing for {self._stall_s} s")
            except OSError as error:
                raise PeerGone(f"the connection broke: {error.strerror or error}") from error

    def _wait(self, event: int, wait_s: float | None, message: str) -> None:
        number = self._socket.fileno()
        if number < 0:
            raise PeerGone("the connection was closed on this side")
        poll = select.poll()
        poll.register(number, event)
        if not poll.poll(None if wait_s is None else max(wait_s, 0.0) * 1e3):
            raise PeerSilent(message)


def _unpacked(header: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(header)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"the header is no msgpack: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise FrameError(f"expected a header with a kind, got {type(fields).__name__}")
    return fields
