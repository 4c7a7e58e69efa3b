"""Critics: networks that score pairs of two variables, for all pairs of a block at once.

A block of G rows has G - 1 negatives a row and costs G scores a row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_rllib.ops.mutual_information.base import Estimator, EstimatorParams, Layout, block_rows, network


class Critic(nn.Module):
    """Scores pairs; which rows meet is decided here, how two of them are scored by ``pairs``."""

    def __init__(self, params: EstimatorParams, n_x: int, n_y: int) -> None:
        super().__init__()
        self.block_size = params.n_negatives + 1
        separable = params.critic == "separable"
        self.pairs: nn.Module = Separable(params, n_x, n_y) if separable else Concatenated(params, n_x, n_y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the score of every x (..., R, X) with every y (..., R, Y), (..., R, R)."""
        scores: Tensor = self.pairs(x, y)
        return scores

    def blocks(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows block by block, (n, G, X) and (n, G, Y)."""
        rows = block_rows(len(x), self.block_size)
        return x[rows], y[rows]

    def by_row(self, x: Tensor, y: Tensor, formula: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return a formula's values of blocks, (n, G, X) and (n, G, Y) -> (n, G), as one for each row, (R,)."""
        rows = block_rows(len(x), self.block_size)
        values = formula(x[rows], y[rows])
        result = torch.empty_like(x[:, 0], dtype=values.dtype)
        result[rows.flatten()] = values.flatten()
        return result


class Separable(nn.Module):
    """Inner product of an embedding of each variable: a block costs one product of matrices."""

    def __init__(self, params: EstimatorParams, n_x: int, n_y: int) -> None:
        super().__init__()
        last = [nn.LeakyReLU()] if params.is_embedding_rectified else []
        widths = (*params.critic_hidden, params.n_embedding)
        self.embed_x = nn.Sequential(*network((n_x, *widths), nn.LeakyReLU), *last)
        self.embed_y = nn.Sequential(*network((n_y, *widths), nn.LeakyReLU), *last)

    def embed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (..., R, E) of both variables."""
        return self.embed_x(x), self.embed_y(y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all scores, (..., R, R)."""
        x_embedded, y_embedded = self.embed(x, y)
        return x_embedded @ y_embedded.transpose(-1, -2)


class Concatenated(nn.Module):
    """One network of both variables: dearer, and not bound to inner products; the first layer is shared by rows."""

    def __init__(self, params: EstimatorParams, n_x: int, n_y: int) -> None:
        super().__init__()
        first = params.critic_hidden[0] if params.critic_hidden else params.n_embedding
        self.from_x, self.from_y = nn.Linear(n_x, first), nn.Linear(n_y, first, bias=False)
        widths = (first, *params.critic_hidden[1:], 1)
        self.rest = nn.Sequential(nn.LeakyReLU(), *network(widths, nn.LeakyReLU))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all scores, (..., R, R)."""
        scores: Tensor = self.rest(self.from_x(x).unsqueeze(-2) + self.from_y(y).unsqueeze(-3))
        return scores.squeeze(-1)


class RowEstimator(Estimator):
    """An estimator whose loss is minus the mean of what its rows contribute, by one function of the critic's scores."""

    def __init__(self, params: EstimatorParams, n_x: int, layout: Layout) -> None:
        super().__init__()
        self.critic = Critic(params, n_x, layout.width)

    @staticmethod
    @abstractmethod
    def contributions(scores: Tensor) -> Tensor:
        """Return the contribution of each row, (..., R) of scores (..., R, R)."""

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the critic's scores."""
        scores: Tensor = self.critic(x, y)
        return scores

    def of_blocks(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the contributions (n, G) of the rows of blocks, (n, G, X) and (n, G, Y)."""
        return self.contributions(self.critic(x, y))

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the rows' contributions."""
        return self.critic.by_row(x, y, self.of_blocks)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the negative mean."""
        return -self.of_blocks(*self.critic.blocks(x, y)).mean()
