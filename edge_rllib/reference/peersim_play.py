"""PeersimGym's reference policies on a world with its semantics."""

from __future__ import annotations

import dataclasses

import numpy as np

from envs.arrays import F8
from envs.baselines.base import Player, Rule, look, play
from envs.baselines.least_queue import LeastQueue
from envs.baselines.local import Local
from envs.baselines.random import Random
from envs.errors import UnknownName
from envs.fog.peersim.figures import reference_figures
from envs.fog.peersim.world import PeersimWorld
from envs.scenario import Scenario, make

# local: index 0 in every slot; random: uniform over the neighbour list; leastqueue: the least observed Q, first of
# equals, the own node's known and a cloud's taken for 0. In PeersimGym they decide whether there is a task or not.
POLICIES: dict[str, Rule] = {"local": Local(), "random": Random(), "leastqueue": LeastQueue()}


def play_reference(scenario: Scenario, policy: str, n_worlds: int, seed: int) -> dict[str, F8]:
    """Return the figures of the first episodes of worlds 0 to n_worlds - 1 under a reference policy, each (n_worlds,).

    The names are those of PeersimGym's reference data; times are in seconds. Figures of nodes are (n_worlds, nodes).
    """
    if policy not in POLICIES:
        raise UnknownName("reference policy", policy, POLICIES)
    world = make(scenario, n_worlds, seed)
    figures = reference_figures(play(world, POLICIES[policy], np.arange(n_worlds), seed).sums)
    return {**figures, **node_figures(scenario, policy, n_worlds, seed)}


def node_figures(scenario: Scenario, policy: str, n_worlds: int, seed: int) -> dict[str, F8]:
    """Return the same episodes' figures of nodes (n_worlds, M), clouds left out, and of clients (n_worlds, clients)."""
    params = scenario.params
    # one step more, as a world that ends begins anew
    longer = dataclasses.replace(params, horizon_slots=params.horizon_slots + params.slots_per_step)
    world = make(dataclasses.replace(scenario, params=longer), n_worlds, seed)
    assert isinstance(world, PeersimWorld)
    out = world.outcome()
    world.reset(np.arange(n_worlds), out)
    player = Player(POLICIES[policy], world.spec, np.arange(n_worlds), seed)
    for _ in range(world.spec.horizon_steps - 1):
        world.step(player.decide(look(world)), out)
    assert not out.truncated.any()
    setup, node = world.setup, world.state.node
    is_worker = setup.node["is_cloud"] == 0
    n_sent = np.add.reduceat(world.state.entry["n_tasks"], setup.node["first_entry"], axis=1)
    return {
        "per_node_processed": node["n_processed"][:, is_worker].astype(np.float64),
        "per_node_received": node["n_reached"][:, is_worker].astype(np.float64),
        "per_node_drop_arrival": node["n_refused"][:, is_worker].astype(np.float64),
        "per_client_created": n_sent[:, setup.node["is_client"] == 1].astype(np.float64),
    }
