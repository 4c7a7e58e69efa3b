"""Decisions with a discrete and a continuous part: a target, and amounts that belong to it.

A policy scores K targets and holds, for each target and each of A amounts, a Gaussian that is squashed into the bounds:
its inputs (..., K + 2 K A) are K logits, K * A means and K * A log deviations before squashing, target by target. With
K = 1 only amounts are left, with A = 0 only targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_rllib.ops import categorical

LOG_STD_LOW, LOG_STD_HIGH = -5.0, 1.0  # before squashing; wider ones put all mass on the bounds
N_NODES = 8  # Gauss-Hermite nodes of an expectation over one amount
EDGE = 1e-6  # unit amounts nearer to a bound than this count as this far away: the bound itself is at infinity
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Sizes:
    """How many targets and amounts a decision has, and the bounds of the amounts."""

    n_targets: int  # K
    n_amounts: int  # A
    low: float = 0.0
    high: float = 1.0

    @property
    def n_inputs(self) -> int:
        """Return the numbers that a policy gives for a decision."""
        return self.n_targets * (1 + 2 * self.n_amounts)

    @property
    def n_outputs(self) -> int:
        """Return the numbers of a policy whose deviations do not depend on the observation."""
        return self.n_targets * (1 + self.n_amounts)

    @property
    def n_vector(self) -> int:
        """Return W, the width of a decision as a vector."""
        return (self.n_targets if self.n_targets > 1 else 0) + self.n_amounts


class Parts(NamedTuple):
    """A policy's inputs, taken apart."""

    logits: Tensor  # (..., K)
    mean: Tensor  # (..., K, A)
    log_std: Tensor  # (..., K, A)


def split(inputs: Tensor, sizes: Sizes) -> Parts:
    """Return the parts of inputs (..., K + 2 K A); deviations are kept within sane bounds."""
    n_targets, n_amounts = sizes.n_targets, sizes.n_amounts
    logits, mean, log_std = inputs.split([n_targets, n_targets * n_amounts, n_targets * n_amounts], -1)
    shape = (*inputs.shape[:-1], n_targets, n_amounts)
    return Parts(logits, mean.reshape(shape), log_std.reshape(shape).clamp(LOG_STD_LOW, LOG_STD_HIGH))


def join(logits: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return inputs (..., K + 2 K A) of logits (..., K), means and log deviations (..., K, A)."""
    return torch.cat((logits, mean.flatten(-2), log_std.expand_as(mean).flatten(-2)), -1)


def squash(raw: Tensor, sizes: Sizes) -> Tensor:
    """Return amounts within the bounds of numbers before squashing; between -1 and 1 that is the hyperbolic tangent."""
    return sizes.low + (sizes.high - sizes.low) * torch.sigmoid(2.0 * raw)


def unsquash(amounts: Tensor, sizes: Sizes) -> Tensor:
    """Return the numbers before squashing."""
    unit = ((amounts - sizes.low) / (sizes.high - sizes.low)).clamp(EDGE, 1.0 - EDGE)
    return 0.5 * torch.logit(unit)


def log_slope(raw: Tensor, sizes: Sizes) -> Tensor:
    """Return the logarithm of the derivative of ``squash``."""
    scale = math.log(2.0 * (sizes.high - sizes.low))
    return scale - functional.softplus(2.0 * raw) - functional.softplus(-2.0 * raw)


def of_target(values: Tensor, target: Tensor) -> Tensor:
    """Return the entries (..., A) of values (..., K, A) that belong to targets (...)."""
    index = target.unsqueeze(-1).unsqueeze(-1).expand(*target.shape, 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)


def amounts_logp(parts: Parts, target: Tensor, amounts: Tensor, sizes: Sizes) -> Tensor:
    """Return the log density (...) of amounts (..., A) given their targets (...)."""
    mean, log_std = of_target(parts.mean, target), of_target(parts.log_std, target)
    raw = unsquash(amounts, sizes)
    density = -0.5 * ((raw - mean) / log_std.exp()).square() - log_std - _HALF_LOG_TWO_PI
    return (density - log_slope(raw, sizes)).sum(-1)


def amounts_entropy(parts: Parts, sizes: Sizes) -> Tensor:
    """Return the differential entropy (..., K) of each target's amounts, by Gauss-Hermite quadrature, in nats."""
    gaussian = parts.log_std + _HALF_LOG_TWO_PI + 0.5
    nodes, weights = hermite(parts.mean)
    raw = parts.mean.unsqueeze(-1) + parts.log_std.exp().unsqueeze(-1) * nodes
    return (gaussian + (log_slope(raw, sizes) * weights).sum(-1)).sum(-1)


def amounts_kl(parts: Parts, other: Parts) -> Tensor:
    """Return the divergence (..., K) of each target's amounts; squashing does not change it."""
    ratio = (parts.log_std - other.log_std).exp()
    distance = (parts.mean - other.mean) / other.log_std.exp()
    return (0.5 * (ratio.square() + distance.square() - 1.0) - parts.log_std + other.log_std).sum(-1)


def logp(parts: Parts, log_probs: Tensor, target: Tensor, amounts: Tensor, sizes: Sizes) -> Tensor:
    """Return the log probability (density) of decisions; ``log_probs`` are the normalised logits."""
    chosen = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return chosen + amounts_logp(parts, target, amounts, sizes) if sizes.n_amounts else chosen


def entropy(parts: Parts, log_probs: Tensor, sizes: Sizes) -> Tensor:
    """Return the entropy of decisions: of the target, and the mean one of its amounts."""
    discrete = categorical.entropy(log_probs)
    return discrete + (log_probs.exp() * amounts_entropy(parts, sizes)).sum(-1) if sizes.n_amounts else discrete


def kl_divergence(parts: Parts, log_probs: Tensor, other: Parts, other_log_probs: Tensor) -> Tensor:
    """Return the divergence between two policies' decisions, in nats."""
    discrete = categorical.kl_divergence(log_probs, other_log_probs)
    return discrete + (log_probs.exp() * amounts_kl(parts, other)).sum(-1)


def decision_vectors(target: Tensor, amounts: Tensor | None, sizes: Sizes) -> Tensor:
    """Return decisions as vectors (..., W): the target as one of K (for K > 1), then its amounts."""
    pieces = []
    if sizes.n_targets > 1:
        pieces.append(functional.one_hot(target, sizes.n_targets).to(torch.float32))
    if sizes.n_amounts:
        assert amounts is not None
        pieces.append(amounts)
    return torch.cat(pieces, -1) if len(pieces) > 1 else pieces[0]


@cache
def _hermite(n_nodes: int) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return torch.tensor(nodes, dtype=torch.float32), torch.tensor(weights / weights.sum(), dtype=torch.float32)


def hermite(like: Tensor, n_nodes: int = N_NODES) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (n,) with which expectations over a standard normal variable are sums."""
    nodes, weights = _hermite(n_nodes)
    return nodes.to(like), weights.to(like)
