"""What a driver believes about speeds and lengths: learnt from what was executed, never from what is to come."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from edge_rllib.federated.stealing.errors import StealingError

N_LENGTHS = 512  # demands that are remembered: old ones are of weaker parameters, and shorter
PRIOR_CHUNKS = 1.0  # as many average chunks does the belief of earlier rounds count in a new one
KEEP = 0.5  # weight of the old speed in the moving average over rounds
REMAKE = 32  # the table of lengths is made again after one part in so many of news
SHORTEST_REST = 0.1  # of the mean: what is expected of a chunk that is longer than all before


class Estimates:
    """Speeds of clients, relative to 1, and the work of a chunk in seconds at speed 1."""

    def __init__(self, n_clients: int, expected_s: float = 1.0, speeds: Sequence[float] | None = None) -> None:
        self.prior_speeds = [1.0] * n_clients if speeds is None else [float(speed) for speed in speeds]
        if len(self.prior_speeds) != n_clients or not all(0.0 < s < math.inf for s in self.prior_speeds):
            raise StealingError(f"estimates: speeds = {speeds}: expected {n_clients} positive numbers")
        if not 0.0 < expected_s < math.inf:
            raise StealingError(f"estimates: expected_s = {expected_s}: expected positive seconds of a chunk")
        self.expected_s = expected_s
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []
        self._sum_s = 0.0
        self._n_news = 0
        self._lengths: list[float] = []  # sorted as they were when the table was made
        self._rests_s: list[float] = []  # sum of all lengths from each place on
        self._work_s = [0.0] * n_clients
        self._busy_s = [0.0] * n_clients

    @property
    def mean_s(self) -> float:
        """Return the expected work of a chunk that has not begun."""
        return self._sum_s / len(self._sorted) if self._sorted else self.expected_s

    def speed(self, client: int) -> float:
        """Return the speed that a client is believed to have."""
        weight_s = PRIOR_CHUNKS * self.mean_s
        return (weight_s + self._work_s[client]) / (weight_s / self.prior_speeds[client] + self._busy_s[client])

    def rest_s(self, done_s: float) -> float:
        """Return the expected work that is left of a chunk of which so much is done."""
        if not self._sorted:
            return max(self.expected_s - done_s, 0.5 * self.expected_s)
        first = bisect_right(self._lengths, done_s)
        n_longer = len(self._lengths) - first
        mean_s = self._rests_s[first] / n_longer if n_longer else done_s
        return max(mean_s - done_s, SHORTEST_REST * self.mean_s)

    def worked(self, client: int, work_s: float, busy_s: float) -> None:
        """Learn that a client needed so long for so much work."""
        if client not in range(len(self._work_s)) or work_s < 0.0 or busy_s < 0.0:
            raise StealingError(f"client {client} did {work_s} s of work in {busy_s} s: no such client, or negative")
        self._work_s[client] += work_s
        self._busy_s[client] += busy_s

    def finished(self, demand_s: float) -> None:
        """Learn how much work a chunk was."""
        if len(self._latest) == N_LENGTHS:
            oldest = self._latest.popleft()
            del self._sorted[bisect_right(self._sorted, oldest) - 1]
            self._sum_s -= oldest
        self._latest.append(demand_s)
        insort(self._sorted, demand_s)
        self._sum_s += demand_s
        self._n_news += 1
        if self._n_news * REMAKE >= len(self._sorted):
            self._remake()

    def _remake(self) -> None:
        """Make sum and table again from what is remembered, so that they depend on nothing else."""
        self._sum_s, self._n_news, self._lengths = math.fsum(self._sorted), 0, list(self._sorted)
        self._rests_s = list(accumulate(reversed(self._lengths)))[::-1]

    def resize(self, factor: float) -> None:
        """Let chunks be so many times as long as they were."""
        if not 0.0 < factor < math.inf:
            raise StealingError(f"estimates: chunks {factor} times as long: expected a positive number")
        if factor == 1.0:
            return
        self.expected_s *= factor
        self._latest = deque(demand_s * factor for demand_s in self._latest)
        self._sorted = sorted(self._latest)
        self._remake()

    def end_round(self) -> None:
        """Turn what the round taught into the belief of the next one."""
        self._remake()
        for client, busy_s in enumerate(self._busy_s):
            if busy_s > 0.0 and self._work_s[client] > 0.0:
                seen = self._work_s[client] / busy_s
                self.prior_speeds[client] = KEEP * self.prior_speeds[client] + (1.0 - KEEP) * seen
        self._work_s = [0.0] * len(self._work_s)
        self._busy_s = [0.0] * len(self._busy_s)

    def state(self) -> dict[str, list[float]]:
        """Return what has to be saved between rounds."""
        return {"speeds": list(self.prior_speeds), "demands_s": list(self._latest), "expected_s": [self.expected_s]}

    @classmethod
    def from_state(cls, state: dict[str, list[float]]) -> Estimates:
        """Return the beliefs that were saved."""
        estimates = cls(len(state["speeds"]), state["expected_s"][0], state["speeds"])
        for demand_s in state["demands_s"]:
            estimates.finished(demand_s)
        estimates._remake()
        return estimates
