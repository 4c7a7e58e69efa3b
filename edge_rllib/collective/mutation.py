"""Changes of a site's policy at the end of a generation, before it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_rllib.algorithms import checks
from edge_rllib.collective.vectors import Layout
from envs.arrays import F4

Sensitivity = Callable[[], F4]  # how much decisions change with each number of the policy, (d,)

LEAST_SENSITIVITY = 1e-3  # a number that nothing depends on today may matter tomorrow


class Mutator(ABC):
    """A way to mutate; a frozen dataclass whose fields are its values."""

    @abstractmethod
    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a mutated copy of a vector (d,)."""


@dataclass(frozen=True)
class NoMutation(Mutator):
    """Policies stay as they were learnt."""

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return the vector."""
        return vector


@dataclass(frozen=True)
class Isotropic(Mutator):
    """With a chance, the same normal noise on all numbers that decide; the critic stays."""

    std: float = 0.01
    prob: float = 0.2

    def __post_init__(self) -> None:
        checks.not_negative(self, "std")
        checks.in_unit_interval(self, "prob")

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a copy with noise."""
        if generator.random() >= self.prob:
            return vector
        return vector + np.float32(self.std) * _noise(layout, generator)


@dataclass(frozen=True)
class Relative(Mutator):
    """With a chance, normal noise in proportion to each number that decides."""

    frac: float = 0.1
    prob: float = 0.2

    def __post_init__(self) -> None:
        checks.not_negative(self, "frac")
        checks.in_unit_interval(self, "prob")

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a copy with noise."""
        if generator.random() >= self.prob:
            return vector
        return vector + np.float32(self.frac) * np.abs(vector) * _noise(layout, generator)


@dataclass(frozen=True)
class Safe(Mutator):
    """With a chance, normal noise that is the smaller, the more decisions depend on a number.

    [Lehman et al. 2018, Safe Mutations for Deep and Recurrent Neural Networks through Output Gradients: SM-G-SUM]
    """

    std: float = 0.01
    prob: float = 0.2

    def __post_init__(self) -> None:
        checks.not_negative(self, "std")
        checks.in_unit_interval(self, "prob")

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a copy with noise."""
        if generator.random() >= self.prob:
            return vector
        scale = np.maximum(sensitivity(), np.float32(LEAST_SENSITIVITY))
        return (vector + self.std * _noise(layout, generator) / scale).astype(np.float32)


@dataclass(frozen=True)
class ReleasedMutation(Mutator):
    """DC-DRL as released: with a chance, noise on the policy, and of deviation 1 on the critic, which ruins it."""

    std: float = 0.01
    prob: float = 0.2

    def __post_init__(self) -> None:
        checks.not_negative(self, "std")
        checks.in_unit_interval(self, "prob")

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a copy with noise."""
        if generator.random() >= self.prob:
            return vector
        noise = generator.standard_normal(layout.n_numbers, np.float32)
        return (vector + np.where(layout.is_policy, self.std, 1.0) * noise).astype(np.float32)


def _noise(layout: Layout, generator: np.random.Generator) -> F4:
    """Return standard normal numbers (d,) where a number decides, else 0."""
    return generator.standard_normal(layout.n_numbers, np.float32) * layout.is_policy
