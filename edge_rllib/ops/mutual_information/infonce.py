"""InfoNCE, the lower bound from telling a pair from others."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from edge_rllib.ops.mutual_information.base import Side, own
from edge_rllib.ops.mutual_information.critics import RowEstimator


def infonce(scores: Tensor) -> Tensor:
    """Return T_ii - log mean_j exp T_ij of each row i, the own pair included, (..., R) of (..., R, R); at most log R.

    [van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, eq. 4; Poole et al., On
    Variational Bounds of Mutual Information, 2019, eq. 10]
    """
    return own(scores) - torch.logsumexp(scores, -1) + math.log(scores.shape[-1])


class InfoNce(RowEstimator):
    """InfoNCE lower bound: low spread, never above the log of a block's rows."""

    side: ClassVar[Side] = "lower"
    contributions = staticmethod(infonce)
