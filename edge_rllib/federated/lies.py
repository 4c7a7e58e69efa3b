"""How a faulty executor spoils a chunk: what it plays and learns from, or the result that it returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from edge_rllib.federated.attacks.chunk import ChunkPoisoning
from edge_rllib.federated.attacks.data import DataAttack
from edge_rllib.federated.episodes import Spoiling
from envs.arrays import F4


class Lie(NamedTuple):
    """An attack on one chunk by one executor; the same numbers wherever it is carried out."""

    attack: DataAttack | ChunkPoisoning
    seed: tuple[int, ...]  # of the attacker's random numbers

    @property
    def spoiling(self) -> Spoiling | None:
        """Return how the data are spoilt; None where the result is."""
        if not isinstance(self.attack, DataAttack):
            return None
        return Spoiling(self.attack, np.random.default_rng(self.seed))

    def forged(self, vectors: dict[str, F4]) -> dict[str, F4]:
        """Return what is sent in the place of a chunk's vectors; themselves where the data were spoilt."""
        if not isinstance(self.attack, ChunkPoisoning):
            return vectors
        state = np.random.SeedSequence(self.seed).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]) % 2**63)
        return {name: self.attack(torch.tensor(vector), generator).numpy() for name, vector in vectors.items()}
