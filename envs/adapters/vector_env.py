"""A batch of worlds as a Gymnasium VectorEnv, for single-agent libraries: one joint agent a world."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.adapters.decisions import parse
from envs.adapters.joint_env import joint_mask, joint_spaces
from envs.adapters.session import BATCH_RENDER_MODES, RENDER_FPS, Session, sum_of_rewards
from envs.arrays import BOOL, F4, F8
from envs.errors import ConfigError
from envs.scenario import Scenario


class VectorWorlds(VectorEnv[F4, Any, F8]):
    """The joint agents of B worlds; see JointWorld. Worlds that end begin their next episode in the same step.

    ``infos["action_mask"]`` is (B, N * D, K) int8. Of worlds that ended, ``infos["final_obs"]`` holds the last
    observations and ``infos["final_info"]["figures"]`` the figures, with masks ``_final_obs`` and ``_final_info``.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": list(BATCH_RENDER_MODES),
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self, scenario: Scenario, num_envs: int, seed: int = 0, first_world_id: int = 0, render_mode: str | None = None
    ) -> None:
        """Make the worlds; without a seed, ``reset`` begins with the episodes of this seed and these world ids."""
        self._session = Session(scenario, num_envs, seed, first_world_id, render_mode, BATCH_RENDER_MODES)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = joint_spaces(self._session.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F4, dict[str, Any]]:
        """Begin an episode in every world: under a seed always the same, without a seed ones not played before."""
        if options and "reset_mask" in options:
            raise ConfigError("reset_mask: worlds that end are reset in the same step; single ones cannot be reset")
        super().reset(seed=seed)
        self._session.begin(seed)
        return self._observation(), self._infos()

    def step(self, actions: Any) -> tuple[F4, F8, BOOL, BOOL, dict[str, Any]]:
        """Advance every world by one step."""
        session = self._session
        spec = session.spec
        shape = (self.num_envs, spec.n_agents * spec.n_decisions)
        session.step(parse(actions, spec, shape, spec.n_agents, "joint decisions"))
        out = session.out
        infos = self._infos()
        for b in np.flatnonzero(out.terminated | out.truncated):
            last = {"final_obs": out.final_observation[b].flatten(), "final_info": {"figures": session.figures(int(b))}}
            infos = self._add_info(infos, last, int(b))
        return self._observation(), sum_of_rewards(out), out.terminated.copy(), out.truncated.copy(), infos

    def render(self) -> tuple[Any, ...] | None:
        """Return of each world a table of the nodes in mode 'ansi', a picture (H, W, 3) of bytes in 'rgb_array'."""
        return None if self.render_mode is None else tuple(self._session.render(b) for b in range(self.num_envs))

    def _observation(self) -> F4:
        return self._session.out.observation.reshape(self.num_envs, -1).copy()

    def _infos(self) -> dict[str, Any]:
        mask = joint_mask(self._session.out, self._session.spec, slice(None))
        return {"action_mask": mask, "_action_mask": np.ones(self.num_envs, np.bool_)}
