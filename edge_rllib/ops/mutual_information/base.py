"""What an estimator of mutual information is, and the values that all of them take.

``x`` (R, X) and ``y`` (R, Y) are rows of two variables that were seen together; pairs of different rows stand for the
product of the marginals. ``y`` are decisions, so that a density of them is known by its layout; ``x`` is anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from envs.errors import ConfigError

Side = Literal["lower", "upper", "score"]
LEAST_ROWS = 2  # a row needs another one as its negative


class Layout(NamedTuple):
    """How decisions are written as a vector: part by part a one-hot target, then the amounts."""

    n_parts: int  # decisions in a row, e.g. of N agents
    n_categories: int  # K targets; 0 where there is no one-hot part
    n_amounts: int  # A

    @property
    def width(self) -> int:
        """Return Y."""
        return self.n_parts * (self.n_categories + self.n_amounts)


@dataclass(frozen=True)
class EstimatorParams:
    """Values of an estimator; those of critics and densities are read by the estimators that have one."""

    critic: Literal["separable", "concatenated"]  # inner product of embeddings, or one network of both variables
    critic_hidden: tuple[int, ...]  # widths of a critic's hidden layers
    density_hidden: tuple[int, ...]  # widths of a density's hidden layers
    n_embedding: int  # width of a separable critic's embeddings
    is_embedding_rectified: bool  # leaky ReLU behind the last layer of an embedding, too
    n_negatives: int  # rows that a row is compared with; the batch is cut into blocks of one more
    clip: float  # smile: largest absolute log ratio in the partition function, nats
    average_rate: float  # donsker_varadhan: weight of the newest batch in the moving average of the denominator
    log_variance_bound: float  # densities: largest absolute log variance of an amount

    def __post_init__(self) -> None:
        for name in ("n_embedding", "n_negatives", "clip", "log_variance_bound"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected a positive number")
        if not 0.0 < self.average_rate <= 1.0:
            raise ConfigError(f"average_rate = {self.average_rate}: expected a value in (0, 1]")
        for name in ("critic_hidden", "density_hidden"):
            if any(width < 1 for width in getattr(self, name)):
                raise ConfigError(f"{name} = {list(getattr(self, name))}: expected widths of 1 or more")


class Estimator(nn.Module, ABC):
    """Learns from pairs, and says of each pair what it contributes to the estimate, in nats.

    ``side`` says which side of the mutual information the mean of ``values`` is on, for a fitted estimator and up to
    the error of a finite batch: a ``lower`` or ``upper`` bound; a ``score`` is no bound but grows with it.
    """

    side: ClassVar[Side]

    @abstractmethod
    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the score of each pair, (..., R, R): entry (i, j) is that of ``x[i]`` with ``y[j]``."""

    @abstractmethod
    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the contribution of each row, (R,); neighbouring rows must be unrelated, R at least 2."""

    @abstractmethod
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what the estimator is fitted by minimising, a scalar."""


def network(widths: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    """Return linear layers of these widths, the input's first, with activations between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


def block_rows(n_rows: int, size: int) -> Tensor:
    """Return the rows of each block, (n, size): neighbours; the last block overlaps the one before it to be full."""
    if n_rows < LEAST_ROWS:
        raise ConfigError(f"{n_rows} rows: an estimate needs at least {LEAST_ROWS}")
    size = min(size, n_rows)
    begins = torch.arange(0, n_rows, size).clamp_max(n_rows - size)
    return begins.unsqueeze(-1) + torch.arange(size)


def own(scores: Tensor) -> Tensor:
    """Return the scores (..., R) of the pairs that were seen together, of (..., R, R)."""
    return scores.diagonal(dim1=-2, dim2=-1)


def without_own(scores: Tensor) -> Tensor:
    """Return scores with those of the pairs that were seen together at minus infinity, for sums of exponentials."""
    diagonal = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return scores.masked_fill(diagonal, -torch.inf)


def log_mean_exp_of_others(scores: Tensor) -> Tensor:
    """Return the log of the mean exponential over all pairs of different rows, a scalar."""
    size = scores.shape[-1]
    n_pairs = scores.numel() // size * (size - 1)
    log_count = torch.log(scores.new_tensor(float(n_pairs)))
    return torch.logsumexp(without_own(scores).flatten(), 0) - log_count
