"""MADDPG: deterministic amounts, relaxed targets, a central critic.

[Lowe et al., Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments, 2017]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.joint_update import JointUpdate, Networks, SumGradients, UpdateRules
from edge_rllib.algorithms.off_policy import Exploration, OffPolicy, OffPolicyParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.joint import JointModule
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.ops import multi_agent
from edge_rllib.ops.hybrid import Sizes
from envs.errors import ConfigError
from envs.scenario import make


class Maddpg(OffPolicy):
    """Multi-agent deep deterministic policy gradient."""


@dataclass(frozen=True)
class DeterministicParams(OffPolicyParams):
    """Values of algorithms whose amounts are deterministic: how they explore, and what keeps targets open."""

    epsilon: float  # chance of a random target when learning begins
    final_epsilon: float
    noise_frac: float  # deviation of the noise on amounts when learning begins, as a share of their range
    final_noise_frac: float
    noise_rate: float  # share by which the noise of an amount is renewed each step; 1: each step its own
    parameter_noise_frac: float  # wanted change of decisions by noise on parameters, of an episode each; 0: none
    exploration_frac: float  # share of the run after which epsilon, noise and entropy_coeff have their final values
    relaxation: float  # temperature of relaxed draws of targets
    entropy_coeff: float  # weight of the entropy of targets in the policies' loss, at the scale of the values learnt
    final_entropy_coeff: float
    decision_penalty: float  # weight of the mean square of decisions in the policies' loss, as in ExplabOff's release
    saturation_penalty: float  # weight in the policies' loss of raw amounts' excess over LARGEST_RAW

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_unit_interval(self, "epsilon", "final_epsilon", "exploration_frac", "noise_rate")
        checks.not_negative(self, "noise_frac", "final_noise_frac", "entropy_coeff", "final_entropy_coeff")
        checks.not_negative(self, "parameter_noise_frac")
        checks.not_negative(self, "decision_penalty", "saturation_penalty")
        checks.positive(self, "relaxation", "noise_rate")

    def exploration_model(self) -> dict[str, float]:
        """Return how runners explore beside what follows a schedule."""
        return {"noise_rate": self.noise_rate, "parameter_noise_frac": self.parameter_noise_frac}

    def rules(self, module: JointModule) -> UpdateRules:
        """Return how a gradient step is made."""
        return replace(
            super().rules(module),
            relaxation=self.relaxation,
            entropy_coeff=self.entropy_coeff,
            decision_penalty=self.decision_penalty,
            saturation_penalty=self.saturation_penalty,
        )

    def joint_update(
        self,
        networks: Networks,
        optimizers: dict[str, torch.optim.Optimizer],
        generator: torch.Generator,
        sum_gradients: SumGradients | None,
        module: JointModule,
    ) -> JointUpdate:
        """Return what does a gradient step."""
        return JointUpdate(networks, optimizers, self.rules(module), generator, sum_gradients)

    def exploration(self, progress: float, sizes: Sizes) -> Exploration:
        """Return how to explore at a share of the run; all of it falls linearly."""
        done = min(1.0, progress / self.exploration_frac) if self.exploration_frac else 1.0

        def fallen(first: float, last: float) -> float:
            return first + (last - first) * done

        noise_std = fallen(self.noise_frac, self.final_noise_frac) * (sizes.high - sizes.low)
        entropy_coeff = fallen(self.entropy_coeff, self.final_entropy_coeff)
        return Exploration(fallen(self.epsilon, self.final_epsilon), noise_std, entropy_coeff)


@dataclass(frozen=True)
class DdpgParams(DeterministicParams):
    """Values of DDPG [Lillicrap et al. 2016]: each agent is judged by its own observation and decision."""

    def algorithm(self) -> type[OffPolicy]:
        """Return the Algorithm's class."""
        return Maddpg


@dataclass(frozen=True)
class MaddpgParams(DeterministicParams):
    """Values of MADDPG."""

    released_servers: int  # 0, or E > 0: critics are trained on decoded box decisions, as in ExplabOff's release

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self, "released_servers")

    def algorithm(self) -> type[OffPolicy]:
        """Return the Algorithm's class."""
        return Maddpg

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config; refuse released coordinates where decisions are not the released box."""
        sizes = ObservationShape.of(make(settings.scenario, 1, settings.seed).spec).decision
        if self.released_servers and sizes != Sizes(1, 2, -1.0, 1.0):
            raise ConfigError(
                f"released_servers = {self.released_servers}: decisions have {sizes.n_targets} targets and "
                f"{sizes.n_amounts} amounts; expected the released box, one target and two amounts in [-1, 1]"
            )
        return super().to_config(settings, model)

    def seen_decisions(self, target: Tensor, amounts: Tensor, sizes: Sizes) -> Tensor:
        """Return replayed decisions (R, N, W) as critics are trained on them."""
        if not self.released_servers:
            return super().seen_decisions(target, amounts, sizes)
        return multi_agent.released_coordinates(amounts, self.released_servers)
