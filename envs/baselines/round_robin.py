"""Round robin: each agent takes its allowed targets in turn."""

from __future__ import annotations

from dataclasses import dataclass

from envs.arrays import I8
from envs.baselines.base import Rule, nth_allowed
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View


@dataclass(frozen=True)
class RoundRobin(Rule):
    """Give one task to each allowed target in turn, the own node first; a step without a task is no turn."""

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the target whose turn it is for every agent."""
        n_allowed = view.target_mask.sum(axis=2)
        return nth_allowed(view.target_mask, draws.turns % n_allowed)
