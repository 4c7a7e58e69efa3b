"""Slows work to a share of a core by feedback: it sleeps until consumed CPU time is what the share allowed.

An open loop (work 30 ms, sleep 70 ms) gives half of its nominal share on a machine with other work, because it counts
the time in which somebody else had the core. This one counts CPU time, so what is lost to others is made up for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.005  # how soon a change of the share is noticed


class Throttle:
    """Holds one thread to a share of a core that may change at any time."""

    def __init__(
        self,
        share: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share, self._clock, self._cpu_clock, self._sleep = share, clock, cpu_clock, sleep
        self.begin()

    def begin(self) -> None:
        """Start to count at a piece of work; idle time before it earns nothing."""
        self._cpu_start_s = self._cpu_clock()
        self._last_s = self._clock()
        self._allowed_cpu_s = 0.0

    def pause(self) -> None:
        """Sleep until the work since ``begin`` has taken as long as its share of a core would have."""
        while True:
            now_s, share = self._clock(), self._share()
            self._allowed_cpu_s += share * (now_s - self._last_s)
            self._last_s = now_s
            behind_s = (self._cpu_clock() - self._cpu_start_s) - self._allowed_cpu_s
            if behind_s <= 0.0:
                return
            self._sleep(min(behind_s / share, POLL_S))
