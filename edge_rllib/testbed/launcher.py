"""Starts the processes of a run by fork, so that each begins at once with everything loaded, and ends them.

It reads one JSON object a line from its standard input, {"role", "index", "host", "port", "token"}, and answers with
the process id. When its input ends, because the run is over or its parent was killed, it ends all that it started:
nothing is left behind, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.forking import fork
from envs.errors import EdgeError

log = logging.getLogger(__name__)

GRACE_S = 1.0  # between asking processes to end and ending them
_LOOK_S = 0.1  # how soon a dead child is seen
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Launcher:
    """The launcher's process, seen from the run."""

    def __init__(self, log_file: Path) -> None:
        """Start it; what its processes log goes to the end of ``log_file``."""
        with log_file.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_rllib.testbed.launcher"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C is for the run, which then closes this one's input
            )

    def start(self, role: str, index: int, host: str, port: int, token: bytes) -> int:
        """Start a process that calls the controller at host and port; return its id."""
        request = {"role": role, "index": index, "host": host, "port": port, "token": token.hex()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise SetupError(
                f"the launcher has ended before it started {role} {index}; see the log of the run"
            ) from error

    def close(self) -> None:
        """End all processes and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except OSError:
            log.debug("the launcher has ended by itself")
        try:
            self._process.wait(timeout=10 * GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def main() -> int:
    """Serve requests until the input ends."""
    from edge_rllib.testbed import device, relay_process, server  # loaded once, for all that are forked
    from edge_rllib.testbed.vision.stages import WorkSettings, warm_up

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(processName)s %(message)s", stream=sys.stderr)
    warm_up(WorkSettings(jpeg_quality=80, detector="lbp"), side_px=128)
    bodies = {"device": device.main, "server": server.main, "relay": relay_process.main}
    children: set[int] = set()
    rest = b""
    while True:
        _bury(children)
        if not select.select([0], [], [], _LOOK_S)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            children.add(_start(bodies, json.loads(line)))
    _end(children)
    return 0


def _start(bodies: dict[str, Any], request: dict[str, Any]) -> int:
    name = f"{request['role']}-{request['index']}"

    def body() -> None:
        os.setpgrp()  # so that it can be ended together with its lanes
        _rename(name)
        try:
            bodies[request["role"]](request["host"], request["port"], bytes.fromhex(request["token"]), request["index"])
        except EdgeError as error:
            log.error("%s ends: %s: %s", name, type(error).__name__, error)

    child = fork(body, keep=())
    with contextlib.suppress(OSError):  # the child was quicker; either of the two must have done it before it is ended
        os.setpgid(child, child)
    print(child, flush=True)  # noqa: T201 - the answer
    return child


def _rename(name: str) -> None:
    """Let the log tell who speaks."""
    import multiprocessing

    multiprocessing.current_process().name = name


def _bury(children: set[int]) -> None:
    """Take note of processes that have ended, and end what is left of their groups."""
    for child in list(children):
        if os.waitpid(child, os.WNOHANG)[0]:
            children.discard(child)
            _signal(child, signal.SIGKILL)


def _end(children: set[int]) -> None:
    for child in children:
        _signal(child, signal.SIGTERM)
    end_s = time.monotonic() + GRACE_S
    groups = set(children)
    while children and time.monotonic() < end_s:
        _bury(children)
        time.sleep(0.01)
    for group in groups:
        _signal(group, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # it has ended by itself


if __name__ == "__main__":
    sys.exit(main())
