"""All that a policy knows as one vector: networks, their moving copies and scales, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_rllib.collective.errors import PushError
from envs.arrays import BOOL, F4

OF_THE_RUN = ("epsilon", "noise_std", "is_random")  # buffers that follow a run's schedule, and nobody else's


class Layout(NamedTuple):
    """What stands where in a vector (d,)."""

    n_numbers: int  # d
    is_policy: BOOL  # (d,) numbers that decide; the others judge

    @classmethod
    def of(cls, modules: Mapping[str, Any]) -> Layout:
        """Return the layout of modules."""
        parts = [np.full(tensor.numel(), decides) for tensor, decides in _tensors(modules)]
        is_policy: BOOL = np.concatenate(parts)
        return cls(len(is_policy), is_policy)

    def check(self, vector: F4, who: str) -> None:
        """Raise PushError unless a vector is of this layout and finite."""
        if vector.shape != (self.n_numbers,) or vector.dtype != np.float32:
            raise PushError(f"{who}: a vector of {vector.dtype} {vector.shape}; expected float32 ({self.n_numbers},)")
        n_wrong = int(np.count_nonzero(~np.isfinite(vector)))
        if n_wrong:
            raise PushError(f"{who}: {n_wrong} of {self.n_numbers} numbers are not finite")


def vector_of(modules: Mapping[str, Any]) -> F4:
    """Return a copy of what modules know, (d,) float32."""
    vector: F4 = torch.cat([tensor.detach().flatten().float() for tensor, _ in _tensors(modules)]).numpy(force=True)
    return vector


@torch.no_grad()
def load_vector(modules: Mapping[str, Any], vector: F4) -> None:
    """Copy a vector (d,) into modules."""
    at = 0
    for tensor, _ in _tensors(modules):
        part = torch.from_numpy(np.array(vector[at : at + tensor.numel()]))
        tensor.copy_(part.view_as(tensor))
        at += tensor.numel()


def flat(modules: Mapping[str, Any], values: Mapping[Tensor, Tensor], otherwise: float) -> F4:
    """Return values of tensors of modules as a vector (d,), and ``otherwise`` for those without."""
    parts = [values.get(tensor, torch.full_like(tensor, otherwise)) for tensor, _ in _tensors(modules)]
    vector: F4 = torch.cat([part.detach().flatten() for part in parts]).float().numpy(force=True)
    return vector


def _tensors(modules: Mapping[str, Any]) -> Iterator[tuple[Tensor, bool]]:
    """Yield the tensors of modules in a fixed order, and whether they decide."""
    for module_id in sorted(modules.keys()):
        module = modules[module_id].unwrapped()
        judging = tuple(module.get_non_inference_attributes())
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point() and name not in OF_THE_RUN:
                yield tensor, name.split(".")[0] not in judging
