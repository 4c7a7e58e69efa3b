"""Gradient steps of multi-agent soft actor-critic over hybrid decisions.

The entropy of a decision has two parts with a temperature each, for every agent: that of the target, which is exact,
and the expected one of the amounts, from one draw for each target. [Haarnoja et al., Soft Actor-Critic Algorithms and
Applications, 2018; Delalleau et al., Discrete and Continuous Action Representation for Practical RL in Video Games,
2019, section 4 for the two parts]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from edge_rllib.algorithms.joint_update import JointUpdate, Networks, Step, SumGradients, Transitions, UpdateRules
from edge_rllib.modules.critics import Situation
from edge_rllib.modules.joint_policy import Says
from edge_rllib.ops import categorical, hybrid, multi_agent


@dataclass(frozen=True)
class WantedEntropy:
    """The entropies that temperatures hold policies at."""

    target_frac: float  # of a target, as a share of that of an even choice among the allowed ones
    amount_nats: float  # of an amount, below that of a uniform one


class Drawn(NamedTuple):
    """Amounts of each target, drawn from the policies, and the entropies of decisions."""

    amounts: Tensor  # (R, N, K, A)
    of_targets: Tensor  # (R, N) entropy of the choice, nats
    of_amounts: Tensor  # (R, N) expected entropy of the chosen target's amounts, nats


class SoftJointUpdate(JointUpdate):
    """Steps of MASAC: stochastic amounts, twin critics, values with the entropies of the decisions behind."""

    def __init__(
        self,
        networks: Networks,
        optimizers: dict[str, torch.optim.Optimizer],
        rules: UpdateRules,
        generator: torch.Generator,
        sum_gradients: SumGradients | None,
        wanted: WantedEntropy,
        log_temperatures: tuple[Tensor, Tensor],
    ) -> None:
        """Take the temperatures' logarithms (N,), of targets and of amounts; the optimizer ``temperature`` has them."""
        super().__init__(networks, optimizers, rules, generator, sum_gradients)
        self.wanted, self.log_temperatures = wanted, log_temperatures

    def state_values(self, behind: Situation, mask: Tensor) -> Tensor:
        """Return the values (R, V) of what the present policies decide, with the worth of its entropy."""
        says = self.networks.policy(behind.observation, mask)
        drawn = self.drawn(says)
        values = self.copied_values(behind, self.sampled(says.log_probs, drawn.amounts))
        worth = self.worth(drawn)
        if values.shape[-1] == 1:
            worth = worth.sum(-1, keepdim=True)
        return values + worth

    def log_ratio(self, says: Says, step: Step) -> Tensor:
        """Return the logarithm (R, N) of how much likelier the policies are to decide as the step did."""
        assert says.log_std is not None
        parts = hybrid.Parts(says.log_probs, says.mean, says.log_std)
        return hybrid.logp(parts, says.log_probs, step.target, step.amounts, self.sizes) - step.logp

    def policy_loss(self, batch: Transitions) -> Tensor:
        """Return the loss of the policies, and step the temperatures."""
        n_rows = self.noise.n_rows
        says = self.networks.policy(batch.now.observation, batch.mask)
        drawn = self.drawn(says)
        values, _ = self.values_now(batch, says.log_probs, drawn.amounts)
        worth = self.worth(drawn)
        objective = values.sum() / values.shape[-1] + worth.sum() / values.shape[-1]
        self._step_temperatures(drawn, batch.mask)
        self.figures["target_entropy"] = drawn.of_targets.detach().mean()
        self.figures["amount_entropy"] = drawn.of_amounts.detach().mean()
        return -objective / n_rows

    def drawn(self, says: Says) -> Drawn:
        """Return amounts drawn for each target, with their gradient, and the entropies of decisions."""
        assert says.log_std is not None
        of_targets = categorical.entropy(says.log_probs)
        noise = self.noise.normal(*says.mean.shape[1:])
        raw = says.mean + says.log_std.exp() * noise
        density = multi_agent.normal_log_density(noise, says.log_std) - hybrid.log_slope(raw, self.sizes)
        of_amounts = -multi_agent.expected(says.log_probs, density.sum(-1))
        return Drawn(hybrid.squash(raw, self.sizes), of_targets, of_amounts)

    def worth(self, drawn: Drawn) -> Tensor:
        """Return what the entropies of decisions are worth, (R, N), in units of the values."""
        of_targets, of_amounts = (log_temperature.detach().exp() for log_temperature in self.log_temperatures)
        return of_targets * drawn.of_targets + of_amounts * drawn.of_amounts

    def _step_temperatures(self, drawn: Drawn, mask: Tensor) -> None:
        sizes, n_rows = self.sizes, self.noise.n_rows
        even = mask.sum(-1).log()
        uniform = math.log(sizes.high - sizes.low)
        wanted = even.new_tensor(sizes.n_amounts * (uniform - self.wanted.amount_nats))
        of_targets, of_amounts = self.log_temperatures
        loss = multi_agent.temperature_loss(of_targets, drawn.of_targets, self.wanted.target_frac * even, n_rows)
        loss = loss + multi_agent.temperature_loss(of_amounts, drawn.of_amounts, wanted, n_rows)
        self.differentiate(loss, "temperature")
        self.optimizers["temperature"].step()
        self.figures["temperature_of_targets"] = of_targets.detach().exp().mean()
        self.figures["temperature_of_amounts"] = of_amounts.detach().exp().mean()
