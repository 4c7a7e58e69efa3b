"""Modules whose decisions do not depend on the company: multilayer perceptrons, row by row, with many parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_rllib.federated.vectors import policy_parameters
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.modules.networks import ACTIVATIONS
from edge_rllib.ops import hybrid
from edge_rllib.ops.categorical import MASKED_LOGIT
from edge_rllib.ops.moments import CLIP
from edge_rllib.runners import row_policy
from edge_rllib.runners.buffers import Buffers
from edge_rllib.runners.row_policy import Network, decide, places_for
from envs.arrays import BOOL, F4, F8, I8, U8

_CODES = {"relu": row_policy.RELU, "tanh": row_policy.TANH, "elu": row_policy.ELU, "silu": row_policy.SILU}


class RowActor:
    """Decides for the agents of one module in B worlds, each with one of G vectors of parameters."""

    def __init__(self, module_id: str, module: ActorCritic, agents: I8) -> None:
        """Take a module that ``is_covered``, and its agents' indices."""
        self.module_id, self.agents = module_id, agents
        layers = _layers(module)
        assert layers is not None
        linears, activation = layers
        sizes = module.sizes
        scale = module.observation_scale
        none: F4 = np.zeros(0, np.float32)
        self._network = Network(
            widths=np.array([linears[0].in_features, *(layer.out_features for layer in linears)], np.int64),
            activation=_CODES[activation],
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
        self._limits: F8 = np.array(self._network[4:])
        self._order = _order(module, linears)
        self._places = places_for(self._network.widths, len(agents), sizes.n_targets, sizes.n_amounts)
        self._parameters: F4 = np.zeros((0, len(self._order)), np.float32)

    def load(self, vectors: Tensor) -> None:
        """Take parameters (G, d)."""
        self._parameters = np.ascontiguousarray(vectors.detach()[:, self._order].numpy(), np.float32)

    def act(self, buffers: Buffers, t: int, explore: bool, key: U8, rows: I8, is_over: BOOL, world_ids: U8) -> None:
        """Write the decisions of step t; ``rows`` (B,) says which parameters decide in a world, ``key`` is (1,)."""
        network = self._network
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
            self._limits,
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


def is_covered(module: Any) -> bool:
    """Return whether a module is a perceptron without memory that decides by nothing but the agent's own features."""
    return _layers(module) is not None


def _layers(module: Any) -> tuple[list[nn.Linear], str] | None:
    """Return the layers of the policy and the name of their activation; None for another kind of policy."""
    if not isinstance(module, ActorCritic) or module.core is not None or not isinstance(module.actor, nn.Sequential):
        return None
    linears, between = list(module.actor)[::2], list(module.actor)[1::2]
    kinds = {type(layer) for layer in between}
    names = [name for name, kind in ACTIVATIONS.items() if kinds == {kind}]
    if not names or not all(type(layer) is nn.Linear for layer in linears) or len(linears) != len(between) + 1:
        return None
    n_known = sum(layer.weight.numel() + layer.bias.numel() for layer in linears) + module.sizes.n_amounts
    return (linears, names[0]) if n_known == sum(p.numel() for p in policy_parameters(module)) else None


def _order(module: ActorCritic, linears: list[nn.Linear]) -> Tensor:
    """Return from where in a vector of parameters each number (d,) of the kernel's order comes."""
    parameters = policy_parameters(module)
    places = torch.arange(sum(p.numel() for p in parameters)).split([p.numel() for p in parameters])
    place = {id(p): where.view_as(p) for p, where in zip(parameters, places, strict=True)}
    parts = [part for layer in linears for part in (place[id(layer.bias)], place[id(layer.weight)].t().flatten())]
    if module.sizes.n_amounts:
        parts.append(place[id(module.log_std)])
    return torch.cat(parts)
