"""Top backlog: the k users with the longest backlogs send, each on a channel of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.baselines.multiuser_turns import Senders, check_senders, n_senders, sent_in_order
from envs.multiuser.observe import MultiuserView


@dataclass(frozen=True)
class TopBacklog(Rule):
    """Let the k users with the most seconds of work on their own processors send; of equals the lower number."""

    senders: Senders  # k, or full: as many as the server can do in a slot

    worlds: ClassVar[tuple[str, ...]] = ("multiuser",)

    def __post_init__(self) -> None:
        check_senders("top_backlog", self.senders)

    def decide(self, view: MultiuserView, step: int, draws: RuleDraws) -> I8:
        """Return a channel for the users with the longest backlogs."""
        order = np.argsort(-view.user["backlog_s"], axis=1, kind="stable")
        return sent_in_order(order, n_senders(self.senders, view), view)
