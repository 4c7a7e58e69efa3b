"""The score of Deep InfoMax, from the Jensen-Shannon divergence."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from edge_rllib.ops.mutual_information.base import Side, own
from edge_rllib.ops.mutual_information.critics import Critic, RowEstimator, Separable
from edge_rllib.ops.mutual_information.softplus_sums import SoftplusSums


def jsd(scores: Tensor) -> Tensor:
    """Return 2 log 2 - sp(-T_ii) - mean over the other x of sp(T_ji) for each row i, (..., R) of (..., R, R).

    sp is softplus. [Hjelm et al., Learning deep representations by mutual information estimation and maximization,
    2019, eq. 4]
    """
    return _from_sums(own(scores), functional.softplus(scores).sum(-2))


def jsd_of_blocks(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    """Return the same of blocks (n, G, X) and (n, G, Y), (n, G); inner products are never kept."""
    if not isinstance(critic.pairs, Separable):
        return jsd(critic(x, y))
    x_embedded, y_embedded = critic.pairs.embed(x, y)
    return _from_sums((x_embedded * y_embedded).sum(-1), SoftplusSums.apply(x_embedded, y_embedded))


def _from_sums(seen: Tensor, sums: Tensor) -> Tensor:
    """Return the contributions, of the own scores and of the sums over all x, (..., R) each."""
    others = sums - functional.softplus(seen)
    return 2.0 * math.log(2.0) - functional.softplus(-seen) - others / (seen.shape[-1] - 1)


class Jsd(RowEstimator):
    """Jensen-Shannon score of Deep InfoMax: stable, at most 2 log 2, no bound of the mutual information.

    Its mean is a lower bound of twice the Jensen-Shannon divergence between the joint distribution and the product of
    the marginals, in nats; it is reached by the critic T = log p(x, y) / (p(x) p(y)). That divergence is zero where the
    mutual information is, and grows with it, but saturates.
    """

    side: ClassVar[Side] = "score"
    contributions = staticmethod(jsd)

    def of_blocks(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the contributions of the rows of blocks."""
        return jsd_of_blocks(self.critic, x, y)
