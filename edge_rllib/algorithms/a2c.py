"""Advantage actor-critic: one gradient step a batch, for each agent on its own.

[Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, 2016; the synchronous form]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.ppo import PPO
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.utils.torch_utils import explained_variance
from torch import Tensor

from edge_rllib import compat
from edge_rllib.algorithms.ippo import IppoConfig
from edge_rllib.algorithms.learner import RolloutLearner
from edge_rllib.algorithms.on_policy import OnPolicy, OnPolicyParams
from edge_rllib.algorithms.settings import RunSettings

EXPLAINED_VARIANCE_KEY = "vf_explained_var"


class A2cLoss(PPOTorchLearner):
    """A learner with PPO's surroundings (entropy schedule, required APIs) and the policy-gradient loss."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Mapping[str, Any], fwd_out: Mapping[str, Tensor]
    ) -> Tensor:
        """Return policy loss, value loss and entropy bonus of a batch; padded rows do not count."""
        module = self.module[module_id].unwrapped()
        valid = batch.get(Columns.LOSS_MASK)

        def mean(values: Tensor) -> Tensor:
            return values.mean() if valid is None else values[valid].mean()

        distribution = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        policy_loss = -mean(distribution.logp(batch[Columns.ACTIONS]) * batch[compat.ADVANTAGES])
        value_loss = mean((values - batch[compat.VALUE_TARGETS]).square())
        entropy = mean(distribution.entropy())
        self.metrics.log_dict(
            {
                POLICY_LOSS_KEY: policy_loss,
                VF_LOSS_KEY: value_loss,
                ENTROPY_KEY: entropy,
                EXPLAINED_VARIANCE_KEY: explained_variance(batch[compat.VALUE_TARGETS], values),
            },
            key=module_id,
            window=1,
        )
        entropy_coeff = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        total: Tensor = policy_loss + config.vf_loss_coeff * value_loss - entropy_coeff * entropy
        return total


class A2cLearner(RolloutLearner, A2cLoss):
    """The policy-gradient loss on rollouts."""


class A2cConfig(IppoConfig):
    """The config of A2C."""

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from ``A2cParams``."""
        super().__init__(algo_class=algo_class or A2c)

    def get_default_learner_class(self) -> type:
        """Return the learner."""
        return A2cLearner


class A2c(OnPolicy, PPO):
    """Advantage actor-critic."""

    @classmethod
    def get_default_config(cls) -> A2cConfig:
        """Return the config's defaults."""
        return A2cConfig()


@dataclass(frozen=True)
class A2cParams(OnPolicyParams):
    """Values of A2C; all of them are the common ones."""

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm."""
        config = A2cConfig()
        config.training(num_epochs=1, minibatch_size=None, use_kl_loss=False)
        return self.configure(config, settings, model, is_central=False)
