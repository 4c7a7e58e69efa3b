from __future__ import annotations

import math

import torch

from edge_rllib.ops.categorical import entropy, epsilon_greedy, kl_divergence, log_softmax, mask_logits

MASK = torch.tensor([True, False, True])


def test_a_masked_target_has_probability_zero_and_the_others_share_the_rest():
    log_probs = log_softmax(mask_logits(torch.tensor([0.0, 50.0, math.log(3.0)]), MASK))
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.25, 0.0, 0.75]))


def test_entropy_and_divergence_ignore_masked_targets():
    first = log_softmax(mask_logits(torch.zeros(3), MASK))  # one half each
    second = log_softmax(mask_logits(torch.tensor([0.0, 0.0, math.log(3.0)]), MASK))  # a quarter, three quarters
    torch.testing.assert_close(entropy(first), torch.tensor(math.log(2.0)))
    # 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75)
    expected = 0.5 * math.log(2.0) + 0.5 * math.log(2.0 / 3.0)
    torch.testing.assert_close(kl_divergence(first, second), torch.tensor(expected))


def test_no_gradient_reaches_a_masked_logit():
    logits = torch.zeros(3, requires_grad=True)
    entropy(log_softmax(mask_logits(logits * 1.0, MASK))).backward()
    log_softmax(mask_logits(logits, MASK))[0].backward()
    assert logits.grad is not None
    assert logits.grad[1] == 0.0
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0] != 0.0


def test_log_softmax_equals_torchs_own_for_any_leading_axes():
    torch.manual_seed(0)
    for shape in ((4,), (3, 4), (2, 3, 4)):
        logits = torch.randn(shape)
        torch.testing.assert_close(log_softmax(logits), torch.log_softmax(logits, -1))


def test_epsilon_greedy_takes_the_best_allowed_target_and_spreads_epsilon_over_allowed_ones():
    values = torch.tensor([1.0, 9.0, 2.0])
    probs = torch.softmax(epsilon_greedy(values, MASK, 0.1), -1)
    torch.testing.assert_close(probs, torch.tensor([0.05, 0.0, 0.95]))  # 0.1 / 2 each, and 0.9 more for the best
    torch.testing.assert_close(torch.softmax(epsilon_greedy(values, MASK, 0.0), -1), torch.tensor([0.0, 0.0, 1.0]))
