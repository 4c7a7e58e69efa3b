"""How long the chunks of a round are, from what was measured of the rounds before.

Only for clients that send episodes: there the estimate does not know where chunks end, so that sizes may follow clocks
and learning stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_rllib.federated.clients import Client, Order
from edge_rllib.federated.stealing.chunks import ChunkResult
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.policies import ChunkPlan, ChunkSizes

GUESSED_SHARE = 0.1  # of the horizon, which episodes are believed to last before any was seen


class Sizing:
    """Keeps the mean length of episodes, and the plan of the last round."""

    def __init__(self, sizes: ChunkSizes | None) -> None:
        """Take limits; without any, chunks are as the clients cut them."""
        self.sizes = sizes
        self.mean_steps = 0.0  # of an episode, in the last round; 0 before the first
        self.n_episodes = 0  # of a chunk in the last round

    def plan(self, client: Client, order: Order, step_s: float, latency_s: float) -> ChunkPlan:
        """Return how a round is cut where a step takes ``step_s`` at the average speed, and a pull ``latency_s``."""
        if self.sizes is None or not client.sends_episodes:
            return ChunkPlan(0, None)
        horizon = client.spec.horizon_steps
        mean_steps = self.mean_steps or max(1.0, GUESSED_SHARE * horizon)
        return self.sizes.plan(step_s, mean_steps, latency_s, client.n_episodes(order.is_large), horizon)

    def resize(self, plan: ChunkPlan, estimates: Estimates | None) -> None:
        """Let beliefs of chunks' lengths be of chunks as long as planned."""
        if estimates is not None and self.n_episodes and plan.n_episodes:
            estimates.resize(plan.n_episodes / self.n_episodes)
        self.n_episodes = plan.n_episodes

    def learn(self, results: Iterable[ChunkResult]) -> None:
        """Take in the lengths of a round's episodes."""
        n_steps = n_episodes = 0
        for result in results:
            n_steps, n_episodes = n_steps + result.n_steps, n_episodes + result.n_episodes
        if n_episodes:
            self.mean_steps = n_steps / n_episodes

    def state(self) -> dict[str, float]:
        """Return what the next round depends on."""
        return {"mean_steps": self.mean_steps, "n_episodes": self.n_episodes}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from a state."""
        self.mean_steps, self.n_episodes = state["mean_steps"], int(state["n_episodes"])
