"""MATD3: MADDPG with twin critics, smoothed decisions behind transitions and delayed policies.

[Ackermann et al., Reducing Overestimation Bias in Multi-Agent Domains Using Double Centralized Critics, 2019]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.joint_update import UpdateRules
from edge_rllib.algorithms.maddpg import DeterministicParams
from edge_rllib.algorithms.off_policy import OffPolicy
from edge_rllib.modules.joint import JointModule


class Matd3(OffPolicy):
    """Multi-agent twin delayed deep deterministic policy gradient."""


@dataclass(frozen=True)
class Matd3Params(DeterministicParams):
    """Values of MATD3."""

    policy_interval: int  # gradient steps of the critics to one of policies and copied networks
    smoothing_frac: float  # deviation of the noise on amounts behind a transition, as a share of their range
    smoothing_clip_frac: float  # largest such noise, as a share of the range

    n_critics: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(self, "policy_interval")
        checks.not_negative(self, "smoothing_frac", "smoothing_clip_frac")

    def algorithm(self) -> type[OffPolicy]:
        """Return the Algorithm's class."""
        return Matd3

    def rules(self, module: JointModule) -> UpdateRules:
        """Return how a gradient step is made."""
        span = module.sizes.high - module.sizes.low
        return replace(
            super().rules(module),
            policy_interval=self.policy_interval,
            smoothing_std=self.smoothing_frac * span,
            smoothing_clip=self.smoothing_clip_frac * span,
        )
