"""An attack on filters that keep what lies within a radius."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_rllib.federated.attacks.base import Attack, AttackView, distances, refuse_unless, unit
from envs.errors import ConfigError


@dataclass(frozen=True)
class FedScsPg(Attack):
    """The mean of what they computed, moved by ``factor`` times the largest distance between two of them, one for all.

    That distance is their guess at twice the standard deviation of the honest, whom they need not see. [Fan et al.,
    Fault-Tolerant Federated Reinforcement Learning with Theoretical Guarantee, 2021, FedScsPG-attack of its code, which
    moves each layer by itself]
    """

    factor: float = 1.5  # three standard deviations

    def __post_init__(self) -> None:
        refuse_unless(0.0 < self.factor < math.inf, self, f"factor = {self.factor}", "a positive number")

    def __call__(self, view: AttackView) -> Tensor:
        """Return (f, d)."""
        own = view.own.double()
        drawn = torch.rand(own.shape[1], generator=view.generator, dtype=torch.float64, device=view.generator.device)
        way = unit(2.0 * drawn - 1.0).to(own)
        return view.of_all(own.mean(0) + self.factor * distances(own, own).max() * way)

    def check(
        self, n: int, n_faulty: int, n_receivers: int = 1, sees_honest: bool = True, sees_rule: bool = True
    ) -> None:
        """Refuse a client alone, which has nobody to guess a distance from."""
        super().check(n, n_faulty, n_receivers, sees_honest, sees_rule)
        if n_faulty < 2:
            raise ConfigError(f"fed_scs_pg: f = {n_faulty} faulty client; expected 2 or more, who collude")
