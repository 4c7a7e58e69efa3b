"""Targets, losses and relaxed decisions of central critics, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edge_rllib.ops import multi_agent
from edge_rllib.ops.categorical import MASKED_LOGIT


def close(actual, expected):
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_targets_discount_what_is_behind_and_a_termination_has_nothing_behind():
    returns, behind = torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([[10.0, 20.0], [10.0, 20.0]])
    close(multi_agent.td_targets(returns, torch.tensor([0.5, 0.0]), behind), [[6.0, 8.0], [3.0, 4.0]])


def test_twins_give_the_lower_value_of_each_entry():
    first, second = torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, -3.0]])
    close(multi_agent.twin_minimum([first, second]), [[1.0, -3.0]])
    assert multi_agent.twin_minimum([first]) is first


def test_the_critics_loss_is_a_mean_over_all_rows_and_values_and_a_sum_over_critics():
    values, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [3.0, 6.0]])
    weight = torch.tensor([1.0, 0.5])
    # squared errors 1, 0 | 0, 4: means over values 0.5 and 2, weighted 0.5 + 1, over two rows
    assert float(multi_agent.critic_loss([values], targets, weight, 2)) == pytest.approx(0.75)
    assert float(multi_agent.critic_loss([values, values], targets, weight, 2)) == pytest.approx(1.5)
    # these are half of the rows of two learners
    assert float(multi_agent.critic_loss([values], targets, weight, 4)) == pytest.approx(0.375)


def test_errors_of_rows_are_means_over_critics_and_values():
    targets = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    first, second = targets + 1.0, targets - torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    close(multi_agent.td_errors([first, second], targets), [(1 + 2) / 2, (1 + 0) / 2])


def test_smoothing_noise_is_cut_and_amounts_stay_within_bounds():
    amounts, noise = torch.tensor([0.5, 0.5, 0.5, 0.9]), torch.tensor([1.0, -3.0, 0.2, 1.0])
    # 0.2 * noise = 0.2, -0.6 -> -0.25, 0.04, 0.2; 0.9 + 0.2 ends at 1
    close(multi_agent.smoothed(amounts, noise, 0.2, 0.25, 0.0, 1.0), [0.7, 0.25, 0.54, 1.0])


def test_gumbel_noise_is_the_inverse_of_its_distribution():
    # P(G < g) = exp(-exp(-g)): at g = 0 that is 1 / e, at g = 2 exp(-exp(-2))
    close(multi_agent.gumbel(torch.tensor([math.exp(-1.0), math.exp(-math.exp(-2.0))])), [0.0, 2.0])
    assert torch.isfinite(multi_agent.gumbel(torch.tensor([0.0]))).all()


def test_a_relaxed_draw_is_hard_with_the_gradient_of_the_softmax():
    log_probs = torch.tensor([[0.0, 0.0]], requires_grad=True)
    chosen = multi_agent.straight_through(log_probs, torch.tensor([[0.1, 0.0]]), temperature=2.0)
    close(chosen.detach(), [[1.0, 0.0]])
    (gradient,) = torch.autograd.grad((chosen * torch.tensor([1.0, 0.0])).sum(), log_probs)
    # p = sigmoid(0.05); d p / d logit = p (1 - p) / temperature, and the opposite for the other
    p = 1 / (1 + math.exp(-0.05))
    close(gradient, [[p * (1 - p) / 2, -p * (1 - p) / 2]])


def test_a_forbidden_target_is_neither_chosen_nor_has_a_gradient():
    log_probs = torch.tensor([[-1.0, MASKED_LOGIT, -0.5]], requires_grad=True)
    noise = torch.tensor([[0.0, 60.0, 0.0]])
    chosen = multi_agent.straight_through(log_probs, noise, 1.0)
    (gradient,) = torch.autograd.grad((chosen * torch.tensor([1.0, 100.0, 2.0])).sum(), log_probs)
    close(chosen.detach(), [[0.0, 0.0, 1.0]])
    assert gradient[0, 1] == 0.0
    assert gradient[0, 2] > 0.0
    close(multi_agent.chosen_targets(log_probs.detach(), noise), [[0.0, 0.0, 1.0]])


def test_draws_follow_the_distribution():
    log_probs = torch.tensor([0.5, 0.2, 0.3]).log().expand(20_000, 3)
    noise = multi_agent.gumbel(torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)))
    share = multi_agent.chosen_targets(log_probs, noise).mean(0)
    # a share's deviation is at most sqrt(0.25 / 20000) = 0.0035
    torch.testing.assert_close(share, torch.tensor([0.5, 0.2, 0.3]), rtol=0, atol=0.014)


def test_decisions_hold_the_target_and_its_own_amounts():
    amounts = torch.tensor([[[0.1], [0.2], [0.3]]])
    close(multi_agent.decisions_of(torch.tensor([[0.0, 1.0, 0.0]]), amounts), [[0.0, 1.0, 0.0, 0.2]])
    close(multi_agent.decisions_of(torch.ones(1, 1), torch.tensor([[[0.4, 0.6]]])), [[0.4, 0.6]])
    close(multi_agent.decisions_of(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2, 0)), [[0.0, 1.0]])


def test_each_target_stands_for_a_decision():
    close(multi_agent.decisions_of_each(torch.tensor([[0.1], [0.2]])), [[1.0, 0.0, 0.1], [0.0, 1.0, 0.2]])
    close(multi_agent.decisions_of_each(torch.zeros(2, 0)), [[1.0, 0.0], [0.0, 1.0]])
    close(multi_agent.decisions_of_each(torch.tensor([[0.4, 0.6]])), [[0.4, 0.6]])


def test_released_decisions_are_a_server_and_a_share():
    box = torch.tensor([[-0.9999, 0.6], [0.0, -1.0], [0.5, 1.0]])
    # (x + 1) E / 2 rounded down, (y + 1) / 2; with three servers 0.5 is 2.25
    close(multi_agent.released_coordinates(box, 2), [[0.0, 0.8], [1.0, 0.0], [1.0, 1.0]])
    close(multi_agent.released_coordinates(box, 3), [[0.0, 0.8], [1.0, 0.0], [2.0, 1.0]])


def test_an_expectation_weighs_values_by_probability():
    close(multi_agent.expected(torch.tensor([0.25, 0.75]).log(), torch.tensor([4.0, 8.0])), 7.0)


def test_the_policies_loss_is_the_negative_mean_value_with_the_entropy():
    values, entropy = torch.tensor([[1.0, 3.0], [5.0, 7.0]]), torch.tensor([[0.5, 0.1], [0.2, 0.0]])
    # means over agents 2 and 6, over rows 4; entropies 0.3 and 0.1, mean 0.2
    assert float(multi_agent.policy_loss(values, entropy, 0.0, 2)) == pytest.approx(-4.0)
    assert float(multi_agent.policy_loss(values, entropy, 10.0, 2)) == pytest.approx(-4.0 - 2.0)


def test_a_temperature_rises_where_the_entropy_is_too_low():
    log_temperature = torch.zeros(2, requires_grad=True)
    entropy = torch.tensor([[0.1, 0.9], [0.3, 0.7]])
    loss = multi_agent.temperature_loss(log_temperature, entropy, torch.tensor([0.5, 0.5]), 2)
    (gradient,) = torch.autograd.grad(loss, log_temperature)
    close(gradient, [0.2 - 0.5, 0.8 - 0.5])  # descent raises the first and lowers the second


def test_the_density_of_a_normal_distribution():
    # standard at its mean: 1 / sqrt(2 pi); with deviation e^2 and one deviation away: less 0.5 and 2
    base = -0.5 * math.log(2 * math.pi)
    actual = multi_agent.normal_log_density(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]))
    close(actual, [base, base - 2.5])


def test_copies_move_by_a_share():
    main, copy = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for network, value in ((main, 3.0), (copy, 1.0)):
            for parameter in network.parameters():
                parameter.fill_(value)
    multi_agent.polyak([main], [copy], 0.25)
    assert [p.item() for p in copy.parameters()] == [1.5, 1.5]
    assert [p.item() for p in main.parameters()] == [3.0, 3.0]
