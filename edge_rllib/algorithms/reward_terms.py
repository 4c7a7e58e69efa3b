"""Terms that are added to the rewards when a batch is made, such as the mutual-information reward.

A Learner keeps them in ``reward_terms``. On-policy Learners and DDQN apply them to rollouts as these come in, Learners
with a joint replay to each minibatch that they draw, so that a term is always worth what it is worth now.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from edge_rllib import compat
from edge_rllib.runners.joint import JointRows
from envs.arrays import I8

REWARD_TERMS = "reward_terms"  # of a Learner's state, and group of their figures


class JointBatch(NamedTuple):
    """World-steps with what all agents saw and decided; R rows."""

    observation: Tensor  # (R, N, F)
    state: Tensor | None  # (R, S), where the algorithm has it
    target: Tensor  # (R, N) int64
    amounts: Tensor  # (R, N, A)


def joint_batch(rows: JointRows, device: Any) -> JointBatch:
    """Return the T * B world-steps of a fragment as a batch."""

    def load(array: Any) -> Tensor:
        return compat.as_tensor(array, device).flatten(0, 1)

    state = None if rows.state is None else load(rows.state[:-1])
    return JointBatch(load(rows.observation[:-1]), state, load(rows.target), load(rows.amounts))


class RewardTerm(ABC):
    """Something that is added to every agent's reward; ``name`` groups its figures and names its state."""

    name: str

    @abstractmethod
    def observe(self, rows: JointRows, world_ids: I8) -> None:
        """Take in new world-steps: fill buffers, train estimators."""

    @abstractmethod
    def bonus(self, batch: JointBatch, reward: Tensor) -> Tensor:
        """Return what is added to the reward (R, N) of each row, (R, N), without gradient."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return what is logged after an update."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Return everything that the future depends on."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
