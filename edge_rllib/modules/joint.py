"""The RLModule of off-policy learning with central critics: one module for all agents, stacked policies inside.

Runners hold the policies alone; critics, their copies and the temperatures exist on learners. How much runners explore
is kept in buffers: they follow its schedule with the weights they are sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from edge_rllib.modules.actor_critic import unpack
from edge_rllib.modules.critics import CriticShape, build_critic
from edge_rllib.modules.joint_policy import JointPolicy, Says, n_policy_outputs
from edge_rllib.modules.networks import POLICY_GAIN
from edge_rllib.modules.perturbed import Perturbed
from edge_rllib.modules.stacked import Groups, StackedMlp
from edge_rllib.ops import categorical, hybrid
from edge_rllib.ops.moments import RunningScale

JOINT = "joint"  # the module's id
UNIFORM_STD = math.sqrt(1.0 / 12.0)  # of a uniform distribution, in units of its range
LOGISTIC_LOG_STD = math.log(math.pi / (2.0 * math.sqrt(3.0)))  # a normal with it is nearly uniform once squashed


class JointModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Policies and critics of all agents.

    ``model_config`` holds ``model`` (widths and activation), ``shape``, ``is_central`` (critics see the global state),
    ``group_of_agent``, ``critic`` (its kind), ``n_critics``, ``initial`` (kind of first weights), ``is_stochastic``
    (amounts are drawn, not computed), ``temperature`` (the first one), ``noise_rate`` (share by which noise on amounts
    is renewed each step) and ``parameter_noise_frac`` (wanted change of decisions by noise on parameters, or 0).
    """

    takes_amounts: ClassVar[bool] = True
    epsilon: Tensor
    noise_std: Tensor
    is_random: Tensor
    value_mean: Tensor
    value_std: Tensor

    def setup(self) -> None:
        """Build the networks."""
        values, shape = self.model_config, self.model_config["shape"]
        model = values["model"]
        self.sizes, self.n_agents = shape.decision, shape.n_agents
        self.is_stochastic = bool(values["is_stochastic"])
        self.noise_is_added = not self.is_stochastic  # runners add noise to the squashed amounts
        self.observation_scale = RunningScale(shape.n_features) if model.normalise_observation else None
        first = values["initial"]
        network = StackedMlp(
            Groups(values["group_of_agent"]),
            shape.n_features,
            model.hidden,
            n_policy_outputs(self.sizes, self.is_stochastic),
            model.activation,
            first,
            POLICY_GAIN,
        )
        self.policy = JointPolicy(network, self.sizes, self.is_stochastic)
        self.noise_rate = float(values["noise_rate"])
        wanted = float(values["parameter_noise_frac"])
        self.perturbed = Perturbed(self.policy, wanted) if wanted else None
        seen = CriticShape(
            shape.n_agents,
            shape.n_features,
            shape.n_state if values["is_central"] else 0,
            self.sizes.n_vector,
            tuple(values["group_of_agent"]),
        )
        self.critics = nn.ModuleList(
            build_critic(values["critic"], seen, model.critic_hidden, model.activation, initial=first)
            for _ in range(values["n_critics"])
        )
        first_log = math.log(values["temperature"])
        self.log_temperatures = Temperatures(shape.n_agents, first_log) if self.is_stochastic else None
        self.register_buffer("epsilon", torch.zeros(()))
        self.register_buffer("noise_std", torch.zeros(()))
        self.register_buffer("is_random", torch.ones(()))
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))

    def make_target_networks(self) -> None:
        """Copy critics and deterministic policies; the copies have no gradient."""
        self.critic_copies = make_target_network(self.critics)
        self.policy_copy = None if self.is_stochastic else make_target_network(self.policy)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the networks with their copies."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.critics, self.critic_copies)]
        return pairs if self.policy_copy is None else [*pairs, (self.policy, self.policy_copy)]

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not need."""
        return ["critics", "critic_copies", "policy_copy", "log_temperatures"]

    def forward_target(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what the copied policies say of a batch."""
        policy = self.policy if self.policy_copy is None else self.policy_copy
        return self._inputs(self._says(policy, batch))

    def scaled(self, observation: Tensor) -> Tensor:
        """Return observations at unit scale, if the model asks for it."""
        return observation if self.observation_scale is None else self.observation_scale(observation)

    def to_unit_scale(self, returns: Tensor, discount: Tensor) -> Tensor:
        """Return rewards (R, N) in front of values discounted by (R,) such that values at unit scale obey them."""
        return (returns - (1.0 - discount).unsqueeze(-1) * self.value_mean) / self.value_std

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._inputs(self._says(self.policy, batch))

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            return self._forward(batch)

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            if float(self.is_random):
                return self._at_random(unpack(batch).mask)
            says = self._says(self.perturbed or self.policy, batch)
            if self.is_stochastic:
                return self._inputs(says)
            mask = unpack(batch).mask
            even = mask / mask.sum(-1, keepdim=True)
            probs = torch.lerp(says.log_probs.exp(), even, self.epsilon).clamp_min(1e-38)
            mixed = categorical.mask_logits(probs.log(), mask)
            return self._inputs(says._replace(log_probs=mixed), self.noise_std.clamp_min(1e-8).log())

    def _says(self, policy: Callable[..., Says], batch: Mapping[str, Any]) -> Says:
        seen = unpack(batch)
        return policy(self.scaled(seen.observation), seen.mask)

    def _inputs(self, says: Says, log_std: Tensor | None = None) -> dict[str, Any]:
        """Return the inputs of the decisions' distribution, with a deviation for policies that have none."""
        if says.log_std is not None:
            log_std = says.log_std
        elif log_std is None:
            log_std = says.mean.new_tensor(hybrid.LOG_STD_LOW)
        return {Columns.ACTION_DIST_INPUTS: hybrid.join(says.log_probs, says.mean, log_std)}

    def _at_random(self, mask: Tensor) -> dict[str, Any]:
        """Return inputs of decisions before the first gradient step: any target, amounts spread over their range."""
        logits = categorical.mask_logits(torch.zeros(mask.shape), mask)
        mean = torch.zeros(*mask.shape, self.sizes.n_amounts)
        log_std = LOGISTIC_LOG_STD
        if self.noise_is_added:
            log_std = math.log(UNIFORM_STD * (self.sizes.high - self.sizes.low))
        return {Columns.ACTION_DIST_INPUTS: hybrid.join(logits, mean, torch.tensor(log_std))}


class Temperatures(nn.Module):
    """Logarithms of each agent's weights of its entropies: that of targets and that of amounts."""

    def __init__(self, n_agents: int, first: float) -> None:
        """Start all of them at ``first``."""
        super().__init__()
        self.of_targets = nn.Parameter(torch.full((n_agents,), first))
        self.of_amounts = nn.Parameter(torch.full((n_agents,), first))
