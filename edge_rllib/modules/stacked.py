"""Networks of many agents as one: parameters of G groups side by side, applied to all agents in one product.

A group is a set of agents that share weights. Its parameters are slices ``[g]`` of tensors whose first axis is G, so
that an optimizer, a target network and a clipped norm handle all groups at once. Each group's networks are independent:
they start from their own random weights, and the gradient of one agent's loss reaches its own group only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_rllib.modules.networks import ACTIVATIONS, check_widths
from envs.errors import ConfigError

INITIALS = ("orthogonal", "uniform")  # uniform is PyTorch's own for linear layers, +-1 / sqrt(inputs)
HIDDEN_GAIN = math.sqrt(2.0)  # keeps the variance behind a ReLU; the same in ``networks.trunk``


class Groups(nn.Module):
    """Which group's parameters each agent uses; selects them with no more copies than it must."""

    index: Tensor

    def __init__(self, group_of_agent: Sequence[int]) -> None:
        """Take the group of each of N agents; groups are 0 .. G - 1 and none may be empty."""
        super().__init__()
        found = sorted(set(group_of_agent))
        if not found or found != list(range(len(found))):
            raise ConfigError(f"group_of_agent = {list(group_of_agent)}: expected every group of 0 .. G - 1")
        self.n_agents, self.n_groups = len(group_of_agent), len(found)
        self.is_one = self.n_groups == 1
        self.is_each = list(group_of_agent) == list(range(self.n_agents))
        self.register_buffer("index", torch.tensor(list(group_of_agent)), persistent=False)

    def of_agents(self, parameter: Tensor) -> Tensor:
        """Return a parameter (G, ...) by agent, (N, ...), or (1, ...) where all agents share it."""
        return parameter if self.is_one or self.is_each else parameter.index_select(0, self.index)


class StackedLinear(nn.Module):
    """A linear layer for each group: one plain product for one group, one batched product for more."""

    def __init__(
        self, groups: Groups, n_inputs: int, n_outputs: int, initial: str = "orthogonal", gain: float = 1.0
    ) -> None:
        """Draw each group's weights on its own; ``gain`` scales orthogonal weights."""
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(initial_weights(groups.n_groups, n_inputs, n_outputs, initial, gain))
        bound = 0.0 if initial == "orthogonal" else 1.0 / math.sqrt(n_inputs)
        self.bias = nn.Parameter(torch.empty(groups.n_groups, n_outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (..., N, out) of inputs (..., N, in)."""
        if self.groups.is_one:
            return functional.linear(inputs, self.weight[0].T, self.bias[0])
        weight, bias = self.groups.of_agents(self.weight), self.groups.of_agents(self.bias)
        rows = inputs if inputs.dim() == 3 else inputs.flatten(0, -3) if inputs.dim() > 3 else inputs.unsqueeze(0)
        outputs = torch.baddbmm(bias.unsqueeze(1), rows.transpose(0, 1), weight).transpose(0, 1)
        return outputs.reshape(*inputs.shape[:-1], weight.shape[-1])


class StackedLayerNorm(nn.Module):
    """Layer normalisation with a scale and a shift for each group [Ba, Kiros and Hinton, 2016]."""

    def __init__(self, groups: Groups, width: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(groups.n_groups, width))
        self.bias = nn.Parameter(torch.zeros(groups.n_groups, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs (..., N, width), normalised over the last axis."""
        normal = functional.layer_norm(inputs, inputs.shape[-1:])
        return torch.addcmul(self.groups.of_agents(self.bias), normal, self.groups.of_agents(self.weight))


class StackedMlp(nn.Module):
    """A multilayer perceptron for each group."""

    def __init__(
        self,
        groups: Groups,
        n_inputs: int,
        widths: Sequence[int],
        n_outputs: int,
        activation: str = "relu",
        initial: str = "orthogonal",
        last_gain: float = 1.0,
        has_layer_norm: bool = False,
    ) -> None:
        """Build hidden layers of the given widths and a linear last layer whose orthogonal weights have ``last_gain``.

        With ``has_layer_norm`` each hidden layer is normalised before its activation.
        """
        super().__init__()
        check_widths("widths", widths, activation)
        self.groups = groups
        layers: list[nn.Module] = []
        for width in widths:
            layers.append(StackedLinear(groups, n_inputs, width, initial, HIDDEN_GAIN))
            if has_layer_norm:
                layers.append(StackedLayerNorm(groups, width))
            layers.append(ACTIVATIONS[activation]())
            n_inputs = width
        layers.append(StackedLinear(groups, n_inputs, n_outputs, initial, last_gain))
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (..., N, out) of inputs (..., N, in)."""
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs

    @torch.no_grad()
    def load_singles(self, singles: Sequence[nn.Sequential]) -> None:
        """Take over the weights of one ordinary network a group, layer by layer as ``singles`` returns them."""
        for layers in zip(self.layers, *singles, strict=True):
            stacked, parts = layers[0], layers[1:]
            if isinstance(stacked, StackedLinear):
                stacked.weight.copy_(torch.stack([part.weight.T for part in parts]))
                stacked.bias.copy_(torch.stack([part.bias for part in parts]))
            elif isinstance(stacked, StackedLayerNorm):
                stacked.weight.copy_(torch.stack([part.weight for part in parts]))
                stacked.bias.copy_(torch.stack([part.bias for part in parts]))

    @torch.no_grad()
    def singles(self) -> list[nn.Sequential]:
        """Return one ordinary network a group with copies of its weights, such as to export one agent's policy."""
        return [nn.Sequential(*(_single(layer, g) for layer in self.layers)) for g in range(self.groups.n_groups)]


def _single(layer: nn.Module, group: int) -> nn.Module:
    single: nn.Module
    if isinstance(layer, StackedLinear):
        single = nn.Linear(*layer.weight.shape[1:])
        single.weight.copy_(layer.weight[group].T)
    elif isinstance(layer, StackedLayerNorm):
        single = nn.LayerNorm(layer.weight.shape[1])
        single.weight.copy_(layer.weight[group])
    else:
        return type(layer)()
    single.bias.copy_(layer.bias[group])
    return single


def initial_weights(n_groups: int, n_inputs: int, n_outputs: int, initial: str, gain: float) -> Tensor:
    """Return first weights (G, in, out): orthogonal with a gain, or uniform within 1 / sqrt(in)."""
    if initial not in INITIALS:
        raise ConfigError(f"initial = {initial!r}: expected one of {', '.join(INITIALS)}")
    weight = torch.empty(n_groups, n_outputs, n_inputs)
    if initial == "uniform":
        weight.uniform_(-1.0 / math.sqrt(n_inputs), 1.0 / math.sqrt(n_inputs))
    else:
        for group in weight:
            nn.init.orthogonal_(group, gain)
    return weight.transpose(1, 2).contiguous()


@torch.no_grad()
def clip_group_norms(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients so that no group's norm is above ``largest``; return the norms before, (G,).

    All parameters have one first axis G. One norm over all groups would let an agent with a steep loss slow the others.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    norms = squares.sqrt()
    scale = (largest / (norms + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
    return norms
