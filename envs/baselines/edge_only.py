"""Edge only: everybody sends every task, on one channel, or to one server, after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.baselines.multiuser_turns import sent_in_order
from envs.constants import LOCAL
from envs.multiuser.observe import MultiuserView
from envs.testbed.observe import BedView


@dataclass(frozen=True)
class EdgeOnly(Rule):
    """Send every task whole; user u takes channel u mod M, device n server n mod M, or itself while that is down."""

    worlds: ClassVar[tuple[str, ...]] = ("multiuser", "testbed")

    def decide(self, view: MultiuserView | BedView, step: int, draws: RuleDraws) -> I8:
        """Return a channel for every user, or a server for every device."""
        if isinstance(view, BedView):
            return _servers(view)
        n_users = view.has_task.shape[1]
        return sent_in_order(np.broadcast_to(np.arange(n_users), view.has_task.shape), n_users, view)


def _servers(view: BedView) -> I8:
    """Return device n's server n mod M, (B, N); the targets of a server stand together, whole tasks first."""
    n_servers = view.is_up.shape[2]
    n_cuts = (view.target_mask.shape[2] - 1) // n_servers
    server = np.broadcast_to(np.arange(view.has_task.shape[1]) % n_servers, view.has_task.shape)
    is_up = np.take_along_axis(view.is_up, server[:, :, None], axis=2)[:, :, 0]
    return np.where(is_up, 1 + server * n_cuts, LOCAL)
