"""Whole episodes under a static policy: each agent sends its tasks to its targets with given probabilities.

Nothing is observed and no reward is paid, so an episode costs its physics alone. The same decisions given to
``FogWorld.step`` lead to the same world.
"""

from __future__ import annotations

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.fog.arrivals import Arrivals
from envs.fog.decide import decide
from envs.fog.kernel import advance, end_episode
from envs.fog.network import Network
from envs.fog.state import DECISIONS, FogState, Rules
from envs.rng import unit_pair

_STREAM = np.uint64(1)  # of the choices, under a key of their own


def cumulated_shares(share: F8, target_node: I8) -> F8:
    """Return each agent's cumulated probabilities (N, K), the last one 1, from shares (N, K) of its targets.

    Shares are scaled to add up to 1; those of padding do not count. Raise ConfigError where none is left.
    """
    given = np.asarray(share, np.float64)
    if given.shape != target_node.shape or not (np.isfinite(given) & (given >= 0.0)).all():
        raise ConfigError(f"share: expected finite numbers >= 0 of shape {target_node.shape}, got shape {given.shape}")
    upper = np.cumsum(np.where(target_node >= 0, given, 0.0), axis=1)
    if not (upper[:, -1] > 0.0).all():
        raise ConfigError(f"share: agent {int(np.argmin(upper[:, -1]))} has no target with a share > 0")
    return np.asarray(upper / upper[:, -1:])


@kernel
def play_static(
    chosen: I8,
    decision: I8,
    state: FogState,
    network: Network,
    rules: Rules,
    arrivals: Arrivals,
    upper: F8,
    key: np.uint64,
) -> None:
    """Play every world to its horizon, where steps end at events; ``upper`` as from ``cumulated_shares``."""
    for b in range(state.world.size):
        world_id, episode = np.uint64(state.world[b].world_id), np.uint64(state.world[b].episode)
        while state.world[b].slot < rules.horizon_slots:
            advance(state, network, rules, arrivals, b)
            if state.world[b].n_to_decide == 0:
                continue
            for n in range(network.node_of_agent.size):
                node = network.node_of_agent[n]
                if state.node[b, node].undecided < 0:
                    continue
                state.agent[b, n].next_task = state.node[b, node].undecided
                for d in range(decision.size):
                    u, _ = unit_pair(key, np.uint64(state.sums[b, DECISIONS] + d), _STREAM, world_id, episode)
                    target = 0
                    while u >= upper[n, target]:
                        target += 1
                    decision[d] = target
                decide(state, network, rules, b, n, decision, chosen)
        end_episode(state, network, rules, b)
