"""Counterfactual advantages: what an agent's decision was worth beyond what its policy would have decided on average.

``A_i = Q_i(s, a) - E_{a_i' ~ pi_i}[Q_i(s, (a_-i, a_i'))]`` [Foerster et al., Counterfactual Multi-Agent Policy
Gradients, 2018, eq. 4]. The expectation is a sum over the K targets, which is exact; over the amounts of a target, a
squashed Gaussian each, it is a Gauss-Hermite quadrature with n nodes, exact for polynomials of degree 2 n - 1 in the
Gaussian variable. What it misses elsewhere does not depend on the decision taken: the policy's gradient gets noisier
but not biased.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_rllib.ops import hybrid, multi_agent
from edge_rllib.ops.hybrid import Parts, Sizes


def alternatives(log_probs: Tensor, parts: Parts, sizes: Sizes, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Return each agent's own decisions (M, ..., N, W) and their probabilities (M, ..., N), which sum to 1.

    There is one for each target and each of ``n_nodes`` nodes of every amount: M = K * n_nodes ** A.
    """
    points, weight = grid(parts.mean, sizes.n_amounts, n_nodes)  # (P, A), (P,)
    points = points.view(len(points), *[1] * (parts.mean.dim() - 1), sizes.n_amounts)
    amounts = hybrid.squash(parts.mean + parts.log_std.exp() * points, sizes)  # (P, ..., N, K, A)
    decisions = multi_agent.decisions_of_each(amounts).movedim(-2, 0)  # (K, P, ..., N, W)
    probs = log_probs.exp().movedim(-1, 0).unsqueeze(1)
    weights = probs * weight.view(-1, *[1] * (log_probs.dim() - 1))  # (K, P, ..., N)
    return decisions.flatten(0, 1), weights.flatten(0, 1)


def grid(like: Tensor, n_amounts: int, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Return the points (P, A) and weights (P,) of the expectation over A independent standard normal variables."""
    if n_amounts == 0:
        return like.new_zeros(1, 0), like.new_ones(1)
    nodes, weights = hybrid.hermite(like, n_nodes)
    points = torch.cartesian_prod(*[nodes] * n_amounts).view(-1, n_amounts)
    return points, torch.cartesian_prod(*[weights] * n_amounts).view(-1, n_amounts).prod(-1)


def advantages(taken: Tensor, values: Tensor, probs: Tensor) -> Tensor:
    """Return the advantages (..., N) of values ``taken`` over the mean of the alternatives' ``values`` (M, ..., N)."""
    return taken - (probs * values).sum(0)
