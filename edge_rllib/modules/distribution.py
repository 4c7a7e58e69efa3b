"""The distribution over targets that RLlib's losses and connectors see; its logits are masked already."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.distribution.torch.torch_distribution import TorchDeterministic
from torch import Tensor

from edge_rllib.ops import categorical


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
