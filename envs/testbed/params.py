"""The parameters of the world ``testbed`` beside its devices, links and tasks."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from envs.errors import ConfigError

KINDS = ("cuts", "shares", "whole")  # numbers of decision kinds in the kernels


@dataclass(frozen=True)
class BedDecision:
    """What a device decides on."""

    # cuts: the target is a server and the stages that the device does before it uploads, K = 1 + 4 M.
    # shares: the target is a server, K = 1 + M, and an amount the share of the stages that is done there.
    # whole: the target is a server, K = 1 + M, and gets the whole task
    kind: Literal["cuts", "shares", "whole"]


@dataclass(frozen=True)
class BedCost:
    """Prices of DC-DRL's system cost."""

    local_per_cycle: float
    edge_per_cycle: float
    transmit_per_j: float
    late: float  # for a task that misses its deadline
    transmit_w: float  # power of a device's transmitter

    def __post_init__(self) -> None:
        """Refuse negative prices."""
        for field in dataclasses.fields(self):
            _require(self, field.name, 0.0 <= getattr(self, field.name) < math.inf, "a finite number of at least 0")


@dataclass(frozen=True)
class BedReward:
    """Minus the cost that came up in a step."""

    scale: float
    team: bool  # every device gets the mean over devices; else each its own

    def __post_init__(self) -> None:
        """Refuse a scale that is not positive."""
        _require(self, "scale", 0.0 < self.scale < math.inf, "a finite number > 0")


@dataclass(frozen=True)
class BedRandomisation:
    """Half widths of factors around 1, drawn evenly for each episode: what calibration has left unknown.

    0.2 draws from [0.8, 1.2]. [Tobin et al. 2017, Domain randomization for transferring deep neural networks from
    simulation to the real world]
    """

    device_speed_frac: float  # each device its own
    server_speed_frac: float  # each server its own
    rate_frac: float  # each link its own
    work_frac: float  # all tasks of an episode
    bytes_frac: float  # all payloads of an episode behind the first stage
    delay_frac: float  # all links of an episode

    def __post_init__(self) -> None:
        """Refuse factors that might be 0 or less."""
        for field in dataclasses.fields(self):
            _require(self, field.name, 0.0 <= getattr(self, field.name) < 1.0, "a number in [0, 1)")


@dataclass(frozen=True)
class BedWorldParams:
    """The parameters of world ``testbed``."""

    horizon_slots: int  # decisions of an episode, one an epoch of the testbed; its tasks are followed to their end
    decision: BedDecision
    patience_frac: float  # share of the deadline after which a device stops waiting for a server and works itself
    drain_s: float  # how long tasks may take after the last epoch before they count as in flight
    decision_delay_s: float  # from the creation of a task until its decision has come
    cost: BedCost
    reward: BedReward
    randomise: BedRandomisation

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        _require(self, "horizon_slots", self.horizon_slots >= 1, "a whole number of at least 1")
        _require(self, "patience_frac", 0.0 < self.patience_frac < math.inf, "a finite number > 0")
        for name in ("drain_s", "decision_delay_s"):
            _require(self, name, 0.0 <= getattr(self, name) < math.inf, "a finite number of at least 0")


def _require(record: Any, field: str, is_met: bool, expected: str) -> None:
    if not is_met:
        raise ConfigError(f"{field} = {getattr(record, field)!r}: expected {expected}")
