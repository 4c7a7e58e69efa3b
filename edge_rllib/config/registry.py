"""Names of what learns, in the registry of ``envs``: algorithms and models. Importing this module adds them."""

from __future__ import annotations

from envs.registry import BUILT_IN, names, register, resolve

__all__ = ["PART_KINDS", "names", "register", "resolve"]

PART_KINDS = ("world", "topology", "workload", "baseline", "algorithm", "model")  # kinds whose values are a yaml each

BUILT_IN.update(
    {
        "algorithm": {},
        "model": {},
    }
)
