"""How far an exported policy is from the modules that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from edge_rllib.export.policy import ExportedPolicy, Said
from edge_rllib.export.program import LOG_PROBS
from edge_rllib.modules.actor_critic import MASK, MEMORY
from edge_rllib.ops import categorical, hybrid
from envs.arrays import BOOL, F4

TOLERANCE = 1e-5  # of a number, and of the number's size where that is above 1
N_STEPS = 3  # in a row, for policies that remember


class Acting(NamedTuple):
    """A module and the agents that it decides for."""

    name: str
    module: Any
    agents: Sequence[int]


class Parity(NamedTuple):
    """Differences between two policies on the same observations."""

    n_rows: int
    largest: float  # difference of scores of allowed targets and of amounts, in units of TOLERANCE's sizes
    n_other: int  # decisions that differ though one target is better than all others by more than the tolerance
    n_tied: int  # decisions left out, since the best two are within the tolerance

    @property
    def holds(self) -> bool:
        """Return whether the two agree."""
        return self.largest <= TOLERANCE and not self.n_other


class TorchPolicy:
    """Modules that decide greedily, as they do in evaluations, for rows of all N agents in order."""

    def __init__(self, acting: Sequence[Acting], says: str) -> None:
        """Take modules and their agents; ``says`` as in the manifest."""
        self._acting, self._says = acting, says
        self._memory: dict[str, torch.Tensor] = {}
        self._n_agents = sum(len(each.agents) for each in acting)

    @torch.no_grad()
    def say(self, observation: F4, mask: BOOL) -> Said:
        """Return what the modules say of rows (R N, ...) in torch."""
        seen, allowed = (torch.from_numpy(part).unflatten(0, (-1, self._n_agents)) for part in (observation, mask))
        parts: list[torch.Tensor] = []
        order = np.concatenate([np.asarray(each.agents) for each in self._acting])
        said = [self._of_module(each, seen[:, each.agents], allowed[:, each.agents]) for each in self._acting]
        for pieces in zip(*said, strict=True):
            joined = torch.cat(pieces, 1)
            parts.append(joined[:, np.argsort(order)].flatten(0, 1))
        target, amounts, scores = (part.numpy() for part in parts)
        return Said(target, amounts, scores)

    def _of_module(self, acting: Acting, seen: torch.Tensor, allowed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        module = acting.module
        sizes: hybrid.Sizes = module.model_config["shape"].decision
        inputs = self._inputs(acting, seen, allowed)
        logits = inputs[..., : sizes.n_targets]
        target = logits.argmax(-1)
        scores = categorical.log_softmax(logits) if self._says == LOG_PROBS else logits
        if not sizes.n_amounts:
            return target, inputs.new_zeros((*target.shape, 0)), scores
        raw = hybrid.of_target(hybrid.split(inputs, sizes).mean, target)
        return target, hybrid.squash(raw, sizes), scores

    def _inputs(self, acting: Acting, seen: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        if not acting.module.is_stateful():
            batch = {Columns.OBS: seen, MASK: allowed}
            return acting.module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
        n_rows = seen.shape[0] * seen.shape[1]
        first = torch.zeros(n_rows, acting.module.model.memory)
        batch = {
            Columns.OBS: seen.reshape(n_rows, 1, -1),
            MASK: allowed.reshape(n_rows, 1, -1),
            Columns.STATE_IN: {MEMORY: self._memory.get(acting.name, first)},
        }
        output = acting.module.forward_inference(batch)
        self._memory[acting.name] = output[Columns.STATE_OUT][MEMORY]
        return output[Columns.ACTION_DIST_INPUTS].reshape(*seen.shape[:2], -1)


def measure(policy: ExportedPolicy, acting: Sequence[Acting], n_rows: int, seed: int) -> Parity:
    """Return how far a policy is from its modules on at least ``n_rows`` drawn observations.

    Observations are uniform in [-1, 1], as those of the worlds are; target 0 and half of the others are allowed. A
    policy that remembers sees them in N_STEPS steps.
    """
    about, rng = policy.about, np.random.default_rng(seed)
    modules = TorchPolicy(acting, about.says)
    n_steps = N_STEPS if about.memory else 1
    n_each = -(-n_rows // (n_steps * len(about.agents))) * len(about.agents)
    found = []
    policy.reset()
    for _ in range(n_steps):
        observation = rng.uniform(-1.0, 1.0, (n_each, about.n_features)).astype(np.float32)
        mask = rng.random((n_each, about.n_targets)) < 0.5
        mask[:, 0] = True
        found.append(compare(policy.say(observation, mask), modules.say(observation, mask), mask))
    policy.reset()
    return Parity(
        sum(each.n_rows for each in found),
        max(each.largest for each in found),
        sum(each.n_other for each in found),
        sum(each.n_tied for each in found),
    )


def compare(first: Said, second: Said, mask: BOOL) -> Parity:
    """Return how far two policies are from each other on the same rows."""
    best = np.sort(np.where(mask, second.scores, -np.inf), -1)
    is_tied = best[:, -1] - best[:, -2] <= TOLERANCE if mask.shape[1] > 1 else np.zeros(len(mask), np.bool_)
    is_other = (first.target != second.target) & ~is_tied
    is_same = first.target == second.target
    differences = [_relative(first.scores[mask], second.scores[mask])]
    differences.append(_relative(first.amounts[is_same], second.amounts[is_same]))
    largest = max(float(difference.max(initial=0.0)) for difference in differences)
    return Parity(len(mask), largest, int(is_other.sum()), int(is_tied.sum()))


def _relative(first: F4, second: F4) -> F4:
    return np.abs(first - second) / np.maximum(1.0, np.abs(second))
