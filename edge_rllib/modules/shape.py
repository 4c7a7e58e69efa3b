"""The sizes that a network is built for, taken from a world's spec."""

from __future__ import annotations

from dataclasses import dataclass

from edge_rllib.ops.hybrid import Sizes
from envs.world import WorldSpec


@dataclass(frozen=True)
class ObservationShape:
    """Sizes of one agent's view: own features, then K blocks of target features; and of the global state."""

    n_features: int  # F = own_features + n_targets * target_features
    n_targets: int  # K
    own_features: int
    target_features: int
    n_state: int  # S, 0 if there is none
    decision: Sizes  # K targets and A amounts
    n_agents: int = 1  # N
    amount_edges: tuple[tuple[float, ...], ...] = ()  # by amount: of the intervals that the world tells apart

    @classmethod
    def of(cls, spec: WorldSpec) -> ObservationShape:
        """Return the shape of a world's observations."""
        decision = Sizes(spec.n_targets, spec.n_amounts, spec.amount_low, spec.amount_high)
        sizes = (spec.n_features, spec.n_targets, spec.own_features, spec.target_features, spec.n_state)
        return cls(*sizes, decision, spec.n_agents, spec.amount_edges)
