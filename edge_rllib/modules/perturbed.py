"""Exploration by noise on a policy's parameters, whose size follows how much the decisions change.

[Plappert et al., Parameter Space Noise for Exploration, 2018, section 3 and appendix C]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from edge_rllib.modules.joint_policy import JointPolicy, Says
from edge_rllib.ops import hybrid

FIRST_STD = 0.05  # of the noise on parameters; as in OpenAI's baselines
GROWTH = 1.01  # factor of the deviation a redraw; the paper's


class Perturbed:
    """A policy beside its perturbed self: the same noise until it is drawn anew, on whatever weights there are."""

    def __init__(self, policy: JointPolicy, wanted: float) -> None:
        """Take the wanted distance of decisions, as a share of the range of amounts."""
        self.policy, self.wanted = policy, wanted
        self.std = FIRST_STD
        self._noise: dict[str, Tensor] = {}

    def __call__(self, observation: Tensor, mask: Tensor) -> Says:
        """Return what the perturbed policy says; the policy itself before the first draw."""
        if not self._noise:
            return self._plain(observation, mask)
        parameters = {
            name: torch.add(parameter, self._noise[name], alpha=self.std)
            for name, parameter in self.policy.named_parameters()
        }
        says: Says = functional_call(self.policy, parameters, (observation, mask))
        return says

    def redraw(self, observation: Tensor, mask: Tensor, seed: int) -> None:
        """Judge the present noise by what it changes on observations (B, N, F), and draw new one."""
        if self._noise:
            is_too_far = self.distance(observation, mask) > self.wanted
            self.std = self.std / GROWTH if is_too_far else self.std * GROWTH
        generator = torch.Generator().manual_seed(seed)
        self._noise = {
            name: torch.randn(parameter.shape, generator=generator)
            for name, parameter in self.policy.named_parameters()
        }

    def distance(self, observation: Tensor, mask: Tensor) -> float:
        """Return the root mean square change of decisions: chances of targets, and amounts as shares of their range."""
        first, second = self._plain(observation, mask), self(observation, mask)
        sizes = self.policy.sizes
        changes = [first.log_probs.exp() - second.log_probs.exp()] if sizes.n_targets > 1 else []
        if sizes.n_amounts:
            amounts = [hybrid.squash(says.mean, sizes) / (sizes.high - sizes.low) for says in (first, second)]
            changes.append(amounts[0] - amounts[1])
        return float(torch.cat([change.flatten() for change in changes]).square().mean().sqrt())

    def get_state(self) -> dict[str, Any]:
        """Return the deviation and the noise."""
        return {"std": self.std, "noise": {name: noise.numpy().copy() for name, noise in self._noise.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a deviation and its noise."""
        self.std = state["std"]
        self._noise = {name: torch.from_numpy(values.copy()) for name, values in state["noise"].items()}

    def _plain(self, observation: Tensor, mask: Tensor) -> Says:
        says: Says = self.policy(observation, mask)
        return says
