"""Scheduled arrivals: a Poisson process whose rate follows a list of pieces, over and over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import F8
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads import streams
from envs.workloads.arrivals import poisson_instants
from envs.workloads.checks import refuse
from envs.workloads.laws import TaskLaw
from envs.workloads.workload import TaskTable, Workload

Pieces = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Schedule(Workload):
    """The rate is constant in each piece; after the last piece the first one follows.

    ``linear_pieces`` and ``zigzag_pieces`` write ramps as such lists.
    """

    pieces: Pieces  # (duration in seconds > 0, tasks per second of each device >= 0); one rate must be positive
    offset_drawn: bool  # true: each world and episode begins at an instant drawn from the cycle; false: at piece 0
    task: TaskLaw

    def __post_init__(self) -> None:
        """Check the pieces."""
        expected = "a list of pairs: duration in seconds > 0, tasks per second >= 0, not all 0"
        try:
            pieces = np.array(self.pieces, np.float64)
        except (TypeError, ValueError):
            raise refuse(self, "pieces", expected) from None
        if pieces.ndim != 2 or pieces.shape[1] != 2 or not np.isfinite(pieces).all():
            raise refuse(self, "pieces", expected)
        if (pieces[:, 0] <= 0.0).any() or (pieces[:, 1] < 0.0).any() or not pieces[:, 1].any():
            raise refuse(self, "pieces", expected)

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        """Return the tasks created in [0, horizon_s)."""
        offset = float(draws.uniform(streams.PHASE, 1)[0]) if self.offset_drawn else 0.0
        end_s, rate_hz = self._unroll(offset, horizon_s)
        instants = poisson_instants(draws, end_s, rate_hz * int(topology.is_device.sum()))
        return self.task.table(draws, topology, instants)

    def mean_rate_hz(self, topology: Topology) -> float:
        """Return the expected tasks per second of the whole network, over whole cycles or drawn offsets."""
        pieces = np.array(self.pieces, np.float64)
        return float(np.average(pieces[:, 1], weights=pieces[:, 0])) * int(topology.is_device.sum())

    def _unroll(self, offset: float, horizon_s: float) -> tuple[F8, F8]:
        """Return ends and rates of the pieces in [0, horizon_s) when the cycle's part ``offset`` has passed at 0."""
        duration_s, rate_hz = np.array(self.pieces, np.float64).T
        cycle_s = duration_s.sum()
        n_cycles = int(np.ceil(offset + horizon_s / cycle_s)) + 1
        starts_s = cycle_s * np.arange(n_cycles)
        end_s = (starts_s[:, None] + np.cumsum(duration_s)).ravel() - offset * cycle_s
        rate_hz = np.tile(rate_hz, n_cycles)
        first = int(np.searchsorted(end_s, 0.0, side="right"))
        last = int(np.searchsorted(end_s, horizon_s, side="left"))
        end_s = end_s[first : last + 1].copy()
        end_s[-1] = horizon_s
        return end_s, rate_hz[first : last + 1]


def linear_pieces(duration_s: float, first_rate: float, last_rate: float, n_pieces: int) -> Pieces:
    """Return a ramp in equal pieces, each with the ramp's rate at its middle, so that expected counts are the same."""
    middles = (np.arange(n_pieces) + 0.5) / n_pieces
    return tuple((duration_s / n_pieces, float(first_rate + (last_rate - first_rate) * at)) for at in middles)


def zigzag_pieces(period_s: float, low_rate: float, high_rate: float, n_pieces: int) -> Pieces:
    """Return one period that rises from low to high and falls back, ``n_pieces`` pieces each way."""
    rise = linear_pieces(0.5 * period_s, low_rate, high_rate, n_pieces)
    return rise + rise[::-1]
