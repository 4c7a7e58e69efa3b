"""Edge only: every user sends every task, on one channel after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.baselines.multiuser_turns import sent_in_order
from envs.multiuser.observe import MultiuserView


@dataclass(frozen=True)
class EdgeOnly(Rule):
    """Send every task; user u takes channel u mod M."""

    worlds: ClassVar[tuple[str, ...]] = ("multiuser",)

    def decide(self, view: MultiuserView, step: int, draws: RuleDraws) -> I8:
        """Return a channel for every user."""
        n_users = view.has_task.shape[1]
        return sent_in_order(np.broadcast_to(np.arange(n_users), view.has_task.shape), n_users, view)
