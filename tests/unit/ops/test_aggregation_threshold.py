"""The filter of FedPG-BR against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edge_rllib.ops.aggregation.base import Received, name_of
from edge_rllib.ops.aggregation.threshold import FedPgBr
from envs.errors import ConfigError

LINE = torch.tensor([[1.0], [2.0], [3.0], [4.0], [100.0]], dtype=torch.float64)
SPREAD = math.sqrt(2.0 * math.log(10.0 / 0.6) / 23)  # 0.495: the first radius over the second, of 5 clients


def test_the_first_radius_falls_with_the_number_of_episodes_and_the_second_does_not() -> None:
    assert pytest.approx(0.4946, abs=1e-4) == SPREAD
    assert name_of(FedPgBr()) == "fed_pg_br"


@pytest.mark.parametrize(
    ("sigma", "n_faulty", "expected"),
    [
        # radii 1.04 and 2.1: 2 and 3 have three of five within the first, 1 + 2 + 3 around 2 are enough for f = 2
        (1.05, 2, 2.0),
        # and too few for f = 1: within 2.1 of 2, the first of two that are equally near to the mean 2.5, lie 1 to 4
        (1.05, 1, 2.5),
        # radii 2.08 and 4.2: 1 to 4 at once
        (2.1, 1, 2.5),
        # radii 0.49 and 1: nobody has a majority in the first, three around 2 in the second
        (0.5, 2, 2.0),
        # radii far below all distances: the smallest ball with four has radius 2 and is that around 2
        (0.001, 1, 2.5),
        # radii 49.5 and 100: all but 100, which is no nearer than 96
        (50.0, 1, 2.5),
    ],
)
def test_those_around_the_most_central_are_kept(sigma: float, n_faulty: int, expected: float) -> None:
    rule = FedPgBr(sigma=sigma, delta=0.6, n_episodes=23)

    assert rule(Received(LINE, n_faulty)).item() == pytest.approx(expected)


def test_a_kept_vector_counts_by_its_weight() -> None:
    # 1 to 4 with weights 1, 1, 1, 3
    weights = torch.tensor([1.0, 1.0, 1.0, 3.0, 1.0], dtype=torch.float64)

    found = FedPgBr(sigma=2.1, n_episodes=23)(Received(LINE, 1, weights=weights))

    assert found.item() == pytest.approx((1 + 2 + 3 + 12) / 6)


@pytest.mark.parametrize("sigma", [1e-6, 0.5, 1.5, 4.0])
def test_receivers_in_a_batch_are_each_by_themselves(sigma: float) -> None:
    def cloud(seed: int) -> Tensor:
        vectors = torch.randn(11, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        vectors[:2] *= 10.0 ** (seed - 2)
        return vectors

    batch, rule = torch.stack([cloud(seed) for seed in range(6)]), FedPgBr(sigma=sigma)

    together = rule(Received(batch, 2))

    for i in range(6):
        assert torch.allclose(together[i], rule(Received(batch[i], 2)), atol=1e-12)


@pytest.mark.parametrize("changes", [{"sigma": 0.0}, {"delta": 1.0}, {"n_episodes": 0}])
def test_values_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="fed_pg_br: sigma = "):
        FedPgBr(**changes)  # type: ignore[arg-type]
