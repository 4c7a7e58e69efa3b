"""The filter of FedPG-BR: the mean of the vectors within a radius that the number of episodes sets.

[Fan et al., Fault-Tolerant Federated Reinforcement Learning with Theoretical Guarantee, 2021, section 4]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_rllib.ops.aggregation.base import Received, Rule, weighted_mean
from envs.errors import ConfigError


@dataclass(frozen=True)
class FedPgBr(Rule):
    """The mean of the vectors around the most central one.

    Central is who has a majority within the radius; the centre is the one of them that is nearest to their mean. The
    first radius is the one that honest means of so many episodes keep but for a chance of ``delta``, the second, taken
    where fewer than n - f lie within the first, is ``2 sigma``. Where these are too few as well, ``sigma`` is too small
    for the vectors, which the paper leaves open: then it is the smallest radius around any vector that has n - f.
    """

    sigma: float = (
        0.06  # most that an episode's gradient differs from the mean one, in its norm; CartPole's of the paper
    )
    delta: float = 0.6
    n_episodes: int = 16  # behind each vector

    def __post_init__(self) -> None:
        if not (self.sigma > 0.0 and 0.0 < self.delta < 1.0 and self.n_episodes >= 1):
            raise ConfigError(
                f"fed_pg_br: sigma = {self.sigma}, delta = {self.delta}, n_episodes = {self.n_episodes}: expected a "
                "positive number, one between 0 and 1, and 1 or more"
            )

    def __call__(self, received: Received) -> Tensor:
        """Return the mean of those kept."""
        distances = received.squared_distances.sqrt()
        is_kept, n_needed = torch.zeros_like(distances[..., 0], dtype=torch.bool), received.n_honest
        spread = math.sqrt(2.0 * math.log(2.0 * received.n / self.delta) / self.n_episodes)
        for radius in (2.0 * self.sigma * spread, 2.0 * self.sigma):
            is_short = is_kept.sum(-1, keepdim=True) < n_needed
            is_kept = torch.where(is_short, _around_centre(received, distances, radius), is_kept)
        reach = distances.sort(-1).values[..., n_needed - 1]
        nearest = distances.argsort(dim=-1, stable=True)[..., :n_needed]
        ball = torch.zeros_like(distances, dtype=torch.bool).scatter_(-1, nearest, True)
        is_kept = torch.where(is_kept.sum(-1, keepdim=True) < n_needed, _row(ball, reach.argmin(-1)), is_kept)
        weights = torch.ones_like(reach) if received.weights is None else received.weights
        return weighted_mean(received.vectors, is_kept * weights)


def _around_centre(received: Received, distances: Tensor, radius: float) -> Tensor:
    """Return who lies (..., n) within a radius of the most central vector; nobody where none is central."""
    is_near = distances <= radius
    is_central = is_near.sum(-1) > received.n / 2
    count = is_central.to(received.vectors.dtype)
    mean = (count.unsqueeze(-2) @ received.vectors).squeeze(-2) / count.sum(-1, keepdim=True).clamp_min(1.0)
    apart = (received.vectors - mean.unsqueeze(-2)).square().sum(-1).masked_fill(~is_central, torch.inf)
    return _row(is_near, apart.argmin(-1)) & is_central.any(-1, keepdim=True)


def _row(matrix: Tensor, place: Tensor) -> Tensor:
    """Return the row (..., n) of each matrix (..., n, n) at its place (...)."""
    index = place[..., None, None].expand(*place.shape, 1, matrix.shape[-1])
    return matrix.gather(-2, index).squeeze(-2)
