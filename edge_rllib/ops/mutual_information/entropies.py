"""Entropies of the joint decision: the exploration and the collaboration term, each by itself.

With a state s and the decisions a of all agents m, the chain rule splits the mutual information into three:
I(a; s) = H(a) - H(others of m | a_m, s) - H(a_m | s), for any m. [ExplabOff, INFOCOM 2025; specification section 2.6]
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_rllib.ops.mutual_information.base import EstimatorParams, Layout
from edge_rllib.ops.mutual_information.density import DecisionDensity


class Surprises(NamedTuple):
    """Negative log densities of each row; their means are cross entropies in nats, never below the entropies."""

    joint: Tensor  # (R,) of all decisions: exploration
    given_state: Tensor  # (R,) of all decisions, the state known
    own_given_state: Tensor  # (R, N) of one agent's decision, the state known

    @property
    def others_given_own(self) -> Tensor:
        """Return those of the others' decisions, state and own decision known, (R, N): collaboration, if small."""
        return self.given_state.unsqueeze(-1) - self.own_given_state

    @property
    def information(self) -> Tensor:
        """Return the pointwise mutual information of state and joint decision, (R,)."""
        return self.joint - self.given_state


class JointEntropies(nn.Module):
    """A density of one agent's decision given those of any others, with or without the state.

    One network serves all conditions: what is unknown is set to zero and marked as such. It is fitted by maximum
    likelihood on random agents and random sets of known ones, so that the chain rule applies in any order.
    [Uria, Murray and Larochelle, A Deep and Tractable Density Estimator, 2014]
    """

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        n_known = n_x + 1 + layout.width + 2 * layout.n_parts
        self.density = DecisionDensity(params, n_known, layout._replace(n_parts=1))

    def log_prob(self, x: Tensor, y: Tensor, part: Tensor, known: Tensor, with_state: Tensor) -> Tensor:
        """Return the log density (R,) of decision ``part`` (R,), given those that are ``known`` (R, N) bool."""
        parts = y.unflatten(-1, (self.layout.n_parts, -1))
        number = nn.functional.one_hot(part, self.layout.n_parts).to(x.dtype)
        seen, state = known.to(x.dtype), with_state.to(x.dtype).unsqueeze(-1)
        context = torch.cat((x * state, state, (parts * seen.unsqueeze(-1)).flatten(-2), seen, number), -1)
        return self.density.log_prob(context, parts[torch.arange(len(part), device=part.device), part])

    def loss(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean negative log density of a random decision of each row; random ones of the others known."""
        n_rows, n_parts = len(x), self.layout.n_parts
        order = torch.rand((n_rows, n_parts), generator=generator).argsort(-1)
        part = torch.randint(0, n_parts, (n_rows,), generator=generator)
        with_state = torch.rand(n_rows, generator=generator) < 0.5
        known = order < order.gather(-1, part.unsqueeze(-1))
        device = x.device
        return -self.log_prob(x, y, part.to(device), known.to(device), with_state.to(device)).mean()

    @torch.no_grad()
    def surprises(self, x: Tensor, y: Tensor) -> Surprises:
        """Return the rows' surprises; three passes through the network for each agent."""
        n_rows, n_parts = len(x), self.layout.n_parts
        on = torch.ones(n_rows, dtype=torch.bool, device=x.device)
        known = torch.zeros((n_rows, n_parts), dtype=torch.bool, device=x.device)
        joint, given_state = x.new_zeros(n_rows), x.new_zeros(n_rows)
        own = x.new_zeros((n_rows, n_parts))
        for n in range(n_parts):
            part = torch.full((n_rows,), n, dtype=torch.int64, device=x.device)
            own[:, n] = -self.log_prob(x, y, part, torch.zeros_like(known), on)
            joint -= self.log_prob(x, y, part, known, ~on)
            given_state -= self.log_prob(x, y, part, known, on)
            known[:, n] = True
        return Surprises(joint, given_state, own)
