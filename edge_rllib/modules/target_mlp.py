"""Model ``target_mlp``: one shared network scores each target, so that the order of targets does not matter.

A target's score sees the agent's own features, the target's features, and the mean over all targets. Weights learnt
with K targets fit any other number of targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_rllib.modules.networks import Critic, check_widths, linear, scorer, split_targets, trunk
from edge_rllib.modules.shape import ObservationShape
from envs.errors import ConfigError


@dataclass(frozen=True)
class TargetMlpModel:
    """A permutation-equivariant policy and a permutation-invariant value."""

    embedding: int  # width of the embedding of own features and of each target
    hidden: tuple[int, ...]  # widths of the layers that score a target from its embedding
    critic_hidden: tuple[int, ...]  # widths of the value's hidden layers
    activation: str  # relu, tanh, elu or silu
    normalise_observation: bool  # bring observations to zero mean and unit deviation, by running statistics

    is_recurrent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_widths("hidden", self.hidden, self.activation)
        check_widths("critic_hidden", self.critic_hidden, self.activation)
        if self.embedding < 1:
            raise ConfigError(f"embedding = {self.embedding}: expected a positive width")

    def actor(self, shape: ObservationShape) -> nn.Module:
        """Return the network from observations (..., F) to a score and A amounts a target, (..., K + K A)."""
        _check(shape)
        return TargetScorer(shape, self)

    def critic(self, shape: ObservationShape, is_central: bool) -> nn.Module:
        """Return the value network; a central one sees the global state instead of the pooled targets."""
        _check(shape)
        if is_central:
            return Critic(shape.n_features + shape.n_state, self.critic_hidden, self.activation)
        return PooledCritic(shape, self)


def _check(shape: ObservationShape) -> None:
    if shape.target_features < 1:
        raise ConfigError("model target_mlp: the world's observation has no features of targets; use model mlp")


class TargetScorer(nn.Module):
    """Scores of targets; the first layer splits into parts so that own features are multiplied once, not K times."""

    def __init__(self, shape: ObservationShape, model: TargetMlpModel) -> None:
        super().__init__()
        self.shape = shape
        self.own = linear(shape.own_features, model.embedding, 1.0)
        self.target = nn.Linear(shape.target_features, model.embedding, bias=False)
        self.pooled = nn.Linear(shape.target_features, model.embedding, bias=False)
        self.activate = trunk(1, (1,), model.activation)[1]
        self.score = scorer(model.embedding, model.hidden, model.activation, 1 + shape.decision.n_amounts)

    def forward(self, observation: Tensor) -> Tensor:
        """Return scores and, behind them, amounts (..., K + K A) of observations (..., F)."""
        own, targets = split_targets(observation, self.shape)
        context = self.own(own) + self.pooled(targets.mean(-2))
        scores: Tensor = self.score(self.activate(self.target(targets) + context.unsqueeze(-2)))
        return torch.cat((scores[..., 0], scores[..., 1:].flatten(-2)), -1)


class PooledCritic(nn.Module):
    """Values from own features and the mean and maximum of embedded targets."""

    def __init__(self, shape: ObservationShape, model: TargetMlpModel) -> None:
        super().__init__()
        self.shape = shape
        self.target = trunk(shape.target_features, (model.embedding,), model.activation)
        n_inputs = shape.own_features + 2 * model.embedding
        self.trunk = trunk(n_inputs, model.critic_hidden, model.activation)
        self.head = linear(model.critic_hidden[-1], 1, 1.0)

    def forward(self, observation: Tensor, state: Tensor | None = None) -> Tensor:
        """Return values (...,) of observations (..., F)."""
        own, targets = split_targets(observation, self.shape)
        embedded = self.target(targets)
        pooled = torch.cat((own, embedded.mean(-2), embedded.amax(-2)), -1)
        values: Tensor = self.head(self.trunk(pooled)).squeeze(-1)
        return values
