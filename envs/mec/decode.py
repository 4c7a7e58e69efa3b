"""From decisions to servers and shares, and back."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.accelerate import inlined
from envs.arrays import F8, I8
from envs.mec.params import DecisionParams
from envs.mec.state import BOX, DISCRETE, NO_SERVER, MecState, MecTables, Rules

BOX_LIMIT = 0.9999  # the released code clips both numbers to +-0.9999, so that a share is never quite 0 or 1


class Chosen(Protocol):
    """What a rule chose: a target of the view (0 local, 1 + e server e) and a share, (B, N) each."""

    target: I8
    share: F8 | None


@inlined
def decode(state: MecState, tables: MecTables, rules: Rules, b: int, decision: I8, amounts: F8) -> None:
    """Write the servers and shares of world ``b``; ``decision`` (N,) is in range, ``amounts`` (N, A) within bounds."""
    n_servers, n_levels = tables.server_hz.size, tables.share_levels.size
    for n in range(state.agent.shape[1]):
        agent = state.agent[b, n]
        if rules.kind == BOX:
            x = min(max(amounts[n, 0], -BOX_LIMIT), BOX_LIMIT)
            y = min(max(amounts[n, 1], -BOX_LIMIT), BOX_LIMIT)
            agent.server = math.floor((x + 1.0) * n_servers / 2.0)
            agent.share = (y + 1.0) / 2.0
            continue
        chosen = decision[n] - 1 if rules.explicit_local else decision[n]
        if chosen < 0:
            agent.server = NO_SERVER
            agent.share = 0.0
        elif rules.kind == DISCRETE:
            agent.server = chosen // n_levels
            agent.share = tables.share_levels[chosen % n_levels]
        else:
            agent.server = chosen
            agent.share = amounts[n, 0]


def n_targets(params: DecisionParams, n_servers: int) -> int:
    """Return K, the targets of an agent."""
    if params.kind == "box":
        return 1
    levels = len(params.share_levels) if params.kind == "discrete" else 1
    return n_servers * levels + int(params.explicit_local)


def n_amounts(params: DecisionParams) -> int:
    """Return A, the amounts of an agent."""
    return {"hybrid": 1, "box": 2, "discrete": 0}[params.kind]


def encode(params: DecisionParams, n_servers: int, chosen: Chosen) -> tuple[I8, F8 | None]:
    """Return the decision and amounts nearest to a choice.

    Local without a local target is a share of 0 at the first server; the box has no share of 0, and a discrete
    decision takes the nearest level.
    """
    is_local = chosen.target == 0
    server = np.where(is_local, 0, chosen.target - 1)
    share = np.where(is_local, 0.0, 1.0 if chosen.share is None else chosen.share)
    if params.kind == "box":
        x = (2.0 * server + 1.0) / n_servers - 1.0  # the middle of the server's part of [-1, 1]
        return np.zeros_like(chosen.target), np.stack((x, 2.0 * share - 1.0), axis=-1)
    is_kept = is_local if params.explicit_local else np.zeros_like(is_local)
    first = int(params.explicit_local)
    if params.kind == "hybrid":
        return np.where(is_kept, 0, server + first), share[..., None]
    levels = np.array(params.share_levels)
    level = np.abs(share[..., None] - levels).argmin(axis=-1)
    return np.where(is_kept, 0, server * len(levels) + level + first), None


def placement(params: DecisionParams, n_servers: int, decision: I8, amounts: F8) -> tuple[I8, F8]:
    """Return what decisions (...,) and amounts (..., A) stand for: 0 the device or 1 + e server e, and its share."""
    if params.kind == "box":
        x, y = (np.clip(amounts[..., i], -BOX_LIMIT, BOX_LIMIT) for i in range(2))
        return 1 + np.floor((x + 1.0) * n_servers / 2.0).astype(np.int64), (y + 1.0) / 2.0
    chosen = decision - int(params.explicit_local)
    if params.kind == "discrete":
        levels = np.array(params.share_levels)
        server, share = chosen // len(levels), levels[chosen % len(levels)]
    else:
        server, share = chosen, amounts[..., 0]
    return np.where(chosen < 0, 0, 1 + server), np.where(chosen < 0, 0.0, share)
