"""How far returns follow other policies' decisions, worked by hand."""

from __future__ import annotations

import torch

from edge_rllib.ops.traces import EXACTLY, Agreement, agreeing_steps, retrace, same_amounts


def test_amounts_are_the_same_within_the_worlds_intervals():
    # as DC-DRL decodes: sent from 0 on, five channels of width 0.4
    agreement = Agreement(((0.0,), (-0.6, -0.2, 0.2, 0.6)), 0.0)
    first = torch.tensor([[0.0, 0.0], [0.5, -0.61], [-0.1, 0.6], [0.1, 0.19]])
    second = torch.tensor([[0.9, 0.19], [0.5, -0.6], [-1.0, 1.0], [-0.1, 0.19]])
    # 0 belongs to sending; -0.6 to the second channel; the last one is sent by one and not by the other
    assert same_amounts(first, second, agreement).tolist() == [True, False, True, False]


def test_without_intervals_amounts_are_the_same_within_a_tolerance():
    first, second = torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([[0.5, 0.6], [0.5, 0.8]])
    assert same_amounts(first, second, Agreement((), 0.125)).tolist() == [True, False]
    assert same_amounts(first, first, EXACTLY).all()


def test_a_return_spans_its_first_step_and_those_that_agree_in_a_row():
    agrees = torch.tensor([[True, True, True], [True, False, True], [False, True, True]])
    assert agreeing_steps(agrees).tolist() == [4, 2, 1]


def columns(*rows):
    return [torch.tensor([[value]]) for value in rows]


def test_retrace_adds_the_weighted_errors_of_later_steps():
    values, rewards, behind = columns(1.0, 2.0, 3.0), columns(10.0, 20.0, 30.0), columns(4.0, 5.0, 6.0)
    discount = [torch.tensor([0.5])] * 3
    trace = columns(9.0, 0.5, 0.25)  # the first is not used
    # errors: 10 + 2 - 1 = 11; 20 + 2.5 - 2 = 20.5; 30 + 3 - 3 = 30
    # 1 + 11 + 0.5 * 0.5 * (20.5 + 0.5 * 0.25 * 30) = 12 + 0.25 * 24.25
    found = retrace(values, rewards, behind, discount, trace)
    torch.testing.assert_close(found, torch.tensor([[18.0625]]))


def test_a_full_trace_along_the_policy_is_the_return_of_all_steps_and_an_empty_one_that_of_one_step():
    values, rewards, discount = columns(1.0, 2.0), columns(10.0, 20.0), [torch.tensor([0.5])] * 2
    behind = columns(2.0, 7.0)  # what the policy decides after the first step is what was decided
    full, empty = (retrace(values, rewards, behind, discount, columns(1.0, weight)) for weight in (1.0, 0.0))
    torch.testing.assert_close(full, torch.tensor([[10.0 + 0.5 * 20.0 + 0.25 * 7.0]]))
    torch.testing.assert_close(empty, torch.tensor([[10.0 + 0.5 * 2.0]]))
