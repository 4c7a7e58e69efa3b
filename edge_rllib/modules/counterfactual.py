"""The RLModule of COMA: stacked stochastic policies and a central critic of the joint decision, with its copy.

One module holds all agents; which of them share a policy is a matter of groups. Runners hold the policies alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from edge_rllib.modules.actor_critic import VALUE_MEMORY, unpack
from edge_rllib.modules.critics import CriticShape, Situation, build_critic
from edge_rllib.modules.joint_policy import JointPolicy, Says, n_policy_outputs
from edge_rllib.modules.networks import POLICY_GAIN
from edge_rllib.modules.stacked import Groups, StackedMlp
from edge_rllib.ops import hybrid
from edge_rllib.ops.moments import Moments, RunningScale, rescale_head


class CounterfactualModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Policies and the critic of all agents.

    ``model_config`` holds ``model`` (widths and activation), ``shape``, ``is_central`` (the critic sees the global
    state instead of all observations), ``group_of_agent``, ``critic`` (its kind) and ``scale_value``.
    """

    takes_amounts: ClassVar[bool] = True

    def setup(self) -> None:
        """Build the networks."""
        values, shape = self.model_config, self.model_config["shape"]
        model, self.sizes = values["model"], shape.decision
        self.observation_scale = RunningScale(shape.n_features) if model.normalise_observation else None
        network = StackedMlp(
            Groups(values["group_of_agent"]),
            shape.n_features,
            model.hidden,
            n_policy_outputs(self.sizes, is_stochastic=True),
            model.activation,
            last_gain=POLICY_GAIN,
        )
        self.policy = JointPolicy(network, self.sizes, is_stochastic=True)
        n_state = shape.n_state if values["is_central"] else 0
        members = tuple(values["group_of_agent"])
        seen = CriticShape(shape.n_agents, shape.n_features, n_state, self.sizes.n_vector, members)
        self.critic = build_critic(values["critic"], seen, model.critic_hidden, model.activation)
        self.value_scale = RunningScale(1) if values["scale_value"] else None

    def make_target_networks(self) -> None:
        """Copy the critic; the copy has no gradient."""
        self.critic_copy = make_target_network(self.critic)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the critic with its copy."""
        return [(self.critic, self.critic_copy)]

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not need."""
        return ["critic", "critic_copy", "value_scale"]

    def forward_target(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what the policies say of a batch; they have no copy."""
        return self._forward(batch)

    def says(self, observation: Tensor, mask: Tensor) -> tuple[Tensor, hybrid.Parts]:
        """Return the log probabilities of targets (..., N, K) and the amounts' distributions."""
        told: Says = self.policy(observation, mask)
        assert told.log_std is not None
        return told.log_probs, hybrid.Parts(told.log_probs, told.mean, told.log_std)

    def values(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return the copy's values (R, V) of decisions (R, N, W) in units of reward."""
        return self.to_reward_units(self.critic_copy(situation, decisions))

    def to_reward_units(self, values: Tensor) -> Tensor:
        """Return values at the critic's scale in units of reward."""
        return values if self.value_scale is None else values * self.value_scale.std + self.value_scale.mean

    def to_unit_scale(self, values: Tensor) -> Tensor:
        """Return values in units of reward at the critic's scale."""
        return values if self.value_scale is None else (values - self.value_scale.mean) / self.value_scale.std

    def merge_value_moments(self, batch: Moments) -> None:
        """Move the scale of values to new targets and rescale critic and copy, so that no value changes."""
        assert self.value_scale is not None
        old_mean, old_std = self.value_scale.mean.clone(), self.value_scale.std.clone()
        self.value_scale.merge(batch, VALUE_MEMORY)
        for critic in (self.critic, self.critic_copy):
            rescale_head(critic.head, old_mean, old_std, self.value_scale.mean, self.value_scale.std)

    def scaled(self, observation: Tensor) -> Tensor:
        """Return observations at unit scale, if the model asks for it."""
        return observation if self.observation_scale is None else self.observation_scale(observation)

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = unpack(batch)
        _, parts = self.says(self.scaled(seen.observation), seen.mask)
        return {Columns.ACTION_DIST_INPUTS: hybrid.join(*parts)}

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            return self._forward(batch)

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            return self._forward(batch)
