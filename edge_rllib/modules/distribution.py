"""The distributions over decisions that RLlib's losses and connectors see; their logits are masked already.

Where a decision has amounts, RLlib's column of actions is (..., 1 + A): the target as a number, then its amounts.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.distribution.torch.torch_distribution import TorchDeterministic
from torch import Tensor

from edge_rllib.ops import categorical, hybrid


class TargetDistribution(Distribution):
    """A categorical distribution that normalises its logits when first asked, without ``torch.distributions``."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self._logits = logits

    @cached_property
    def log_probs(self) -> Tensor:
        """Return normalised log probabilities (..., K)."""
        return categorical.log_softmax(self._logits)

    @classmethod
    def from_logits(cls, logits: Tensor, **kwargs: Any) -> TargetDistribution:
        """Return the distribution of (masked) logits (..., K)."""
        return cls(logits)

    @staticmethod
    def required_input_dim(space: gym.Space[Any], **kwargs: Any) -> int:
        """Return the number of logits for an action space: its number of targets."""
        assert isinstance(space, gym.spaces.Discrete)
        return int(space.n)

    def sample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:
        """Return decisions (...,), by the Gumbel-max trick."""
        log_probs = self.log_probs.expand(*(sample_shape or ()), *self.log_probs.shape)
        decisions: Tensor = (log_probs - torch.empty_like(log_probs).exponential_().log_()).argmax(-1)
        return decisions

    def rsample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:
        """Refuse: a decision is not differentiable."""
        raise NotImplementedError("a choice of a target has no gradient")

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Return the log probability of decisions (...,)."""
        return self.log_probs.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Return the entropy in nats."""
        return categorical.entropy(self.log_probs)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """Return the divergence from another distribution over the same allowed targets."""
        assert isinstance(other, TargetDistribution)
        return categorical.kl_divergence(self.log_probs, other.log_probs)

    def to_deterministic(self) -> TorchDeterministic:
        """Return the distribution that always takes the most probable target."""
        return TorchDeterministic(loc=self.log_probs.argmax(-1))


class DecisionDistribution(Distribution):
    """A target, and squashed Gaussian amounts that belong to it; ``decision_distribution`` gives it its sizes."""

    sizes: hybrid.Sizes

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self._parts = hybrid.split(inputs, self.sizes)

    @cached_property
    def log_probs(self) -> Tensor:
        """Return normalised log probabilities of targets (..., K)."""
        return categorical.log_softmax(self._parts.logits)

    @classmethod
    def from_logits(cls, logits: Tensor, **kwargs: Any) -> DecisionDistribution:
        """Return the distribution of inputs (..., K + 2 K A), with masked logits."""
        return cls(logits)

    @classmethod
    def required_input_dim(cls, space: gym.Space[Any], **kwargs: Any) -> int:
        """Return the number of inputs."""
        return cls.sizes.n_inputs

    def sample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:
        """Return decisions (..., 1 + A)."""
        target = TargetDistribution(self._parts.logits).sample(sample_shape=sample_shape)
        shape = (*target.shape, *self._parts.mean.shape[-2:])
        mean, log_std = (hybrid.of_target(part.expand(shape), target) for part in self._parts[1:])
        amounts = hybrid.squash(mean + log_std.exp() * torch.randn_like(mean), self.sizes)
        return torch.cat((target.unsqueeze(-1), amounts), -1)

    def rsample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:
        """Refuse: a decision is not differentiable."""
        raise NotImplementedError("a choice of a target has no gradient")

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Return the log probability (density) of decisions (..., 1 + A)."""
        return hybrid.logp(self._parts, self.log_probs, value[..., 0].long(), value[..., 1:], self.sizes)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Return the entropy in nats."""
        return hybrid.entropy(self._parts, self.log_probs, self.sizes)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """Return the divergence from another distribution over the same allowed targets."""
        assert isinstance(other, DecisionDistribution)
        return hybrid.kl_divergence(self._parts, self.log_probs, other._parts, other.log_probs)

    def to_deterministic(self) -> TorchDeterministic:
        """Return the distribution that always takes the most probable target and its mean amounts."""
        target = self.log_probs.argmax(-1)
        amounts = hybrid.squash(hybrid.of_target(self._parts.mean, target), self.sizes)
        return TorchDeterministic(loc=torch.cat((target.unsqueeze(-1), amounts), -1))


@cache
def decision_distribution(sizes: hybrid.Sizes) -> type[Distribution]:
    """Return the class of distributions over decisions of these sizes."""
    if not sizes.n_amounts:
        return TargetDistribution
    return type("SizedDecisionDistribution", (DecisionDistribution,), {"sizes": sizes})
