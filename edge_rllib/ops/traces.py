"""How far a return may follow decisions that another policy took: agreement of decisions, and Retrace.

Axes: R rows, L steps of a transition, V values, A amounts of a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Agreement(NamedTuple):
    """When two amounts are the same decision."""

    edges: tuple[tuple[float, ...], ...]  # of the intervals that a world tells apart, by amount; none: ``tolerance``
    tolerance: float  # largest difference, in units of the amounts


EXACTLY = Agreement((), 0.0)


def same_amounts(first: Tensor, second: Tensor, agreement: Agreement) -> Tensor:
    """Return (...) whether all amounts (..., A) of two decisions are the same to the world.

    An amount that lies on an edge belongs to the interval above it.
    """
    if not agreement.edges:
        return ((first - second).abs() <= agreement.tolerance).all(-1)
    parts = []
    for a, edges in enumerate(agreement.edges):
        limits = torch.tensor(edges, dtype=first.dtype, device=first.device)
        one, other = (torch.bucketize(x[..., a].contiguous(), limits, right=True) for x in (first, second))
        parts.append(one == other)
    return torch.stack(parts, -1).all(-1)


def agreeing_steps(agrees: Tensor) -> Tensor:
    """Return (R,) how many steps a return spans: the first, and as many behind it as agree (R, L - 1) in a row.

    [Qiu et al., Distributed and Collective Deep Reinforcement Learning for Computation Offloading, 2021]
    """
    return 1 + agrees.long().cumprod(1).sum(1)


def retrace(
    values: Sequence[Tensor],
    rewards: Sequence[Tensor],
    behind: Sequence[Tensor],
    discount: Sequence[Tensor],
    trace: Sequence[Tensor],
) -> Tensor:
    """Return the targets (R, V) of the values of the first of L steps.

    ``values`` and ``rewards`` are (R, V) of each step's decision, ``behind`` (R, V) the policy's value after it,
    ``discount`` (R,) its weight, 0 behind a termination; ``trace`` (R, V) of a step weighs all that is learnt from it
    on, 0 beyond a transition's end. The first one is not used.
    [Munos et al., Safe and Efficient Off-Policy Reinforcement Learning, 2016, eq. 4]
    """
    later = torch.zeros_like(values[0])
    for j in range(len(values) - 1, -1, -1):
        if j + 1 < len(values):
            later = discount[j].unsqueeze(-1) * trace[j + 1] * later
        later = later + rewards[j] + discount[j].unsqueeze(-1) * behind[j] - values[j]
    return values[0] + later
