"""Check a world against its contract."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.baselines.base import nth_allowed
from envs.constants import LOCAL
from envs.errors import DecisionError
from envs.scenario import Scenario, make
from envs.testing.watched import ConformanceError, Watched, compare, pick
from envs.world import Outcome, World, WorldSpec

WorldFactory = Callable[[int, int, int], World]  # (n_worlds, seed, first_world_id) -> World
FIRST_WORLD_ID = 11
_Given = tuple[I8, F8 | None]  # targets, and amounts where agents decide on amounts
_HISTORY = list[tuple[_Given, Outcome]]


class WorldReport(NamedTuple):
    """What check_world looked at."""

    n_steps: int  # steps of the batch of worlds
    n_episodes: int  # episodes that ended, over all worlds
    n_masked: int  # masked decisions that were given on purpose, and counted
    raises_in_debug: bool  # the scenario has a debug mode, and it refused a masked decision


def check_world(subject: Scenario | WorldFactory, n_worlds: int = 3, n_episodes: int = 2, seed: int = 0) -> WorldReport:
    """Play whole episodes under random decisions and check the contract of ``envs.world``; raise ConformanceError.

    ``subject`` is a scenario, or a function (n_worlds, seed, first_world_id) that returns a world.
    """
    build: WorldFactory = partial(make, subject) if isinstance(subject, Scenario) else subject
    batch, twin = (Watched(build(n_worlds, seed, FIRST_WORLD_ID)) for _ in range(2))
    alone = Watched(build(1, seed, FIRST_WORLD_ID + n_worlds - 1))
    spec = batch.world.spec
    _check_spec(spec)
    seen = first = batch.reset(None)
    _check_same(spec, "after reset", first, twin.reset(None), alone.reset(None))
    _check_wrong_decisions(batch.world)

    rng = np.random.default_rng(seed)
    n_steps = spec.horizon_steps * n_episodes
    snapshot_step = spec.horizon_steps // 2 if spec.is_horizon_exact else 1
    history: _HISTORY = []
    snapshot: dict[str, Any] = {}
    for step in range(n_steps):
        if step == snapshot_step:
            snapshot = batch.world.snapshot()
            pickled, ages = _pickle(snapshot, spec), batch.age.copy()
        decision, amounts = _random_decision(rng, seen.target_mask, spec), _random_amounts(rng, spec)
        seen = batch.step(decision, amounts)
        last = None if amounts is None else amounts[-1:]
        _check_same(spec, f"at step {step}", seen, twin.step(decision, amounts), alone.step(decision[-1:], last))
        history.append(((decision, amounts), seen))
        if step > snapshot_step and not spec.is_horizon_exact and batch.n_ended >= n_episodes * n_worlds:
            break
    if pickle.dumps(snapshot) != pickled:
        raise ConformanceError(f"{spec.scenario}: a snapshot changed while its world went on; it must be a copy")
    _check_restored(build, batch.world, seed, pickled, ages, history[snapshot_step:])
    _check_reset(batch, first)
    n_masked = 0 if _is_debug(subject) else _check_masked(build, spec, seed)
    return WorldReport(len(history), batch.n_ended, n_masked, _check_debug(subject, seed))


def _check_same(spec: WorldSpec, at: str, batch: Outcome, twin: Outcome, alone: Outcome) -> None:
    compare(spec.scenario, f"two worlds of one seed differ {at}", batch, twin)
    last = pick(batch, slice(-1, None))
    compare(spec.scenario, f"a world alone differs from the same in a batch {at}", last, alone)


def _check_spec(spec: WorldSpec) -> None:
    """Check that sizes and names fit each other."""
    sizes, n_agents = spec.sizes(), spec.n_agents
    shapes = {"agent_tier": (n_agents,), "target_node": (n_agents, spec.n_targets)}
    facts = {
        "every size is at least 1": min(size for axis, size in sizes.items() if axis != "Am") >= 1,
        "an episode has a length": spec.horizon_steps >= 1 and spec.step_s > 0.0,
        "agents are N different names": len(set(spec.agents)) == len(spec.agents) == n_agents,
        "feature_names are F different names": len(set(spec.feature_names)) == sizes["F"] == len(spec.feature_names),
        "F = own_features + K * target_features": sizes["F"]
        == spec.own_features + spec.n_targets * spec.target_features,
        "amount_names are A different names": len(set(spec.amount_names)) == spec.n_amounts == len(spec.amount_names),
        "amount_low < amount_high": spec.amount_low < spec.amount_high,
        "with amounts an agent takes one decision a step": spec.n_decisions == 1 or not spec.n_amounts,
        "sum_names are different": len(set(spec.sum_names)) == len(spec.sum_names),
        "sum_names holds 'refused'": "refused" in spec.sum_names,
        "metrics have different names": len({metric.name for metric in spec.metrics}) == len(spec.metrics),
        **{f"{name} has shape {shape}": getattr(spec, name).shape == shape for name, shape in shapes.items()},
    }
    for fact, is_met in facts.items():
        if not is_met:
            raise ConformanceError(f"{spec.scenario}: spec: {fact}: this does not hold")


def _check_wrong_decisions(world: World) -> None:
    """Check that decisions of another dtype or shape are refused, and amounts beyond their bounds."""
    spec, rng = world.spec, np.random.default_rng(0)
    right = _random_decision(rng, np.ones((spec.n_worlds, spec.n_agents, 1), np.bool_), spec)
    amounts = _random_amounts(rng, spec)
    for wrong in (right.astype(np.int32), right[:, :-1], right.tolist()):
        given = f"{wrong.dtype} {wrong.shape}" if isinstance(wrong, np.ndarray) else "a list"
        _check_refused(world, f"{given} as decision", wrong, amounts)
    if amounts is None:
        return
    for odd in (spec.amount_low - 0.1, spec.amount_high + 0.1, np.nan):
        beyond = amounts.copy()
        beyond[-1, -1, -1] = odd
        _check_refused(world, f"an amount of {odd:g}", right, beyond)
    for label, wrong in {"no amounts": None, "amounts in float32": amounts.astype(np.float32)}.items():
        _check_refused(world, label, right, wrong)


def _check_refused(world: World, label: str, decision: Any, amounts: Any) -> None:
    spec = world.spec
    try:
        world.step(decision, world.outcome(), **({"amounts": amounts} if spec.n_amounts else {}))
    except DecisionError:
        return
    except Exception as error:
        raise ConformanceError(f"{spec.scenario}: {label}: expected DecisionError, got {error!r}") from error
    raise ConformanceError(f"{spec.scenario}: {label}: accepted; expected DecisionError")


def _pickle(snapshot: dict[str, Any], spec: WorldSpec) -> bytes:
    try:
        return pickle.dumps(snapshot)
    except Exception as error:
        raise ConformanceError(f"{spec.scenario}: a snapshot cannot be pickled: {error}") from error


def _check_restored(build: WorldFactory, world: World, seed: int, pickled: bytes, ages: I8, history: _HISTORY) -> None:
    """Check that the world itself, and one of another seed and other ids, continue from a snapshot bit-equal."""
    spec = world.spec
    stranger = build(spec.n_worlds, seed + 1, FIRST_WORLD_ID + 1000)
    stranger.reset(None, stranger.outcome())
    for label, restored in {"the same world": world, "a world of another seed": stranger}.items():
        restored.restore(pickle.loads(pickled))
        watched = Watched(restored)
        watched.age[:] = ages
        for step, (given, seen) in enumerate(history):
            claim = f"{label} differs {step + 1} steps after a restored snapshot"
            compare(spec.scenario, claim, seen, watched.step(*given))


def _check_reset(watched: Watched, first: Outcome) -> None:
    """Check that reset begins anew, and that a world follows its id."""
    spec = watched.world.spec
    shown = ("observation", "target_mask", "state")
    compare(spec.scenario, "reset(None) does not begin the first episode again", first, watched.reset(None), shown)
    ids = np.arange(FIRST_WORLD_ID, FIRST_WORLD_ID + spec.n_worlds)[::-1]
    turned = pick(watched.reset(ids), slice(None, None, -1))
    compare(spec.scenario, "a world does not follow its id in reset(world_ids)", first, turned, shown)


def _check_masked(build: WorldFactory, spec: WorldSpec, seed: int) -> int:
    """Check over an episode that a masked target counts as target 0 and is counted; return how many were given."""
    free, tame = (Watched(build(spec.n_worlds, seed, FIRST_WORLD_ID)) for _ in range(2))
    seen = free.reset(None)
    tame.reset(None)
    refused = spec.sum_names.index("refused")
    fields = [name for name in Outcome._fields if name != "final_sums"]
    rng = np.random.default_rng(seed)
    given: I8 = np.zeros(spec.n_worlds, np.int64)  # in the episode of each world
    n_masked = 0
    for step in range(spec.horizon_steps):
        decision = _random_decision(rng, np.ones_like(seen.target_mask), spec)
        is_masked = ~_allowed(seen.target_mask, decision)
        local = np.where(is_masked, LOCAL, decision)
        amounts = _random_amounts(rng, spec)
        seen, expected = free.step(decision, amounts), tame.step(local, amounts)
        compare(spec.scenario, f"a masked target does not count as target 0 at step {step}", expected, seen, fields)
        given += is_masked.reshape(spec.n_worlds, -1).sum(axis=1)
        n_masked += int(is_masked.sum())
        ended = seen.terminated | seen.truncated
        counted = (seen.final_sums - expected.final_sums)[ended]
        if not np.array_equal(counted[:, refused], given[ended]) or np.delete(counted, refused, axis=1).any():
            raise ConformanceError(
                f"{spec.scenario}: 'refused' counts {counted[:, refused].tolist()} masked decisions, given were "
                f"{given[ended].tolist()}; no other sum may change"
            )
        given[ended] = 0
        if not spec.is_horizon_exact and free.n_ended >= spec.n_worlds:
            break
    return n_masked


def _is_debug(subject: Scenario | WorldFactory) -> bool:
    return isinstance(subject, Scenario) and bool(getattr(subject.params, "debug", False))


def _check_debug(subject: Scenario | WorldFactory, seed: int) -> bool:
    """Check that debug mode refuses the first masked decision; return whether there is such a mode."""
    if not isinstance(subject, Scenario) or not hasattr(subject.params, "debug"):
        return False
    scenario = dataclasses.replace(subject, params=dataclasses.replace(subject.params, debug=True))
    world = make(scenario, 1, seed, FIRST_WORLD_ID)
    spec, out = world.spec, world.outcome()
    world.reset(None, out)
    rng = np.random.default_rng(seed)
    for _ in range(spec.horizon_steps):
        decision = _random_decision(rng, np.ones_like(out.target_mask), spec)
        is_fine = bool(_allowed(out.target_mask, decision).all())
        amounts = _random_amounts(rng, spec)
        try:
            world.step(decision, out, **({} if amounts is None else {"amounts": amounts}))
        except DecisionError:
            if is_fine:
                raise ConformanceError(f"{spec.scenario}: debug mode refused allowed decisions {decision}") from None
            return True
        if not is_fine:
            raise ConformanceError(f"{spec.scenario}: debug mode accepted masked decisions {decision}")
    return False


def _random_decision(rng: np.random.Generator, mask: BOOL, spec: WorldSpec) -> I8:
    """Return allowed targets in the shape that ``step`` expects."""
    n_allowed = mask.sum(axis=2)
    columns = [
        nth_allowed(mask, (rng.random(n_allowed.shape) * n_allowed).astype(np.int64)) for _ in range(spec.n_decisions)
    ]
    return columns[0] if spec.n_decisions == 1 else np.stack(columns, axis=2)


def _random_amounts(rng: np.random.Generator, spec: WorldSpec) -> F8 | None:
    """Return amounts over their whole range, both bounds among them; None where a decision has none."""
    if not spec.n_amounts:
        return None
    unit = rng.uniform(-0.2, 1.2, (spec.n_worlds, spec.n_agents, spec.n_amounts)).clip(0.0, 1.0)
    return np.clip(spec.amount_low + (spec.amount_high - spec.amount_low) * unit, spec.amount_low, spec.amount_high)


def _allowed(mask: BOOL, decision: I8) -> BOOL:
    """Return which decisions are allowed, in the shape of the decisions."""
    targets = decision.reshape(*mask.shape[:2], -1)
    return np.take_along_axis(mask, targets, axis=2).reshape(decision.shape)
