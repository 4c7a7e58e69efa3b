"""Multi-agent reinforcement learning for task offloading at the edge, on Ray RLlib."""

from __future__ import annotations

from edge_rllib.guard import check_envs

check_envs()
