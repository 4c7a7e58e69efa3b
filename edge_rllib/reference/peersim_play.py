"""PeersimGym's reference policies on a world with its semantics."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8
from envs.baselines.base import Rule, play
from envs.baselines.least_queue import LeastQueue
from envs.baselines.local import Local
from envs.baselines.random import Random
from envs.errors import UnknownName
from envs.fog.peersim.figures import reference_figures
from envs.scenario import Scenario, make

# local: index 0 in every slot; random: uniform over the neighbour list; leastqueue: the least observed Q, first of
# equals, the own node's known and a cloud's taken for 0. In PeersimGym they decide whether there is a task or not.
POLICIES: dict[str, Rule] = {"local": Local(), "random": Random(), "leastqueue": LeastQueue()}


def play_reference(scenario: Scenario, policy: str, n_worlds: int, seed: int) -> dict[str, F8]:
    """Return the figures of the first episodes of worlds 0 to n_worlds - 1 under a reference policy, each (n_worlds,).

    The names are those of PeersimGym's reference data; times are in seconds.
    """
    if policy not in POLICIES:
        raise UnknownName("reference policy", policy, POLICIES)
    world = make(scenario, n_worlds, seed)
    return reference_figures(play(world, POLICIES[policy], np.arange(n_worlds), seed).sums)
