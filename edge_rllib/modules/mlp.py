"""Model ``mlp``: a network for the policy and one for the value, both over the flat observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from edge_rllib.modules.networks import Critic, check_widths, scorer
from edge_rllib.modules.shape import ObservationShape


@dataclass(frozen=True)
class MlpModel:
    """Two separate multilayer perceptrons."""

    hidden: tuple[int, ...]  # widths of the policy's hidden layers
    critic_hidden: tuple[int, ...]  # widths of the value's hidden layers
    activation: str  # relu, tanh, elu or silu
    normalise_observation: bool  # bring observations to zero mean and unit deviation, by running statistics

    is_recurrent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_widths("hidden", self.hidden, self.activation)
        check_widths("critic_hidden", self.critic_hidden, self.activation)

    def actor(self, shape: ObservationShape) -> nn.Module:
        """Return the network from observations (..., F) to a score and A amounts a target, (..., K + K A)."""
        return scorer(shape.n_features, self.hidden, self.activation, shape.decision.n_outputs)

    def critic(self, shape: ObservationShape, is_central: bool) -> nn.Module:
        """Return the value network; a central one sees the global state beside the observation."""
        n_inputs = shape.n_features + (shape.n_state if is_central else 0)
        return Critic(n_inputs, self.critic_hidden, self.activation)
