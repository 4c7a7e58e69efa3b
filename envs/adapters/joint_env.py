"""One world as a Gymnasium Env: a single joint agent sees everything that the agents see, and decides for all."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.adapters.decisions import joint_space, parse
from envs.adapters.session import RENDER_FPS, RENDER_MODES, Session, sum_of_rewards
from envs.arrays import F4
from envs.constants import OBSERVATION_LIMIT
from envs.scenario import Scenario
from envs.world import Outcome, WorldSpec


def joint_spaces(spec: WorldSpec) -> tuple[spaces.Box, Any]:
    """Return the spaces of the joint agent: observations (N * F,) and decisions, agent by agent."""
    limit = OBSERVATION_LIMIT
    observations = spaces.Box(-limit, limit, (spec.n_agents * spec.n_features,), np.float32)
    return observations, joint_space(spec)


def joint_mask(out: Outcome, spec: WorldSpec, b: int | slice) -> Any:
    """Return which targets are allowed, (..., N * D, K) int8, in the order of the joint decisions."""
    return np.repeat(out.target_mask[b], spec.n_decisions, axis=-2).astype(np.int8)


class JointWorld(gym.Env[F4, Any]):
    """The joint agent of one world; its reward is the sum over agents.

    ``info["action_mask"]`` (N * D, K) int8 says what is allowed next; a masked target counts as local. The ``info`` of
    the last step holds the episode's ``figures``.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}

    def __init__(
        self, scenario: Scenario, seed: int = 0, first_world_id: int = 0, render_mode: str | None = None
    ) -> None:
        """Make the world; without a seed, ``reset`` begins with the episode of this seed and world id."""
        self._session = Session(scenario, 1, seed, first_world_id, render_mode)
        self.render_mode = render_mode
        self.observation_space, self.action_space = joint_spaces(self._session.spec)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F4, dict[str, Any]]:
        """Begin an episode: under a seed always the same one, without a seed one that has not been played."""
        super().reset(seed=seed)
        self._session.begin(seed)
        return self._session.out.observation[0].flatten(), self._mask()

    def step(self, action: Any) -> tuple[F4, float, bool, bool, dict[str, Any]]:
        """Advance the world by one step."""
        session = self._session
        shape = (session.spec.n_agents * session.spec.n_decisions,)
        session.step(parse(action, session.spec, shape, session.spec.n_agents, "joint decision"))
        out = session.out
        terminated, truncated = bool(out.terminated[0]), bool(out.truncated[0])
        is_over = terminated or truncated
        seen = out.final_observation if is_over else out.observation
        info = {"figures": session.figures(0)} if is_over else self._mask()
        return seen[0].flatten(), float(sum_of_rewards(out)[0]), terminated, truncated, info

    def render(self) -> Any:
        """Return a table of the nodes in mode 'ansi', a picture (H, W, 3) of bytes in mode 'rgb_array', else None.

        In mode 'human' a window shows every reset and step by itself.
        """
        return self._session.render(0)

    def close(self) -> None:
        """Close the window, if there is one."""
        self._session.close()

    def _mask(self) -> dict[str, Any]:
        return {"action_mask": joint_mask(self._session.out, self._session.spec, 0)}
