"""Which module decides for which agent, and the spaces that RLlib knows them by."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from envs.adapters.decisions import agent_space
from envs.arrays import I8
from envs.constants import TIER_NAMES
from envs.errors import ConfigError
from envs.world import WorldSpec

SHARINGS = ("shared", "per_tier", "per_agent")


@dataclass(frozen=True)
class AgentMapping:
    """A fixed mapping from agents to modules; callable as RLlib's ``policy_mapping_fn``."""

    module_of: dict[str, str]

    def __call__(self, agent_id: Hashable, episode: Any = None, **kwargs: Any) -> str:
        """Return the module that decides for an agent."""
        return self.module_of[str(agent_id)]

    def module_ids(self) -> list[str]:
        """Return the modules in order of their first agent."""
        return list(dict.fromkeys(self.module_of.values()))


def agent_mapping(spec: WorldSpec, sharing: str) -> AgentMapping:
    """Return the mapping of a world's agents: one module for all, one a tier, or one an agent."""
    if sharing == "shared":
        return AgentMapping(dict.fromkeys(spec.agents, "shared"))
    if sharing == "per_tier":
        tiers = (TIER_NAMES[tier] for tier in spec.agent_tier)
        return AgentMapping(dict(zip(spec.agents, tiers, strict=True)))
    if sharing == "per_agent":
        return AgentMapping({agent: agent for agent in spec.agents})
    raise ConfigError(f"module_sharing = {sharing!r}: expected one of {', '.join(SHARINGS)}")


def groups(spec: WorldSpec, mapping: Any) -> dict[str, I8]:
    """Return the agents' indices of each module, from any ``policy_mapping_fn``; the episode argument is None."""
    members: dict[str, list[int]] = {}
    for index, agent in enumerate(spec.agents):
        members.setdefault(str(mapping(agent, None)), []).append(index)
    return {module_id: np.asarray(indices, np.int64) for module_id, indices in members.items()}


def as_slice(indices: I8) -> slice | I8:
    """Return neighbouring indices as a slice, which makes views instead of copies."""
    begin, end = int(indices[0]), int(indices[-1]) + 1
    return slice(begin, end) if end - begin == len(indices) else indices


def agent_spaces(spec: WorldSpec, with_state: bool) -> tuple[gym.spaces.Dict, gym.Space[Any]]:
    """Return the observation and action space of one agent; the observation holds the mask beside the features."""
    parts: dict[str, gym.Space[Any]] = {
        "obs": gym.spaces.Box(-np.inf, np.inf, (spec.n_features,), np.float32),
        "action_mask": gym.spaces.MultiBinary(spec.n_targets),
    }
    if with_state:
        parts["state"] = gym.spaces.Box(-np.inf, np.inf, (spec.n_state,), np.float32)
    return gym.spaces.Dict(parts), agent_space(spec)
