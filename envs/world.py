"""The contract of a world: B independent simulated networks in which N agents decide at once.

A world writes into arrays that the caller owns and allocates nothing in a step. A trajectory is a function of (seed,
world id, decisions) alone: bit-equal for a world alone or inside a batch, in any process, after snapshot and restore.
A world that ends is reset in the same step: its observation is the first of the next episode, and the last one of the
ended episode is in ``final_observation``. A horizon truncates; only the world's own ending terminates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from envs.arrays import BOOL, F4, F8, I8, allocate
from envs.constants import LOCAL
from envs.errors import DecisionError
from envs.metrics import Metric


@dataclass(frozen=True, eq=False)
class WorldSpec:
    """Sizes and names of a batch of worlds; everything that a learner needs to know before the first step."""

    scenario: str
    n_worlds: int  # B
    n_agents: int  # N
    n_targets: int  # K, the decision of an agent is an int in 0 .. K - 1
    n_features: int  # F
    n_state: int  # S
    n_decisions: int  # D, decisions an agent takes in a step; arrays of decisions are (B, N), or (B, N, D) for D > 1
    horizon_steps: int  # of an episode, or the most that it can have
    step_s: float  # seconds between two decisions; where steps end at events, those of a slot
    agents: tuple[str, ...]  # N names
    agent_tier: I8  # (N,), 0 device, 1 edge, 2 cloud
    target_node: I8  # (N, K), node of each target, -1 padding; column 0 is the agent's own node
    own_features: int  # observation[..., :own_features] describe the agent; the rest is (K, target_features)
    target_features: int  # features of one target: F = own_features + K * target_features
    feature_names: tuple[str, ...]  # F names
    sum_names: tuple[str, ...]  # G names of the metric sums
    metrics: tuple[Metric, ...]  # figures that ``World.summarise`` derives
    is_horizon_exact: bool = True  # every episode that does not terminate has horizon_steps steps
    has_local: bool = True  # target 0 is the agent's own node; else all targets are others
    n_amounts: int = 0  # A, numbers that an agent decides on beside its target, such as the share to offload
    amount_low: float = 0.0  # bounds of every amount
    amount_high: float = 1.0
    amount_names: tuple[str, ...] = ()  # A names
    amount_edges: tuple[tuple[float, ...], ...] = ()  # of the intervals that the world tells apart, by amount
    n_turns: int = 1  # steps of one decision of a rule, which the world's ``encode`` deals out part by part

    def sizes(self) -> dict[str, int]:
        """Return the axis sizes of this batch."""
        return {
            "B": self.n_worlds,
            "N": self.n_agents,
            "K": self.n_targets,
            "F": self.n_features,
            "S": self.n_state,
            "D": self.n_decisions,
            "G": len(self.sum_names),
            "Am": self.n_amounts,
        }


class Outcome(NamedTuple):
    """What a step leaves behind; all arrays belong to the caller."""

    observation: Annotated[F4, "B N F", "what each agent sees next, in [-1, 1]; after an ending, of the next episode"]
    target_mask: Annotated[BOOL, "B N K", "targets that the agent may choose next; target 0 always"]
    state: Annotated[F4, "B S", "global state for central critics, as of the observation, in [-1, 1]"]
    reward: Annotated[F4, "B N", "reward of the step"]
    terminated: Annotated[BOOL, "B", "the world ended of itself"]
    truncated: Annotated[BOOL, "B", "the horizon cut the episode"]
    final_observation: Annotated[F4, "B N F", "last observation of worlds that ended in this step; else untouched"]
    final_target_mask: Annotated[BOOL, "B N K", "target mask with final_observation; else untouched"]
    final_state: Annotated[F4, "B S", "global state with final_observation; else untouched"]
    final_sums: Annotated[F8, "B G", "metric sums of the episodes that ended in this step; else untouched"]

    def clear_endings(self) -> None:
        """Set rewards and endings to what they are before the first step."""
        self.reward[:] = 0.0
        self.terminated[:] = False
        self.truncated[:] = False

    def keep_last(self, b: int, sums: F8) -> None:
        """Keep what world ``b`` shows as the last of its episode, with the episode's sums (G,)."""
        self.final_observation[b] = self.observation[b]
        self.final_target_mask[b] = self.target_mask[b]
        self.final_state[b] = self.state[b]
        self.final_sums[b] = sums


class World(ABC):
    """A batch of B worlds behind one interface. Subclasses implement the abstract methods and nothing else."""

    spec: WorldSpec
    # (B,) worlds whose steps nobody looks at until the next reset: they may be left out of a step where a step is dear,
    # and what it writes of them means nothing. None: all are looked at.
    unwatched: BOOL | None = None

    def outcome(self) -> Outcome:
        """Return freshly allocated arrays for ``reset`` and ``step``."""
        return allocate(Outcome, self.spec.sizes())

    @abstractmethod
    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world; ``world_ids`` (B,) name the random streams, None keeps the ids."""

    @abstractmethod
    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Advance every world by one step; ``decision`` is (B, N), or (B, N, D) where an agent decides D tasks.

        ``amounts`` (B, N, A) belong to it where an agent decides on amounts too, within the spec's bounds.

        A masked target counts as target 0 and is counted in the sum ``refused``; in debug mode it raises
        DecisionError.
        """

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that the future depends on; it can be pickled."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot of a world of the same scenario and size, bit-equal.

        Any other snapshot raises ConfigError and leaves the world as it was.
        """

    @abstractmethod
    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the figures of ``spec.metrics`` from metric sums (G,), of one episode or added over many."""

    def check_decision(self, decision: I8, amounts: F8 | None = None) -> None:
        """Raise DecisionError unless the arrays have the shapes, dtypes and bounds that ``step`` expects."""
        spec = self.spec
        shape: tuple[int, ...] = (spec.n_worlds, spec.n_agents)
        if spec.n_decisions > 1:
            shape = (*shape, spec.n_decisions)
        if not isinstance(decision, np.ndarray) or decision.shape != shape or decision.dtype != np.int64:
            given = (
                f"{decision.dtype} {decision.shape}" if isinstance(decision, np.ndarray) else type(decision).__name__
            )
            raise DecisionError(f"decision: expected an int64 array of shape {shape}, got {given}")
        if spec.n_amounts or amounts is not None:
            self._check_amounts(amounts)

    def check_targets(self, decision: I8) -> None:
        """Raise DecisionError for the first target that does not exist, in worlds that mask none."""
        n_targets = self.spec.n_targets
        if decision.min() >= 0 and decision.max() < n_targets:
            return
        b, n, *d = (int(i) for i in np.argwhere((decision < 0) | (decision >= n_targets))[0])
        raise DecisionError(
            f"world {b}, agent {self.spec.agents[n]!r}: target {decision[b, n, *d]} does not exist; "
            f"expected 0 .. {n_targets - 1}"
        )

    def _check_amounts(self, amounts: F8 | None) -> None:
        spec = self.spec
        shape = (spec.n_worlds, spec.n_agents, spec.n_amounts)
        if not isinstance(amounts, np.ndarray) or amounts.shape != shape or amounts.dtype != np.float64:
            given = f"{amounts.dtype} {amounts.shape}" if isinstance(amounts, np.ndarray) else type(amounts).__name__
            expected = f"a float64 array of shape {shape}" if spec.n_amounts else "none: decisions are targets alone"
            raise DecisionError(f"amounts: expected {expected}, got {given}")
        low, high = spec.amount_low, spec.amount_high
        if not (amounts.min() >= low and amounts.max() <= high):  # NaN fails both
            b, n, a = (int(i) for i in np.argwhere(~((amounts >= low) & (amounts <= high)))[0])
            raise DecisionError(
                f"world {b}, agent {spec.agents[n]!r}: {spec.amount_names[a]} = {amounts[b, n, a]:g}; "
                f"expected a number in [{low:g}, {high:g}]"
            )

    def refuse_masked(self, decision: I8, mask: BOOL) -> None:
        """Raise DecisionError for the first target that ``mask`` (B, N, K) forbids; target 0 is always allowed."""
        spec = self.spec
        chosen = decision.reshape(spec.n_worlds, spec.n_agents, -1)
        mask = mask.copy()
        mask[:, :, LOCAL] |= spec.has_local
        in_range = (chosen >= 0) & (chosen < spec.n_targets)
        allowed = in_range & np.take_along_axis(mask, np.where(in_range, chosen, LOCAL), axis=2)
        if not allowed.all():
            b, n, d = (int(i) for i in np.argwhere(~allowed)[0])
            options = np.flatnonzero(mask[b, n]).tolist()
            raise DecisionError(
                f"world {b}, agent {spec.agents[n]!r}: target {chosen[b, n, d]} is masked; allowed: {options}"
            )
