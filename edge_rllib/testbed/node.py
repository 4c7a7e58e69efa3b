"""A machine of its own as a device or an edge server: the same processes and frames, without a launcher.

It calls a controller on another machine, does what it is told, and waits for the next run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_rllib.testbed import device, server
from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.frames import Channel
from edge_rllib.testbed.listening import is_loopback
from edge_rllib.testbed.peers import join
from envs.errors import EdgeError

log = logging.getLogger(__name__)

LEAST_TOKEN_BYTES = 16
CALL_WAIT_S = 5.0  # between two lines that say that nobody answers


def read_token(file: Path | None, *hosts: str) -> bytes:
    """Return the token of a file; without one the empty token, which will do for this machine's own addresses."""
    token = b""
    if file is not None:
        try:
            token = file.read_bytes().strip()
        except OSError as error:
            raise SetupError(f"--token-file {file}: {error.strerror or error}") from error
    for host in hosts:
        if not is_loopback(host) and len(token) < LEAST_TOKEN_BYTES:
            raise SetupError(
                f"{host} can be reached by others, so a token of at least {LEAST_TOKEN_BYTES} bytes is needed: "
                f"--token-file FILE; got {len(token)} bytes"
            )
    return token


def serve(connect: tuple[str, int], listen: tuple[str, int] | None, token: bytes, is_once: bool) -> None:
    """Be an edge server that listens at an address, or a device if there is none, run after run.

    A controller that is not there is waited for; one that sends what it should not, or that ends, ends only the run.
    """
    role = "device" if listen is None else "server"
    while True:
        try:
            control, setup = join(*connect, token, role, -1, CALL_WAIT_S)
        except EdgeError as error:
            log.info("no run yet: %s", error)
            continue
        with control:
            try:
                play(control, setup, listen, token)
                log.info("the run is over")
            except EdgeError as error:
                log.warning("the run is over for this %s: %s", role, error)
        if is_once:
            return


def play(control: Channel, setup: Mapping[str, Any], listen: tuple[str, int] | None, token: bytes) -> None:
    """Take part in one run."""
    if listen is None:
        device.run(control, dict(setup), token)
    else:
        server.run(control, {**setup, "listen": list(listen)}, token)
