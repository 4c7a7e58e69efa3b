"""From rollouts to train rows: values, advantages, and the choice of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from edge_rllib import compat
from edge_rllib.algorithms.minibatches import Table
from edge_rllib.modules import actor_critic as module_column
from edge_rllib.ops.advantages import gae
from edge_rllib.ops.moments import Moments, moments
from edge_rllib.runners import rollout as column
from edge_rllib.runners.rollout import Rollout

SLAB_ROWS = 65_536  # rows of one forward pass of the critic; bounds memory
LEAST_STD = 1e-4  # as in RLlib's own standardisation of advantages
TRAIN_ON = ("all", "decisions")


class Fragment(NamedTuple):
    """One module's part of a rollout as tensors on the learner's device."""

    observation: Tensor  # (T + 1, B, n, F)
    mask: Tensor  # (T + 1, B, n, K)
    state: Tensor | None  # (T + 1, B, S)
    rewards: Tensor  # (T, B, n)
    terminated: Tensor  # (T, B, 1)
    truncated: Tensor  # (T, B, 1)
    final_at: tuple[Tensor, Tensor]  # steps and worlds (f,) of truncations
    final_observation: Tensor | None  # (f, n, F)
    final_state: Tensor | None  # (f, S)
    memory: Tensor | None  # (C, B, n, H) at the start of each sequence
    taken: dict[str, Tensor]  # decisions, log probabilities and, if kept, distribution inputs (T, B, n, ...)
    world_ids: Tensor  # (B,)

    @property
    def starts(self) -> Tensor:
        """Return where an episode starts within the fragment, (T + 1, B)."""
        ended = (self.terminated | self.truncated).squeeze(-1)
        return torch.cat((torch.zeros_like(ended[:1]), ended))


def fragment(rollout: Rollout, module_id: str, with_state: bool, device: Any) -> Fragment:
    """Return a module's part of a rollout as tensors."""

    def load(array: Any) -> Tensor:
        return compat.as_tensor(array, device)

    columns, finals = rollout.columns[module_id], rollout.finals
    members = rollout.agents[module_id]
    nowhere = torch.zeros(0, dtype=torch.int64, device=device)
    return Fragment(
        observation=load(columns[column.OBSERVATION]),
        mask=load(columns[column.MASK]),
        state=load(rollout.state) if with_state else None,
        rewards=load(columns[column.REWARD]),
        terminated=load(rollout.terminated).unsqueeze(-1),
        truncated=load(rollout.truncated).unsqueeze(-1),
        final_at=(nowhere, nowhere) if finals is None else (load(finals.t), load(finals.b)),
        final_observation=None if finals is None else load(finals.observation[:, members]),
        final_state=load(finals.state) if with_state and finals is not None else None,
        memory=load(columns[column.MEMORY]) if column.MEMORY in columns else None,
        taken={name: load(columns[name]) for name in (column.LOGP, column.LOGITS) if name in columns}
        | {Columns.ACTIONS: _actions(load(columns[column.DECISION]), load(columns[column.AMOUNTS]))},
        world_ids=load(rollout.world_ids),
    )


def _actions(target: Tensor, amounts: Tensor) -> Tensor:
    """Return decisions as the module's distribution takes them: targets, with amounts behind them if there are any."""
    return torch.cat((target.unsqueeze(-1).to(amounts.dtype), amounts), -1) if amounts.shape[-1] else target


@torch.no_grad()
def values(module: Any, part: Fragment) -> tuple[Tensor, Tensor]:
    """Return the values before and after each step, (T, B, n) each; after a truncation that of the final one."""
    features = None if part.memory is None else _features(module, part)
    slab = max(1, SLAB_ROWS // part.observation[0, ..., 0].numel())
    pieces = []
    for begin in range(0, len(part.observation), slab):
        steps = slice(begin, begin + slab)
        batch = _batch(part.observation[steps], part.mask[steps], None if part.state is None else part.state[steps])
        pieces.append(module.compute_values(batch, None if features is None else features[steps]))
    known = torch.cat(pieces)
    following = known[1:].clone()
    if part.final_observation is not None:
        batch = _batch(part.final_observation, part.mask[part.final_at], part.final_state)
        last = None
        if features is not None:
            memory = features[part.final_at].flatten(0, 1)
            last, _ = module.core(module.scaled(part.final_observation).flatten(0, 1).unsqueeze(1), memory)
            last = last.view(*part.final_observation.shape[:2], -1)
        following[part.final_at] = module.compute_values(batch, last)
    return known[:-1], following


def _batch(observation: Tensor, mask: Tensor, state: Tensor | None) -> dict[str, Tensor]:
    batch = {Columns.OBS: observation, module_column.MASK: mask}
    if state is not None:
        batch[module_column.STATE] = state.unsqueeze(-2).expand(*observation.shape[:-1], -1)
    return batch


def _features(module: Any, part: Fragment) -> Tensor:
    """Return the recurrent core's features of all steps, (T + 1, B, n, H); they are its memory after each step."""
    assert part.memory is not None
    n_steps, n_worlds, n_agents, _ = part.observation.shape
    rows = module.scaled(part.observation).permute(1, 2, 0, 3).flatten(0, 1)
    starts = part.starts.T.repeat_interleave(n_agents, 0)
    features, _ = module.core(rows, part.memory[0].flatten(0, 1), starts)
    return features.view(n_worlds, n_agents, n_steps, -1).permute(2, 0, 1, 3)


def prepare(module: Any, part: Fragment, gamma: float, lambda_: float) -> dict[str, Tensor]:
    """Return the train columns of a fragment, (T, B, n, ...), with advantages not yet standardised."""
    before, after = values(module, part)
    advantages = gae(part.rewards, before, after, part.terminated, part.truncated, gamma, lambda_)
    return {
        Columns.OBS: part.observation[:-1],
        module_column.MASK: part.mask[:-1],
        **part.taken,
        compat.ADVANTAGES: advantages,
        compat.VALUE_TARGETS: advantages + before,
    }


def row_table(part: Fragment, columns: dict[str, Tensor], train_on: str) -> Table:
    """Return one row a step and agent; with ``decisions`` only the rows in which there was a choice."""
    n_steps, n_worlds, n_agents = part.rewards.shape
    rows = {name: values.flatten(0, 2) for name, values in columns.items()}
    index = torch.arange(n_steps * n_worlds * n_agents, device=part.rewards.device)
    if train_on == "decisions":
        index = torch.nonzero(rows[module_column.MASK][:, 1:].any(-1)).squeeze(-1)
        rows = {name: values.index_select(0, index) for name, values in rows.items()}
    group = index // n_agents
    shared = {} if part.state is None else {module_column.STATE: part.state[:-1].flatten(0, 1)}
    return Table(rows, shared, group, part.world_ids[group % n_worlds])


def sequence_table(part: Fragment, columns: dict[str, Tensor], sequence_steps: int) -> Table:
    """Return one row a sequence of ``sequence_steps`` steps of an agent, with the memory at its start."""
    assert part.memory is not None
    n_steps, n_worlds, n_agents = part.rewards.shape
    n_sequences = n_steps // sequence_steps

    def cut(values: Tensor) -> Tensor:  # (T, B, n, ...) -> (C * B * n, L, ...)
        pieces = values.unflatten(0, (n_sequences, sequence_steps))
        return pieces.movedim(1, 3).flatten(0, 2)

    starts = part.starts[:-1].unsqueeze(-1).expand(-1, -1, n_agents)
    rows = {name: cut(values) for name, values in columns.items()}
    rows[module_column.STARTS] = cut(starts)
    rows[column.MEMORY] = part.memory.flatten(0, 2)
    group = torch.arange(n_sequences * n_worlds * n_agents, device=part.rewards.device) // n_agents
    shared = {}
    if part.state is not None:
        states = part.state[:-1].unflatten(0, (n_sequences, sequence_steps)).movedim(1, 2)
        shared = {module_column.STATE: states.flatten(0, 1)}
    return Table(rows, shared, group, part.world_ids[group % n_worlds])


def join(tables: Sequence[Table]) -> Table:
    """Return the rows of several tables as one."""
    if len(tables) == 1:
        return tables[0]
    columns = {name: torch.cat([table.columns[name] for table in tables]) for name in tables[0].columns}
    shared = {name: torch.cat([table.shared[name] for table in tables]) for name in tables[0].shared}
    groups, offset = [], 0
    for table in tables:
        groups.append(table.group_of + offset)
        offset += len(next(iter(table.shared.values()))) if table.shared else 0
    return Table(columns, shared, torch.cat(groups), torch.cat([table.world for table in tables]))


def global_moments(rows: Tensor) -> Moments:
    """Return the moments of the rows (R, F) of all learners."""
    own = moments(rows) if len(rows) else Moments(*(rows.new_zeros(rows.shape[1:], dtype=torch.float64),) * 3)
    if compat.n_data_parallel() == 1:
        return own
    count = own.count.reshape(1).clone()
    total = own.mean * own.count
    compat.sum_over_learners([count, total])
    mean = total / count.clamp_min(1.0)
    squares = own.squares + own.count * (own.mean - mean) ** 2
    compat.sum_over_learners([squares])
    return Moments(count.squeeze(0), mean, squares)


def standardise(advantages: Tensor) -> Tensor:
    """Return advantages at zero mean and unit deviation over the rows of all learners."""
    known = global_moments(advantages.reshape(-1, 1))
    std = (known.squares / known.count.clamp_min(1.0)).sqrt().clamp_min(LEAST_STD)
    return ((advantages - known.mean) / std).to(advantages.dtype)
