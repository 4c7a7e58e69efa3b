"""Rewards of a step: a weighted sum of terms that the step left in the state, and potential-based shaping.

The weights of a preset, changed and extended by ``reward.terms``, multiply ``state.TERMS``; a cost has a negative
weight. ``reward.team_frac`` mixes in the mean over agents. Shaping adds ``weight * (gamma * potential' - potential)``,
which changes no optimal policy if gamma is the learner's own discount (A. Ng, D. Harada, S. Russell, ICML 1999; for
many agents S. Devlin, D. Kudenko, AAMAS 2011). At a truncation potential' is that of the last state, as the learner
bootstraps there.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F4, F8
from envs.fog.network import Network
from envs.fog.params import POTENTIALS, RewardParams
from envs.fog.state import TERMS, FogState

_NONE, _ALIVE_TASKS, _BACKLOG, _LOAD_VARIANCE = range(4)


class RewardWeights(NamedTuple):
    """RewardParams as the kernel reads them."""

    weight: Annotated[F8, "O", "weight of each term"]
    needs_foresight: bool
    team_frac: float
    potential: int
    shaping_weight: float
    gamma: float


def reward_weights(params: RewardParams) -> RewardWeights:
    """Return the kernel's view of the parameters."""
    weights = params.weights
    return RewardWeights(
        weight=np.array([weights.get(name, 0.0) for name in TERMS], np.float64),
        needs_foresight=any(name == "decided" or name.startswith("expected_") for name in weights),
        team_frac=float(params.team_frac),
        potential=POTENTIALS.index(params.shaping.potential) if params.shaping.is_on else _NONE,
        shaping_weight=float(params.shaping.weight),
        gamma=float(params.shaping.gamma),
    )


@inlined
def _potential(state: FogState, network: Network, potential: int, b: int, n: int) -> float:
    """Return the potential of an agent; ``seen`` must be up to date."""
    node = network.node_of_agent[n]
    if potential == _ALIVE_TASKS:
        return -float(state.agent[b, n].n_alive)
    if potential == _BACKLOG:
        return -float(state.seen[b, 0, node].wait_s)
    total, squares, n_known = 0.0, 0.0, 0
    for k in range(network.n_targets[n]):
        fill = state.seen[b, network.report_lag[n, k], network.target_node[n, k]].fill_frac
        total += fill
        squares += fill * fill
        n_known += 1
    mean = total / n_known
    return float(mean * mean - squares / n_known)


@kernel
def write_reward(reward: F4, state: FogState, weights: RewardWeights, b: int) -> None:
    """Fill ``reward`` (N,) of world ``b`` with the weighted terms."""
    n_agents = reward.size
    total = 0.0
    for n in range(n_agents):
        value = 0.0
        for j in range(weights.weight.size):
            value += weights.weight[j] * state.term[b, n, j]
        reward[n] = value
        total += value
    if weights.team_frac > 0.0:
        mean = total / n_agents
        for n in range(n_agents):
            reward[n] += weights.team_frac * (mean - reward[n])


@kernel
def shape_reward(reward: F4, state: FogState, network: Network, weights: RewardWeights, b: int) -> None:
    """Add the shaping to ``reward`` (N,), and keep the potentials for the next step."""
    if weights.potential == _NONE:
        return
    for n in range(reward.size):
        potential = _potential(state, network, weights.potential, b, n)
        reward[n] += weights.shaping_weight * (weights.gamma * potential - state.agent[b, n].potential)
        state.agent[b, n].potential = potential


@kernel
def begin_potentials(state: FogState, network: Network, weights: RewardWeights, b: int) -> None:
    """Set the potentials of an episode's first state."""
    for n in range(state.agent.shape[1]):
        state.agent[b, n].potential = (
            _potential(state, network, weights.potential, b, n) if weights.potential != _NONE else 0.0
        )
