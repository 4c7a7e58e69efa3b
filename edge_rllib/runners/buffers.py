"""Preallocated columns that a world and the modules write into, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.arrays import BOOL, F4, F8, I8
from envs.world import Outcome, World


class Buffers:
    """Columns (T + 1, B, N, ...) of one fragment, with an ``Outcome`` of views for each step."""

    def __init__(self, world: World, n_steps: int, with_state: bool) -> None:
        """Allocate for fragments of ``n_steps`` steps; the state is kept for one step only unless asked for."""
        spec = world.spec
        n_worlds, n_agents = spec.n_worlds, spec.n_agents
        n_states = n_steps + 1 if with_state else 1
        self.n_steps = n_steps
        self.observation: F4 = np.zeros((n_steps + 1, n_worlds, n_agents, spec.n_features), np.float32)
        self.mask: BOOL = np.zeros((n_steps + 1, n_worlds, n_agents, spec.n_targets), np.bool_)
        self.state: F4 = np.zeros((n_states, n_worlds, spec.n_state), np.float32)
        self.reward: F4 = np.zeros((n_steps, n_worlds, n_agents), np.float32)
        self.terminated: BOOL = np.zeros((n_steps, n_worlds), np.bool_)
        self.truncated: BOOL = np.zeros((n_steps, n_worlds), np.bool_)
        self.decision: I8 = np.zeros((n_steps, n_worlds, n_agents), np.int64)
        self.amounts: F4 = np.zeros((n_steps, n_worlds, n_agents, spec.n_amounts), np.float32)
        self.logp: F4 = np.zeros((n_steps, n_worlds, n_agents), np.float32)
        self.logits: dict[str, F4] = {}
        self._n_inputs = spec.n_targets * (1 + 2 * spec.n_amounts)
        self._scratch = world.outcome()
        self.outcomes = [self._outcome(t) for t in range(n_steps)]
        self.tensors = [self._tensors(t) for t in range(n_steps)]

    @property
    def first(self) -> Outcome:
        """Return where ``World.reset`` writes: the observation before step 0."""
        return self._scratch._replace(observation=self.observation[0], target_mask=self.mask[0], state=self.state[0])

    @property
    def final(self) -> Outcome:
        """Return the arrays that hold the final observation, state and sums of episodes that ended in a step."""
        return self._scratch

    def continue_from(self, previous: Buffers) -> None:
        """Start with what the last step of another fragment left behind."""
        self.observation[0] = previous.observation[-1]
        self.mask[0] = previous.mask[-1]
        self.state[0] = previous.state[-1]

    def _outcome(self, t: int) -> Outcome:
        return self._scratch._replace(
            observation=self.observation[t + 1],
            target_mask=self.mask[t + 1],
            state=self.state[min(t + 1, len(self.state) - 1)],
            reward=self.reward[t],
            terminated=self.terminated[t],
            truncated=self.truncated[t],
        )

    def _tensors(self, t: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.observation[t]), torch.from_numpy(self.mask[t])

    def amounts_for_world(self, t: int) -> F8 | None:
        """Return the amounts of a step as ``World.step`` takes them; None where decisions are targets alone."""
        return self.amounts[t].astype(np.float64) if self.amounts.size else None

    def logits_of(self, module_id: str, n_agents: int) -> F4:
        """Return the column of a module's distribution inputs (T, B, n, K + 2 K A), allocated at its first use."""
        if module_id not in self.logits:
            shape: tuple[Any, ...] = (*self.reward.shape[:2], n_agents, self._n_inputs)
            self.logits[module_id] = np.zeros(shape, np.float32)
        return self.logits[module_id]
