"""Decisions as other libraries hand them over: their spaces, and their way into the arrays of a world.

Targets alone are a ``Discrete``, for D > 1 tasks a step a ``MultiDiscrete``; amounts alone (one target) are a ``Box``;
both are a ``Dict`` of ``target`` and ``amounts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from envs.arrays import F8, I8
from envs.errors import DecisionError
from envs.world import WorldSpec

TARGET, AMOUNTS = "target", "amounts"


class Decision(NamedTuple):
    """Targets, and amounts where a world asks for them; any shape of the right number of entries."""

    target: I8
    amounts: F8 | None


def agent_space(spec: WorldSpec) -> Any:
    """Return the space of one agent's decisions."""
    if spec.n_decisions > 1:
        return spaces.MultiDiscrete([spec.n_targets] * spec.n_decisions)
    return _space(spec, spaces.Discrete(spec.n_targets), 1)


def joint_space(spec: WorldSpec) -> Any:
    """Return the space of the joint agent's decisions: N * D targets, N * A amounts, agent by agent."""
    return _space(spec, spaces.MultiDiscrete([spec.n_targets] * (spec.n_agents * spec.n_decisions)), spec.n_agents)


def _space(spec: WorldSpec, targets: Any, n_agents: int) -> Any:
    if not spec.n_amounts:
        return targets
    amounts = spaces.Box(spec.amount_low, spec.amount_high, (n_agents * spec.n_amounts,), np.float32)
    return amounts if spec.n_targets == 1 else spaces.Dict({TARGET: targets, AMOUNTS: amounts})


def parse(given: Any, spec: WorldSpec, shape: tuple[int, ...], n_agents: int, whose: str) -> Decision:
    """Return decisions from outside; ``shape`` is that of the targets, ``n_agents`` how many agents decide in them.

    DecisionError tells of a wrong kind, shape or a value out of bounds.
    """
    if not spec.n_amounts:
        return Decision(_targets(given, spec, shape, whose), None)
    parts = given if isinstance(given, Mapping) else {AMOUNTS: given}
    expected = {AMOUNTS} if spec.n_targets == 1 else {TARGET, AMOUNTS}
    if set(parts) != expected:
        raise DecisionError(f"{whose}: expected {' and '.join(sorted(expected))}, got {_kind(given)}")
    target = _targets(parts[TARGET], spec, shape, whose) if TARGET in parts else np.zeros(shape, np.int64)
    return Decision(target, _amounts(parts[AMOUNTS], spec, (*shape[:-1], n_agents * spec.n_amounts), whose))


def _targets(given: Any, spec: WorldSpec, shape: tuple[int, ...], whose: str) -> I8:
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise DecisionError(f"{whose}: expected integers of shape {shape}, got {array.dtype} {array.shape}")
    if ((array < 0) | (array >= spec.n_targets)).any():
        raise DecisionError(f"{whose}: targets are 0 .. {spec.n_targets - 1}, got {array.tolist()}")
    return array.astype(np.int64)


def _amounts(given: Any, spec: WorldSpec, shape: tuple[int, ...], whose: str) -> F8:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise DecisionError(f"{whose}: expected amounts of shape {shape}, got {array.dtype} {array.shape}")
    array = array.astype(np.float64)
    low, high = spec.amount_low, spec.amount_high
    if not ((array >= low) & (array <= high)).all():
        names = ", ".join(spec.amount_names)
        raise DecisionError(f"{whose}: {names} lie in [{low:g}, {high:g}], got {array.tolist()}")
    return array


def _kind(given: Any) -> str:
    return f"a mapping of {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
