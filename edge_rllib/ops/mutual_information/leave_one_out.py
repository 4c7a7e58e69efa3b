"""The leave-one-out upper bound."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from edge_rllib.ops.mutual_information.base import (
    Estimator,
    EstimatorParams,
    Layout,
    Side,
    block_rows,
    own,
    without_own,
)
from edge_rllib.ops.mutual_information.density import DecisionDensity


def leave_one_out(log_probs: Tensor) -> Tensor:
    """Return log q_ii - log of the mean over the other x of q_ji for each row i, (..., R) of log q (..., R, R).

    q_ji is the density of y[i] given x[j]. [Poole et al., On Variational Bounds of Mutual Information, 2019, eq. 12]
    """
    others = torch.logsumexp(without_own(log_probs), -2) - math.log(log_probs.shape[-1] - 1)
    return own(log_probs) - others


class LeaveOneOut(Estimator):
    """Leave-one-out upper bound, with q fitted by maximum likelihood and only evaluated as the bound.

    Fitting q by minimising the bound itself, as the text of ExplabOff's paper has it, ends at a q that ignores x and a
    bound of zero, whatever the mutual information is.
    """

    side: ClassVar[Side] = "upper"

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.density = DecisionDensity(params, n_x, layout)
        self.block_size = params.n_negatives + 1

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q of the pairs."""
        return self.density.log_prob_of_pairs(x, y)

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the rows' contributions."""
        rows = block_rows(len(x), self.block_size)
        result = torch.empty_like(x[:, 0])
        result[rows.flatten()] = leave_one_out(self.density.log_prob_of_pairs(x[rows], y[rows])).flatten()
        return result

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean negative log likelihood."""
        return -self.density.log_prob(x, y).mean()
