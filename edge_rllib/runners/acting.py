"""One module deciding for its agents: forward pass, choice of targets, recurrent memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from edge_rllib.ops import hybrid
from edge_rllib.runners.agents import as_slice
from edge_rllib.runners.buffers import Buffers
from edge_rllib.runners.sampling import STREAM_AMOUNTS, STREAM_DECISION, choose, normals
from envs.arrays import BOOL, F4, I8, U8


class Manner(NamedTuple):
    """How to decide in a fragment."""

    explore: bool  # sample from the exploration distribution; else take the most probable target and its mean amounts
    is_random: bool  # choose allowed targets and amounts with equal probability, without the module
    keep_logits: bool  # write the logits into the buffers
    env_steps: int  # lifetime count that exploration schedules look at


class ModuleActor:
    """Decides for the agents of one module in B worlds."""

    def __init__(self, module_id: str, module: Any, agents: I8, n_agents: int, n_worlds: int) -> None:
        """Take the module's inference copy and its agents' indices."""
        self.module_id, self.module, self.agents = module_id, module, agents
        self.members = as_slice(agents)
        self.is_alone = len(agents) == n_agents
        shape = (n_worlds, len(agents))
        self._decision: I8 = np.zeros(shape, np.int64)
        self._logp: F4 = np.zeros(shape, np.float32)
        model_shape = module.model_config["shape"]
        self.sizes = model_shape.decision
        self._noise: F4 = np.zeros((*shape, self.sizes.n_amounts), np.float32)
        self._adds_noise = bool(getattr(module, "noise_is_added", False))
        self._noise_rate = float(getattr(module, "noise_rate", 1.0))
        self._drift: F4 = np.zeros_like(self._noise)  # noise that remembers, of the episodes under way
        self._perturbed: Any = getattr(module, "perturbed", None)  # the policy with noise on its parameters
        self._is_due = True  # that noise is drawn anew
        self.memory = self._fresh_memory(shape)
        self.kept: list[F4] = []  # memory (B, n, H) at the start of each sequence of the fragment
        self.sequence_steps = int(module.model_config["max_seq_len"]) if self.memory is not None else 0

    def _fresh_memory(self, shape: tuple[int, int]) -> torch.Tensor | None:
        if not self.module.is_stateful():
            return None
        (initial,) = self.module.get_initial_state().values()
        return torch.as_tensor(initial).expand(*shape, -1).clone()

    def act(self, buffers: Buffers, t: int, manner: Manner, key: np.uint64, world_ids: U8, step: np.uint64) -> None:
        """Write decisions and log probabilities of step t into the buffers."""
        if self.memory is not None and t % self.sequence_steps == 0:
            self.kept = [*(self.kept if t else ()), self.memory.numpy().copy()]
        observation, mask = buffers.tensors[t]
        if not self.is_alone:
            observation, mask = observation[:, self.members], mask[:, self.members]
        if self._perturbed is not None and self._is_due and manner.explore:
            seed = np.random.SeedSequence([int(key), int(world_ids[0]), int(step)]).generate_state(1)[0]
            self._perturbed.redraw(self.module.scaled(observation), mask, int(seed))
            self._is_due = False
        inputs = _uniform(mask, self.sizes) if manner.is_random else self._inputs(observation, mask, manner)
        if manner.keep_logits:
            buffers.logits_of(self.module_id, len(self.agents))[t] = inputs.numpy()
        logits = inputs[..., : self.sizes.n_targets].contiguous() if self.sizes.n_amounts else inputs
        decision = buffers.decision[t] if self.is_alone else self._decision
        logp = buffers.logp[t] if self.is_alone else self._logp
        if manner.explore or manner.is_random:
            choose(decision, logp, logits.numpy(), self.agents, key, np.uint64(STREAM_DECISION), world_ids, step)
        else:
            decision[...] = logits.argmax(-1).numpy()
            logp[...] = 0.0
        if self.sizes.n_amounts:
            is_drawn = manner.explore or manner.is_random
            if is_drawn:
                normals(self._noise, self.agents, key, np.uint64(STREAM_AMOUNTS), world_ids, step)
                self._colour()
            amounts = self._amounts(inputs, torch.from_numpy(decision), logp, is_drawn, manner.is_random)
            buffers.amounts[t][:, self.members] = amounts.numpy()
        if not self.is_alone:
            buffers.decision[t][:, self.members] = decision
            buffers.logp[t][:, self.members] = logp

    def _amounts(
        self, inputs: torch.Tensor, target: torch.Tensor, logp: F4, is_drawn: bool, is_random: bool
    ) -> torch.Tensor:
        """Return the amounts (B, n, A) of chosen targets, and add their log density to that of the targets."""
        sizes = self.sizes
        parts = hybrid.split(inputs, sizes)
        raw = hybrid.of_target(parts.mean, target)
        if not is_drawn:
            return hybrid.squash(raw, sizes)
        noise = torch.from_numpy(self._noise)
        if is_random:
            return sizes.low + (sizes.high - sizes.low) * torch.special.ndtr(noise)
        noise = noise * hybrid.of_target(parts.log_std, target).exp()
        if self._adds_noise:
            return (hybrid.squash(raw, sizes) + noise).clamp_(sizes.low, sizes.high)
        amounts = hybrid.squash(raw + noise, sizes)
        logp += hybrid.amounts_logp(parts, target, amounts, sizes).numpy()
        return amounts

    def _colour(self) -> None:
        """Let noise remember what it was: x <- (1 - rate) x + noise, once learning has begun.

        The process of Ornstein and Uhlenbeck in steps of 1 [Lillicrap et al., Continuous Control with Deep
        Reinforcement Learning, 2016, section 7], before it is scaled.
        """
        if self._noise_rate < 1.0 and not float(self.module.is_random):
            self._drift *= 1.0 - self._noise_rate
            self._drift += self._noise
            self._noise[...] = self._drift

    def _inputs(self, observation: torch.Tensor, mask: torch.Tensor, manner: Manner) -> torch.Tensor:
        """Return the inputs (B, n, K + 2 K A) of the distribution."""
        batch: dict[str, Any] = {Columns.OBS: observation, "action_mask": mask}
        shape = mask.shape
        if self.memory is not None:  # RLlib's form: rows, time, features
            n_rows = shape[0] * shape[1]
            batch = {name: column.reshape(n_rows, 1, -1) for name, column in batch.items()}
            (name,) = self.module.get_initial_state()
            batch[Columns.STATE_IN] = {name: self.memory.view(n_rows, -1)}
        if manner.explore:
            output = self.module.forward_exploration(batch, t=manner.env_steps)
        else:
            output = self.module.forward_inference(batch)
        if self.memory is not None:
            (memory,) = output[Columns.STATE_OUT].values()
            self.memory = memory.view(*shape[:2], -1)
        inputs: torch.Tensor = output[Columns.ACTION_DIST_INPUTS]
        return inputs.reshape(*shape[:2], -1)

    def forget(self, ended: BOOL | None = None) -> None:
        """Clear the memory of the worlds that ended, or of all, and what exploration remembers of their episodes."""
        self._drift[slice(None) if ended is None else ended] = 0.0
        self._is_due = True
        if self.memory is not None:
            self.memory[slice(None) if ended is None else torch.from_numpy(ended)] = 0.0

    def noise_state(self) -> dict[str, Any]:
        """Return what exploration remembers."""
        perturbed = None if self._perturbed is None else self._perturbed.get_state()
        return {"drift": self._drift.copy(), "is_due": self._is_due, "perturbed": perturbed}

    def set_noise_state(self, state: dict[str, Any]) -> None:
        """Explore on from ``noise_state``."""
        self._drift[...] = state["drift"]
        self._is_due = state["is_due"]
        if self._perturbed is not None:
            self._perturbed.set_state(state["perturbed"])


def _uniform(mask: torch.Tensor, sizes: hybrid.Sizes) -> torch.Tensor:
    """Return inputs that make every allowed target equally likely."""
    logits = torch.zeros(mask.shape).masked_fill_(~mask, -np.inf)
    return torch.cat((logits, torch.zeros(*mask.shape[:-1], sizes.n_inputs - sizes.n_targets)), -1)
