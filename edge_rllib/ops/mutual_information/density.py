"""A density of decisions given anything: categorical targets, Gaussian amounts, or both.

An amount belongs to its target, so there is a Gaussian for each of them. For a given x the log density is linear in
statistics of the decision, log q(y | x) = parameters(x) . statistics(y): all pairs are one product of matrices, and the
mean over all y one product with the statistics' mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edge_rllib.ops.mutual_information.base import EstimatorParams, Layout, network

LOG_TWO_PI = math.log(2.0 * math.pi)


class DecisionDensity(nn.Module):
    """q(y | x), independent by part and amount once x is known; one network each for targets, means and variances."""

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.layout, self.bound = layout, params.log_variance_bound
        n_choices = max(layout.n_categories, 1)
        self.shape = (layout.n_parts, n_choices, layout.n_amounts)
        widths = (n_x, *params.density_hidden)
        n_gaussians = math.prod(self.shape)
        if layout.n_categories:
            self.logits = network((*widths, layout.n_parts * n_choices), nn.ReLU)
        if layout.n_amounts:
            self.mean = network((*widths, n_gaussians), nn.ReLU)
            self.log_variance = network((*widths, n_gaussians), nn.ReLU)

    def statistics(self, y: Tensor) -> Tensor:
        """Return what the log density is linear in, (R, P * C * (1 + 2 A)): choice, choice * a, choice * a^2."""
        parts = y.unflatten(-1, (self.layout.n_parts, -1))
        choice, amounts = parts.split((self.layout.n_categories, self.layout.n_amounts), -1)
        if not self.layout.n_categories:
            choice = torch.ones_like(amounts[..., :1])
        if not self.layout.n_amounts:
            return choice.flatten(-2)
        first = choice.unsqueeze(-1) * amounts.unsqueeze(-2)
        second = first * amounts.unsqueeze(-2)
        return torch.cat((choice.flatten(-2), first.flatten(-3), second.flatten(-3)), -1)

    def parameters_of(self, x: Tensor) -> Tensor:
        """Return the factors of the statistics for each x, shaped like them."""
        constant = x.new_zeros((*x.shape[:-1], *self.shape[:2]))
        if self.layout.n_categories:
            constant = torch.log_softmax(self.logits(x).unflatten(-1, self.shape[:2]), -1)
        if not self.layout.n_amounts:
            return constant.flatten(-2)
        mean, log_variance = self.gaussians(x)
        precision = (-log_variance).exp()
        constant = constant - 0.5 * (mean.square() * precision + log_variance + LOG_TWO_PI).sum(-1)
        factors = (constant.flatten(-2), (mean * precision).flatten(-3), (-0.5 * precision).flatten(-3))
        return torch.cat(factors, -1)

    def gaussians(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and log variances of the amounts, (R, P, C, A) each."""
        mean = self.mean(x).unflatten(-1, self.shape)
        log_variance = self.bound * torch.tanh(self.log_variance(x)).unflatten(-1, self.shape)
        return mean, log_variance

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q(y[i] | x[i]), (R,), in nats."""
        return (self.parameters_of(x) * self.statistics(y)).sum(-1)

    def log_prob_of_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q(y[j] | x[i]), (..., R, R)."""
        return self.parameters_of(x) @ self.statistics(y).transpose(-1, -2)
