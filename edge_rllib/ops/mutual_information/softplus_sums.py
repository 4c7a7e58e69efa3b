"""Sums of the softplus of inner products, without the matrix of all of them.

A thousand rows have a million products: as a whole they fall out of the processor's cache, so that fetching memory
costs more than the numbers. Here a slab of the matrix is made, summed, and overwritten by the next one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SLAB_ROWS = 128  # of 1024 products in float32: half a megabyte
FACTORS = 4  # 1 + exp, whose logarithm is taken at once: logarithms are what a softplus costs most for


class SoftplusSums(torch.autograd.Function):
    """For x and y (n, G, E): the sums over i of softplus(x_i . y_j) for each j, (n, G)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        """Return the sums; no more than x and y is kept for the gradient."""
        ctx.save_for_backward(x, y)
        result = torch.empty_like(y[..., 0])
        scores = x.new_empty(SLAB_ROWS, x.shape[1])
        for sums, own, others in zip(result, y, x.transpose(-1, -2), strict=True):
            for into, slab in zip(sums.split(SLAB_ROWS), own.split(SLAB_ROWS), strict=True):
                torch.mm(slab, others, out=scores[: len(slab)])
                into.copy_(_sums(scores[: len(slab)]))
            if not bool(sums.isfinite().all()):  # products of large factors overflow
                sums.copy_(torch.nn.functional.softplus(own @ others).sum(-1))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients in x and y; the derivative of the softplus is the logistic function."""
        x, y = ctx.saved_tensors
        (outer,) = gradients
        of_x, of_y = torch.zeros_like(x), torch.empty_like(y)
        scores = x.new_empty(SLAB_ROWS, x.shape[1])
        for n in range(len(x)):
            parts = (part.split(SLAB_ROWS) for part in (y[n], outer[n].unsqueeze(-1), of_y[n]))
            for slab, factors, into in zip(*parts, strict=True):
                weights = torch.mm(slab, x[n].T, out=scores[: len(slab)]).sigmoid_().mul_(factors)
                torch.mm(weights, x[n], out=into)
                of_x[n].addmm_(weights.T, slab)
        return of_x, of_y


def _sums(scores: Tensor) -> Tensor:
    """Return the row sums of the softplus of scores, which are overwritten; infinity or NaN where they are large."""
    if scores.shape[-1] % FACTORS:
        return torch.nn.functional.softplus(scores).sum(-1)
    first, *others = scores.exp_().add_(1.0).chunk(FACTORS, -1)
    for other in others:
        first.mul_(other)
    return first.log_().sum(-1)
