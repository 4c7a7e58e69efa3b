"""The RLModule of the policy-gradient algorithms: any model's actor and critic, masks and scales around them.

It takes a batch either as flat columns (``obs``, ``action_mask``, ``state``), as the batched runner and the learner
hand it over, or with all three inside ``obs``, as stock RLlib does with dictionary observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from edge_rllib.modules.distribution import decision_distribution
from edge_rllib.ops import hybrid
from edge_rllib.ops.categorical import mask_logits
from edge_rllib.ops.moments import Moments, RunningScale, rescale_head

MASK = "action_mask"
STATE = "state"
STARTS = "starts"  # True where an episode starts within a sequence
MEMORY = "memory"  # key of the recurrent state within RLlib's state_in and state_out
FIRST_LOG_STD = -0.5  # of amounts before squashing: a first policy reaches most of the range
VALUE_MEMORY = 0.95  # weight of earlier batches in the value's statistics: they follow the improving policy


class Seen(NamedTuple):
    """What an agent sees: features (..., F), allowed targets (..., K) and, for central critics, state (..., S)."""

    observation: Tensor
    mask: Tensor
    state: Tensor | None


def unpack(batch: Mapping[str, Any]) -> Seen:
    """Return observation, mask and state of a batch of either form."""
    columns = batch[Columns.OBS]
    if not isinstance(columns, Mapping):
        return Seen(columns, batch[MASK], batch.get(STATE))
    return Seen(columns[Columns.OBS], columns[MASK].bool(), columns.get(STATE))


class ActorCritic(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """A policy over decisions, and a value.

    ``model_config`` holds ``model``, ``shape``, ``is_central`` and ``scale_value``. The critic exists on
    learners only: runners build the module for inference.
    """

    takes_amounts = True

    def setup(self) -> None:
        """Build the networks that the model describes."""
        self.model = self.model_config["model"]
        shape = self.model_config["shape"]
        self.is_central = bool(self.model_config["is_central"])
        self.sizes = shape.decision
        self.action_dist_cls = decision_distribution(self.sizes)
        self.observation_scale = RunningScale(shape.n_features) if self.model.normalise_observation else None
        self.core = self.model.core(shape) if self.model.is_recurrent else None
        self.actor = self.model.actor(shape)
        if self.sizes.n_amounts:
            self.log_std = nn.Parameter(torch.full((self.sizes.n_amounts,), FIRST_LOG_STD))
        self.critic = self.model.critic(shape, self.is_central)
        self.value_scale = RunningScale(1) if self.model_config["scale_value"] else None
        self._is_value_raw = False

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not need."""
        return ["critic", "value_scale"]

    def get_initial_state(self) -> dict[str, Tensor]:
        """Return the memory at the start of an episode; empty for models without memory."""
        return {} if self.core is None else {MEMORY: torch.zeros(self.model.memory)}

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = unpack(batch)
        embedding, state_out = self._embed(seen, batch)
        output: dict[str, Any] = {
            Columns.ACTION_DIST_INPUTS: self._inputs(self.actor(embedding), seen.mask),
            Columns.EMBEDDINGS: embedding,
        }
        if state_out is not None:
            output[Columns.STATE_OUT] = {MEMORY: state_out}
        return output

    def _inputs(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return the distribution's inputs from what the actor says of targets and, behind them, of their amounts."""
        n_targets, n_amounts = self.sizes.n_targets, self.sizes.n_amounts
        if not n_amounts:
            return mask_logits(scores, mask)
        logits, mean = scores.split([n_targets, n_targets * n_amounts], -1)
        return hybrid.join(mask_logits(logits, mask), mean.unflatten(-1, (n_targets, n_amounts)), self.log_std)

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch)

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch)

    def _act(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            output = self._forward(batch)
        del output[Columns.EMBEDDINGS]  # connectors would store it in the episodes
        return output

    def compute_values(self, batch: Mapping[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Return values (...,) in units of reward; inside ``raw_values`` in the critic's own scale."""
        seen = unpack(batch)
        if embeddings is None:
            embeddings, _ = self._embed(seen, batch)
        return self.values(embeddings, seen)

    def values(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """Return values of what ``_embed`` made of the observations."""
        if self.is_central:
            if self.core is not None:
                embeddings = self.scaled(seen.observation)
            raw = self.critic(embeddings, seen.state)
        else:
            raw = self.critic(embeddings)
        if self.value_scale is None or self._is_value_raw:
            return raw
        return raw * self.value_scale.std + self.value_scale.mean

    @contextmanager
    def raw_values(self) -> Iterator[None]:
        """Let ``compute_values`` return the critic's output in its own scale, for the loss."""
        self._is_value_raw = True
        try:
            yield
        finally:
            self._is_value_raw = False

    def scale_targets(self, targets: Tensor) -> Tensor:
        """Return value targets in the critic's own scale."""
        if self.value_scale is None:
            return targets
        return (targets - self.value_scale.mean) / self.value_scale.std

    def merge_value_moments(self, batch: Moments) -> None:
        """Move the value's scale to new targets and rescale the critic's head, so that no value changes."""
        assert self.value_scale is not None
        old_mean, old_std = self.value_scale.mean.clone(), self.value_scale.std.clone()
        self.value_scale.merge(batch, VALUE_MEMORY)
        rescale_head(self.critic.head, old_mean, old_std, self.value_scale.mean, self.value_scale.std)

    def scaled(self, observation: Tensor) -> Tensor:
        """Return observations at unit scale, if the model asks for it."""
        return observation if self.observation_scale is None else self.observation_scale(observation)

    def _embed(self, seen: Seen, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        scaled = self.scaled(seen.observation)
        if self.core is None:
            return scaled, None
        memory = batch[MEMORY] if MEMORY in batch else batch[Columns.STATE_IN][MEMORY]
        features, state_out = self.core(scaled, memory, batch.get(STARTS))
        return features, state_out


def needs_state(module: nn.Module) -> bool:
    """Return whether a module's learner needs the global state in its batches."""
    return bool(getattr(module, "is_central", False))
