"""States that a caller can start multi-user worlds from, as for replaying recorded transitions."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.multiuser.state import MultiuserState, Rules


class MultiuserStart(NamedTuple):
    """A state from which worlds can be made to go on; what is None is as at the start of an episode."""

    work_cycles: Annotated[F8, "B Us", "of each user's task in this slot"]
    size_bits: Annotated[F8, "B Us", "of each task"]
    deadline_s: Annotated[F8, "B Us", "of each task, from the start of the slot"]
    user_backlog_s: Annotated[F8, "B Us", "seconds of work on each user's processor"] | None = None
    edge_backlog_s: Annotated[F8, "B", "seconds of work on the edge server"] | None = None
    slot: Annotated[I8, "B", "slots of the episode that have been played"] | None = None


def load_start(state: MultiuserState, start: MultiuserStart, rules: Rules) -> None:
    """Write a start into the state; what it leaves out is as at the start of an episode."""
    shape = state.user.shape
    shapes = {"edge_backlog_s": shape[:1], "slot": shape[:1]}
    for name, array in start._asdict().items():
        expected = shapes.get(name, shape)
        if array is not None and np.shape(array) != expected:
            raise ConfigError(f"MultiuserStart.{name}: expected an array of shape {expected}, got {np.shape(array)}")
        if array is not None and not (np.isfinite(array).all() and np.min(array) >= 0.0):
            raise ConfigError(f"MultiuserStart.{name}: expected finite numbers of at least 0")
    if start.slot is not None and not (start.slot < rules.horizon_slots).all():
        raise ConfigError(f"MultiuserStart.slot: expected numbers in 0 .. {rules.horizon_slots - 1}, got {start.slot}")
    for name in ("work_cycles", "size_bits", "deadline_s"):
        if not (getattr(start, name) > 0.0).all():
            raise ConfigError(f"MultiuserStart.{name}: expected numbers > 0")
        state.user[name][...] = getattr(start, name)
    state.user["backlog_s"][...] = 0.0 if start.user_backlog_s is None else start.user_backlog_s
    state.world["edge_backlog_s"][...] = 0.0 if start.edge_backlog_s is None else start.edge_backlog_s
    state.world["slot"][...] = 0 if start.slot is None else start.slot
    state.world["turn"][...] = 0
    state.world["sent_s"][...] = 0.0
    state.channel["n_sending"][...] = 0
    state.channel["received_w"][...] = 0.0
    state.sums[...] = 0.0
