"""The RLModule of value-based algorithms: a value for each target from any model without memory.

A model's policy network gives the scores of targets; as values of decisions they serve alike. With ``is_dueling`` the
model's value network is added and the scores count from their mean over the allowed targets
[Wang et al., Dueling Network Architectures, 2016, eq. 9]. Runners need the scores alone: nothing else changes which
target is best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from edge_rllib.modules.actor_critic import unpack
from edge_rllib.modules.distribution import TargetDistribution
from edge_rllib.ops.categorical import epsilon_greedy, mask_logits
from edge_rllib.ops.moments import RunningScale

VALUES = "q_values"


class QModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Values of targets; ``model_config`` holds ``model``, ``shape``, ``is_dueling`` and the first ``epsilon``.

    The chance of a random decision is a buffer: runners follow its schedule with the weights they are sent.
    """

    epsilon: Tensor
    value_mean: Tensor
    value_std: Tensor

    def setup(self) -> None:
        """Build the networks that the model describes."""
        model, shape = self.model_config["model"], self.model_config["shape"]
        self.action_dist_cls = TargetDistribution
        self.observation_scale = RunningScale(shape.n_features) if model.normalise_observation else None
        self.score = model.actor(shape)
        self.base = model.critic(shape, False) if self.model_config["is_dueling"] else None
        self.register_buffer("epsilon", torch.tensor(float(self.model_config["epsilon"])))
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))

    def make_target_networks(self) -> None:
        """Copy the networks; the copies have no gradient."""
        self.target_score = make_target_network(self.score)
        self.target_base = None if self.base is None else make_target_network(self.base)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the networks with their copies."""
        pairs = [(self.score, self.target_score)]
        return pairs if self.base is None else [*pairs, (self.base, self.target_base)]

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not need."""
        return ["base", "target_score", "target_base"]

    def values(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return the values of targets (..., K) at unit scale; those of masked targets have no meaning."""
        return _values(self.score, self.base, self.scaled(observation), mask)

    def target_values(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return the same by the copied networks."""
        return _values(self.target_score, self.target_base, self.scaled(observation), mask)

    def forward_target(self, batch: Mapping[str, Any], **kwargs: Any) -> Tensor:
        """Return the copied networks' values of a batch."""
        seen = unpack(batch)
        return self.target_values(seen.observation, seen.mask)

    def scaled(self, observation: Tensor) -> Tensor:
        """Return observations at unit scale, if the model asks for it."""
        return observation if self.observation_scale is None else self.observation_scale(observation)

    def to_reward_units(self, values: Tensor) -> Tensor:
        """Return values at unit scale in units of reward."""
        return values * self.value_std + self.value_mean

    def to_unit_scale(self, values: Tensor) -> Tensor:
        """Return values in units of reward at unit scale."""
        return (values - self.value_mean) / self.value_std

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = unpack(batch)
        return {VALUES: self.values(seen.observation, seen.mask)}

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = unpack(batch)
        with torch.no_grad():
            return {Columns.ACTION_DIST_INPUTS: mask_logits(self.score(self.scaled(seen.observation)), seen.mask)}

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = unpack(batch)
        with torch.no_grad():
            scores = self.score(self.scaled(seen.observation))
            logits = epsilon_greedy(scores, seen.mask, float(self.epsilon))
            return {Columns.ACTION_DIST_INPUTS: logits}


def _values(score: nn.Module, base: nn.Module | None, rows: Tensor, mask: Tensor) -> Tensor:
    scores: Tensor = score(rows)
    if base is None:
        return scores
    allowed = mask.to(scores.dtype)
    mean = (scores * allowed).sum(-1, keepdim=True) / allowed.sum(-1, keepdim=True)
    return base(rows).unsqueeze(-1) + scores - mean
