"""Bounds of the MEC world: every slot, or every task, in a cell that is otherwise empty.

Backlogs, start-ups and other senders only ever delay a task, and what a slot's tasks and channels are does not depend
on decisions. So no policy does better in a slot than the best decisions of all devices together would do if the servers
had nothing left to do and had been started, but for the first slot, in which none has been. Where that optimum is not
known exactly, each task alone in the cell is a weaker bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.arrays import F8
from envs.baselines.base import Choice
from envs.baselines.mec_slot import Slot, slot_of
from envs.baselines.mec_solve import solve
from envs.bounds.base import Bound, Limit, NoBound
from envs.mec import state as s
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
        for slot in _slots(scenario, n_worlds, seed, first_world_id):
            costs.append(self.least(slot))
            delays.append(self.least(slot._replace(time_weight=1.0)))
            deadlines.append(slot.deadline_s.min(axis=1))
        self.cost: F8 = np.stack(costs, axis=1)  # (W, slots), added over devices
        self.delay_s: F8 = np.stack(delays, axis=1)
        self.deadline_s: F8 = np.stack(deadlines, axis=1)  # the least of a slot

    def least(self, slot: Slot) -> F8:
        """Return the least cost of an empty slot, added over devices, (W,)."""
        raise NotImplementedError

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

    def least(self, slot: Slot) -> F8:
        """Return the least cost of each task alone, added over devices, (W,)."""
        return least_alone(slot).sum(axis=1)


class MecSlots(_MecBound):
    """The best decisions for the tasks of each slot, in a cell without backlog."""

    name = "empty_slots"
    meaning = "the best decisions for each slot's tasks, servers without backlog and started but for the first slot"

    def least(self, slot: Slot) -> F8:
        """Return the least cost of the slot, (W,); refuse what can only be searched."""
        solution = solve(slot._replace(deadline_s=np.full_like(slot.deadline_s, np.inf)), splits=True)
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


def least_alone(slot: Slot) -> F8:
    """Return the least cost of each task where no other is there, (W, N).

    Delay and energy are linear in the share between 0, the even share and 1, so that one of them is best.
    """
    weight, local_s, local_j = slot.time_weight, slot.local_s[:, None, :], slot.local_j[:, None, :]
    best: F8 = weight * slot.local_s + (1.0 - weight) * slot.local_j
    of_share = float(slot.is_transfer_of_share)
    fixed_s = slot.startup_s + (1.0 - of_share) * slot.transfer_s
    slope_s = slot.service_s + of_share * slot.transfer_s
    whole_j = slot.transmit_w[:, None, :] * slot.transfer_s
    is_server = slot.may_choose[:, :, 1:].transpose(0, 2, 1)
    even = np.clip((local_s - fixed_s) / (local_s + slope_s), 0.0, 1.0)
    for share in (even, np.ones_like(even)):
        delay_s = np.maximum((1.0 - share) * local_s, fixed_s + share * slope_s)
        spent_j = whole_j * (share if slot.is_transfer_of_share else 1.0) + (1.0 - share) * local_j
        cost = np.where(is_server, weight * delay_s + (1.0 - weight) * spent_j, np.inf)
        best = np.minimum(best, cost.min(axis=1))
    return best


def _slots(scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> Iterator[Slot]:
    """Yield the slots of the worlds' first episodes, emptied of what decisions of earlier slots left."""
    params = dataclasses.replace(scenario.params, on_miss="go_on")
    world = make(dataclasses.replace(scenario, params=params), n_worlds, seed, first_world_id)
    assert isinstance(world, MecWorld)
    out = world.outcome()
    world.reset(None, out)
    local: Any = Choice(np.zeros((n_worlds, world.spec.n_agents), np.int64), None)
    for number in range(world.spec.horizon_steps):
        slot = slot_of(world.view())
        yield slot._replace(
            device_backlog_s=np.zeros_like(slot.device_backlog_s),
            server_backlog_s=np.zeros_like(slot.server_backlog_s),
            startup_s=slot.startup_s if number == 0 else np.zeros_like(slot.startup_s),
            energy_j=np.full_like(slot.energy_j, np.inf),
        )
        decision, amounts = world.encode(local)
        world.step(decision, out, amounts)
