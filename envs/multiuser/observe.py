"""What rules and oracles may know of a multi-user world: the whole state of the slot, in SI units."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.accelerate import kernel
from envs.arrays import BOOL, F8, ROWS, row_type
from envs.multiuser.state import MultiuserState, Rules, UserRow


class MultiuserView(NamedTuple):
    """Tasks, users and the edge server at the start of a slot. Target 0 is local, target 1 + m channel m."""

    target_mask: Annotated[BOOL, "B Us K", "targets that may be chosen, K = 1 + M: all"]
    has_task: Annotated[BOOL, "B Us", "there is a task to decide on: always"]
    user: Annotated[ROWS, "B Us", "backlogs and tasks", row_type(UserRow)]
    edge_backlog_s: Annotated[F8, "B", "seconds of work that the edge server has"]
    user_hz: Annotated[F8, "Us", "cycles per second"]
    received_w: Annotated[F8, "Us", "power of the user's signal at the base station"]
    rules: Rules  # the scalars of the physics, as a row


@kernel
def view_worlds(view: MultiuserView, state: MultiuserState) -> None:
    """Fill the view of every world."""
    for b in range(state.world.size):
        view.edge_backlog_s[b] = state.world[b].edge_backlog_s
        for u in range(state.user.shape[1]):
            view.user[b, u] = state.user[b, u]
