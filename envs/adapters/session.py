"""What the adapters share: seeding as Gymnasium and PettingZoo mean it, decisions from outside, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.adapters.decisions import Decision
from envs.arrays import F8, I8
from envs.constants import TIER_NAMES
from envs.errors import ConfigError
from envs.scenario import Scenario, make
from envs.viewer.glimpse import watchable
from envs.viewer.recorder import can_be_watched, new_recorder
from envs.viewer.watcher import Watcher, Window
from envs.world import Outcome, World, WorldSpec

RENDER_MODES = ("human", "ansi", "rgb_array")
BATCH_RENDER_MODES = ("ansi", "rgb_array")  # of many worlds at once
RENDER_FPS = 10


class Session:
    """The worlds of an adapter, and the episodes they are in.

    ``begin(seed)`` makes the worlds anew under that seed. ``begin(None)`` goes on: to the next episode where all worlds
    have just ended theirs, else to the first episodes of worlds with fresh ids, so that no episode is played twice.
    """

    def __init__(
        self,
        scenario: Scenario,
        n_worlds: int,
        seed: int,
        first_world_id: int,
        render_mode: str | None,
        render_modes: tuple[str, ...] = RENDER_MODES,
    ) -> None:
        """Make the worlds; ``begin`` comes first."""
        if render_mode is not None and render_mode not in render_modes:
            raise ConfigError(f"render_mode = {render_mode!r}: expected None or {' or '.join(map(repr, render_modes))}")
        if render_mode is not None:
            scenario = watchable(scenario)
        self._render_mode = render_mode
        self.scenario, self._n_worlds, self._first_world_id = scenario, n_worlds, first_world_id
        self.world: World = make(scenario, n_worlds, seed, first_world_id)
        self.out: Outcome = self.world.outcome()
        self.step_of_episode: I8 = np.zeros(n_worlds, np.int64)
        self._n_begun = 0  # batches of world ids that were used
        self._is_fresh = False  # every world shows the first observation of an episode
        self._watcher: Watcher | None = None
        self._window: Window | None = None
        if render_mode in ("human", "rgb_array"):
            new_recorder(self.world)  # refuses a world that cannot be drawn
        if render_mode == "human":
            self._window = Window(RENDER_FPS)

    @property
    def spec(self) -> WorldSpec:
        """Sizes and names of the worlds."""
        return self.world.spec

    def begin(self, seed: int | None) -> None:
        """Show the first observations of episodes that have not been played."""
        if seed is not None:
            self.world = make(self.scenario, self._n_worlds, seed, self._first_world_id)
            self._n_begun = 0
        if seed is not None or not self._is_fresh:
            first = self._first_world_id + self._n_begun * self._n_worlds
            self.world.reset(np.arange(first, first + self._n_worlds), self.out)
            self._n_begun += 1
        self._is_fresh = False  # a second begin goes on to others
        self.step_of_episode[:] = 0
        self.out.reward[:] = 0.0
        if self._render_mode is not None and can_be_watched(self.world):
            self._watcher = Watcher(self.world)
        self._show()

    def step(self, decision: Decision) -> None:
        """Advance all worlds; targets have any shape of B x N x D entries, amounts of B x N x A."""
        spec = self.spec
        shape = (spec.n_worlds, spec.n_agents, spec.n_decisions)[: 3 if spec.n_decisions > 1 else 2]
        given = np.ascontiguousarray(decision.target, np.int64).reshape(shape)
        if decision.amounts is None:
            self.world.step(given, self.out)
        else:
            self.world.step(given, self.out, decision.amounts.reshape(*shape, spec.n_amounts))
        if self._watcher is not None:
            self._watcher.see(given)
        ended = self.out.terminated | self.out.truncated
        self.step_of_episode += 1
        self.step_of_episode[ended] = 0
        self._is_fresh = bool(ended.all())
        self._show()

    def figures(self, b: int) -> dict[str, float]:
        """Return the figures of the episode that a world has just ended."""
        return self.world.summarise(self.out.final_sums[b])

    def render(self, b: int) -> Any:
        """Return a world as its render mode has it: text, a picture (H, W, 3) of bytes, or None without a mode.

        In mode 'human' the window shows every step by itself, and None is returned.
        """
        if self._render_mode == "ansi":
            return self._text(b)
        if self._render_mode == "rgb_array":
            return self._watching().pixels(b)
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _watching(self) -> Watcher:
        if self._watcher is None:
            raise ConfigError("render: nothing has been played yet; expected a reset before")
        return self._watcher

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._watching().pixels(0))

    def _text(self, b: int) -> str:
        """Return a table of the nodes; of a world without nodes, of what its agents see of themselves."""
        if can_be_watched(self.world):
            return self._watching().text(b, self.out.reward[b].astype(np.float64))
        spec, step = self.spec, int(self.step_of_episode[b])
        own = [name.removeprefix("own/") for name in spec.feature_names[: spec.own_features]]
        head = f"{spec.scenario}: step {step} of {spec.horizon_steps}, {step * spec.step_s:g} s"
        rows = [["agent", "tier", "reward", *own, "targets"]]
        for n, agent in enumerate(spec.agents):
            values = [f"{value:.2f}" for value in self.out.observation[b, n, : spec.own_features]]
            targets = " ".join(map(str, np.flatnonzero(self.out.target_mask[b, n])))
            rows.append([agent, TIER_NAMES[spec.agent_tier[n]], f"{self.out.reward[b, n]:.2f}", *values, targets])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([head, *lines]) + "\n"


def sum_of_rewards(out: Outcome) -> F8:
    """Return the reward (B,) of the joint agent: the sum over agents."""
    return out.reward.sum(axis=1, dtype=np.float64)
