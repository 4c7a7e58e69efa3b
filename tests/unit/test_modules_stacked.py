"""Stacked networks: the same as a loop over single ones, with independent first weights and norms by group."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edge_rllib.modules.stacked import Groups, StackedLinear, StackedMlp, clip_group_norms
from envs.errors import ConfigError

ROWS, INPUTS, OUTPUTS = 7, 5, 3
GROUPINGS = pytest.mark.parametrize("group_of", [[0, 0, 0, 0], [0, 1, 2, 3], [1, 0, 1, 2]], ids=["one", "each", "some"])


def stacked(group_of, **values):
    torch.manual_seed(0)
    return StackedMlp(Groups(group_of), INPUTS, (8, 6), OUTPUTS, **values)


@GROUPINGS
@pytest.mark.parametrize("has_layer_norm", [False, True], ids=["plain", "layer norm"])
def test_stacked_networks_are_a_loop_over_single_ones_forward_and_backward(group_of, has_layer_norm):
    network = stacked(group_of, activation="tanh", has_layer_norm=has_layer_norm)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    singles = network.singles()
    inputs = torch.randn(ROWS, 4, INPUTS, requires_grad=True)
    weights = torch.randn(ROWS, 4, OUTPUTS)

    outputs = network(inputs)
    (outputs * weights).sum().backward()
    gradient, inputs.grad = inputs.grad, None
    expected = torch.stack([singles[group](inputs[:, n]) for n, group in enumerate(group_of)], 1)
    (expected * weights).sum().backward()

    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, inputs.grad, rtol=1e-6, atol=1e-6)
    for stacked_layer, *layers in zip(network.layers, *singles, strict=True):
        if isinstance(layers[0], nn.Linear | nn.LayerNorm):
            is_linear = isinstance(layers[0], nn.Linear)
            weight = torch.stack([layer.weight.grad.T if is_linear else layer.weight.grad for layer in layers])
            torch.testing.assert_close(stacked_layer.weight.grad, weight, rtol=0, atol=1e-5)
            bias = torch.stack([layer.bias.grad for layer in layers])
            torch.testing.assert_close(stacked_layer.bias.grad, bias, rtol=0, atol=1e-5)


@GROUPINGS
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_any_leading_axes_are_rows(group_of, lead):
    network = stacked(group_of)
    inputs = torch.randn(*lead, 4, INPUTS)
    outputs = network(inputs)
    assert outputs.shape == (*lead, 4, OUTPUTS)
    torch.testing.assert_close(outputs.reshape(-1, 4, OUTPUTS), network(inputs.reshape(-1, 4, INPUTS)))


def test_weights_go_to_single_networks_and_back():
    network, other = stacked([0, 1, 2]), StackedMlp(Groups([0, 1, 2]), INPUTS, (8, 6), OUTPUTS)
    other.load_singles(network.singles())
    for first, second in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_one_group_serves_any_number_of_agents():
    network = stacked([0, 0])
    inputs = torch.randn(ROWS, 9, INPUTS)
    torch.testing.assert_close(network(inputs)[:, :2], network(inputs[:, :2]))


def test_each_group_starts_from_its_own_orthogonal_weights():
    torch.manual_seed(0)
    layer = StackedLinear(Groups([0, 1, 2]), 4, 4, gain=2.0)
    for weight in layer.weight:
        torch.testing.assert_close(weight @ weight.T, 4.0 * torch.eye(4), rtol=0, atol=1e-5)
    assert (layer.weight[0] - layer.weight[1]).abs().max() > 0.1
    assert not layer.bias.any()


def test_uniform_weights_have_the_spread_of_pytorchs_linear_layers():
    torch.manual_seed(0)
    layer = StackedLinear(Groups([0, 1]), 16, 500, initial="uniform")
    # uniform within 1 / sqrt(16) = 0.25: deviation 0.25 / sqrt(3)
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= 0.25
        assert float(parameter.detach().std()) == pytest.approx(0.25 / math.sqrt(3), rel=0.05)


def test_only_the_group_with_a_steep_loss_is_clipped():
    # a layer without bias gradient from one input of ones: d loss_g / d weight = c_g, three entries: norm c_g sqrt(3)
    layer = StackedLinear(Groups([0, 1]), 3, 1)
    outputs = layer(torch.ones(1, 2, 3))
    (outputs * torch.tensor([10.0, 0.1]).view(1, 2, 1)).sum().backward()
    layer.bias.grad = None
    norms = clip_group_norms(layer.parameters(), largest=1.0)
    torch.testing.assert_close(norms, torch.tensor([10.0, 0.1]) * math.sqrt(3.0))
    torch.testing.assert_close(layer.weight.grad.flatten(1).norm(dim=1), torch.tensor([1.0, 0.1 * math.sqrt(3.0)]))


@pytest.mark.parametrize("group_of", [[], [1, 2], [0, 2]])
def test_groups_without_an_agent_are_refused(group_of):
    with pytest.raises(ConfigError, match=r"expected every group of 0 \.\. G - 1"):
        Groups(group_of)


def test_an_unknown_initialisation_is_refused():
    with pytest.raises(ConfigError, match="initial = 'zeros': expected one of orthogonal, uniform"):
        stacked([0], initial="zeros")
