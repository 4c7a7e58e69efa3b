"""World ``lunar_lander``: a lander has to come to rest on the moon, as in LunarLander-v3 of Gymnasium; no offloading.

Published methods of federated policy gradients are compared on it. One agent does nothing (target 0) or fires its left,
main or right engine. Each of B worlds is an instance of Gymnasium's own class, so that physics, chance and rewards are
Gymnasium's to the last bit; a step allocates what that class allocates. Coming to rest pays 100 and a crash, or leaving
the sides, costs 100: both terminate. Clients of different kinds have moons of other gravity and wind.

Box2D has no state that could be written down. A snapshot holds the decisions of the episode, and restoring plays them
again, from the episode's seed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from gymnasium.error import DependencyNotInstalled

from envs.arrays import F8, I8, allocate, check_entries, check_key, check_saved
from envs.constants import PADDING
from envs.errors import ConfigError, DecisionError
from envs.metrics import Metric
from envs.rng import key_from_seed
from envs.world import Outcome, World, WorldSpec

STEP_S = 0.02
ENGINES = ("none", "left", "main", "right")
FEATURES = ("x", "y", "x_speed", "y_speed", "angle", "turning_speed", "left_leg_touches", "right_leg_touches")
# What Gymnasium's features are divided by; what is beyond is cut off. The sides are at x = 1; a fall from the start
# that is not braked ends at a speed of 1.9.
LARGEST = (1.0, 2.0, 2.5, 2.5, math.pi, 2.5, 1.0, 1.0)
SUMS = ("episodes", "steps", "reward", "landed", "refused")  # nothing is masked, so nothing is refused
MOST_GRAVITY, MOST_WIND, MOST_TURBULENCE = 12.0, 20.0, 2.0  # of Gymnasium


@dataclass(frozen=True)
class LunarLanderParams:
    """The moon that is landed on."""

    horizon_slots: int  # after so many the episode is truncated
    gravity_m_per_s2: float  # above 0 and below 12
    wind_power: float  # 0 to 20, of the force to the sides while no leg touches the ground; 0 for none
    turbulence_power: float  # 0 to 2, of the torque likewise

    def __post_init__(self) -> None:
        if self.horizon_slots < 1:
            raise ConfigError(f"lunar_lander: horizon_slots = {self.horizon_slots}: expected 1 or more")
        if not 0.0 < self.gravity_m_per_s2 < MOST_GRAVITY:
            raise ConfigError(
                f"lunar_lander: gravity_m_per_s2 = {self.gravity_m_per_s2}: expected a number above 0 and below "
                f"{MOST_GRAVITY:g}"
            )
        for name, most in (("wind_power", MOST_WIND), ("turbulence_power", MOST_TURBULENCE)):
            if not 0.0 <= getattr(self, name) <= most:
                raise ConfigError(f"lunar_lander: {name} = {getattr(self, name)}: expected a number in [0, {most:g}]")


class LunarLanderState(NamedTuple):
    """Everything that the future depends on."""

    world_id: Annotated[I8, "B", "name of the random stream"]
    episode: Annotated[I8, "B", "episodes begun before this one"]
    step: Annotated[I8, "B", "steps played in the episode"]
    decisions: Annotated[I8, "B T", "of the episode; behind step those of older ones"]
    sums: Annotated[F8, "B G", "metric sums of the episode"]


class LunarLanderWorld(World):
    """B landers."""

    def __init__(self, scenario: Any, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Take ``scenario.params``; network and workload play no part. Without Box2D it raises ConfigError."""
        params: LunarLanderParams = scenario.params
        self.params = params
        self.spec = _spec(scenario.name, params, n_worlds)
        self._key = key_from_seed(seed, "lunar_lander")
        sizes = {"B": n_worlds, "T": params.horizon_slots, "G": len(SUMS)}
        self.state: LunarLanderState = allocate(LunarLanderState, sizes)
        self.state.world_id[:] = first_world_id + np.arange(n_worlds)
        self._seen: F8 = np.zeros((n_worlds, len(FEATURES)))  # in Gymnasium's units
        self._landers = [_lander(params) for _ in range(n_worlds)]

    def episode_seed(self, b: int) -> int:
        """Return what Gymnasium's lander is seeded with in the present episode of world ``b``."""
        return int(self.state.episode[b]) << 96 | int(self.state.world_id[b]) << 64 | int(self._key)

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world."""
        if world_ids is not None:
            self.state.world_id[:] = world_ids
        self.state.episode[:] = 0
        for b in range(self.spec.n_worlds):
            self._begin(b)
        out.clear_endings()
        self._observe(out)

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Fire every lander's engine; see World.step. A target out of range raises DecisionError: none is masked."""
        self.check_decision(decision, amounts)
        if decision.min() < 0 or decision.max() >= len(ENGINES):
            b = int(np.flatnonzero((decision[:, 0] < 0) | (decision[:, 0] >= len(ENGINES)))[0])
            raise DecisionError(
                f"world {b}, agent 'lander': target {decision[b, 0]} is none; expected 0 (none), 1 (left), 2 (main) or "
                "3 (right engine)"
            )
        out.clear_endings()
        is_left_out = self.unwatched
        for b, engine in enumerate(decision[:, 0].tolist()):
            if is_left_out is None or not is_left_out[b]:
                self._fly(b, engine, out)
        self._observe(out)
        ended = np.flatnonzero(out.terminated | out.truncated)
        if len(ended):
            for b in ended.tolist():
                out.keep_last(b, self.state.sums[b])
                self.state.episode[b] += 1
                self._begin(b)
            self._observe(out)

    def _begin(self, b: int) -> None:
        """Start an episode of world ``b``."""
        self._seen[b], _ = self._landers[b].reset(seed=self.episode_seed(b))
        self.state.step[b] = 0
        self.state.sums[b] = 0.0

    def _fly(self, b: int, engine: int, out: Outcome) -> None:
        """Play a step of world ``b``, with the last of an episode what becomes of it."""
        state, lander = self.state, self._landers[b]
        self._seen[b], reward, has_ended, _, _ = lander.step(engine)
        step = int(state.step[b])
        state.decisions[b, step] = engine
        state.step[b] = step + 1
        out.reward[b, 0] = reward
        out.terminated[b] = has_ended
        out.truncated[b] = not has_ended and step + 1 == self.params.horizon_slots
        has_landed = has_ended and not lander.lander.awake
        state.sums[b] = (1.0, step + 1, state.sums[b, 2] + reward, has_landed, 0.0)

    def _observe(self, out: Outcome) -> None:
        """Show what is seen, scaled."""
        np.divide(self._seen, LARGEST, out=out.state, casting="same_kind")
        out.state.clip(-1.0, 1.0, out=out.state)
        out.observation[:, 0] = out.state
        out.target_mask[:] = True

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state."""
        return {"key": self._key, "state": {name: array.copy() for name, array in self.state._asdict().items()}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot: the episodes' decisions are played again."""
        label = f"snapshot of {self.spec.scenario}"
        check_entries(snapshot, ("key", "state"), label)
        check_key(snapshot["key"], label)
        check_saved(snapshot["state"], self.state._asdict(), label)
        step, decisions = snapshot["state"]["step"], snapshot["state"]["decisions"]
        if step.min() < 0 or step.max() >= self.params.horizon_slots:
            raise ConfigError(f"{label}: step is {step.tolist()}; expected numbers below {self.params.horizon_slots}")
        if decisions.min() < 0 or decisions.max() >= len(ENGINES):
            raise ConfigError(f"{label}: decisions from {decisions.min()} to {decisions.max()}; expected 0 to 3")
        self._key = snapshot["key"]
        for name, array in snapshot["state"].items():
            getattr(self.state, name)[...] = array
        for b, lander in enumerate(self._landers):
            lander.reset(seed=self.episode_seed(b))
            for engine in decisions[b, : step[b]].tolist():
                lander.step(engine)

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return means over episodes."""
        n_episodes, steps, reward, landed, _ = sums.tolist()
        totals = {"flown_steps_mean": steps, "landed_frac": landed, "return_mean": reward}
        return {name: total / n_episodes if n_episodes else float("nan") for name, total in totals.items()}


def _lander(params: LunarLanderParams) -> Any:
    """Return one of Gymnasium's landers."""
    has_wind = params.wind_power > 0.0 or params.turbulence_power > 0.0
    return _lander_class()(
        gravity=-params.gravity_m_per_s2,
        enable_wind=has_wind,
        wind_power=params.wind_power,
        turbulence_power=params.turbulence_power,
    )


def _lander_class() -> Any:
    """Return Gymnasium's class, which needs Box2D and pygame, although nothing is drawn."""
    try:
        with warnings.catch_warnings():
            # Types that SWIG makes have no module; a filter that raises ends the process while Box2D is loaded.
            warnings.filterwarnings("ignore", r"builtin type \w+ has no __module__ attribute", DeprecationWarning)
            from gymnasium.envs.box2d.lunar_lander import LunarLander
    except (ImportError, DependencyNotInstalled) as error:
        raise ConfigError(
            f'world lunar_lander needs Box2D and pygame: {error}; `pip install "edge-rllib[lunar]"`'
        ) from error
    return LunarLander


def _spec(name: str, params: LunarLanderParams, n_worlds: int) -> WorldSpec:
    return WorldSpec(
        scenario=name,
        n_worlds=n_worlds,
        n_agents=1,
        n_targets=len(ENGINES),
        n_features=len(FEATURES),
        n_state=len(FEATURES),
        n_decisions=1,
        horizon_steps=params.horizon_slots,
        step_s=STEP_S,
        agents=("lander",),
        agent_tier=np.zeros(1, np.int64),
        target_node=np.array([[0, PADDING, PADDING, PADDING]]),
        own_features=len(FEATURES),
        target_features=0,
        feature_names=FEATURES,
        sum_names=SUMS,
        metrics=(
            Metric("return_mean", "1", "episodes", "mean sum of an episode's rewards", "high"),
            Metric("landed_frac", "1", "episodes", "came to rest without a crash", "high"),
            Metric("flown_steps_mean", "steps", "episodes", "mean length of an episode", ""),
        ),
        is_horizon_exact=True,
    )
