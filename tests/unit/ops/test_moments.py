from __future__ import annotations

import pytest
import torch
from torch import nn

from edge_rllib.ops.moments import CLIP, RunningScale, combine, moments, rescale_head


def test_moments_of_two_parts_combine_to_those_of_the_whole():
    torch.manual_seed(0)
    rows = torch.randn(30, 3) * torch.tensor([1.0, 10.0, 0.1]) + 5.0
    joined = combine(moments(rows[:7]), moments(rows[7:]))
    whole = moments(rows)
    assert joined.count == 30
    torch.testing.assert_close(joined.mean, whole.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(joined.squares, whole.squares, rtol=1e-5, atol=1e-6)


def test_scale_is_the_identity_before_anything_was_seen():
    rows = torch.tensor([[1.0, -2.0]])
    assert torch.equal(RunningScale(2)(rows), rows)


def test_scale_brings_seen_rows_to_zero_mean_and_unit_deviation():
    torch.manual_seed(0)
    rows = torch.randn(1000, 2) * 4.0 + 3.0
    scale = RunningScale(2)
    scale.merge(moments(rows[:400]))
    scale.merge(moments(rows[400:]))
    scaled = scale(rows)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert int(scale.count) == 1000


def test_a_constant_feature_is_centred_and_outliers_are_clipped():
    scale = RunningScale(2)
    scale.merge(moments(torch.tensor([[7.0, 0.0], [7.0, 2.0]])))
    # second feature: mean 1, deviation 1
    assert scale(torch.tensor([[7.0, 2.0], [8.0, 1000.0]])).tolist() == [[0.0, 1.0], [1.0, CLIP]]


def test_memory_below_one_forgets_earlier_batches():
    scale = RunningScale(1)
    scale.merge(moments(torch.zeros(10, 1)))
    scale.merge(moments(torch.ones(10, 1)), memory=0.0)
    assert scale.mean.item() == pytest.approx(1.0)


def test_rescaled_head_keeps_every_value():
    torch.manual_seed(0)
    head, inputs = nn.Linear(5, 1), torch.randn(8, 5)
    old_mean, old_std = torch.tensor([2.0]), torch.tensor([3.0])
    new_mean, new_std = torch.tensor([-1.0]), torch.tensor([0.5])
    before = old_std * head(inputs) + old_mean
    rescale_head(head, old_mean, old_std, new_mean, new_std)
    torch.testing.assert_close(new_std * head(inputs) + new_mean, before, rtol=1e-5, atol=1e-5)
