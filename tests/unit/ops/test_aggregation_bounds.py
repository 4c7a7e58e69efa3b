"""Bounds of rules against liars who climb: many sets of faulty vectors at once go up the gradient of the harm done.

The harm is the squared distance of the aggregate to the honest mean over the honest variance, which a rule that is
(f, kappa)-robust keeps below kappa whoever the honest ones are. [Allouah et al., Fixing by Mixing, 2023, table 1 and
lemma 1]
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from edge_rllib.federated.pipeline import Pipeline, pipeline
from edge_rllib.ops.aggregation.base import Received

N, F, D, N_STARTS, N_STEPS = 7, 2, 4, 24, 30
R = F / (N - 2 * F)
KAPPA = {
    "coordinate_median": 4 * (1 + R) ** 2,
    "trimmed_mean": 6 * R * (1 + R),
    "geometric_median": 4 * (1 + R) ** 2,
    "krum": 6 * (1 + R),
}


def behind_nnm(kappa: float) -> float:
    return 8 * F / (N - F) * (kappa + 1)


BOUNDS = {**KAPPA, **{f"nnm > {name}": behind_nnm(kappa) for name, kappa in KAPPA.items()}}


def cloud(seed: int) -> Tensor:
    """Return the same honest vectors for each start, (S, n - f, d)."""
    honest = torch.randn(N - F, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return honest.expand(N_STARTS, -1, -1)


def variance(honest: Tensor) -> Tensor:
    return (honest - honest.mean(-2, keepdim=True)).square().sum(-1).mean(-1)


def harm(rule: Pipeline, honest: Tensor, faulty: Tensor) -> Tensor:
    found = rule(Received(torch.cat((honest, faulty), -2), F))
    return (found - honest.mean(-2)).square().sum(-1) / variance(honest)


def climb(rule: Pipeline, honest: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the harm at the start and the faulty vectors that did most harm on the way, (S,) and (S, f, d)."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-0.5, 1.5, N_STARTS, dtype=torch.float64)[:, None, None]
    start = honest.mean(-2, keepdim=True) + spread * torch.randn(
        N_STARTS, F, D, generator=generator, dtype=torch.float64
    )
    faulty = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([faulty], 0.1, maximize=True)
    first = best = harm(rule, honest, start)
    worst = start
    for _ in range(N_STEPS):
        value = harm(rule, honest, faulty)
        is_better = value.detach() > best
        best = torch.where(is_better, value.detach(), best)
        worst = torch.where(is_better[:, None, None], faulty.detach(), worst)
        if not value.requires_grad:
            break
        (gradient,) = torch.autograd.grad(value.sum(), faulty)
        faulty.grad = gradient.nan_to_num(0.0)  # where the aggregate is one of the vectors
        optimizer.step()
    return first, worst.clone()


@pytest.mark.parametrize("text", list(BOUNDS))
def test_rules_keep_their_bound_against_liars_who_climb(text: str) -> None:
    # the median that is climbed ends early: its slope goes through all of its steps
    rule, slope = pipeline(text), pipeline(text.replace("geometric_median", "geometric_median(tolerance=0.01)"))
    honest = cloud(1)

    first, worst = climb(slope, honest, 1)

    assert harm(rule, honest, worst).max() > 1.05 * first.median()  # the search has found something
    everything, n_checked = torch.cat((honest, worst), -2), 0
    found = rule(Received(everything, F))
    for subset in itertools.combinations(range(N), N - F):
        those = everything[:, list(subset)]
        distance = (found - those.mean(-2)).square().sum(-1)
        assert (distance <= BOUNDS[text] * variance(those) + 1e-9).all()
        n_checked += 1
    assert n_checked == 21


def test_minimum_diameter_averaging_keeps_its_bound_against_liars_who_climb() -> None:
    # 2 f / (n - f) of the honest diameter [Farhadkhani et al., Byzantine Machine Learning Made Easy, 2022, table 1]
    rule, honest = pipeline("mda"), cloud(5)

    _, worst = climb(rule, honest, 5)

    everything = torch.cat((honest, worst), -2)
    found = rule(Received(everything, F))
    shares = []
    for subset in itertools.combinations(range(N), N - F):
        those = everything[:, list(subset)]
        diameter = torch.cdist(those, those).amax((-2, -1))
        shares.append((found - those.mean(-2)).norm(dim=-1) / diameter)
    assert torch.stack(shares).max() <= 2 * F / (N - F) + 1e-9
    assert torch.stack(shares).max() > 0.2 * 2 * F / (N - F)


def test_the_mean_has_no_bound() -> None:
    honest = cloud(0)

    _, worst = climb(pipeline("mean"), honest, 0)

    assert harm(pipeline("mean"), honest, worst).max() > KAPPA["trimmed_mean"]
