"""Least queue: go where the fewest tasks were, by the last report."""

from __future__ import annotations

from dataclasses import dataclass

from envs.arrays import I8
from envs.baselines.base import Rule, least
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View


@dataclass(frozen=True)
class LeastQueue(Rule):
    """Choose the target whose last reported queue is shortest, in tasks; the own node's is known exactly.

    Of equals the own node is taken, then the first. Neither speed nor distance plays a part.
    """

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the target with the fewest tasks for every agent."""
        return least(view.queue_tasks, view.target_mask)
