"""World ``matching``: the observation shows which target pays; the smallest world on which learning can be checked.

Each agent sees K targets, one of which pays 1 for a decision; the others pay 0. Some targets are masked, and in some
steps an agent has nothing to decide. The best policy is known, and so is its reward. With ``lag_steps`` the paying
target is shown that many steps early and the observation at the decision is silent: then a policy needs memory. With
``n_amounts`` an agent also names that many numbers, which the observation shows: the reward for the paying target is 1
less their mean distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.arrays import BOOL, F8, I8, check_entries, check_key, check_saved
from envs.constants import LOCAL, PADDING
from envs.errors import ConfigError, DecisionError
from envs.metrics import Metric
from envs.rng import Draws, key_from_seed
from envs.world import Outcome, World, WorldSpec

OWN_FEATURES = ("has_task", "step_frac")
TARGET_FEATURES = ("pays", "allowed")
SUMS = ("steps", "decisions", "paid", "refused")
_ARRAYS = ("_ids", "_episode", "_step", "_pays", "_allowed", "_wished", "_sums")
STREAM_PAYS, STREAM_ALLOWED, STREAM_TASK, STREAM_WISHED = 0, 1, 2, 3


@dataclass(frozen=True)
class MatchingParams:
    """Sizes and chances of the matching world."""

    n_agents: int  # agents of a world
    n_targets: int  # targets of an agent, its own node included; at least 2
    horizon_steps: int  # steps until the episode is truncated
    task_prob: float  # chance that an agent has something to decide in a step
    allowed_prob: float  # chance that a target that does not pay is allowed
    lag_steps: int  # steps between showing the paying target and the decision, 0 or more
    n_amounts: int  # numbers in [0, 1] that an agent names beside its target

    def __post_init__(self) -> None:
        if self.n_agents < 1 or self.n_targets < 2 or self.horizon_steps < 1 or min(self.lag_steps, self.n_amounts) < 0:
            raise ConfigError(f"matching: sizes out of range in {self}")
        for name in ("task_prob", "allowed_prob"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"matching: {name} = {getattr(self, name)}: expected a value in [0, 1]")


class MatchingWorld(World):
    """B matching worlds; every random number of an episode is drawn at its start."""

    def __init__(self, scenario: Any, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Take ``scenario.params``; network and workload play no part."""
        params: MatchingParams = scenario.params
        self.params = params
        self.spec = _spec(scenario.name, params, n_worlds)
        self.is_strict = False  # refuse masked decisions with an error, else count them
        self._key = key_from_seed(seed, "matching")
        n_agents, n_targets, n_shown = params.n_agents, params.n_targets, params.horizon_steps + 1
        self._ids: I8 = np.arange(first_world_id, first_world_id + n_worlds, dtype=np.int64)
        self._episode: I8 = np.zeros(n_worlds, np.int64)
        self._step: I8 = np.zeros(n_worlds, np.int64)
        self._pays: I8 = np.zeros((n_worlds, n_shown + params.lag_steps, n_agents), np.int64)
        self._allowed: BOOL = np.zeros((n_worlds, n_shown, n_agents, n_targets), np.bool_)
        self._wished: F8 = np.zeros((n_worlds, n_shown, n_agents, params.n_amounts))
        self._sums: F8 = np.zeros((n_worlds, len(SUMS)))

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world."""
        if world_ids is not None:
            self._ids[:] = world_ids
        self._episode[:] = 0
        for b in range(self.spec.n_worlds):
            self._begin(b)
        out.clear_endings()
        self._observe(out)

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Pay the agents that chose the paying target."""
        self.check_decision(decision, amounts)
        worlds = np.arange(self.spec.n_worlds)
        allowed = self._allowed[worlds, self._step]
        refused = ~np.take_along_axis(allowed, decision[:, :, None], 2)[:, :, 0]
        if self.is_strict and refused.any():
            b, n = np.argwhere(refused)[0]
            raise DecisionError(f"matching: agent {n} of world {b} chose target {decision[b, n]}, which is masked")
        has_task = allowed[:, :, 1:].any(-1)
        is_paid = has_task & (np.where(refused, LOCAL, decision) == self._pays[worlds, self._step])
        paid = is_paid.astype(np.float64)
        if amounts is not None:
            paid *= 1.0 - np.abs(amounts - self._wished[worlds, self._step]).mean(-1)
        out.reward[:] = paid
        counts = (np.ones_like(has_task), has_task, paid, refused)
        self._sums += np.stack([count.sum(1) for count in counts], 1)
        self._step += 1
        out.terminated[:] = False
        out.truncated[:] = self._step >= self.params.horizon_steps
        if out.truncated.any():
            ended = np.flatnonzero(out.truncated)
            observation, state, mask = self._seen(ended)
            out.final_observation[ended], out.final_state[ended] = observation, state
            out.final_target_mask[ended] = mask
            out.final_sums[ended] = self._sums[ended]
            for b in ended:
                self._episode[b] += 1
                self._begin(int(b))
        self._observe(out)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state."""
        return {"key": self._key, "arrays": {name: getattr(self, name).copy() for name in _ARRAYS}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        label = f"snapshot of {self.spec.scenario}"
        check_entries(snapshot, ("key", "arrays"), label)
        check_key(snapshot["key"], label)
        check_saved(snapshot["arrays"], {name: getattr(self, name) for name in _ARRAYS}, label)
        self._key = snapshot["key"]
        for name, array in snapshot["arrays"].items():
            getattr(self, name)[...] = array

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the share of decisions that were paid."""
        totals = dict(zip(SUMS, sums, strict=True))
        return {"paid_frac": float(totals["paid"] / totals["decisions"]) if totals["decisions"] else float("nan")}

    def _begin(self, b: int) -> None:
        """Draw an episode of world b."""
        params, draws = self.params, Draws(self._key, int(self._ids[b]), int(self._episode[b]))
        n_shown, n_agents, n_targets = len(self._allowed[b]), params.n_agents, params.n_targets
        pays = draws.uniform(STREAM_PAYS, self._pays[b].size).reshape(self._pays[b].shape)
        self._pays[b] = (pays * n_targets).astype(np.int64)
        chances = draws.uniform(STREAM_ALLOWED, n_shown * n_agents * n_targets).reshape(n_shown, n_agents, n_targets)
        has_task = draws.uniform(STREAM_TASK, n_shown * n_agents).reshape(n_shown, n_agents) < params.task_prob
        pays_now = np.arange(n_targets) == self._pays[b, :n_shown, :, None]
        allowed = (chances < params.allowed_prob) | pays_now
        allowed[:, :, 1] |= ~allowed[:, :, 1:].any(-1)  # with a task there is a choice
        self._allowed[b] = allowed & has_task[:, :, None]
        self._allowed[b, :, :, 0] = True
        wished = draws.uniform(STREAM_WISHED, self._wished[b].size)
        self._wished[b] = wished.reshape(self._wished[b].shape)
        self._step[b] = 0
        self._sums[b] = 0.0

    def _seen(self, worlds: I8) -> tuple[Any, Any, Any]:
        params, step = self.params, self._step[worlds]
        allowed = self._allowed[worlds, step]
        shown = np.arange(params.n_targets) == self._pays[worlds, step + params.lag_steps][:, :, None]
        own = np.stack(np.broadcast_arrays(allowed[:, :, 1:].any(-1), (step / params.horizon_steps)[:, None]), -1)
        own = np.concatenate((own, self._wished[worlds, step]), -1)
        targets = np.stack((shown, allowed), -1).reshape(len(worlds), params.n_agents, -1)
        return np.concatenate((own, targets), -1), shown.reshape(len(worlds), -1), allowed

    def _observe(self, out: Outcome) -> None:
        worlds = np.arange(self.spec.n_worlds)
        out.observation[:], out.state[:], out.target_mask[:] = self._seen(worlds)


def _spec(name: str, params: MatchingParams, n_worlds: int) -> WorldSpec:
    n_agents, n_targets = params.n_agents, params.n_targets
    own = OWN_FEATURES + tuple(f"wished_{a}" for a in range(params.n_amounts))
    features = own + tuple(f"{feature}_{k}" for k in range(n_targets) for feature in TARGET_FEATURES)
    target_node = np.full((n_agents, n_targets), PADDING, np.int64)
    target_node[:, 0] = np.arange(n_agents)
    return WorldSpec(
        scenario=name,
        n_worlds=n_worlds,
        n_agents=n_agents,
        n_targets=n_targets,
        n_features=len(features),
        n_state=n_agents * n_targets,
        n_decisions=1,
        horizon_steps=params.horizon_steps,
        step_s=1.0,
        agents=tuple(f"agent_{n}" for n in range(n_agents)),
        agent_tier=np.arange(n_agents) % 2,  # tiers are only names here
        target_node=target_node,
        own_features=len(own),
        target_features=len(TARGET_FEATURES),
        feature_names=features,
        sum_names=SUMS,
        metrics=(Metric("paid_frac", "", "decisions", "mean reward of a decision, at most 1", "high"),),
        n_amounts=params.n_amounts,
        amount_names=tuple(f"number_{a}" for a in range(params.n_amounts)),
    )
