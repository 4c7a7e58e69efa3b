"""Bounds of the MEC world: every slot, or every task, in a cell that is otherwise empty.

Backlogs, start-ups and other senders only ever delay a task, and what a slot's tasks and channels are does not depend
on decisions. So no policy does better in a slot than the best decisions of all devices together would do if the servers
had nothing left to do and had been started, but for the first slot, in which none has been. Where that optimum is not
known exactly, each task alone in the cell is a weaker bound.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.arrays import F8
from envs.baselines.base import Choice
from envs.baselines.mec_slot import slot_of
from envs.baselines.mec_solve import solve
from envs.bounds.base import Bound, Limit, NoBound
from envs.mec import state as s
from envs.mec.observe import MecView
from envs.mec.world import MecWorld
from envs.scenario import Scenario, make


class _MecBound(Bound):
    """What the bounds of the MEC world have in common: least costs of the slots of an episode."""

    figures: tuple[str, ...] = ("cost_mean", "delay_s_mean", "reported_cost")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Bound each slot of the worlds' first episodes."""
        self.n_agents = len(scenario.topology.device_hz)  # type: ignore[attr-defined]
        self.horizon = int(scenario.params.horizon_slots)
        self.params = scenario.params
        costs, delays, deadlines = [], [], []
        for view in _slots(scenario, n_worlds, seed, first_world_id):
            costs.append(self.least(view))
            delays.append(self.least(view._replace(time_weight=1.0)))
            deadlines.append(view.deadline_s.min(axis=1))
        self.cost: F8 = np.stack(costs, axis=1)  # (W, slots), added over devices
        self.delay_s: F8 = np.stack(delays, axis=1)
        self.deadline_s: F8 = np.stack(deadlines, axis=1)  # the least of a slot

    @abstractmethod
    def least(self, view: MecView) -> F8:
        """Return the least cost of an empty slot, added over devices, (W,)."""

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of a figure for a policy that played as many slots; of reported_cost, for any policy."""
        if figure == "reported_cost":
            mean = self.cost.mean(axis=1) / self.n_agents
            if self.params.on_miss == "end":  # an episode that fails reports the largest delay of a slot with a miss
                mean = np.minimum(mean, self.deadline_s.min(axis=1))
            return Limit(mean, np.ones(len(mean)))
        n_slots = sums[:, s.SLOTS]
        is_played = np.arange(self.horizon) < n_slots[:, None]
        least = self.cost if figure == "cost_mean" else self.delay_s
        return Limit((least * is_played).sum(axis=1), n_slots * self.n_agents)

    def of_all(self, figure: str) -> float:
        """Return the best value for whoever plays every slot."""
        least = self.delay_s if figure == "delay_s_mean" else self.cost
        return float(least.mean() / self.n_agents)


class MecZeroQueue(_MecBound):
    """Every task at its best server and share, alone in the cell."""

    name = "zero_queue"
    meaning = "every task at its best server and share, alone in the cell"

    def least(self, view: MecView) -> F8:
        """Return the least cost of each task alone, added over devices, (W,)."""
        return least_alone(view).sum(axis=1)


class MecSlots(_MecBound):
    """The best decisions for the tasks of each slot, in a cell without backlog."""

    name = "empty_slots"
    meaning = "the best decisions for each slot's tasks, servers without backlog and started but for the first slot"

    def least(self, view: MecView) -> F8:
        """Return the least cost of the slot, (W,); refuse what can only be searched."""
        view = view._replace(deadline_s=np.full_like(view.deadline_s, np.inf))
        solution = solve(slot_of(view), splits=True)
        if not solution.is_optimal.all():
            raise NoBound("the best decisions of a slot are not known exactly in this scenario")
        return solution.cost


class MecReturn(MecSlots):
    """The return of an episode that ends with the mean cost as reward, at the least mean cost of ``MecSlots``."""

    figures = ("return",)
    meaning = "an episode without a miss at " + MecSlots.meaning

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Refuse rewards of another form."""
        reward = scenario.params.reward
        if not (reward.form == "terminal" and reward.team):
            raise NoBound("the return is bounded for reward.form: terminal with reward.team: true alone")
        super().__init__(scenario, n_worlds, seed, first_world_id)

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit for any policy: misses only ever take away."""
        mean = self.cost.mean(axis=1) / self.n_agents
        return Limit(self.n_agents * self.params.reward.success_numerator / mean**2, np.ones(len(mean)))

    def of_all(self, figure: str) -> float:
        """Return the same: no miss, every slot."""
        return self.limit(figure, np.zeros((0, 0))).value


def least_alone(view: MecView) -> F8:
    """Return the least cost of each task where no other is there, (W, N).

    Delay and energy are linear in the share between 0, the even share and 1, so that one of them is best.
    """
    weight = view.time_weight
    local_s = (view.work_cycles / view.device_hz)[:, :, None]
    local_j = (view.switching_farad * view.device_hz**2 * view.work_cycles)[:, :, None]
    best: F8 = (weight * local_s + (1.0 - weight) * local_j)[:, :, 0]
    fixed_s = view.startup_s + (0.0 if view.is_transfer_of_share else view.transfer_s)
    slope_s = view.work_cycles[:, :, None] / view.server_hz[:, None, :]
    slope_s = slope_s + (view.transfer_s if view.is_transfer_of_share else 0.0)
    even = np.clip((local_s - fixed_s) / (local_s + slope_s), 0.0, 1.0)
    for share in (even, np.ones_like(even)):
        delay_s = np.maximum((1.0 - share) * local_s, fixed_s + share * slope_s)
        sent_s = view.transfer_s * (share if view.is_transfer_of_share else 1.0)
        spent_j = view.transmit_w[:, :, None] * sent_s + (1.0 - share) * local_j
        cost = np.where(view.target_mask[:, :, 1:], weight * delay_s + (1.0 - weight) * spent_j, np.inf)
        best = np.minimum(best, cost.min(axis=2))
    return best


def _slots(scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> Iterator[MecView]:
    """Yield what is seen of the slots of the worlds' first episodes, without what decisions of earlier slots left."""
    params = dataclasses.replace(scenario.params, on_miss="go_on")
    world = make(dataclasses.replace(scenario, params=params), n_worlds, seed, first_world_id)
    assert isinstance(world, MecWorld)
    out = world.outcome()
    world.reset(None, out)
    local: Any = Choice(np.zeros((n_worlds, world.spec.n_agents), np.int64), None)
    for number in range(world.spec.horizon_steps):
        view = world.view()
        yield view._replace(
            local_backlog_s=np.zeros_like(view.local_backlog_s),
            server_backlog_s=np.zeros_like(view.server_backlog_s),
            startup_s=view.startup_s if number == 0 else np.zeros_like(view.startup_s),
            energy_j=np.full_like(view.energy_j, np.inf),
        )
        decision, amounts = world.encode(local)
        world.step(decision, out, amounts)
