"""How long the chunks of a round are, and where they can be cut, from what was measured of the rounds before.

Sizes follow clocks only for clients that send episodes: there the estimate does not know where chunks end. A cut
changes nothing for anybody. So learning stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from edge_rllib.federated.clients import Client, Order
from edge_rllib.federated.stealing.chunks import ChunkResult
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.policies import ChunkPlan, ChunkSizes

PartSteps = int | Literal["auto"]
GUESSED_SHARE = 0.1  # of the horizon, which episodes are believed to last before any was seen


class Sizing:
    """Keeps the mean length of episodes, and the plan of the last round."""

    def __init__(self, sizes: ChunkSizes | None, part_steps: PartSteps = 0) -> None:
        """Take limits, and steps after which chunks can be handed over: 0 for never, ``auto`` by the limits.

        Without limits batches stay whole, and chunks too.
        """
        self.sizes, self.part_steps = sizes, part_steps
        self.mean_steps = 0.0  # of an episode, in the last round; 0 before the first
        self.n_episodes = 0  # of a chunk in the last round

    def plan(self, client: Client, order: Order, step_s: float, latency_s: float) -> ChunkPlan:
        """Return how a round is cut where a step takes ``step_s`` at the average speed, and a pull ``latency_s``."""
        if self.sizes is None:
            return ChunkPlan(0, None)
        horizon = client.spec.horizon_steps
        mean_steps = self.mean_steps or max(1.0, GUESSED_SHARE * horizon)
        if client.sends_episodes:
            plan = self.sizes.plan(step_s, mean_steps, latency_s, client.n_episodes(order.is_large), horizon)
        else:
            n_episodes = max(client.sizes[order.is_large])
            plan = ChunkPlan(n_episodes, self.sizes.part_steps(step_s, latency_s, n_episodes, horizon))
        return plan if self.part_steps == "auto" else replace(plan, part_steps=self.part_steps or None)

    def resize(self, plan: ChunkPlan, estimates: Estimates | None) -> None:
        """Let beliefs of chunks' lengths be of chunks as long as planned."""
        if estimates is not None and self.n_episodes and plan.n_episodes:
            estimates.resize(plan.n_episodes / self.n_episodes)
        self.n_episodes = plan.n_episodes

    def learn(self, results: Iterable[ChunkResult]) -> None:
        """Take in the lengths of a round's episodes."""
        n_steps = n_episodes = 0
        for result in results:
            n_steps, n_episodes = n_steps + int(result.arrays["lengths"].sum()), n_episodes + result.n_episodes
        if n_episodes:
            self.mean_steps = n_steps / n_episodes

    def state(self) -> dict[str, float]:
        """Return what the next round depends on."""
        return {"mean_steps": self.mean_steps, "n_episodes": self.n_episodes}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from a state."""
        self.mean_steps, self.n_episodes = state["mean_steps"], int(state["n_episodes"])
