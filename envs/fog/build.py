"""The door of the fog world: one name, two semantics."""

from __future__ import annotations

from envs.scenario import Scenario
from envs.world import World


def fog_world(scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> World:
    """Return worlds with the semantics that ``scenario.params.semantics`` names; the other one is not imported."""
    if scenario.params.semantics == "peersim":
        from envs.fog.peersim.world import PeersimWorld

        return PeersimWorld(scenario, n_worlds, seed, first_world_id)
    from envs.fog.world import FogWorld

    return FogWorld(scenario, n_worlds, seed, first_world_id)
