"""Round robin of k users: they take turns in sending, so many in a slot, each on a channel of its own."""

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
class RoundRobinK(Rule):
    """Let the next k users send, in the order of their numbers and round again; the others work alone.

    Only the number of the slot is looked at. Where k users are enough that nobody falls behind, and few enough that the
    server keeps up, this is hard to beat.
    """

    senders: Senders  # k, or full: as many as the server can do in a slot

    worlds: ClassVar[tuple[str, ...]] = ("multiuser",)

    def __post_init__(self) -> None:
        check_senders("round_robin_k", self.senders)

    def decide(self, view: MultiuserView, step: int, draws: RuleDraws) -> I8:
        """Return a channel for the users whose turn it is."""
        n_users, n = view.has_task.shape[1], n_senders(self.senders, view)
        order = (step * n + np.arange(n_users)) % n_users
        return sent_in_order(np.broadcast_to(order, view.has_task.shape), n, view)
