"""Log probabilities of what streams decided, under a module's weights, and the gradient of weighted sums of them.

Of small batches of perceptrons they are worked out row by row, without a graph: a graph costs a millisecond, ten times
what the rows of a client's small batch do. The two ways differ in the last digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.episodes import Streams, log_probs
from edge_rllib.federated.perceptrons import Perceptron, perceptron
from edge_rllib.federated.vectors import gradient_of
from edge_rllib.runners.row_scores import HAS_SCORES, log_prob_rows, score_rows
from envs.arrays import F8

MOST_BY_ROW = 2**21  # rows times parameters: 5,400 rows of 4-16-16-2; matrix products overtake there


class GraphScores:
    """Those of any module without memory; the graph serves one gradient."""

    def __init__(self, module: Any, streams: Streams) -> None:
        """Build the graph."""
        self._module, self._logp = module, log_probs(module, streams)
        self.logp = self._logp.detach()  # (T, E), zero where nothing was chosen

    def gradient(self, weights: Tensor) -> Tensor:
        """Return the gradient (d,) of the sum of weights (T, E) times log probabilities."""
        return gradient_of((weights * self._logp).sum(), self._module)


class RowScores:
    """Those of a perceptron; gradients are added in float64."""

    def __init__(self, policy: Perceptron, streams: Streams) -> None:
        """Work out the log probabilities."""
        network, self._policy = policy.network, policy
        target, amounts, is_choice = streams.target.numpy(), streams.amounts.numpy(), streams.is_choice.numpy()
        n_rows, own = np.count_nonzero(is_choice), policy.packed()
        logp = np.zeros(target.shape, np.float32)
        values = np.empty((n_rows, int(network.widths.sum())), np.float32)
        probs = np.empty((n_rows, streams.mask.shape[-1]), np.float32)
        log_prob_rows(
            logp,
            values,
            probs,
            streams.observation.numpy(),
            streams.mask.numpy(),
            target,
            amounts,
            is_choice,
            network.widths,
            network.mean,
            network.std,
            policy.limits,
            own,
            network.activation,
        )
        known = (values, probs, target, amounts, is_choice)
        self._arguments = (*known, network.widths, policy.limits, own, network.activation)
        self.logp = torch.from_numpy(logp)  # (T, E), zero where nothing was chosen

    def gradient(self, weights: Tensor) -> Tensor:
        """Return the gradient (d,) of the sum of weights (T, E) times log probabilities."""
        packed: F8 = np.zeros(self._policy.n_parameters)
        delta = np.zeros((2, int(self._policy.network.widths.max())), np.float32)
        score_rows(packed, delta, weights.contiguous().numpy(), *self._arguments)
        return torch.from_numpy(self._policy.unpacked(packed).astype(np.float32))


def scores(module: Any, streams: Streams) -> GraphScores | RowScores:
    """Return the scores of streams, in the way that suits module and batch."""
    policy = perceptron(module)
    if policy is None or policy.network.activation not in HAS_SCORES:
        return GraphScores(module, streams)
    is_float32 = streams.observation.dtype == torch.float32 == policy.linears[0].weight.dtype
    is_small = np.count_nonzero(streams.is_choice.numpy()) * policy.n_parameters <= MOST_BY_ROW
    return RowScores(policy, streams) if is_float32 and is_small else GraphScores(module, streams)
