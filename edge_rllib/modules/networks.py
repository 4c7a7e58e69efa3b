"""Building blocks of networks, and the checks of what describes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_rllib.modules.shape import ObservationShape
from envs.errors import ConfigError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
POLICY_GAIN = 0.01  # near-uniform first policy; Andrychowicz et al., What Matters In On-Policy RL, 2021, section 3.2


def check_widths(label: str, widths: Sequence[int], activation: str) -> None:
    """Raise ConfigError unless the layer widths are positive and the activation is known."""
    if not widths or any(not isinstance(width, int) or width < 1 for width in widths):
        raise ConfigError(f"{label} = {list(widths)!r}: expected one or more positive layer widths")
    if activation not in ACTIVATIONS:
        raise ConfigError(f"activation = {activation!r}: expected one of {', '.join(ACTIVATIONS)}")


def linear(n_inputs: int, n_outputs: int, gain: float) -> nn.Linear:
    """Return a linear layer with orthogonal weights and zero bias."""
    layer = nn.Linear(n_inputs, n_outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def trunk(n_inputs: int, widths: Sequence[int], activation: str) -> nn.Sequential:
    """Return linear layers of the given widths, each followed by the activation."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [linear(n_inputs, width, math.sqrt(2.0)), ACTIVATIONS[activation]()]
        n_inputs = width
    return nn.Sequential(*layers)


def scorer(n_inputs: int, widths: Sequence[int], activation: str, n_outputs: int) -> nn.Sequential:
    """Return a network whose last layer is linear and starts near zero."""
    layers = trunk(n_inputs, widths, activation)
    layers.append(linear(widths[-1], n_outputs, POLICY_GAIN))
    return layers


class Critic(nn.Module):
    """A value network; its last layer is ``head``, so that its scale can be changed."""

    def __init__(self, n_inputs: int, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.trunk = trunk(n_inputs, widths, activation)
        self.head = linear(widths[-1], 1, 1.0)

    def forward(self, observation: Tensor, state: Tensor | None = None) -> Tensor:
        """Return values (...,) of observations (..., F), or of the global state (..., S) beside them."""
        inputs = observation if state is None else torch.cat((state, observation), -1)
        values: Tensor = self.head(self.trunk(inputs)).squeeze(-1)
        return values


def split_targets(observation: Tensor, shape: ObservationShape) -> tuple[Tensor, Tensor]:
    """Return own features (..., own) and target features (..., K, target) of observations (..., F)."""
    own = observation[..., : shape.own_features]
    targets = observation[..., shape.own_features :]
    return own, targets.reshape(*targets.shape[:-1], shape.n_targets, shape.target_features)
