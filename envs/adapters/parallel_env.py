"""One world as a PettingZoo ParallelEnv, for libraries that speak it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from envs.adapters.decisions import Decision, agent_space, parse
from envs.adapters.session import RENDER_FPS, RENDER_MODES, Session
from envs.arrays import BOOL, F4
from envs.constants import OBSERVATION_LIMIT
from envs.errors import DecisionError
from envs.scenario import Scenario

_Observation = dict[str, Any]  # {"observation": (F,) float32, "action_mask": see ParallelWorld}


class ParallelWorld(ParallelEnv[str, _Observation, Any]):
    """All agents of one world decide at once; every agent lives to the end of the episode.

    An agent's observation is a dict of ``observation`` (F,) and ``action_mask`` (K,) int8, 1 = allowed. Where an agent
    decides on D > 1 tasks, its action has D entries and the mask is a tuple of D equal masks, as ``sample`` expects.
    Decisions with amounts come with a ``target_mask`` instead. A masked target counts as local, and raises
    DecisionError in the scenario's debug mode. The ``info`` of the last step holds the episode's ``figures``.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "edge_world_v0",
        "render_modes": list(RENDER_MODES),
        "render_fps": RENDER_FPS,
        "is_parallelizable": True,
    }

    def __init__(
        self, scenario: Scenario, seed: int = 0, first_world_id: int = 0, render_mode: str | None = None
    ) -> None:
        """Make the world; without a seed, ``reset`` begins with the episode of this seed and world id."""
        self._session = Session(scenario, 1, seed, first_world_id, render_mode)
        spec = self._session.spec
        self.render_mode = render_mode
        self.possible_agents = list(spec.agents)
        self.agents: list[str] = []
        shape = (spec.n_features,)
        limit, n_decisions = OBSERVATION_LIMIT, spec.n_decisions
        # an "action_mask" is what an action space samples with, and this one says nothing of amounts
        self._mask_key = "target_mask" if spec.n_amounts else "action_mask"
        self.observation_spaces: dict[str, Any] = {}
        self.action_spaces: dict[str, Any] = {}
        for agent in spec.agents:
            mask = spaces.Box(0, 1, (spec.n_targets,), np.int8)
            self.observation_spaces[agent] = spaces.Dict(
                {
                    "observation": spaces.Box(-limit, limit, shape, np.float32),
                    self._mask_key: mask if n_decisions == 1 else spaces.Tuple([mask] * n_decisions),
                }
            )
            self.action_spaces[agent] = agent_space(spec)
        self.state_space = spaces.Box(-limit, limit, (spec.sizes()["S"],), np.float32)
        self._state: F4 = np.zeros(self.state_space.shape, np.float32)

    def observation_space(self, agent: str) -> Any:
        """Return the space of an agent's observations; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Return the space of an agent's decisions; always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, _Observation], dict[str, dict[str, Any]]]:
        """Begin an episode: under a seed always the same one, without a seed one that has not been played."""
        self._session.begin(seed)
        self.agents = list(self.possible_agents)
        out = self._session.out
        self._state = out.state[0].copy()
        return self._observations(out.observation[0], out.target_mask[0]), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, _Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Advance the world by one step; every living agent decides."""
        if set(actions) != set(self.agents):
            odd = sorted(set(actions) ^ set(self.agents))
            hint = "" if self.agents else "; the episode is over, call reset"
            raise DecisionError(f"decisions are expected of the living agents and of no other: {', '.join(odd)}{hint}")
        if not actions:
            return {}, {}, {}, {}, {}
        session = self._session
        session.step(self._joint(actions))
        out, agents = session.out, self.agents
        terminated, truncated = bool(out.terminated[0]), bool(out.truncated[0])
        rewards = {agent: float(reward) for agent, reward in zip(agents, out.reward[0], strict=True)}
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in agents}
        if terminated or truncated:
            figures = session.figures(0)
            infos = {agent: {"figures": figures} for agent in agents}
            observations = self._observations(out.final_observation[0], out.final_target_mask[0])
            self._state = out.final_state[0].copy()
            self.agents = []
        else:
            observations = self._observations(out.observation[0], out.target_mask[0])
            self._state = out.state[0].copy()
        return observations, rewards, dict.fromkeys(agents, terminated), dict.fromkeys(agents, truncated), infos

    def state(self) -> F4:
        """Return the global state (S,) that belongs to the last observations."""
        return self._state.copy()

    def render(self) -> Any:
        """Return a table of the nodes in mode 'ansi', a picture (H, W, 3) of bytes in mode 'rgb_array', else None.

        In mode 'human' a window shows every reset and step by itself.
        """
        return self._session.render(0)

    def close(self) -> None:
        """Close the window, if there is one."""
        self._session.close()

    def _joint(self, actions: dict[str, Any]) -> Decision:
        spec = self._session.spec
        shape = () if spec.n_decisions == 1 else (spec.n_decisions,)
        parts = [parse(actions[agent], spec, shape, 1, agent) for agent in self.agents]
        amounts = None if not spec.n_amounts else np.stack([part.amounts for part in parts if part.amounts is not None])
        return Decision(np.stack([part.target for part in parts]), amounts)

    def _observations(self, observation: F4, mask: BOOL) -> dict[str, _Observation]:
        rows, masks, n_decisions = observation.copy(), mask.astype(np.int8), self._session.spec.n_decisions
        return {
            agent: {
                "observation": rows[n],
                self._mask_key: masks[n] if n_decisions == 1 else (masks[n],) * n_decisions,
            }
            for n, agent in enumerate(self.possible_agents)
        }
