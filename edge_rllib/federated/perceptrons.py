"""Policies whose numbers do not depend on the company: multilayer perceptrons, worked out row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.modules.networks import ACTIVATIONS
from edge_rllib.ops import hybrid
from edge_rllib.ops.categorical import MASKED_LOGIT
from edge_rllib.ops.moments import CLIP
from edge_rllib.runners import row_policy
from edge_rllib.runners.buffers import Buffers
from edge_rllib.runners.row_policy import Network, decide, places_for
from envs.arrays import BOOL, F4, F8, I8, U8

Numbers = NDArray[Any]

_CODES = {"relu": row_policy.RELU, "tanh": row_policy.TANH, "elu": row_policy.ELU, "silu": row_policy.SILU}
_OWN = {"actor", "critic", "observation_scale", "value_scale"}  # parts of a module of which the actor alone decides


@dataclass(frozen=True)
class Perceptron:
    """A module's policy as the kernels take it."""

    module: ActorCritic
    linears: Sequence[nn.Linear]
    network: Network
    limits: F8  # numbers of the network from ``clip`` on

    @property
    def n_amounts(self) -> int:
        """Return A."""
        return int(self.module.sizes.n_amounts)

    @property
    def n_parameters(self) -> int:
        """Return d."""
        layers = pairwise(self.network.widths.tolist())
        return sum(n_outputs * (n_inputs + 1) for n_inputs, n_outputs in layers) + self.n_amounts

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters in the kernels' order."""
        layers = [parameter for layer in self.linears for parameter in (layer.bias, layer.weight)]
        return [*layers, self.module.log_std] if self.n_amounts else layers

    def packed(self) -> F4:
        """Return the parameters as they are, (d,), in the kernels' order."""
        parts = [parameter.detach().numpy().T.ravel() for parameter in self.parameters()]
        return np.concatenate(parts, dtype=np.float32)

    def unpacked(self, numbers: Numbers) -> Numbers:
        """Return numbers (d,) in the kernels' order in that of a vector of parameters; see ``vectors``."""
        widths, at = self.network.widths.tolist(), 0
        parts: list[Any] = [numbers[len(numbers) - self.n_amounts :]]
        for n_inputs, n_outputs in pairwise(widths):
            weights_at, behind = at + n_outputs, at + n_outputs * (n_inputs + 1)
            parts += [numbers[weights_at:behind].reshape(n_inputs, n_outputs).T.ravel(), numbers[at:weights_at]]
            at = behind
        return np.concatenate(parts)

    def order(self) -> I8:
        """Return from where in a vector of parameters each number (d,) of the kernels' order comes."""
        in_kernels = np.arange(self.n_parameters)
        order = np.empty_like(in_kernels)
        order[self.unpacked(in_kernels)] = in_kernels
        return order


def perceptron(module: Any) -> Perceptron | None:
    """Return the policy of a module whose actor is a perceptron and sees the agent's features alone; else None."""
    if not isinstance(module, ActorCritic) or not isinstance(module.actor, nn.Sequential):
        return None
    layers = list(module.actor)
    linears, kinds = layers[::2], {type(layer) for layer in layers[1::2]}
    names = [name for name, kind in ACTIVATIONS.items() if kinds == {kind}]
    is_plain = all(type(layer) is nn.Linear for layer in linears) and len(layers) % 2 == 1
    if not names or not is_plain or not module._modules.keys() <= _OWN:
        return None
    sizes, scale = module.sizes, module.observation_scale
    none: F4 = np.zeros(0, np.float32)
    network = Network(
        widths=np.array([linears[0].in_features, *(layer.out_features for layer in linears)], np.int64),
        activation=_CODES[names[0]],
        mean=none if scale is None else scale.mean.numpy(),
        std=none if scale is None else scale.std.numpy(),
        clip=CLIP,
        masked_logit=MASKED_LOGIT,
        low=float(sizes.low),
        high=float(sizes.high),
        log_std_low=hybrid.LOG_STD_LOW,
        log_std_high=hybrid.LOG_STD_HIGH,
        edge=hybrid.EDGE,
    )
    return Perceptron(module, linears, network, np.array(network[4:]))


class RowActor:
    """Decides for the agents of one module in B worlds, each with one of G vectors of parameters."""

    def __init__(self, module_id: str, policy: Perceptron, agents: I8) -> None:
        """Take a module's policy, and its agents' indices."""
        self.module_id, self.agents = module_id, agents
        sizes = policy.module.sizes
        self._policy, self._order = policy, policy.order()
        self._places = places_for(policy.network.widths, len(agents), sizes.n_targets, sizes.n_amounts)
        self._parameters: F4 = np.zeros((0, len(self._order)), np.float32)

    def load(self, vectors: Tensor) -> None:
        """Take parameters (G, d)."""
        self._parameters = np.ascontiguousarray(vectors.detach().numpy()[:, self._order], np.float32)

    def act(self, buffers: Buffers, t: int, explore: bool, key: U8, rows: I8, is_over: BOOL, world_ids: U8) -> None:
        """Write the decisions of step t; ``rows`` (B,) says which parameters decide in a world, ``key`` is (1,)."""
        network = self._policy.network
        decide(
            buffers.decision,
            buffers.amounts,
            buffers.logp,
            *self._places,
            buffers.observation,
            buffers.mask,
            network.widths,
            network.mean,
            network.std,
            self._policy.limits,
            self._parameters,
            rows,
            self.agents,
            is_over,
            world_ids,
            key,
            network.activation,
            explore,
            t,
        )
