"""The lower bound of Nguyen, Wainwright and Jordan."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from edge_rllib.ops.mutual_information.base import Side, own, without_own
from edge_rllib.ops.mutual_information.critics import RowEstimator


def nwj(scores: Tensor) -> Tensor:
    """Return T_ii - mean over the other y of exp(T_ij - 1) for each row i, (..., R) of (..., R, R).

    [Nguyen, Wainwright and Jordan, Estimating divergence functionals and the likelihood ratio by convex risk
    minimization, 2010; Poole et al., 2019, eq. 6]
    """
    others = (without_own(scores) - 1.0).exp().sum(-1)
    return own(scores) - others / (scores.shape[-1] - 1)


class Nwj(RowEstimator):
    """Lower bound of Nguyen, Wainwright and Jordan: unbiased for its critic, with a spread that grows exponentially.

    The best critic is T = 1 + log p(x, y) / (p(x) p(y)).
    """

    side: ClassVar[Side] = "lower"
    contributions = staticmethod(nwj)
