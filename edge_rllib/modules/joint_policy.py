"""Policies of all agents as one network: stacked parameters of groups, a score for each target, amounts for each."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from edge_rllib.ops import categorical
from edge_rllib.ops.hybrid import LOG_STD_HIGH, LOG_STD_LOW, Sizes


class Says(NamedTuple):
    """What policies say about each agent's decision."""

    log_probs: Tensor  # (..., N, K) of targets, normalised; forbidden ones have MASKED_LOGIT
    mean: Tensor  # (..., N, K, A) of each target's amounts, before squashing
    log_std: Tensor | None  # (..., N, K, A) likewise; None where amounts are deterministic


class JointPolicy(nn.Module):
    """Policies over hybrid decisions."""

    def __init__(self, network: nn.Module, sizes: Sizes, is_stochastic: bool) -> None:
        """Take a network from observations (..., N, F) to ``n_policy_outputs`` numbers an agent."""
        super().__init__()
        self.network, self.sizes, self.is_stochastic = network, sizes, is_stochastic

    def forward(self, observation: Tensor, mask: Tensor) -> Says:
        """Return what the policies say for observations (..., N, F) with allowed targets (..., N, K)."""
        outputs, sizes = self.network(observation), self.sizes
        shape = (*outputs.shape[:-1], sizes.n_targets, sizes.n_amounts)
        n_amounts = sizes.n_targets * sizes.n_amounts
        if sizes.n_targets == 1:
            log_probs = outputs.new_zeros(mask.shape)
        else:
            logits, outputs = outputs[..., : sizes.n_targets], outputs[..., sizes.n_targets :]
            log_probs = categorical.log_softmax(categorical.mask_logits(logits, mask))
        mean = outputs[..., :n_amounts].reshape(shape)
        if not self.is_stochastic:
            return Says(log_probs, mean, None)
        return Says(log_probs, mean, outputs[..., n_amounts:].reshape(shape).clamp(LOG_STD_LOW, LOG_STD_HIGH))


def n_policy_outputs(sizes: Sizes, is_stochastic: bool) -> int:
    """Return how many numbers a policy gives for a decision; the score of a single target is left out."""
    n_scores = sizes.n_targets if sizes.n_targets > 1 else 0
    return n_scores + sizes.n_targets * sizes.n_amounts * (2 if is_stochastic else 1)
