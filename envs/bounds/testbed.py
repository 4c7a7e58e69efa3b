"""A bound of the testbed's twin: every device's lane as full of its own work as time allows, the rest at the edge.

Work costs least on the device, where there is too little time for all of it. Tasks do not depend on decisions. Whatever
a policy does, work that leads to a result in time was done by the device before the last deadline, or has the price of
a server; a task that is late, or not done, costs the penalty. So no policy costs less than the linear programme that
gives each device the work that saves most by the cycle, shares of tasks included, until its time is used up.
"""

from __future__ import annotations

import numpy as np

from envs.arrays import F8
from envs.bounds.base import Bound, Limit
from envs.scenario import Scenario, make
from envs.testbed.build import read_rules, read_tables
from envs.testbed.state import SUM_NAMES
from envs.testbed.world import BedWorld


class BedFluid(Bound):
    """Every lane full of what saves most, no queue anywhere, nothing paid for uploads."""

    name = "full_lanes"
    meaning = (
        "every device does as much of its own work as time allows, shares of tasks too; the rest is served at once"
    )
    figures = ("return", "episode_cost", "cost_per_task")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Bound the cost of the worlds' first episodes."""
        rules = read_rules(scenario)
        world = make(scenario, n_worlds, seed, first_world_id)
        assert isinstance(world, BedWorld)
        hz, cycles = _tasks(world, float(read_tables(scenario).stage_cycles.sum()))
        busy_s = (rules.horizon_epochs - 1) * rules.epoch_s + rules.deadline_s
        dear = np.minimum(cycles * rules.edge_per_cycle, rules.late_cost)
        saving = np.maximum(dear - cycles * rules.local_per_cycle, 0.0)
        self.cost: F8 = dear.sum(axis=(1, 2)) - _most_saved(saving, cycles, hz * busy_s).sum(axis=1)
        self._scale = rules.reward_scale

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of a figure for any policy that played whole episodes; cost_per_task is over its tasks."""
        if figure == "cost_per_task":
            return Limit(self.cost, sums[:, SUM_NAMES.index("tasks")])
        sign = -self._scale if figure == "return" else 1.0
        return Limit(sign * self.cost, np.ones(len(self.cost)))

    def of_all(self, figure: str) -> float:
        """Return the best value of a figure that is taken over episodes; whoever plays them plays every task."""
        return float("nan") if figure == "cost_per_task" else self.limit(figure, np.zeros((0, 0))).value


def _tasks(world: BedWorld, frame_cycles: float) -> tuple[F8, F8]:
    """Return the speeds of the devices (B, N) and the cycles of the tasks (B, N, T) of the first episodes."""
    out = world.outcome()
    world.reset(None, out)
    hz, factor = world.state.device["hz"].copy(), world.state.world["work_factor"].copy()
    spec = world.spec
    home = np.zeros((spec.n_worlds, spec.n_agents), np.int64)
    amounts = np.ones((spec.n_worlds, spec.n_agents, spec.n_amounts)) if spec.n_amounts else None
    for _ in range(spec.horizon_steps):
        world.step(home, out, amounts)
    ended = world.ended
    cycles: F8 = frame_cycles * ended["frames"] * ended["work_factor"] * factor[:, None, None]
    return hz, cycles


def _most_saved(saving: F8, cycles: F8, capacity: F8) -> F8:
    """Return the most that devices save (B, N): tasks by saving a cycle, the last as far as the capacity goes."""
    order = np.argsort(-saving / cycles, axis=2)
    saving, cycles = (np.take_along_axis(each, order, axis=2) for each in (saving, cycles))
    before = np.cumsum(cycles, axis=2) - cycles
    part = np.clip((capacity[:, :, None] - before) / cycles, 0.0, 1.0)
    saved: F8 = (part * saving).sum(axis=2)
    return saved
