"""Running mean and deviation, to bring observations and values to unit scale.

Batches are merged by the pairwise formula of Chan, Golub and LeVeque (1979), so that the result does not depend on how
the rows were split over learners. Buffers are float32 and int64, the types that survive RLlib's state conversion
unchanged; the merging is done in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

CLIP = 10.0  # normalised observations beyond ten deviations are outliers
LEAST_VARIANCE = 1e-8  # a constant feature maps to 0, not to noise


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of some rows, float64."""

    count: Tensor
    mean: Tensor
    squares: Tensor


def moments(rows: Tensor) -> Moments:
    """Return the moments of rows (R, F), by feature."""
    variance, mean = torch.var_mean(rows, dim=0, correction=0)
    count = torch.tensor(float(len(rows)), dtype=torch.float64, device=rows.device)
    return Moments(count, mean.double(), variance.double() * count)


def combine(first: Moments, second: Moments) -> Moments:
    """Return the moments of the rows of both."""
    count = first.count + second.count
    delta = second.mean - first.mean
    share = second.count / count.clamp_min(1.0)
    return Moments(count, first.mean + delta * share, first.squares + second.squares + delta**2 * first.count * share)


class RunningScale(nn.Module):
    """Mean and deviation of all rows seen; the identity until the first merge."""

    count: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows (..., F) at zero mean and unit deviation, clipped at CLIP deviations."""
        return ((rows - self.mean) / self.std).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def merge(self, batch: Moments, memory: float = 1.0) -> None:
        """Take in a batch's moments; ``memory`` in [0, 1] scales the weight of everything seen before."""
        seen = float(self.count) * memory
        known = Moments(
            self.mean.new_tensor(seen, dtype=torch.float64), self.mean.double(), self.std.double().square() * seen
        )
        merged = combine(known, Moments(*(part.to(self.mean.device) for part in batch)))
        variance = merged.squares / merged.count.clamp_min(1.0)
        self.mean.copy_(merged.mean)
        self.std.copy_(torch.where(variance > LEAST_VARIANCE, variance, torch.ones_like(variance)).sqrt())
        self.count.fill_(int(merged.count))


@torch.no_grad()
def rescale_head(head: nn.Linear, old_mean: Tensor, old_std: Tensor, new_mean: Tensor, new_std: Tensor) -> None:
    """Change a linear head so that ``std * head(x) + mean`` stays the same under new statistics.

    [van Hasselt et al., Learning values across many orders of magnitude, 2016, eq. 9]
    """
    head.weight.mul_((old_std / new_std).reshape(-1, 1))
    head.bias.copy_((old_std * head.bias + old_mean - new_mean) / new_std)
