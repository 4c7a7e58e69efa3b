"""Myopic oracle: in every slot, the cheapest assignment with the best share of every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envs.baselines.base import Choice, Rule
from envs.baselines.draws import RuleDraws
from envs.baselines.mec_slot import slot_of
from envs.baselines.mec_solve import solve
from envs.mec.observe import MecView


@dataclass(frozen=True)
class MyopicOracle(Rule):
    """Choose, for all devices together, the targets and shares with the fewest misses and then the least cost.

    It knows the whole state, and so more than an agent that sees its own. With constant transfer times, the delay as
    cost, at most ten devices, and servers that are fast enough, it is the optimum of the slot, unless deadlines bind;
    elsewhere, and by radio, it is where a search ends (see ``envs.baselines.mec_solve``). It is no bound: what a slot
    leaves to the next ones, backlogs and start-ups, plays no part, and a policy that foresees them may do better.
    """

    worlds: ClassVar[tuple[str, ...]] = ("mec",)

    def decide(self, view: MecView, step: int, draws: RuleDraws) -> Choice:
        """Return the target and share of every agent."""
        solution = solve(slot_of(view), splits=True)
        return Choice(solution.target, solution.share)
