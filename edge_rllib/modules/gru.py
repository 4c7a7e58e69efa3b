"""Model ``gru``: a recurrent core that remembers within an episode, shared by policy and value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_rllib.modules.networks import Critic, check_widths, scorer, trunk
from edge_rllib.modules.shape import ObservationShape
from envs.errors import ConfigError


@dataclass(frozen=True)
class GruModel:
    """An input layer, a gated recurrent unit, and two heads."""

    hidden: tuple[int, ...]  # widths of the layers before the recurrent unit
    memory: int  # size of the recurrent state
    head_hidden: tuple[int, ...]  # widths of the policy's layers behind the recurrent unit
    critic_hidden: tuple[int, ...]  # widths of the value's layers behind the recurrent unit
    sequence_steps: int  # length of the sequences that gradients flow through
    activation: str  # relu, tanh, elu or silu
    normalise_observation: bool  # bring observations to zero mean and unit deviation, by running statistics

    is_recurrent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for label in ("hidden", "head_hidden", "critic_hidden"):
            check_widths(label, getattr(self, label), self.activation)
        for label in ("memory", "sequence_steps"):
            if getattr(self, label) < 1:
                raise ConfigError(f"{label} = {getattr(self, label)}: expected a positive number")

    def core(self, shape: ObservationShape) -> GruCore:
        """Return the recurrent part, from observations to features (..., memory)."""
        return GruCore(shape.n_features, self.hidden, self.activation, self.memory)

    def actor(self, shape: ObservationShape) -> nn.Module:
        """Return the network from the core's features to a score and A amounts a target, (..., K + K A)."""
        return scorer(self.memory, self.head_hidden, self.activation, shape.decision.n_outputs)

    def critic(self, shape: ObservationShape, is_central: bool) -> nn.Module:
        """Return the value network over the core's features, or over global state and observation."""
        n_inputs = shape.n_features + shape.n_state if is_central else self.memory
        return Critic(n_inputs, self.critic_hidden, self.activation)


class GruCore(nn.Module):
    """A recurrent unit over sequences that may hold the starts of episodes."""

    def __init__(self, n_inputs: int, widths: tuple[int, ...], activation: str, memory: int) -> None:
        super().__init__()
        self.embed = trunk(n_inputs, widths, activation)
        self.gru = nn.GRU(widths[-1], memory, batch_first=True)
        for name, weight in self.gru.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(weight, math.sqrt(1.0))
            else:
                nn.init.zeros_(weight)

    def forward(self, observation: Tensor, memory: Tensor, starts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return features (R, L, H) and the last memory (R, H) of sequences (R, L, F) from memories (R, H).

        Where ``starts`` (R, L) is True an episode starts, and the memory is cleared before that step.
        """
        inputs = self.embed(observation)
        carried = memory.unsqueeze(0).contiguous()
        if starts is None:
            features, carried = self.gru(inputs, carried)
            return features, carried.squeeze(0)
        n_steps = inputs.shape[1]
        cuts = sorted({0, *torch.nonzero(starts.any(0)).flatten().tolist()}) + [n_steps]
        pieces = []
        for begin, end in pairwise(cuts):
            carried = carried * (~starts[:, begin]).to(carried.dtype).reshape(1, -1, 1)
            piece, carried = self.gru(inputs[:, begin:end], carried)
            pieces.append(piece)
        return torch.cat(pieces, 1), carried.squeeze(0)
