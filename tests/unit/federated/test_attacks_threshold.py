"""The attack on filters by a radius."""

from __future__ import annotations

import pytest
import torch

from edge_rllib.federated.attacks.base import AttackView, name_of
from edge_rllib.federated.attacks.threshold import FedScsPg
from edge_rllib.ops.aggregation.base import Received
from edge_rllib.ops.aggregation.threshold import FedPgBr
from envs.errors import ConfigError


def view(own: torch.Tensor, honest: torch.Tensor, seed: int = 0) -> AttackView:
    return AttackView(honest=honest, own=own, n_faulty=len(own), generator=torch.Generator().manual_seed(seed))


def test_they_send_their_mean_moved_by_one_and_a_half_times_their_largest_distance() -> None:
    own = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [2.0, 3.0, 0.0]])  # 4 is the largest distance, mean (2, 1, 0)

    sent = FedScsPg()(view(own, torch.zeros(5, 3)))

    assert sent.shape == (3, 3)
    assert torch.equal(sent[0], sent[1])
    assert torch.equal(sent[0], sent[2])
    assert (sent[0] - torch.tensor([2.0, 1.0, 0.0])).norm().item() == pytest.approx(6.0, rel=1e-5)
    assert not torch.equal(sent, FedScsPg()(view(own, torch.zeros(5, 3), seed=1)))
    assert name_of(FedScsPg()) == "fed_scs_pg"


def test_it_passes_a_filter_whose_sigma_is_too_generous_and_no_other() -> None:
    generator = torch.Generator().manual_seed(1)
    honest, own = (torch.randn(n, 40, generator=generator, dtype=torch.float64) for n in (10, 3))
    sent = FedScsPg()(view(own, honest))
    both = Received(torch.cat((sent, honest)), 3)

    strict, generous = (FedPgBr(sigma=sigma, n_episodes=10**6)(both) for sigma in (6.0, 60.0))

    # honest ones are about sqrt(2 * 40) = 9 from each other, and the sent ones 1.5 times as far from their own mean
    assert torch.allclose(strict, honest.mean(0))
    assert torch.allclose(generous, both.vectors.mean(0))


def test_a_client_alone_and_factors_of_no_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="fed_scs_pg: f = 1 faulty client; expected 2 or more"):
        FedScsPg().check(4, 1)
    with pytest.raises(ConfigError, match="factor = 0"):
        FedScsPg(factor=0.0)
