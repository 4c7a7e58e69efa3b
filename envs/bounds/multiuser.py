"""A bound of the multi-user world: every user at its cheapest, alone with the channels and the edge server.

Tasks do not depend on decisions, and others only ever delay a task: on its channel and at the edge server. So no policy
costs less in an episode than the sum over users of what each would pay at least if it were alone. That is a dynamic
programme over its backlog, in which less backlog never costs more; so a backlog that is rounded down to a grid after
every slot keeps the bound a bound, and moves it by less than a backlog of one cell a slot would.

Alone, a user stays as long as its backlog lets it, for it is cheaper, and sends just often enough that no task is late.
With the works of DC-DRL a task that stays adds 0.275 s to its backlog and one that is sent takes 0.6 s away: between 28
and 31 of 100 tasks are sent, in an episode of 50 slots.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, allocate
from envs.baselines.base import Choice
from envs.bounds.base import Bound, Limit
from envs.multiuser.build import read_rules, read_tables
from envs.multiuser.state import RELEASED, SUM_NAMES, MultiuserTables, Rules
from envs.multiuser.world import MultiuserWorld
from envs.radio.shannon import capacity_bps
from envs.scenario import Scenario, make

CELLS_A_SLOT = 200  # of the grid of backlogs
_ROUNDING = 1e-9  # of a cell: what lies so little above a cell's edge counts as below it


class _Tasks(NamedTuple):
    """What each task of the first episodes costs its user, alone; T is the slots."""

    local_s: Annotated[F8, "B T Us", "time on the user's processor"]
    deadline_s: Annotated[F8, "B T Us", "from the start of the slot"]
    local_cost: Annotated[F8, "B T Us", "of staying, in time"]
    sent_cost: Annotated[F8, "B T Us", "of sending at its best: in time if it can be, else with the penalty"]


class MultiuserAlone(Bound):
    """Every user at its cheapest, alone in the cell."""

    name = "users_alone"
    meaning = "every user's cheapest decisions for its own tasks, alone with the channels and the edge server"
    figures = ("return", "episode_cost", "cost_mean")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Bound the cost of the worlds' first episodes."""
        tables, rules = read_tables(scenario), read_rules(scenario)
        world = make(scenario, n_worlds, seed, first_world_id)
        assert isinstance(world, MultiuserWorld)
        tasks = _priced(world, tables, rules)
        cell_s = rules.slot_s / CELLS_A_SLOT
        longest_s = float(np.maximum(tasks.local_s - rules.slot_s, 0.0).sum(axis=1).max())
        now, later = (np.zeros(int(longest_s / cell_s) + 2) for _ in range(2))
        self.cost: F8 = np.zeros(n_worlds)
        _least_costs(self.cost, now, later, tasks, rules.slot_s, cell_s, rules.miss_cost)
        self._scale = rules.reward_scale

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return the limit of a figure for any policy that played whole episodes; cost_mean is over its tasks."""
        if figure == "cost_mean":
            return Limit(self.cost, sums[:, SUM_NAMES.index("tasks")])
        sign = -self._scale if figure == "return" else 1.0
        return Limit(sign * self.cost, np.ones(len(self.cost)))

    def of_all(self, figure: str) -> float:
        """Return the best value of a figure that is taken over episodes; whoever plays them plays every task."""
        return float("nan") if figure == "cost_mean" else self.limit(figure, np.zeros((0, 0))).value


def _priced(world: MultiuserWorld, tables: MultiuserTables, rules: Rules) -> _Tasks:
    """Return the tasks of the worlds' first episodes with their costs."""
    out = world.outcome()
    world.reset(None, out)
    n_users, horizon = len(tables.user_hz), rules.horizon_slots
    tasks = allocate(_Tasks, {"B": world.spec.n_worlds, "T": horizon, "Us": n_users})
    heard_w = rules.noise_w + (tables.received_w if rules.interference == RELEASED else 0.0)
    alone_bps = capacity_bps(rules.bandwidth_hz, tables.received_w / heard_w)
    nobody: Any = Choice(np.zeros((world.spec.n_worlds, n_users), np.int64), None)
    for t in range(horizon):
        user = world.view().user
        work, deadline_s = user["work_cycles"], user["deadline_s"]
        upload_s = user["size_bits"] / alone_bps
        paid = rules.transmit_w * upload_s * rules.transmit_per_j + work * rules.edge_per_cycle
        late = paid + rules.miss_cost
        if rules.stops_late:  # given up at the deadline, because others disturb or in spite of it
            late = np.minimum(late, rules.transmit_w * deadline_s * rules.transmit_per_j + rules.miss_cost)
        tasks.local_s[:, t] = work / tables.user_hz
        tasks.deadline_s[:, t] = deadline_s
        tasks.local_cost[:, t] = work * rules.local_per_cycle
        tasks.sent_cost[:, t] = np.where(upload_s + work / rules.edge_hz <= deadline_s, paid, late)
        tasks.sent_cost[:, t] = np.minimum(tasks.sent_cost[:, t], late)
        for _ in range(world.spec.n_turns):
            decision, amounts = world.encode(nobody)
            world.step(decision, out, amounts)
    return tasks


@kernel
def _least_costs(cost: F8, now: F8, later: F8, tasks: _Tasks, slot_s: float, cell_s: float, miss_cost: float) -> None:
    """Fill the least cost of each world (B,); ``now`` and ``later`` are the values of backlogs on the grid."""
    n_worlds, n_slots, n_users = tasks.local_s.shape
    n_cells = now.size
    for b in range(n_worlds):
        cost[b] = 0.0
        for u in range(n_users):
            for i in range(n_cells):
                later[i] = 0.0
            for step in range(n_slots):
                t = n_slots - 1 - step
                local_s, deadline_s = tasks.local_s[b, t, u], tasks.deadline_s[b, t, u]
                local_cost, sent_cost = tasks.local_cost[b, t, u], tasks.sent_cost[b, t, u]
                for i in range(n_cells):
                    backlog_s = i * cell_s
                    after_s = max(0.0, backlog_s + local_s - slot_s)
                    stay = min(int(after_s / cell_s - _ROUNDING), n_cells - 1)
                    staying = local_cost + later[max(stay, 0)]
                    if backlog_s + local_s > deadline_s:
                        staying += miss_cost
                    send = int(max(0.0, backlog_s - slot_s) / cell_s - _ROUNDING)
                    now[i] = min(staying, sent_cost + later[max(send, 0)])
                for i in range(n_cells):
                    later[i] = now[i]
            cost[b] += later[0]
