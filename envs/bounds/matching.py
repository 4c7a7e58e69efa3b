"""The best of world ``matching``: whoever always chooses the paying target is paid for every decision."""

from __future__ import annotations

from envs.arrays import F8
from envs.bounds.base import Bound, Limit
from envs.matching.world import SUMS
from envs.scenario import Scenario


class BestKnown(Bound):
    """The exact best: the paying target is always allowed, and was shown before, so each decision can be paid."""

    name = "best_known"
    meaning = "every decision is paid; a policy that remembers what it was shown reaches it"
    figures = ("paid_frac", "return")

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Take nothing: the bound is a function of the sums alone."""

    def limit(self, figure: str, sums: F8) -> Limit:
        """Return one payment for each decision; of the return, payments for each episode."""
        decisions = sums[:, SUMS.index("decisions")]
        return Limit(decisions, decisions if figure == "paid_frac" else decisions * 0.0 + 1.0)
