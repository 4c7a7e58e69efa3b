"""Greedy slot: in every slot the cheapest senders, whatever comes after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.errors import ConfigError
from envs.multiuser.observe import MultiuserView
from envs.multiuser.search import cheapest_slot


@dataclass(frozen=True)
class GreedySlot(Rule):
    """Choose, for all users together, who sends on a channel of its own so that the slot costs least.

    It knows the whole state. The search is exact among decisions in which no two users share a channel, for any number
    of users, unless it would price more than ``max_priced`` sets: then it plays the best that it has met. It is no
    bound: it sends a task only when staying would be late, and so lets the backlogs of all grow to that point together.
    """

    max_priced: int  # sets of senders of a world and slot

    worlds: ClassVar[tuple[str, ...]] = ("multiuser",)

    def __post_init__(self) -> None:
        if self.max_priced < 1:
            raise ConfigError(f"greedy_slot: max_priced = {self.max_priced}: expected a whole number of at least 1")

    def decide(self, view: MultiuserView, step: int, draws: RuleDraws) -> I8:
        """Return a channel for the cheapest senders."""
        return cheapest_slot(view, self.max_priced).target
