"""From decisions to who sends on which channel, and back."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.accelerate import inlined
from envs.arrays import F8, I8
from envs.multiuser.params import MultiuserParams
from envs.multiuser.state import BOX, NO_CHANNEL, MultiuserState, Rules

_STAYS, _SENDS = -0.5, 0.5  # first amounts that stand for the two


class Chosen(Protocol):
    """What a rule chose: a target of the view for each user, (B, Us); 0 local, 1 + m channel m."""

    target: I8


@inlined
def decode(state: MultiuserState, rules: Rules, b: int, decision: I8, amounts: F8) -> None:
    """Write what each user of world ``b`` does.

    ``decision`` (Us,) is in range where decisions are discrete, ``amounts`` (2 Us,) within [-1, 1] where they are not.
    """
    for u in range(state.user.shape[1]):
        user = state.user[b, u]
        if rules.kind == BOX:
            most = rules.n_channels if rules.has_phantom else rules.n_channels - 1
            user.offloads = 1 if amounts[2 * u] >= 0.0 else 0
            user.channel = min(math.floor((amounts[2 * u + 1] + 1.0) * (rules.n_channels / 2.0)), most)
        else:
            user.offloads = 1 if decision[u] > 0 else 0
            user.channel = decision[u] - 1 if decision[u] > 0 else NO_CHANNEL


def n_targets(params: MultiuserParams, n_channels: int) -> int:
    """Return K, the targets of an agent."""
    return 1 if params.decision.kind == "box" else 1 + n_channels


def amount_names(params: MultiuserParams, n_users: int) -> tuple[str, ...]:
    """Return the names of an agent's amounts."""
    if params.decision.kind == "discrete":
        return ()
    if not params.is_central:
        return ("offload", "channel")
    return tuple(f"user_{u}/{name}" for u in range(n_users) for name in ("offload", "channel"))


def encode(params: MultiuserParams, n_channels: int, chosen: Chosen) -> tuple[I8, F8 | None]:
    """Return the decision and amounts that a choice stands for; in a box, user u stays on channel u mod M."""
    target = chosen.target
    n_worlds, n_users = target.shape
    if params.decision.kind == "discrete":
        return (target[:, None, :] if params.is_central and n_users > 1 else target), None
    channel = np.where(target > 0, target - 1, np.arange(n_users) % n_channels)
    middle = (2.0 * channel + 1.0) / n_channels - 1.0
    amounts = np.stack((np.where(target > 0, _SENDS, _STAYS), middle), axis=-1)
    n_agents = 1 if params.is_central else n_users
    return np.zeros((n_worlds, n_agents), np.int64), amounts.reshape(n_worlds, n_agents, -1)
