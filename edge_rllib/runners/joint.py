"""A rollout with its agents side by side again, in the order of the world, whichever modules decided for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edge_rllib.runners import rollout as column
from edge_rllib.runners.rollout import Finals, Rollout
from envs.arrays import BOOL, F4, I8


class JointRows(NamedTuple):
    """T steps of B worlds, all agents together."""

    observation: F4  # (T + 1, B, N, F); the last one is behind the fragment
    mask: BOOL  # (T + 1, B, N, K)
    state: F4 | None  # (T + 1, B, S)
    target: I8  # (T, B, N)
    amounts: F4  # (T, B, N, A)
    logp: F4  # (T, B, N) log probability (density) with which the decision was drawn
    reward: F4  # (T, B, N)
    terminated: BOOL  # (T, B)
    truncated: BOOL  # (T, B)
    finals: Finals | None


def joint_rows(rollout: Rollout) -> JointRows:
    """Return the columns of all modules as one; of a single module without a copy where its agents are in order."""
    return JointRows(
        gather(rollout, column.OBSERVATION),
        gather(rollout, column.MASK),
        rollout.state,
        gather(rollout, column.DECISION),
        gather(rollout, column.AMOUNTS),
        gather(rollout, column.LOGP),
        gather(rollout, column.REWARD),
        rollout.terminated,
        rollout.truncated,
        rollout.finals,
    )


def gather(rollout: Rollout, name: str) -> Any:
    """Return one column of all agents, (T or T + 1, B, N, ...)."""
    parts = [(rollout.agents[module_id], columns[name]) for module_id, columns in rollout.columns.items()]
    agents, first = parts[0]
    if len(parts) == 1 and np.array_equal(agents, np.arange(len(agents))):
        return first
    n_agents = sum(len(members) for members, _ in parts)
    joint = np.empty((*first.shape[:2], n_agents, *first.shape[3:]), first.dtype)
    for members, values in parts:
        joint[:, :, members] = values
    return joint
