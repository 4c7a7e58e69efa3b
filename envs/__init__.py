"""Worlds of computation offloading: batched simulators on NumPy arrays, which know neither Ray nor torch.

Names are loaded when they are used: importing this package compiles nothing and loads no kernel.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.registry import register
    from envs.scenario import Scenario, make
    from envs.testing import check_world
    from envs.world import World

__all__ = ["Scenario", "World", "check_world", "make", "register"]

__edge_rllib_envs__ = (
    True  # tells this package from an unrelated distribution of the same name; see edge_rllib/guard.py
)

_HOME = {
    "Scenario": "envs.scenario",
    "World": "envs.world",
    "check_world": "envs.testing",
    "make": "envs.scenario",
    "register": "envs.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
