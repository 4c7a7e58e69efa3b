"""From decisions to servers and cuts, and back."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from envs.accelerate import inlined
from envs.arrays import F8, I8
from envs.testbed.params import KINDS
from envs.testbed.state import CUTS, N_CUTS, SHARES

N_STAGES = 4
AMOUNT = "server_share"
AMOUNT_EDGES = (0.25, 0.5, 0.75)  # between these the cut is the same
_ROUNDING = 1e-9  # a share of three quarters leaves one stage to the device, whatever its last bit


class Chosen(Protocol):
    """What a rule chose: a target of the view for each device, (B, N)."""

    target: I8


class Placement(NamedTuple):
    """Where each task goes; arrays of any, equal shape."""

    target: I8  # 0 the device, m + 1 server m
    cut: I8  # stages that the device does before the upload; 4 for all


@inlined
def target_of(kind: int, decision: int) -> int:
    """Return 0 for the device, m + 1 for server m."""
    if kind == CUTS and decision > 0:
        return 1 + (decision - 1) // N_CUTS
    return decision


@inlined
def cut_of(kind: int, decision: int, amount: float) -> int:
    """Return how many stages the device does: all of a local task, else at most all but the last."""
    if decision == 0:
        return N_STAGES
    if kind == CUTS:
        return (decision - 1) % N_CUTS
    if kind == SHARES:
        return min(int((1.0 - amount) * N_STAGES + _ROUNDING), N_STAGES - 1)
    return 0


def n_targets(kind: str, n_servers: int) -> int:
    """Return K, the targets of a device."""
    return 1 + n_servers * (N_CUTS if kind == "cuts" else 1)


def placement(kind: str, decision: I8, amounts: F8 | None) -> Placement:
    """Return where tasks go; ``decision`` and ``amounts`` have the same shape, as for one amount of each agent."""
    number = KINDS.index(kind)
    share = np.zeros(decision.shape) if amounts is None else np.asarray(amounts, np.float64).reshape(decision.shape)
    pairs = [
        (target_of(number, int(k)), cut_of(number, int(k), float(amount)))
        for k, amount in zip(decision.ravel(), share.ravel(), strict=True)
    ]
    found = np.array(pairs, np.int64).reshape(*decision.shape, 2)
    return Placement(found[..., 0], found[..., 1])


def decision_of(kind: str, target: I8, cut: I8) -> tuple[I8, F8 | None]:
    """Return the decision and the amounts, None where there are none, that stand for a placement."""
    if kind == "cuts":
        return np.where(target > 0, 1 + (target - 1) * N_CUTS + np.minimum(cut, N_CUTS - 1), 0), None
    if kind == "shares":
        return target, np.where(target > 0, 1.0 - cut / N_STAGES, 1.0)
    return target, None
