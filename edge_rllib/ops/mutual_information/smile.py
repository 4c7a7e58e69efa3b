"""SMILE: the Donsker-Varadhan bound with a clipped partition function."""

from __future__ import annotations

from typing import ClassVar

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
from edge_rllib.ops.mutual_information.jsd import jsd_of_blocks


def smile(scores: Tensor, clip: float) -> Tensor:
    """Return T_ii - log of the mean of exp T_jk, clipped to [-clip, clip] in the exponent, (..., R) of (..., R, R).

    [Song and Ermon, Understanding the Limitations of Variational Mutual Information Estimators, 2020, eq. 15]
    """
    return own(scores) - log_mean_exp_of_others(scores.clamp(-clip, clip))


class Smile(Estimator):
    """Clipped Donsker-Varadhan estimate (SMILE): its spread stays small; above ``clip`` nats it may exceed the truth.

    The critic is fitted by the Jensen-Shannon score, whose best critic is the log ratio that the bound needs.
    """

    side: ClassVar[Side] = "lower"

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.critic = Critic(params, n_x, layout.width)
        self.clip = params.clip

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the critic's scores."""
        scores: Tensor = self.critic(x, y)
        return scores

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the rows' contributions."""
        return self.critic.by_row(x, y, lambda own_x, own_y: smile(self.critic(own_x, own_y), self.clip))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the negative Jensen-Shannon score."""
        return -jsd_of_blocks(self.critic, *self.critic.blocks(x, y)).mean()
