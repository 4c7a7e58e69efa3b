"""Rates of links that depend on who uploads: what the simulator computes of radio drives the bytes of the testbed."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edge_rllib.testbed.params import BedScenario
from envs.arrays import BOOL, F8


class RateModel(Protocol):
    """Gives the rates of all links whenever an upload begins or ends."""

    def rates_bps(self, busy: BOOL) -> F8:
        """Return the rates from devices to servers, (N, M), where ``busy`` (N, M) tells who uploads to whom."""


class OwnRates:
    """Every link has its own rate, whoever else sends."""

    def __init__(self, scenario: BedScenario) -> None:
        self._rates_bps = up_rates(scenario)

    def rates_bps(self, busy: BOOL) -> F8:
        """Return the rates of the scenario."""
        return self._rates_bps


class SharedRates:
    """Devices that upload to one server at the same time share its air: each gets its rate over their number."""

    def __init__(self, scenario: BedScenario) -> None:
        self._rates_bps = up_rates(scenario)

    def rates_bps(self, busy: BOOL) -> F8:
        """Return the rates of the scenario over the number of devices that upload to the same server."""
        return self._rates_bps / np.maximum(busy.sum(0), 1)


def up_rates(scenario: BedScenario) -> F8:
    """Return the rates from devices to servers that a scenario says, (N, M)."""
    return np.array([[scenario.up_bps(n, m) for m in range(scenario.n_servers)] for n in range(scenario.n_devices)])


def rate_model(scenario: BedScenario) -> RateModel:
    """Return the model of a scenario."""
    return OwnRates(scenario) if scenario.link.sharing == "own" else SharedRates(scenario)
