"""One world as an RLlib MultiAgentEnv: the door for stock runners, connectors and algorithms.

The batched runner does not use it. It is the reference that the batched path is tested against.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from edge_rllib.runners.agents import agent_spaces
from envs.arrays import BOOL, F4
from envs.scenario import make

_COPIES_MADE = "copies_made"

Dicts = tuple[dict[str, Any], dict[str, Any]]


class EdgeMultiAgentEnv(MultiAgentEnv):
    """A batch of one world; ``config`` is the ``env_config`` of the batched runner."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build the world; the B copies of runner w > 0 have the ids first_world_id + (w - 1) * B and following.

        RLlib hands one and the same context to all copies of a runner, so they are counted on it.
        """
        super().__init__()
        runner = max(getattr(config, "worker_index", 0) or 0, 1) - 1
        n_copies = config.get("worlds_of_runner", 1)
        copy = config.get(_COPIES_MADE, 0)
        config[_COPIES_MADE] = copy + 1
        world_id = config["first_world_id"] + runner * n_copies + copy % n_copies
        self.world = make(config["scenario"], 1, config["seed"], world_id)
        spec = self.world.spec
        self.with_state = bool(config["with_state"])
        self.agents = self.possible_agents = list(spec.agents)
        observation_space, action_space = agent_spaces(spec, self.with_state)
        self.observation_spaces = dict.fromkeys(spec.agents, observation_space)
        self.action_spaces = dict.fromkeys(spec.agents, action_space)
        self._out = self.world.outcome()

        self._is_begun = False  # the world has reset itself, or was never reset

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Dicts:
        """Return the first observations of an episode; seeds come from the config, ``seed`` is ignored.

        After an ending the world has begun its next episode already; in the middle of one it starts from its first.
        """
        if not self._is_begun:
            self.world.reset(None, self._out)
        self._is_begun = False
        return self._observations(self._out.observation[0], self._out.target_mask[0], self._out.state[0]), {}

    def step(self, action_dict: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Advance the world by the decisions of all agents."""
        decision = np.array([[int(action_dict[agent]) for agent in self.possible_agents]], np.int64)
        out = self._out
        self.world.step(decision, out)
        terminated, truncated = bool(out.terminated[0]), bool(out.truncated[0])
        self._is_begun = terminated or truncated
        seen: tuple[F4, BOOL, F4] = (out.observation[0], out.target_mask[0], out.state[0])
        if self._is_begun:
            seen = (out.final_observation[0], out.final_target_mask[0], out.final_state[0])
        rewards = {agent: float(out.reward[0, n]) for n, agent in enumerate(self.possible_agents)}
        return self._observations(*seen), rewards, {"__all__": terminated}, {"__all__": truncated}, {}

    def _observations(self, observation: F4, mask: BOOL, state: F4) -> dict[str, Any]:
        parts = {}
        for n, agent in enumerate(self.possible_agents):
            parts[agent] = {"obs": observation[n].copy(), "action_mask": mask[n].astype(np.int8)}
            if self.with_state:
                parts[agent]["state"] = state.copy()
        return parts
