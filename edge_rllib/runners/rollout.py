"""What a runner returns: columns of T steps of B worlds, by module."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from envs.arrays import BOOL, F4, I8

Columns = dict[str, np.ndarray[Any, Any]]

OBSERVATION = "obs"  # (T + 1, B, n, F); the last one is the observation behind the fragment
MASK = "action_mask"  # (T + 1, B, n, K)
DECISION = "actions"  # (T, B, n), targets
AMOUNTS = "amounts"  # (T, B, n, A); A is 0 where decisions are targets alone
LOGP = "action_logp"  # (T, B, n)
REWARD = "rewards"  # (T, B, n)
LOGITS = "action_dist_inputs"  # (T, B, n, K + 2 K A), see ops/hybrid.py; only where the runner was told to keep them
MEMORY = "memory"  # (C, B, n, H); recurrent state at the start of each sequence, for modules with memory


class Finals(NamedTuple):
    """The last observations of truncated episodes, sparse: entry f belongs to step ``t[f]`` of world ``b[f]``."""

    t: I8
    b: I8
    observation: F4  # (f, N, F) of all agents
    mask: BOOL  # (f, N, K)
    state: F4 | None  # (f, S)


class Rollout:
    """T steps of B worlds. A plain class, so that tree utilities see a leaf; arrays pickle out of band."""

    __slots__ = (
        "agents",
        "columns",
        "finals",
        "n_steps",
        "state",
        "terminated",
        "truncated",
        "weights_seq",
        "world_ids",
    )

    def __init__(
        self,
        columns: dict[str, Columns],
        agents: dict[str, I8],
        terminated: BOOL,
        truncated: BOOL,
        state: F4 | None,
        finals: Finals | None,
        world_ids: I8,
        weights_seq: int,
    ) -> None:
        """Hold columns by module, the agents' indices of each module, (T, B) endings and (T + 1, B, S) states."""
        self.columns, self.agents = columns, agents
        self.terminated, self.truncated = terminated, truncated
        self.state, self.finals = state, finals
        self.world_ids, self.weights_seq = world_ids, weights_seq
        self.n_steps = len(terminated)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.columns, self.agents, self.terminated, self.truncated, self.state, self.finals)
        return Rollout, (*arguments, self.world_ids, self.weights_seq)

    def __len__(self) -> int:
        return self.env_steps()

    @property
    def n_worlds(self) -> int:
        """Return B."""
        return len(self.world_ids)

    def env_steps(self) -> int:
        """Return the steps of all worlds."""
        return self.n_steps * self.n_worlds

    def agent_steps(self) -> int:
        """Return the steps of all agents of all worlds."""
        return self.env_steps() * sum(len(agents) for agents in self.agents.values())

    def split(self, n_parts: int) -> list[Rollout]:
        """Return views of at most ``n_parts`` runs of neighbouring worlds; time stays whole, so advantages stay valid.

        Raise ValueError where there are fewer worlds than parts: a learner without rows would stall the others.
        """
        if n_parts == 1:
            return [self]
        if self.n_worlds < n_parts:
            raise ValueError(f"{self.n_worlds} worlds cannot be split over {n_parts} learners")
        cuts = np.linspace(0, self.n_worlds, n_parts + 1).astype(int)
        return [self._part(int(begin), int(end)) for begin, end in pairwise(cuts)]

    def _part(self, begin: int, end: int) -> Rollout:
        worlds = slice(begin, end)
        columns = {m: {name: column[:, worlds] for name, column in c.items()} for m, c in self.columns.items()}
        finals = self.finals
        if finals is not None:
            mine = np.flatnonzero((finals.b >= begin) & (finals.b < end))
            state = None if finals.state is None else finals.state[mine]
            seen = finals.observation[mine], finals.mask[mine]
            finals = Finals(finals.t[mine], finals.b[mine] - begin, *seen, state)
            finals = finals if len(mine) else None
        return Rollout(
            columns,
            self.agents,
            self.terminated[:, worlds],
            self.truncated[:, worlds],
            None if self.state is None else self.state[:, worlds],
            finals,
            self.world_ids[worlds],
            self.weights_seq,
        )

    def with_rewards(self, rewards: F4) -> Rollout:
        """Return a rollout with the same columns but for the rewards (T, B, N) of all agents."""
        columns = {
            module_id: {**own, REWARD: rewards[:, :, self.agents[module_id]]} for module_id, own in self.columns.items()
        }
        _, arguments = self.__reduce__()
        return Rollout(columns, *arguments[1:])

    def next_observation(self, module_id: str) -> F4:
        """Return what follows each step, (T, B, n, F): after a truncation the final observation, not the next first.

        After a termination it is the next episode's first observation, which no target may use.
        """
        following = self.columns[module_id][OBSERVATION][1:]
        if self.finals is None:
            return following
        following = following.copy()
        following[self.finals.t, self.finals.b] = self.finals.observation[:, self.agents[module_id]]
        return following
