"""A network as a list of steps on arrays: NumPy follows it here, and ``onnx_graph`` turns each step into ONNX nodes.

Both come from the same list, so that they cannot differ in what they compute, only in the last digits. Axes: n rows,
F features, K targets, A amounts, H memory. Inputs are ``observation`` (n, F) float32, ``mask`` (n, K) bool and, for
networks that remember, ``memory`` (n, H) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_rllib.export.errors import PolicyError
from envs.arrays import BOOL, F4, I8

Array = NDArray[Any]
OBSERVATION, MASK, MEMORY = "observation", "mask", "memory"
TARGET, AMOUNTS, NEXT_MEMORY = "target", "amounts", "next_memory"
LOG_PROBS, SCORES = "log_probs", "scores"  # what a policy says of targets: normalised, or values of any scale


@dataclass(frozen=True)
class Step:
    """One operation; its arguments are names of inputs, constants or earlier outputs."""

    operation: str  # a key of OPERATIONS
    arguments: tuple[str, ...]
    output: str
    values: dict[str, Any]  # numbers that the operation needs beside its arguments


@dataclass(frozen=True)
class Program:
    """A network; its outputs are ``target`` and what else of the output names its steps define."""

    steps: tuple[Step, ...]
    constants: dict[str, F4]
    has_memory: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs."""
        return (OBSERVATION, MASK, MEMORY) if self.has_memory else (OBSERVATION, MASK)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs."""
        made = {step.output for step in self.steps}
        return tuple(name for name in (TARGET, AMOUNTS, LOG_PROBS, SCORES, NEXT_MEMORY) if name in made)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        known: dict[str, Array] = {**self.constants, **inputs}
        for step in self.steps:
            known[step.output] = OPERATIONS[step.operation](*(known[name] for name in step.arguments), **step.values)
        return {name: known[name] for name in self.outputs}

    def check(self, label: str) -> None:
        """Raise PolicyError for an operation, a number or an argument that is not known."""
        known = {*self.constants, *self.inputs}
        for step in self.steps:
            if step.operation not in OPERATIONS:
                raise PolicyError(f"{label}: unknown operation {step.operation!r}; known: {', '.join(OPERATIONS)}")
            expected = VALUES_OF.get(step.operation, ())
            if set(step.values) != set(expected):
                raise PolicyError(
                    f"{label}: {step.operation} has the numbers {sorted(step.values)}; expected {sorted(expected)}"
                )
            lacking = [name for name in step.arguments if name not in known]
            if lacking:
                raise PolicyError(f"{label}: {step.output} needs {lacking[0]!r}, which nothing before it makes")
            known.add(step.output)
        if TARGET not in known:
            raise PolicyError(f"{label}: no step makes {TARGET!r}")


def _sigmoid(x: F4) -> F4:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # of no argument does it overflow


def _elu(x: F4) -> F4:
    return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))


def _log_softmax(x: F4) -> F4:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _reshape(x: Array, shape: list[int]) -> Array:
    """Return x with its rows kept and the given sizes behind them."""
    return x.reshape(len(x), *shape)


def _of_target(values: F4, target: I8) -> F4:
    """Return the entries (n, A) of values (n, K, A) that belong to targets (n,)."""
    return values[np.arange(len(target)), target]


def _where(mask: BOOL, x: F4, other: F4) -> F4:
    return np.where(mask, x, other)


OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "argmax": lambda x: x.argmax(-1),
    "clip": lambda x, low, high: np.clip(x, low, high),
    "divide": np.divide,
    "elu": _elu,
    "log_softmax": _log_softmax,
    "matmul": np.matmul,
    "mean_of_rows": lambda x: x.mean(-2),
    "multiply": np.multiply,
    "of_target": _of_target,
    "relu": lambda x: np.maximum(x, 0.0),
    "reshape": _reshape,
    "sigmoid": _sigmoid,
    "slice": lambda x, begin, end: x[..., begin:end],
    "subtract": np.subtract,
    "tanh": np.tanh,
    "where": _where,
}
VALUES_OF = {"clip": ("low", "high"), "reshape": ("shape",), "slice": ("begin", "end")}  # none for all others
