"""Children by fork, from processes that have no threads yet; a child keeps no connection but its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

log = logging.getLogger(__name__)


def fork(body: Callable[[], None], keep: Collection[int]) -> int:
    """Run ``body`` in a child and return its process id; the child closes all files but ``keep`` and the standard ones.

    Otherwise a child would hold its parent's connections open, and nobody would notice that the parent died.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        close_others(keep)
        body()
        code = 0
    except BaseException:
        log.exception("process %d failed", os.getpid())
    finally:
        logging.shutdown()
        os._exit(code)


def fork_with_pipe(body: Callable[[Connection], None]) -> tuple[int, Connection]:
    """Run ``body(connection)`` in a child and return its process id and this side's end of the pipe."""
    near, far = Pipe()
    child = fork(lambda: body(far), [far.fileno()])
    far.close()
    return child, near


def close_others(keep: Collection[int]) -> None:
    """Close every open file of this process but the standard ones and those to keep."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        if number > 2 and number not in keep:
            try:
                os.close(number)
            except OSError:
                continue  # the descriptor by which the folder itself was read
