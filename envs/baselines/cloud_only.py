"""Cloud only: send every task up, as far as the network goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule, least
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View


@dataclass(frozen=True)
class CloudOnly(Rule):
    """Choose a target of the highest tier that the agent has: the cloud, else an edge server; local if none is higher.

    Of several the one that the task reaches first is taken. An edge server that decides sends on to its cloud.
    """

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the nearest target of the highest tier for every agent."""
        tier = np.where(view.target_mask, view.target_tier, -1)
        is_highest = tier == tier.max(axis=2, keepdims=True)
        return least(view.upload_s, is_highest)
