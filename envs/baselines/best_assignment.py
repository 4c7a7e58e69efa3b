"""Best assignment: in every slot, the cheapest way to give whole tasks to servers and devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envs.baselines.base import Choice, Rule
from envs.baselines.draws import RuleDraws
from envs.baselines.mec_slot import slot_of
from envs.baselines.mec_solve import solve
from envs.mec.observe import MecView


@dataclass(frozen=True)
class BestAssignment(Rule):
    """Choose, for all devices together, the targets of whole tasks with the fewest misses and then the least cost.

    All assignments are weighed, up to ten devices that do not disturb each other; elsewhere a search moves one device
    or exchanges two. What a slot leaves to the next ones, backlogs and start-ups, plays no part.
    """

    worlds: ClassVar[tuple[str, ...]] = ("mec",)

    def decide(self, view: MecView, step: int, draws: RuleDraws) -> Choice:
        """Return the target of every agent."""
        return Choice(solve(slot_of(view), splits=False).target, None)
