"""From decisions to who sends on which channel, and back."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.accelerate import inlined
from envs.arrays import F8, I8
from envs.multiuser.params import MultiuserParams
from envs.multiuser.state import BOX, NO_CHANNEL, MultiuserState, MultiuserTables, Rules

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


@inlined
def next_user(state: MultiuserState, rules: Rules, b: int) -> int:
    """Return the user of world ``b`` whose turn it is."""
    turn = state.world[b].turn
    if rules.by_urgency:
        for u in range(state.user.shape[1]):
            if state.user[b, u].rank == turn:
                return u
    return int(turn)


@inlined
def decide_next(state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int, target: int) -> None:
    """Write what the next user of world ``b`` does, and count it for those behind it."""
    u = next_user(state, rules, b)
    user, world = state.user[b, u], state.world[b]
    user.offloads = 1 if target > 0 else 0
    user.channel = target - 1 if target > 0 else NO_CHANNEL
    if target > 0:
        state.channel[b, target - 1].n_sending += 1
        state.channel[b, target - 1].received_w += tables.received_w[u]
        world.sent_s += user.work_cycles / rules.edge_hz
    world.turn += 1


@inlined
def clear_turns(state: MultiuserState, b: int) -> None:
    """Let the turns of world ``b`` begin with the first user."""
    state.world[b].turn = 0
    state.world[b].sent_s = 0.0
    for channel in range(state.channel.shape[1]):
        state.channel[b, channel].n_sending = 0
        state.channel[b, channel].received_w = 0.0


def users_in_turn(state: MultiuserState, by_urgency: bool) -> I8:
    """Return the user of each world whose turn it is, (B,)."""
    turn: I8 = np.asarray(state.world["turn"])
    if not by_urgency:
        return turn
    return np.asarray(state.user["rank"] == turn[:, None]).argmax(axis=1)


def n_targets(params: MultiuserParams, n_channels: int) -> int:
    """Return K, the targets of an agent."""
    return 1 if params.decision.kind == "box" else 1 + n_channels


def amount_names(params: MultiuserParams, n_users: int) -> tuple[str, ...]:
    """Return the names of an agent's amounts."""
    if params.decision.kind != "box":
        return ()
    if not params.is_central:
        return ("offload", "channel")
    return tuple(f"user_{u}/{name}" for u in range(n_users) for name in ("offload", "channel"))


def amount_edges(params: MultiuserParams, n_users: int, n_channels: int) -> tuple[tuple[float, ...], ...]:
    """Return the edges of the intervals that ``decode`` tells apart, by amount; what lies on one belongs above it."""
    if params.decision.kind != "box":
        return ()
    last = n_channels + 1 if params.semantics.phantom_channel else n_channels
    channels = tuple((2 * channel - n_channels) / n_channels for channel in range(1, last))
    return ((0.0,), channels) * (n_users if params.is_central else 1)


def encode(params: MultiuserParams, n_channels: int, chosen: Chosen, turn: I8) -> tuple[I8, F8 | None]:
    """Return the decision and amounts that a choice stands for; in a box, user u stays on channel u mod M.

    ``turn`` (B,) is the user that is decided for where users are decided for in turn.
    """
    target = chosen.target
    n_worlds, n_users = target.shape
    if params.takes_turns:
        return np.take_along_axis(target, turn[:, None], axis=1), None
    if params.decision.kind == "discrete":
        return (target[:, None, :] if params.is_central and n_users > 1 else target), None
    channel = np.where(target > 0, target - 1, np.arange(n_users) % n_channels)
    middle = (2.0 * channel + 1.0) / n_channels - 1.0
    amounts = np.stack((np.where(target > 0, _SENDS, _STAYS), middle), axis=-1)
    n_agents = 1 if params.is_central else n_users
    return np.zeros((n_worlds, n_agents), np.int64), amounts.reshape(n_worlds, n_agents, -1)
