"""CLUB, the contrastive log-ratio upper bound."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from edge_rllib.ops.mutual_information.base import Estimator, EstimatorParams, Layout, Side
from edge_rllib.ops.mutual_information.density import DecisionDensity


class Club(Estimator):
    """CLUB upper bound: log q(y | x) against its mean over all y of the batch, with q fitted by maximum likelihood.

    It is a bound only where q is close to p(y | x) of the rows that it is evaluated on; elsewhere it can be negative.
    The negatives are always the whole batch: their mean costs one product of vectors a row.
    [Cheng et al., CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information, 2020, eq. 14]
    """

    side: ClassVar[Side] = "upper"

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.density = DecisionDensity(params, n_x, layout)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q of the pairs."""
        return self.density.log_prob_of_pairs(x, y)

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q(y_i | x_i) - mean_j log q(y_j | x_i), the own pair included, (R,)."""
        statistics = self.density.statistics(y)
        return (self.density.parameters_of(x) * (statistics - statistics.mean(0))).sum(-1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean negative log likelihood."""
        return -self.density.log_prob(x, y).mean()
