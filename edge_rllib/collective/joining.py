"""Rules that make one policy of a population's: weights by fitness, by steps, or a distribution to draw from.

Axes: P members, d numbers of a policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg.blas import saxpy

from edge_rllib.algorithms import checks
from envs.arrays import F4, F8

LEAST_STD = 1e-4  # of numbers that are drawn: a population that agrees goes on looking


class Members(NamedTuple):
    """What is joined."""

    fitness: F8  # (P,) higher is better
    n_steps: F8  # (P,) env steps of the generation
    vectors: Sequence[F4]  # P of (d,)


class Joined(NamedTuple):
    """What a population offers."""

    mean: F4  # (d,)
    std: F4 | None  # (d,) where each who pulls draws its own
    weights: F8  # (P,) of the members


class JoiningRule(ABC):
    """A rule; a frozen dataclass whose fields are its values."""

    def __call__(self, members: Members) -> Joined:
        """Return what members make together."""
        weights = self.weights(members)
        mean = np.zeros(len(members.vectors[0]), np.float32)
        for weight, vector in zip(weights, members.vectors, strict=True):
            if weight:
                mean = saxpy(vector, mean, a=weight)  # in place
        return Joined(mean, self.spread(members, weights, mean), weights)

    @abstractmethod
    def weights(self, members: Members) -> F8:
        """Return weights (P,) that add up to 1."""

    def spread(self, members: Members, weights: F8, mean: F4) -> F4 | None:
        """Return the deviation (d,) with which policies are drawn; None for none."""
        return None

    def offer(self, members: Members, joined: Joined, me: int | None, generator: np.random.Generator) -> F4 | None:
        """Return what a member, by its place among them, may take over; None for nothing.

        ``me`` is None for who is not among the members.
        """
        if joined.std is None:
            return joined.mean
        return joined.mean + joined.std * generator.standard_normal(len(joined.mean), np.float32)


def _elites(fitness: F8) -> F8:
    """Return 1 for members of at least mean fitness, else 0; DC-DRL's elites."""
    return (fitness >= fitness.mean()).astype(np.float64)


def _best(fitness: F8, share: float) -> F8:
    """Return 1 for the best share of members, one at least, else 0; of equals the first."""
    n_best = max(1, round(share * len(fitness)))
    chosen = np.zeros(len(fitness))
    chosen[np.argsort(-fitness, kind="stable")[:n_best]] = 1.0
    return chosen


@dataclass(frozen=True)
class Elites(JoiningRule):
    """Members of at least mean fitness, with equal weights or by how far they are above the worst of all."""

    weighting: Literal["equal", "shifted"] = "equal"

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        chosen = _elites(members.fitness)
        if self.weighting == "shifted":
            above = members.fitness - members.fitness.min()
            if above.max() > 0.0:
                chosen = chosen * above
        return np.asarray(chosen / chosen.sum())


@dataclass(frozen=True)
class Rank(JoiningRule):
    """The best share of members, with weights that fall by the logarithm of the rank.

    [Hansen 2016, The CMA Evolution Strategy: A Tutorial, eq. 49]
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "share")

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        chosen = _best(members.fitness, self.share)
        n_best = int(chosen.sum())
        order = np.argsort(-members.fitness, kind="stable")[:n_best]
        chosen[order] = np.log(n_best + 1.0) - np.log(np.arange(1, n_best + 1))
        return np.asarray(chosen / chosen.sum())


@dataclass(frozen=True)
class Softmax(JoiningRule):
    """All members by the exponential of their fitness, in units of ``temperature`` deviations of it."""

    temperature: float = 0.5

    def __post_init__(self) -> None:
        checks.positive(self, "temperature")

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        spread = members.fitness.std()
        scaled = (members.fitness - members.fitness.max()) / (self.temperature * spread if spread else 1.0)
        chosen = np.exp(scaled)
        return np.asarray(chosen / chosen.sum())


@dataclass(frozen=True)
class FedAvg(JoiningRule):
    """All members by their steps [McMahan et al. 2017, algorithm 1]; fitness does not count."""

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        return np.asarray(members.n_steps / members.n_steps.sum())


@dataclass(frozen=True)
class Best(JoiningRule):
    """The fittest member alone."""

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        return _best(members.fitness, 0.0)


@dataclass(frozen=True)
class Cem(JoiningRule):
    """A normal distribution around the best share of members, from which each who pulls draws its own policy.

    [de Boer et al. 2005, A Tutorial on the Cross-Entropy Method; with gradients between: Pourchot and Sigaud 2019]
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "share")

    def weights(self, members: Members) -> F8:
        """Return weights (P,)."""
        chosen = _best(members.fitness, self.share)
        return np.asarray(chosen / chosen.sum())

    def spread(self, members: Members, weights: F8, mean: F4) -> F4:
        """Return the elites' deviation (d,), and a little."""
        variance = np.full(len(mean), LEAST_STD**2, np.float32)
        for weight, vector in zip(weights, members.vectors, strict=True):
            if weight:
                variance = saxpy(np.square(vector - mean), variance, a=weight)
        return np.sqrt(variance)


@dataclass(frozen=True)
class Released(JoiningRule):
    """DC-DRL's released rule: elites by fitness over its sum, which favours the worst where fitness is negative."""

    def weights(self, members: Members) -> F8:
        """Return weights (P,); equal ones where the sum is 0."""
        chosen = _elites(members.fitness)
        total = float((chosen * members.fitness).sum())
        return np.asarray(chosen * members.fitness / total if total else chosen / chosen.sum())


@dataclass(frozen=True)
class Exploit(JoiningRule):
    """Population-based training: nothing is averaged, a member of the worst share takes over one of the best share.

    [Jaderberg et al. 2017, Population Based Training of Neural Networks, section 3: truncation selection]
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "share")

    def weights(self, members: Members) -> F8:
        """Return weights (P,): equal ones of the best share."""
        chosen = _best(members.fitness, self.share)
        return np.asarray(chosen / chosen.sum())

    def offer(self, members: Members, joined: Joined, me: int | None, generator: np.random.Generator) -> F4 | None:
        """Return one of the best for one of the worst, and for who is no member; nothing for the others."""
        if me is not None and not _best(-members.fitness, self.share)[me]:
            return None
        return members.vectors[generator.choice(len(joined.weights), p=joined.weights)].copy()
