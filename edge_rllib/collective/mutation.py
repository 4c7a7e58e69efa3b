"""Changes of a site's policy at the end of a generation, before it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_rllib.algorithms import checks
from edge_rllib.collective.vectors import Layout
from envs.arrays import F4, F8

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
class ByChance(Mutator):
    """Base of mutations that come with a chance; DC-DRL's chance, and its deviation in what it mutates by."""

    prob: float = 0.2

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "prob")

    def __call__(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4:
        """Return a mutated copy, or the vector itself."""
        if generator.random() >= self.prob:
            return vector
        return (vector + self.change(vector, layout, sensitivity, generator)).astype(np.float32)

    @abstractmethod
    def change(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4 | F8:
        """Return what is added to a vector, (d,)."""


@dataclass(frozen=True)
class Isotropic(ByChance):
    """The same normal noise on all numbers that decide; the critic stays."""

    std: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self, "std")

    def change(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4 | F8:
        """Return the noise, (d,)."""
        return self.std * _noise(layout, generator)


@dataclass(frozen=True)
class Relative(ByChance):
    """Normal noise in proportion to each number that decides."""

    frac: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self, "frac")

    def change(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4 | F8:
        """Return the noise, (d,)."""
        return self.frac * np.abs(vector) * _noise(layout, generator)


@dataclass(frozen=True)
class Safe(Isotropic):
    """Normal noise that is the smaller, the more decisions depend on a number.

    [Lehman et al. 2018, Safe Mutations for Deep and Recurrent Neural Networks through Output Gradients: SM-G-SUM]
    """

    def change(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4 | F8:
        """Return the noise, (d,)."""
        noise = super().change(vector, layout, sensitivity, generator)
        return noise / np.maximum(sensitivity(), np.float32(LEAST_SENSITIVITY))


@dataclass(frozen=True)
class ReleasedMutation(Isotropic):
    """DC-DRL as released: noise on the policy, and of deviation 1 on the critic, which ruins it."""

    def change(self, vector: F4, layout: Layout, sensitivity: Sensitivity, generator: np.random.Generator) -> F4 | F8:
        """Return the noise, (d,)."""
        noise = generator.standard_normal(layout.n_numbers, np.float32)
        return np.where(layout.is_policy, self.std, 1.0) * noise


def _noise(layout: Layout, generator: np.random.Generator) -> F4:
    """Return standard normal numbers (d,) where a number decides, else 0."""
    return generator.standard_normal(layout.n_numbers, np.float32) * layout.is_policy
