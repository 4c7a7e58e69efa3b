"""Between which variables mutual information is measured, and how world-steps become rows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from edge_rllib.ops.hybrid import Sizes, decision_vectors
from edge_rllib.ops.mutual_information.base import Layout
from envs.errors import ConfigError

Variables = Literal["state_joint", "own_state_own", "own_others", "own_others_given_state"]
StateForm = Literal["observations", "global"]
DecisionForm = Literal["vectors", "decoded"]


class Steps(Protocol):
    """World-steps, R of them, with what all N agents saw and decided."""

    @property
    def observation(self) -> Tensor: ...  # noqa: D102  (R, N, F)
    @property
    def state(self) -> Tensor | None: ...  # noqa: D102  (R, S)
    @property
    def target(self) -> Tensor: ...  # noqa: D102  (R, N) int64
    @property
    def amounts(self) -> Tensor: ...  # noqa: D102  (R, N, A)


@dataclass(frozen=True)
class WorldSizes:
    """What a world's spec says about its agents."""

    n_agents: int  # N
    n_features: int  # F of an observation
    n_state: int  # S; 0 where the world has no global state
    decision: Sizes


@dataclass(frozen=True)
class Pairing:
    """Makes rows x and y of world-steps.

    - ``state_joint``: the state, and the decisions of all agents.
    - ``own_state_own``: an agent's observation, and its own decision.
    - ``own_others``: an agent's decision, and those of all others.
    - ``own_others_given_state``: an agent's decision together with the state, and those of all others; the conditional
      entropy in it is the collaboration term of ExplabOff.

    The last three are of one agent at a time, whose number is part of x.
    """

    variables: Variables
    state: StateForm  # all observations side by side, or the world's global state
    decisions: DecisionForm  # targets as one of K; or, as the released code stores them, as numbers 0, 1, ...
    sizes: WorldSizes

    def __post_init__(self) -> None:
        sizes, needs_state = self.sizes, self.variables in ("state_joint", "own_others_given_state")
        if needs_state and self.state == "global" and sizes.n_state == 0:
            raise ConfigError(f"variables = {self.variables!r}: the world has no global state; use state: observations")
        if self.variables.startswith("own_others") and sizes.n_agents < 2:
            raise ConfigError(f"variables = {self.variables!r}: the world has one agent, so there are no others")
        if self._layout_of_one().width == 0:
            raise ConfigError(f"variables = {self.variables!r}: the world's agents have nothing to decide")

    @property
    def is_by_agent(self) -> bool:
        """Return whether the rows are those of one agent."""
        return self.variables != "state_joint"

    @property
    def layout(self) -> Layout:
        """Return how y is written."""
        n_parts = {"state_joint": self.sizes.n_agents, "own_state_own": 1}.get(self.variables, self.sizes.n_agents - 1)
        return self._layout_of_one()._replace(n_parts=n_parts)

    @property
    def n_x(self) -> int:
        """Return the width of x."""
        sizes, one = self.sizes, self._layout_of_one().width
        joint = sizes.n_state if self.state == "global" else sizes.n_agents * sizes.n_features
        return {
            "state_joint": joint,
            "own_state_own": sizes.n_agents + sizes.n_features,
            "own_others": sizes.n_agents + one,
            "own_others_given_state": sizes.n_agents + one + joint,
        }[self.variables]

    def rows(self, steps: Steps, agent: int) -> tuple[Tensor, Tensor]:
        """Return x (R, X) and y (R, Y); ``agent`` says whose, where the variables are those of one agent."""
        decided = self._decisions(steps)
        if self.variables == "state_joint":
            return self._joint_state(steps), decided.flatten(1)
        number = decided.new_zeros((len(decided), self.sizes.n_agents))
        number[:, agent] = 1.0
        if self.variables == "own_state_own":
            return torch.cat((number, steps.observation[:, agent]), -1), decided[:, agent]
        # beginning behind the agent, so that a place in y means the same distance for all
        others = decided.roll(-agent - 1, 1)[:, :-1].flatten(1)
        known = [number, decided[:, agent]]
        if self.variables == "own_others_given_state":
            known.append(self._joint_state(steps))
        return torch.cat(known, -1), others

    def _joint_state(self, steps: Steps) -> Tensor:
        if self.state == "global":
            assert steps.state is not None
            return steps.state
        return steps.observation.flatten(1)

    def _decisions(self, steps: Steps) -> Tensor:
        """Return decisions as vectors, (R, N, W)."""
        if self.decisions == "vectors":
            return decision_vectors(steps.target, steps.amounts, self.sizes.decision)
        amounts = steps.amounts if self.sizes.decision.n_amounts else steps.target.new_zeros((*steps.target.shape, 0))
        targets = steps.target.unsqueeze(-1)[..., : int(self.sizes.decision.n_targets > 1)]
        return torch.cat((targets.to(torch.float32), amounts.to(torch.float32)), -1)

    def _layout_of_one(self) -> Layout:
        decision = self.sizes.decision
        n_targets = decision.n_targets if decision.n_targets > 1 else 0
        if self.decisions == "vectors":
            return Layout(1, n_targets, decision.n_amounts)
        return Layout(1, 0, int(n_targets > 0) + decision.n_amounts)
