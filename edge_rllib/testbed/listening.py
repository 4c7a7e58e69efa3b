"""Listening for peers and calling them; a bad peer is logged and let go, and nobody else notices."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from edge_rllib.testbed.errors import PeerGone, SetupError
from edge_rllib.testbed.frames import STALL_S, Channel
from envs.errors import EdgeError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 128  # of one listener at once; strangers beyond are closed at once
_BETWEEN_CALLS_S = 0.1


class Listener:
    """Accepts peers in a thread and calls ``serve(channel, address)`` in a thread of each.

    ``serve`` may raise EdgeError: it is logged with the address, and that peer's connection is closed.
    """

    def __init__(self, host: str, port: int, token: bytes, serve: Callable[[Channel, str], None]) -> None:
        self._socket = listening_socket(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._token, self._serve = token, serve
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"listener-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting, and close every connection."""
        for each in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=STALL_S)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._socket.accept()
            except OSError:
                return  # closed
            label = f"{address[0]}:{address[1]}"
            with self._lock:
                is_full = len(self._open) >= MOST_CONNECTIONS
                if not is_full:
                    self._open.add(connection)
            if is_full:
                log.warning("%s: refused: %d peers are connected already", label, MOST_CONNECTIONS)
                connection.close()
                continue
            threading.Thread(target=self._one, args=(connection, label), name=f"peer-{label}", daemon=True).start()

    def _one(self, connection: socket.socket, label: str) -> None:
        try:
            with Channel(connection, self._token, is_caller=False) as channel:
                self._serve(channel, label)
        except PeerGone as error:
            log.info("%s: %s", label, error)
        except EdgeError as error:
            log.warning("%s: refused: %s", label, error)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s: refused: a frame cannot be used: %s: %s", label, type(error).__name__, error)
        finally:
            connection.close()
            with self._lock:
                self._open.discard(connection)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. A port in use raises SetupError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"port {port} of {host} is in use by another program; choose another, or 0 for a free one"
            ) from error
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def call(host: str, port: int, token: bytes, wait_s: float) -> Channel:
    """Return a channel to a listener, tried again until ``wait_s`` have passed; then raise PeerGone."""
    end_s = time.monotonic() + wait_s
    while True:
        left_s = end_s - time.monotonic()
        try:
            return _greeted(socket.create_connection((host, port), timeout=max(left_s, 0.05)), token)
        except OSError as error:  # also PeerGone and PeerSilent, which are OSErrors
            if end_s - time.monotonic() <= _BETWEEN_CALLS_S:
                raise PeerGone(f"nobody answers at {host}:{port}: {error}") from error
        time.sleep(_BETWEEN_CALLS_S)


def _greeted(connection: socket.socket, token: bytes) -> Channel:
    try:
        return Channel(connection, token, is_caller=True)
    except EdgeError:
        connection.close()
        raise


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False


def address_of(text: str, what: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise SetupError(f"{what} {text!r}: expected HOST:PORT, e.g. 192.168.0.10:7700")
    return host.strip("[]"), int(port)
