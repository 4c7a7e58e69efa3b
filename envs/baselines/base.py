"""What a rule is, and how it is played on a batch of worlds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8, allocate
from envs.baselines.draws import RuleDraws
from envs.errors import ConfigError
from envs.world import Outcome, World, WorldSpec


class Choice(NamedTuple):
    """What a rule decides where a task can be split; ``World.encode`` makes the world's own decision of it."""

    target: Annotated[I8, "B N", "index in the view's list of targets, 0 for the own node"]
    share: Annotated[F8, "B N", "part of the task's work that goes to the target, in [0, 1]"] | None  # None: all of it


class Rule(ABC):
    """A decision without learning. Subclasses are frozen dataclasses whose fields are the yaml keys, without defaults.

    A rule is a pure function: it changes neither the view nor the draws, and what it decides for a world does not
    depend on the other worlds of the batch.
    """

    worlds: ClassVar[tuple[str, ...]] = ("fog",)  # names of the worlds whose view the rule reads

    @abstractmethod
    def decide(self, view: Any, step: int, draws: RuleDraws) -> I8 | Choice:
        """Return the target of each agent's next task, (B, N), or a Choice; 0 (local) for agents without a task.

        ``view`` is what ``World.view`` returns. ``step`` counts the steps that the rule has played; it goes on across
        episodes.
        """


class Player:
    """A rule at the controls of a batch of worlds: it counts the steps and fits decisions to ``World.step``.

    Where an agent decides on D > 1 tasks at once, all of them go to the target that the rule chose for the first:
    the view describes that one, and the tasks behind it would meet about the same.
    """

    def __init__(self, rule: Rule, spec: WorldSpec, world_ids: Sequence[int] | I8, seed: int) -> None:
        """Begin at step 0; ``world_ids`` (B,) are those of the worlds."""
        if len(world_ids) != spec.n_worlds:
            raise ConfigError(f"a player of {spec.n_worlds} worlds got {len(world_ids)} world ids")
        self.rule = rule
        self._seed, self._world_ids = seed, world_ids
        self._draws: RuleDraws | None = None  # made for as many as the first view shows: an agent may decide for many
        self._step = 0
        self._n_decisions = spec.n_decisions
        self._n_turns, self._turn = spec.n_turns, 0
        self._chosen: Choice | None = None

    def choose(self, view: Any) -> Choice:
        """Return what the rule chooses in this step, and count the step; steps that take turns are one to the rule."""
        if self._chosen is None or self._turn == 0:
            self._chosen = self._decide(view)
        self._turn = (self._turn + 1) % self._n_turns
        return self._chosen

    def _decide(self, view: Any) -> Choice:
        if self._draws is None:
            self._draws = RuleDraws(self._seed, self._world_ids, view.has_task.shape[1])
        chosen = self.rule.decide(view, self._step, self._draws)
        self._step += 1
        self._draws.turns += view.has_task
        return chosen if isinstance(chosen, Choice) else Choice(chosen, None)

    def decide(self, view: Any) -> I8:
        """Return the decisions of this step where they are targets alone, (B, N), or (B, N, D) for D > 1."""
        decision = self.choose(view).target
        if self._n_decisions == 1:
            return decision
        return np.repeat(decision[:, :, None], self._n_decisions, axis=2)

    def step(self, world: World, out: Outcome) -> None:
        """Play one step of the worlds."""
        view = look(world)
        if hasattr(world, "encode"):
            decision, amounts = world.encode(self.choose(view))
            world.step(decision, out, amounts)
        else:
            world.step(self.decide(view), out)


class Played(NamedTuple):
    """The first episode of each world under a rule."""

    sums: Annotated[F8, "B G", "metric sums of the episode"]
    returns: Annotated[F8, "B N", "undiscounted sum of rewards"]


def play(world: World, rule: Rule, world_ids: Sequence[int] | I8, seed: int = 0) -> Played:
    """Reset the worlds to these ids and play their first episodes to the end; the world must have a ``view()``."""
    spec, out = world.spec, world.outcome()
    world.reset(world_ids, out)
    player = Player(rule, spec, world_ids, seed)
    played = allocate(Played, spec.sizes())
    is_running = np.ones(spec.n_worlds, np.bool_)
    for _ in range(spec.horizon_steps):
        player.step(world, out)
        played.returns[is_running] += out.reward[is_running]
        has_ended = is_running & (out.terminated | out.truncated)
        played.sums[has_ended] = out.final_sums[has_ended]
        is_running &= ~has_ended
        if not is_running.any():
            return played
    raise RuntimeError(f"{spec.scenario}: a world did not end within its horizon of {spec.horizon_steps} steps")


def look(world: World) -> Any:
    """Return what rules may know of a world; the next look overwrites it."""
    if not hasattr(world, "view"):
        raise ConfigError(f"{type(world).__name__} has no view(): rules cannot be played on it")
    return world.view()


def least(cost: F8, mask: BOOL) -> I8:
    """Return the allowed target of least cost, (B, N); of equals the first, so local before the others."""
    return np.where(mask, cost, np.inf).argmin(axis=2)


def nth_allowed(mask: BOOL, number: I8) -> I8:
    """Return the allowed target number 0, 1, ... of each agent, (B, N)."""
    return (mask.cumsum(axis=2) > number[:, :, None]).argmax(axis=2)
