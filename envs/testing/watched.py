"""A world that is looked at after every step, and the comparison of two outcomes bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.arrays import BOOL, F8, I8, ArrayError, check_record
from envs.constants import OBSERVATION_LIMIT
from envs.errors import EdgeError
from envs.world import Outcome, World

_SHOWN = ("observation", "state")
_FINAL = ("final_observation", "final_state", "final_sums")
_FINAL_MASK = "final_target_mask"


class ConformanceError(EdgeError, AssertionError):
    """A world, network, workload or rule breaks its contract."""


class Watched:
    """Steps a world into two outcomes in turn, each filled with NaN before, and checks what it wrote."""

    def __init__(self, world: World) -> None:
        """Take the world; ``reset`` comes first."""
        self.world = world
        self.n_ended = 0
        self._outs = (world.outcome(), world.outcome())
        self.age: I8 = np.zeros(world.spec.n_worlds, np.int64)  # steps of the episode that each world has played
        self._name = world.spec.scenario

    def reset(self, world_ids: Sequence[int] | I8 | None) -> Outcome:
        """Reset the world and return a copy of what it wrote."""
        self.age[:] = 0
        out = self._outs[0]
        _poison(out)
        self.world.reset(world_ids, out)
        self._check_shown(out, "after reset")
        if out.reward.any() or out.terminated.any() or out.truncated.any():
            raise ConformanceError(f"{self._name}: after reset, reward, terminated and truncated must be zero")
        return _copy(out)

    def step(self, decision: I8, amounts: F8 | None = None) -> Outcome:
        """Step the world and return a copy of what it wrote."""
        out, other = self._outs = self._outs[::-1]
        at = f"at step {int(self.age.max())} of an episode"
        _poison(out)
        parts = [decision] if amounts is None else [decision, amounts]
        before, given = _copy(other), [part.copy() for part in parts]
        if amounts is None:
            self.world.step(decision, out)
        else:
            self.world.step(decision, out, amounts)
        self.age += 1
        if not all(np.array_equal(part, copy) for part, copy in zip(parts, given, strict=True)):
            raise ConformanceError(f"{self._name}: step changed the caller's decisions {at}")
        compare(self._name, f"step wrote into an outcome of an earlier step {at}", before, other)
        self._check_shown(out, at)
        if not np.isfinite(out.reward).all():
            raise ConformanceError(f"{self._name}: reward{_first(out.reward, ~np.isfinite(out.reward))} {at}")
        self._check_endings(out, at)
        return _copy(out)

    def _check_shown(self, out: Outcome, at: str) -> None:
        """Check shapes and dtypes, ranges, and that the own node may always be chosen."""
        try:
            check_record(out, self.world.spec.sizes())
        except ArrayError as error:
            raise ConformanceError(f"{self._name}: {error} {at}") from None
        for name in _SHOWN:
            self._check_range(name, getattr(out, name), at)
        self._check_mask("target_mask", out.target_mask, at)

    def _check_mask(self, name: str, mask: BOOL, at: str) -> None:
        if self.world.spec.has_local and not mask[:, :, 0].all():
            raise ConformanceError(f"{self._name}: {name}[..., 0] is False {at}; local is always allowed")
        if not mask.any(-1).all():
            raise ConformanceError(f"{self._name}: {name} of an agent has no allowed target {at}")

    def _check_range(self, name: str, values: Any, at: str) -> None:
        is_bad = ~(np.abs(values) <= OBSERVATION_LIMIT)
        if is_bad.any():
            limit = f"-{OBSERVATION_LIMIT:g} .. {OBSERVATION_LIMIT:g}"
            raise ConformanceError(f"{self._name}: {name}{_first(values, is_bad)}, expected {limit} {at}")

    def _check_endings(self, out: Outcome, at: str) -> None:
        """Check that only the horizon truncates, and what is kept of worlds that ended."""
        horizon = self.world.spec.horizon_steps
        at_horizon = self.age >= horizon
        is_wrong = out.truncated != at_horizon if self.world.spec.is_horizon_exact else at_horizon & ~out.truncated
        if is_wrong[~out.terminated].any():
            raise ConformanceError(
                f"{self._name}: truncated is {out.truncated.tolist()} after {self.age.tolist()} steps of an episode; "
                f"the horizon is {horizon}"
            )
        ended: BOOL = out.terminated | out.truncated
        for name in _FINAL:
            values = getattr(out, name)
            if not np.isnan(values[~ended]).all():
                raise ConformanceError(f"{self._name}: {name} of a world that did not end was written {at}")
            if np.isnan(values[ended]).any():
                raise ConformanceError(f"{self._name}: {name} of a world that ended was not written {at}")
        for name in _FINAL[:2]:
            self._check_range(name, getattr(out, name)[ended], at)
        if out.final_target_mask[~ended].any():
            raise ConformanceError(f"{self._name}: {_FINAL_MASK} of a world that did not end was written {at}")
        self._check_mask(_FINAL_MASK, out.final_target_mask[ended], at)
        for b in np.flatnonzero(ended):
            self._check_figures(self.world.summarise(out.final_sums[b]))
        self.age[ended] = 0
        self.n_ended += int(ended.sum())

    def _check_figures(self, figures: dict[str, float]) -> None:
        declared = [metric.name for metric in self.world.spec.metrics]
        if sorted(figures) != sorted(declared):
            odd = sorted(set(figures) ^ set(declared))
            raise ConformanceError(f"{self._name}: summarise and spec.metrics disagree on {', '.join(odd)}")


def compare(scenario: str, claim: str, one: Outcome, two: Outcome, fields: Sequence[str] = Outcome._fields) -> None:
    """Raise ConformanceError, beginning with the claim, unless two outcomes are equal bit by bit."""
    for name in fields:
        left, right = getattr(one, name), getattr(two, name)
        if left.tobytes() != right.tobytes():
            differs = (left != right) & ~(np.isnan(left) & np.isnan(right)) if left.shape == right.shape else None
            if differs is None or not differs.any():
                raise ConformanceError(f"{scenario}: {claim}: {name}")
            place = tuple(int(i) for i in np.argwhere(differs)[0])
            raise ConformanceError(f"{scenario}: {claim}: {name}{list(place)} is {left[place]} and {right[place]}")


def pick(out: Outcome, worlds: slice) -> Outcome:
    """Return the part of some worlds, not copied."""
    return out._replace(**{name: array[worlds] for name, array in out._asdict().items()})


def _first(values: Any, is_bad: BOOL) -> str:
    place = tuple(int(i) for i in np.argwhere(is_bad)[0])
    return f"{list(place)} is {values[place]}"


def _copy(out: Outcome) -> Outcome:
    return out._replace(**{name: array.copy() for name, array in out._asdict().items()})


def _poison(out: Outcome) -> None:
    """Fill with what a forgotten write leaves behind."""
    for array in out:
        array.fill(np.nan if array.dtype.kind == "f" else True)
    out.target_mask.fill(False)
    out.final_target_mask.fill(False)
