"""Faults in time: clients that fall silent, lose messages, or send what is old."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from edge_rllib.federated.attacks.base import refuse_unless


class TimingFault(ABC):
    """Says which round's vector of a faulty client arrives. A subclass is a frozen record."""

    @property
    def longest_rounds(self) -> int:
        """Return how many rounds old a vector that arrives can be."""
        return 0

    @abstractmethod
    def arriving(self, round_index: int, generator: np.random.Generator) -> int | None:
        """Return the round whose vector arrives in a round (from 0); None for silence."""


@dataclass(frozen=True)
class Crash(TimingFault):
    """Falls silent, for ever or for some rounds."""

    round: int = 0  # the first silent one
    n_rounds: int = 0  # how many are silent; 0 for all that follow

    def __post_init__(self) -> None:
        given = f"round = {self.round}, n_rounds = {self.n_rounds}"
        refuse_unless(self.round >= 0 and self.n_rounds >= 0, self, given, "0 or more")

    def arriving(self, round_index: int, generator: np.random.Generator) -> int | None:
        """Return the round, or None while it is down."""
        is_back = self.n_rounds > 0 and round_index >= self.round + self.n_rounds
        return round_index if round_index < self.round or is_back else None


@dataclass(frozen=True)
class Omission(TimingFault):
    """Loses each message with a probability."""

    prob: float = 0.5

    def __post_init__(self) -> None:
        refuse_unless(0.0 < self.prob <= 1.0, self, f"prob = {self.prob}", "above 0 and at most 1")

    def arriving(self, round_index: int, generator: np.random.Generator) -> int | None:
        """Return the round, or None where the message is lost; one number is drawn."""
        return None if generator.random() < self.prob else round_index


@dataclass(frozen=True)
class Delay(TimingFault):
    """Each vector arrives some rounds late; nothing before that."""

    rounds: int = 1

    def __post_init__(self) -> None:
        refuse_unless(self.rounds >= 1, self, f"rounds = {self.rounds}", "1 or more")

    @property
    def longest_rounds(self) -> int:
        """Return the delay."""
        return self.rounds

    def arriving(self, round_index: int, generator: np.random.Generator) -> int | None:
        """Return an earlier round, or None in the first ones."""
        return round_index - self.rounds if round_index >= self.rounds else None
