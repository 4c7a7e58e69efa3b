"""Random epochs of the testbed's twin, with ties, for checks of rules."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8, allocate
from envs.testbed.observe import BedView, expect_targets
from envs.testbed.state import CUTS, N_CUTS


def random_bed_view(rng: np.random.Generator, n_worlds: int, n_devices: int = 4, n_servers: int = 2) -> BedView:
    """Return epochs whose backlogs, services and rates have ties, and in which some servers are down."""
    sizes = {"B": n_worlds, "N": n_devices, "Se": n_servers, "St": N_CUTS, "K": 1 + n_servers * N_CUTS}
    view: BedView = allocate(BedView, sizes)

    def numbers(low: int, high: int, of: tuple[int, ...], unit: float) -> F8:
        return np.asarray(rng.integers(low, high, of) * unit, np.float64)

    view.has_task[:] = True
    view.payload_bits[:] = numbers(1, 5, view.payload_bits.shape, 1e6)
    view.local_backlog_s[:] = numbers(0, 4, view.local_backlog_s.shape, 0.5)
    view.local_service_s[:] = numbers(1, 4, view.local_service_s.shape, 0.5)
    view.server_backlog_s[:] = numbers(0, 4, view.server_backlog_s.shape, 0.25)
    view.server_service_s[:] = numbers(1, 4, view.server_service_s.shape, 0.25)
    view.rate_bps[:] = numbers(1, 3, view.rate_bps.shape, 1e7)
    view.is_up[:] = rng.random(view.is_up.shape) < 0.8
    for b in range(n_worlds):
        expect_targets(view, CUTS, b)
    return view
