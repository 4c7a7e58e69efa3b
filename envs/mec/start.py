"""States that a caller can start MEC worlds from, as for replaying recorded transitions."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.errors import ConfigError
from envs.mec.state import NO_SERVER, MecState, MecTables, Rules


class MecStart(NamedTuple):
    """A state from which worlds can be made to go on; what is None is as at the start of an episode."""

    work_cycles: Annotated[F8, "B N", "cycles of each device's task in this slot"]
    profile: Annotated[I8, "B N", "profile of each device, a permutation; it sets the tasks of later slots"]
    deadline_s: Annotated[F8, "B N", "of each task; None: as the profile says"] | None = None
    slot: Annotated[I8, "B", "slots of the episode that have been played"] | None = None
    mean_cost: Annotated[F8, "B", "mean cost of a task in those slots"] | None = None
    server_backlog_s: Annotated[F8, "B Se", "seconds of service that each server has"] | None = None
    has_started: Annotated[BOOL, "B N Se", "the server has worked for the device in this episode"] | None = None
    last_server: Annotated[I8, "B N", "server that each device chose last, -1 for none"] | None = None
    local_backlog_s: Annotated[F8, "B N", "seconds until each device is free"] | None = None
    energy_j: Annotated[F8, "B N", "energy that each device has left"] | None = None


def load_start(state: MecState, start: MecStart, tables: MecTables, rules: Rules) -> None:
    """Write a start into the state; what it leaves out is as at the start of an episode."""
    _check(state, start, rules)
    n_agents = state.agent.shape[1]
    agent, world, pair = state.agent, state.world, state.pair
    agent["work_cycles"][...] = start.work_cycles
    agent["size_bits"][...] = start.work_cycles / rules.cycles_per_bit
    agent["profile"][...] = start.profile
    agent["deadline_s"][...] = tables.deadline_s[start.profile] if start.deadline_s is None else start.deadline_s
    world["slot"][...] = 0 if start.slot is None else start.slot
    mean_cost = np.zeros(len(world)) if start.mean_cost is None else start.mean_cost
    world["cost"][...] = mean_cost * world["slot"] * n_agents
    agent["cost"][...] = (mean_cost * world["slot"])[:, None]
    agent["delay_s"][...] = 0.0
    state.server["backlog_s"][...] = 0.0 if start.server_backlog_s is None else start.server_backlog_s
    pair["has_started"][...] = 0 if start.has_started is None else start.has_started
    pair["known_backlog_s"][...] = state.server["backlog_s"][:, None, :]
    pair["known_slot"][...] = world["slot"][:, None, None]
    agent["last_server"][...] = NO_SERVER if start.last_server is None else start.last_server
    agent["local_backlog_s"][...] = 0.0 if start.local_backlog_s is None else start.local_backlog_s
    agent["energy_j"][...] = rules.budget_j if start.energy_j is None else start.energy_j
    state.sums[...] = 0.0


def _check(state: MecState, start: MecStart, rules: Rules) -> None:
    """Refuse arrays of another shape, profiles that are no permutation, and slots outside the episode."""
    shape = state.pair.shape
    shapes = {"server_backlog_s": (shape[0], shape[2]), "has_started": shape}
    shapes |= dict.fromkeys(("slot", "mean_cost"), shape[:1])
    for name, array in start._asdict().items():
        expected = shapes.get(name, shape[:2])
        if array is not None and np.shape(array) != expected:
            raise ConfigError(f"MecStart.{name}: expected an array of shape {expected}, got {np.shape(array)}")
    if not (np.sort(start.profile, axis=1) == np.arange(shape[1])).all():
        raise ConfigError(f"MecStart.profile: expected a permutation of 0 .. {shape[1] - 1} for every world")
    if start.slot is not None and not ((start.slot >= 0) & (start.slot < rules.horizon_slots)).all():
        raise ConfigError(f"MecStart.slot: expected numbers in 0 .. {rules.horizon_slots - 1}, got {start.slot}")
