"""Multi-agent PPO: the policy sees its own observation, the critic the global state beside it.

[Yu et al., The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games, 2022]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ray.rllib.algorithms.ppo import PPO

from edge_rllib.algorithms.ippo import IppoConfig, IppoParams
from edge_rllib.algorithms.on_policy import OnPolicy


class MappoConfig(IppoConfig):
    """The config of PPO with a central critic."""

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from ``MappoParams``."""
        super().__init__(algo_class=algo_class or Mappo)


class Mappo(OnPolicy, PPO):
    """PPO with a critic that exists on learners only and sees the global state."""

    @classmethod
    def get_default_config(cls) -> MappoConfig:
        """Return the config's defaults."""
        return MappoConfig()


@dataclass(frozen=True)
class MappoParams(IppoParams):
    """Values of PPO; the critic is central."""

    is_central: ClassVar[bool] = True

    def empty_config(self) -> Any:
        """Return a config of the algorithm's own class."""
        return MappoConfig()
