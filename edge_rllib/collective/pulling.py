"""When a site takes over what the population offers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_rllib.algorithms import checks
from edge_rllib.collective.population import Offer


class Fitness(NamedTuple):
    """Greedy score of a policy on a site's own worlds."""

    mean: float
    error: float  # standard error


Judge = Callable[[Offer], Fitness]  # plays an offer on the site's own worlds


class PullRule(ABC):
    """A rule; a frozen dataclass whose fields are its values."""

    @abstractmethod
    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return whether to take over the offer."""


@dataclass(frozen=True)
class Never(PullRule):
    """Sites learn alone."""

    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class Always(PullRule):
    """Whatever is offered, as in federated averaging."""

    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class BelowMean(PullRule):
    """With a chance, where the own fitness is below the population's mean; DC-DRL's, with its chance."""

    prob: float = 0.8

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "prob")

    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return whether to take over the offer."""
        return bool(generator.random() < self.prob) and own.mean < offer.fitness


@dataclass(frozen=True)
class SurelyBelowMean(PullRule):
    """Where the own fitness is below the population's mean by so many standard errors of the difference."""

    n_errors: float = 1.64  # one-sided test at 5 %

    def __post_init__(self) -> None:
        checks.not_negative(self, "n_errors")

    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return whether to take over the offer."""
        error = math.hypot(own.error, offer.fitness_error)
        return offer.fitness - own.mean > self.n_errors * error


@dataclass(frozen=True)
class Tested(PullRule):
    """Where the offer, played on the site's own worlds, is better than what the site has."""

    def __call__(self, own: Fitness, offer: Offer, judge: Judge, generator: np.random.Generator) -> bool:
        """Return whether to take over the offer."""
        return judge(offer).mean > own.mean
