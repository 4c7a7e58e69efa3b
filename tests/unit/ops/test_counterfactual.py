"""Counterfactual advantages: a two-agent game by hand, and expectations over amounts."""

from __future__ import annotations

import pytest
import torch

from edge_rllib.ops import counterfactual, hybrid
from edge_rllib.ops.categorical import MASKED_LOGIT, log_softmax
from edge_rllib.ops.hybrid import Parts, Sizes

TARGETS_ALONE = Sizes(2, 0)
# what both agents get: rows are decisions of agent 0, columns of agent 1
GAME = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
# agent 0 decides evenly, agent 1 takes its second target with 0.8
PROBS = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]])  # (R = 1, N = 2, K = 2)


def parts_of(log_probs, n_amounts=0, mean=0.0, log_std=-1.0):
    shape = (*log_probs.shape, n_amounts)
    return Parts(log_probs, torch.full(shape, mean), torch.full(shape, log_std))


def game_values(own, taken):
    """Return the value (M, R, N) to each agent if it decided ``own`` (M, R, N, K) and the other ``taken`` (R, N, K)."""
    first = torch.einsum("mrk,kl,rl->mr", own[:, :, 0], GAME, taken[:, 1])
    second = torch.einsum("rk,kl,mrl->mr", taken[:, 0], GAME, own[:, :, 1])
    return torch.stack((first, second), -1)


def test_advantages_of_two_agents_by_hand():
    own, probs = counterfactual.alternatives(PROBS.log(), parts_of(PROBS.log()), TARGETS_ALONE, n_nodes=8)
    taken = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # decisions 0 and 1: both get 2
    found = counterfactual.advantages(torch.full((1, 2), 2.0), game_values(own, taken), probs)
    # agent 0, the other at 1: 0.5 * 2 + 0.5 * 5 = 3.5, so that its 2 is 1.5 too little
    # agent 1, the other at 0: 0.2 * 1 + 0.8 * 2 = 1.8, so that its 2 is 0.2 more
    torch.testing.assert_close(found, torch.tensor([[-1.5, 0.2]]))


def test_the_advantage_of_what_a_policy_decides_is_zero_on_average():
    own, probs = counterfactual.alternatives(PROBS.log(), parts_of(PROBS.log()), TARGETS_ALONE, n_nodes=8)
    taken = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    values = game_values(own, taken)
    mean = sum(probs[m] * counterfactual.advantages(values[m], values, probs) for m in range(2))
    torch.testing.assert_close(mean, torch.zeros(1, 2))


def test_a_forbidden_target_has_no_weight_in_the_mean():
    log_probs = log_softmax(torch.tensor([[[0.0, MASKED_LOGIT], [0.0, 0.0]]]))
    own, probs = counterfactual.alternatives(log_probs, parts_of(log_probs), TARGETS_ALONE, n_nodes=8)
    torch.testing.assert_close(probs[:, 0], torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
    assert torch.isfinite(own).all()


@pytest.mark.parametrize(("n_targets", "n_amounts", "m"), [(3, 0, 3), (3, 1, 15), (1, 2, 25), (2, 2, 50)])
def test_alternatives_are_all_targets_with_all_nodes_of_their_amounts(n_targets, n_amounts, m):
    torch.manual_seed(0)
    sizes = Sizes(n_targets, n_amounts, -1.0, 1.0)
    log_probs = log_softmax(torch.randn(4, 2, n_targets))
    parts = Parts(log_probs, torch.randn(4, 2, n_targets, n_amounts), torch.randn(4, 2, n_targets, n_amounts))
    own, probs = counterfactual.alternatives(log_probs, parts, sizes, n_nodes=5)
    assert own.shape == (m, 4, 2, sizes.n_vector)
    assert probs.shape == (m, 4, 2)
    torch.testing.assert_close(probs.sum(0), torch.ones(4, 2))


def test_each_target_keeps_its_own_amounts():
    # target 0 sends a share around 0.9, target 1 around 0.2, both almost surely
    sizes, log_probs = Sizes(2, 1), torch.tensor([[[0.25, 0.75]]]).log()
    mean = hybrid.unsquash(torch.tensor([[[[0.9], [0.2]]]]), sizes)
    own, probs = counterfactual.alternatives(log_probs, Parts(log_probs, mean, torch.full_like(mean, -5.0)), sizes, 5)
    expected = (probs.unsqueeze(-1) * own).sum(0)
    # the target as one of two, and the share: 0.25 * 0.9 + 0.75 * 0.2 = 0.375
    torch.testing.assert_close(expected, torch.tensor([[[0.25, 0.75, 0.375]]]), rtol=0, atol=1e-3)


def test_means_over_two_amounts_are_exact_for_products_of_squares():
    # before squashing both are normal with mean 0.3 and deviation 0.5: E[u^2 v^2] = (0.09 + 0.25)^2
    sizes, log_probs = Sizes(1, 2, -1.0, 1.0), torch.zeros(1, 1, 1, dtype=torch.float64)
    mean = torch.full((1, 1, 1, 2), 0.3, dtype=torch.float64)
    own, probs = counterfactual.alternatives(
        log_probs, Parts(log_probs, mean, torch.full_like(mean, 0.5).log()), sizes, n_nodes=3
    )
    raw = hybrid.unsquash(own, sizes)
    torch.testing.assert_close(
        (probs * raw.square().prod(-1)).sum(0), torch.full((1, 1), 0.34**2, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_a_mean_over_shares_is_that_of_many_draws():
    torch.manual_seed(0)
    sizes, log_probs = Sizes(1, 1), torch.zeros(1, 1, 1)
    mean, log_std = torch.full((1, 1, 1, 1), 0.4), torch.full((1, 1, 1, 1), -0.5)

    def value(share):  # bends like a delay: local work against an offloaded share
        return torch.maximum(1.0 - share, 0.3 + 0.5 * share)

    own, probs = counterfactual.alternatives(log_probs, Parts(log_probs, mean, log_std), sizes, n_nodes=5)
    found = float((probs * value(own.squeeze(-1))).sum())
    draws = hybrid.squash(0.4 + torch.tensor(-0.5).exp() * torch.randn(1_000_000), sizes)
    assert found == pytest.approx(float(value(draws).mean()), abs=0.02)  # five nodes around a bend
