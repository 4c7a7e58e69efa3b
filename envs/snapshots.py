"""Snapshots of worlds whose future depends on a scenario, a random key and a record of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.arrays import check_entries, check_key, check_saved
from envs.errors import ConfigError

Arrays = Mapping[str, npt.NDArray[np.generic]]


def take_snapshot(scenario: str, key: int, state: Arrays) -> dict[str, Any]:
    """Return a copy of everything that the future depends on; see World.snapshot."""
    return {"scenario": scenario, "key": key, "state": {name: array.copy() for name, array in state.items()}}


def restore_snapshot(snapshot: dict[str, Any], scenario: str, state: Arrays) -> int:
    """Write a snapshot into ``state`` and return its key; raise ConfigError for one of another scenario or size."""
    label = f"snapshot of {scenario}"
    check_entries(snapshot, ("scenario", "key", "state"), label)
    if snapshot["scenario"] != scenario:
        raise ConfigError(f"a snapshot is of scenario {snapshot['scenario']!r}; expected {scenario!r}")
    check_key(snapshot["key"], label)
    check_saved(snapshot["state"], state, f"{label}, state")
    for name, array in state.items():
        array[...] = snapshot["state"][name]
    return int(snapshot["key"])
