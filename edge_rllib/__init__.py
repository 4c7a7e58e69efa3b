"""Multi-agent reinforcement learning for task offloading at the edge, on Ray RLlib.

Importing this package loads neither Ray nor torch nor numba; ``make`` opens a world by the name of its scenario.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge_rllib.guard import check_envs

if TYPE_CHECKING:
    from envs.world import World

__all__ = ["__version__", "make"]
__version__ = "0.1.0"

check_envs()


def make(
    scenario: str,
    n_worlds: int,
    seed: int = 0,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    first_world_id: int = 0,
) -> World:
    """Return a batch of worlds of a scenario, named by its registry name or by the path of a yaml file.

    Overrides are ``{"workload.rate_hz": 2.0}`` or ``["workload.rate_hz=2.0"]``.
    """
    from edge_rllib.config.load import load_scenario
    from envs.scenario import make as make_world

    return make_world(load_scenario(scenario, overrides), n_worlds, seed, first_world_id)
