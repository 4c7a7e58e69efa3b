"""Local only: every task runs where it was created."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.fog.observe import View
from envs.mec.observe import MecView
from envs.multiuser.observe import MultiuserView


@dataclass(frozen=True)
class Local(Rule):
    """Never offload."""

    worlds: ClassVar[tuple[str, ...]] = ("fog", "mec", "multiuser", "testbed")

    def decide(self, view: View | MecView | MultiuserView, step: int, draws: RuleDraws) -> I8:
        """Return target 0 for every agent."""
        return np.full(view.has_task.shape, LOCAL, np.int64)
