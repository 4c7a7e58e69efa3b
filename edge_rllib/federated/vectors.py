"""A module's policy as one vector, which is what clients send and what is aggregated."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from envs.errors import ConfigError

Vectors = dict[str, Tensor]  # by module: (d,)


def policy_parameters(module: Any) -> list[nn.Parameter]:
    """Return the parameters that decide, in a fixed order: all but those of the critic."""
    without = module.get_non_inference_attributes()
    parts = (part.parameters() for name, part in module.named_children() if name not in without)
    return [*module.parameters(recurse=False), *chain.from_iterable(parts)]


def vector_of(module: Any) -> Tensor:
    """Return a copy of the parameters, (d,)."""
    return torch.cat([parameter.detach().flatten() for parameter in policy_parameters(module)])


@torch.no_grad()
def load_vector(module: Any, vector: Tensor) -> None:
    """Copy a vector (d,) into the parameters; one of another length raises ConfigError."""
    parameters = policy_parameters(module)
    n_expected = sum(parameter.numel() for parameter in parameters)
    if vector.shape != (n_expected,):
        raise ConfigError(f"a vector of shape {tuple(vector.shape)} for a policy of {n_expected} parameters")
    for parameter, part in zip(parameters, vector.split([each.numel() for each in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))


def load_vectors(modules: Mapping[str, Any], vectors: Vectors) -> None:
    """Copy a vector into each module."""
    for module_id, vector in vectors.items():
        load_vector(modules[module_id], vector)


def gradient_of(objective: Tensor, module: Any) -> Tensor:
    """Return the gradient (d,) of a scalar in a module's policy; zero for parameters that it does not depend on."""
    parameters = policy_parameters(module)
    gradients = torch.autograd.grad(objective, parameters, allow_unused=True)
    parts = (
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, gradients, strict=True)
    )
    return torch.cat([part.flatten() for part in parts])
