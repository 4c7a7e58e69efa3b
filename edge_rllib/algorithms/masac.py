"""MASAC: soft actor-critic with central twin critics, hybrid decisions, and temperatures for every agent.

[Haarnoja et al., Soft Actor-Critic Algorithms and Applications, 2018; Iqbal and Sha, Actor-Attention-Critic for
Multi-Agent Reinforcement Learning, 2019, for many agents]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.joint_update import JointUpdate, Networks, SumGradients
from edge_rllib.algorithms.off_policy import Exploration, OffPolicy, OffPolicyParams
from edge_rllib.algorithms.soft_update import SoftJointUpdate, WantedEntropy
from edge_rllib.modules.joint import JointModule
from edge_rllib.ops.hybrid import Sizes


class Masac(OffPolicy):
    """Multi-agent soft actor-critic."""


@dataclass(frozen=True)
class MasacParams(OffPolicyParams):
    """Values of MASAC."""

    temperature: float  # first weight of entropies, at the scale of the values learnt
    temperature_learning_rate: float  # of Adam, for the temperatures
    target_entropy_frac: float  # wanted entropy of targets, as a share of that of an even choice among the allowed
    amount_entropy_gap_nats: float  # wanted entropy of each amount, so far below that of a uniform one

    is_stochastic: ClassVar[bool] = True
    n_critics: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(self, "temperature", "temperature_learning_rate")
        checks.in_unit_interval(self, "target_entropy_frac")
        checks.positive(self, "amount_entropy_gap_nats")

    def first_temperature(self) -> float:
        """Return the first weight of entropies."""
        return self.temperature

    def exploration(self, progress: float, sizes: Sizes) -> Exploration:
        """Return no noise: policies explore by themselves."""
        return Exploration(0.0, 0.0, 0.0)

    def algorithm(self) -> type[OffPolicy]:
        """Return the Algorithm's class."""
        return Masac

    def joint_update(
        self,
        networks: Networks,
        optimizers: dict[str, torch.optim.Optimizer],
        generator: torch.Generator,
        sum_gradients: SumGradients | None,
        module: JointModule,
    ) -> JointUpdate:
        """Return what does a gradient step."""
        assert module.log_temperatures is not None
        wanted = WantedEntropy(self.target_entropy_frac, self.amount_entropy_gap_nats)
        temperatures = module.log_temperatures.of_targets, module.log_temperatures.of_amounts
        return SoftJointUpdate(networks, optimizers, self.rules(module), generator, sum_gradients, wanted, temperatures)
