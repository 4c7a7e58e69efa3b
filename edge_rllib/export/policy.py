"""An exported policy at work: it checks what it is shown, and decides greedily as evaluations do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import Manifest
from edge_rllib.export.program import AMOUNTS, MASK, MEMORY, NEXT_MEMORY, OBSERVATION, TARGET, Array
from envs.arrays import BOOL, F4, I8
from envs.errors import UnknownName

Network = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class Said(NamedTuple):
    """What a policy says of n rows."""

    target: I8  # (n,) the allowed one of highest log probability or score
    amounts: F4  # (n, A) that belong to it, within the manifest's bounds
    scores: F4  # (n, K) log probabilities of targets, or scores: see the manifest's ``says``; forbidden ones are -1e8


class ExportedPolicy:
    """Decides for rows of observations.

    With one group of agents, rows are any agents in any number. With more, the rows are those of all N agents in order,
    one world after another; ``of_agent`` gives the policy of one agent alone. A policy that remembers takes the same
    number of rows each time until ``reset``. Not for use by several threads at once if it remembers.
    """

    def __init__(self, about: Manifest, networks: Sequence[Network], runtime: str) -> None:
        """Take a network for each group."""
        self.about, self.runtime = about, runtime
        self._networks = tuple(networks)
        self._memory: F4 | None = None  # (n, H)

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F4]:
        """Return targets (n,) and amounts (n, A) for observations (n, F) and masks (n, K), True where allowed.

        Raises PolicyError for another shape or dtype, a number that is not finite, or a row that allows no target.
        """
        said = self.say(observation, mask)
        return said.target, said.amounts

    def say(self, observation: F4, mask: BOOL) -> Said:
        """Return decisions as ``decide`` does, and what they were chosen by."""
        observation = self._checked(observation, mask)
        n_rows, about = len(observation), self.about
        said = Said(
            np.zeros(n_rows, np.int64),
            np.zeros((n_rows, about.n_amounts), np.float32),
            np.zeros((n_rows, about.n_targets), np.float32),
        )
        memory = self._remembered(n_rows)
        for rows, network in self._shares(n_rows):
            inputs: dict[str, Array] = {OBSERVATION: observation[rows], MASK: mask[rows]}
            if memory is not None:
                inputs[MEMORY] = memory[rows]
            outputs = network(inputs)
            said.target[rows] = outputs[TARGET]
            said.scores[rows] = outputs[about.says]
            if about.n_amounts:
                said.amounts[rows] = outputs[AMOUNTS]
            if memory is not None:
                memory[rows] = outputs[NEXT_MEMORY]
        self._memory = memory
        return said

    def reset(self, rows: BOOL | I8 | None = None) -> None:
        """Forget all rows, or the given ones, whose episodes begin anew; a policy without memory has nothing to do."""
        if rows is None or self._memory is None:
            self._memory = None
        else:
            self._memory[rows] = 0.0

    def of_agent(self, name: str) -> ExportedPolicy:
        """Return the policy of one agent and those it shares weights with: any number of rows, whoever they are of."""
        if name not in self.about.agents:
            raise UnknownName("agent", name, self.about.agents, f"policy of scenario {self.about.scenario}")
        index = self.about.agents.index(name)
        (place,) = (place for place, group in enumerate(self.about.groups) if index in group.agents)
        return ExportedPolicy(self.about, [self._networks[place]], self.runtime)

    def _shares(self, n_rows: int) -> list[tuple[Any, Network]]:
        """Return which rows each network decides for."""
        if len(self._networks) == 1:
            return [(slice(None), self._networks[0])]
        n_agents = len(self.about.agents)
        if n_rows % n_agents:
            raise PolicyError(
                f"{n_rows} rows for a policy whose {n_agents} agents have networks of their own: expected a row for "
                "each agent in order, one world after another; of_agent(name) takes rows of one agent"
            )
        agent_of_row = np.arange(n_rows) % n_agents
        members = [np.isin(agent_of_row, group.agents) for group in self.about.groups]
        return list(zip(members, self._networks, strict=True))

    def _remembered(self, n_rows: int) -> F4 | None:
        """Return a copy of the memory (n, H), which begins at zero; None where the policy has none."""
        if not self.about.memory:
            return None
        if self._memory is None:
            return np.zeros((n_rows, self.about.memory), np.float32)
        if len(self._memory) != n_rows:
            raise PolicyError(
                f"{n_rows} rows, but the policy remembers {len(self._memory)}; call reset() when other episodes begin"
            )
        return self._memory.copy()

    def _checked(self, observation: F4, mask: BOOL) -> F4:
        about = self.about
        for label, array, width, kind, wanted in (
            ("observation", observation, about.n_features, "f", "float32"),
            ("mask", mask, about.n_targets, "b", "bool"),
        ):
            if not isinstance(array, np.ndarray) or array.dtype.kind != kind or array.ndim != 2:
                given = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise PolicyError(f"{label}: expected {wanted} of shape (n, {width}), got {given}")
            if array.shape[1] != width:
                raise PolicyError(
                    f"{label} has {array.shape[1]} columns; this policy, trained in scenario {about.scenario}, takes "
                    f"{width}: {about.n_features} features and {about.n_targets} targets of an agent"
                )
        if len(observation) != len(mask) or not len(mask):
            raise PolicyError(
                f"observation has {len(observation)} rows and mask {len(mask)}; expected as many, and at least one"
            )
        is_finite = np.isfinite(observation)
        if not is_finite.all():
            row, column = (int(i) for i in np.argwhere(~is_finite)[0])
            raise PolicyError(
                f"observation: row {row}, {about.feature_names[column]} = {observation[row, column]}; expected a "
                "finite number"
            )
        if not mask.any(1).all():
            raise PolicyError(f"mask: row {int(np.argmin(mask.any(1)))} allows no target; expected at least one")
        return np.ascontiguousarray(observation, np.float32)
