"""MINE: the Donsker-Varadhan bound, with a moving average of the denominator in its gradient."""

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
    log_mean_exp_of_others,
    own,
)
from edge_rllib.ops.mutual_information.critics import Critic


def donsker_varadhan(scores: Tensor) -> Tensor:
    """Return T_ii - log of the mean of exp T_jk over all pairs of different rows, (..., R) of (..., R, R).

    [Belghazi et al., Mutual Information Neural Estimation, 2018, eq. 10]
    """
    return own(scores) - log_mean_exp_of_others(scores)


class DonskerVaradhan(Estimator):
    """Donsker-Varadhan lower bound (MINE): tight; the log of a finite batch's mean lifts the estimate a little.

    The gradient of that log is biased on a batch, too: its denominator is a moving average over batches instead, as in
    the paper's section 3.2.
    """

    side: ClassVar[Side] = "lower"
    log_denominator: Tensor

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.critic = Critic(params, n_x, layout.width)
        self.average_rate = params.average_rate
        self.register_buffer("log_denominator", torch.tensor(math.nan))  # NaN until the first batch

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the critic's scores."""
        scores: Tensor = self.critic(x, y)
        return scores

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the rows' contributions."""
        return self.critic.by_row(x, y, lambda own_x, own_y: donsker_varadhan(self.critic(own_x, own_y)))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return a scalar whose gradient is that of the negative bound; move the average."""
        scores = self.critic(*self.critic.blocks(x, y))
        log_mean = log_mean_exp_of_others(scores)
        self._move(log_mean.detach())
        return (log_mean - self.log_denominator).exp() - own(scores).mean()

    def _move(self, log_mean: Tensor) -> None:
        if self.log_denominator.isnan():
            self.log_denominator.copy_(log_mean)
        rate = self.log_denominator.new_tensor(self.average_rate)
        kept = self.log_denominator + torch.log1p(-rate)  # minus infinity at a rate of 1
        self.log_denominator.copy_(torch.logaddexp(kept, log_mean + rate.log()))
