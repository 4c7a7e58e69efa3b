"""Local only: every task runs where it was created."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.fog.observe import View


@dataclass(frozen=True)
class Local(Rule):
    """Never offload."""

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return target 0 for every agent."""
        return np.full(view.has_task.shape, LOCAL, np.int64)
