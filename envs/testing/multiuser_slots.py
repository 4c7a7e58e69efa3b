"""Random slots of multi-user worlds, to show rules what they may meet."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8
from envs.multiuser.observe import MultiuserView
from envs.multiuser.params import (
    CostParams,
    DecisionParams,
    MultiuserParams,
    ObservationParams,
    RewardParams,
    ScaleParams,
    SemanticsParams,
    SiteParams,
)
from envs.multiuser.start import MultiuserStart
from envs.multiuser.world import MultiuserWorld
from envs.scenario import Scenario
from envs.topologies.multiuser_cell import MultiuserCell
from envs.workloads.multiuser_tasks import MultiuserTasks

_SEMANTICS = (
    SemanticsParams("others", False, "simultaneous", "sharing", "stop"),
    SemanticsParams("none", False, "simultaneous", "k_fold", "run"),
    SemanticsParams("released", True, "sequential", "k_fold", "run"),
)


def random_multiuser_view(
    rng: np.random.Generator, n_worlds: int, n_users: int = 6, n_channels: int = 3
) -> MultiuserView:
    """Return slots of users with ties, of every kind of interference and service."""
    semantics = _SEMANTICS[int(rng.integers(len(_SEMANTICS)))]
    scenario = Scenario(
        name="random slots",
        world="multiuser",
        topology=MultiuserCell(n_users, (1e9,), 4e9, n_channels, 5e6, 1e-13, 4.0, 0.1, 80.0, ()),
        topology_seed=int(rng.integers(1000)),
        workload=MultiuserTasks(0.5, (0.5e9, 1e9), (1e7, 1e8), (1.0, 2.0)),
        params=MultiuserParams(
            horizon_slots=10,
            agents="users",
            decision=DecisionParams("discrete", "index"),
            semantics=semantics,
            cost=CostParams(2.5e-11, 5e-11, 0.1, 1.0),
            reward=RewardParams(1.0, True),
            observation=ObservationParams(True, True, True, ScaleParams(1e9, 1e10, 1e9, 1e8, 2.0, 1.0, 1.0, 10.0)),
            site=SiteParams(0.0, 0.0, 0.0),
        ),
    )
    world = MultiuserWorld(scenario, n_worlds, 0, 0)

    def numbers(low: int, high: int, unit: float) -> F8:
        return np.asarray(rng.integers(low, high, (n_worlds, n_users)) * unit, np.float64)

    tasks = (numbers(1, 5, 0.25e9), numbers(1, 5, 2e7), numbers(1, 5, 0.5))
    world.load(MultiuserStart(*tasks, numbers(0, 4, 0.5), numbers(0, 4, 0.25)[:, 0]), world.outcome())
    return world.view()
