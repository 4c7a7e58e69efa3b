"""Where to draw nodes: where they stand, stretched to the picture, and apart where they would cover each other."""

from __future__ import annotations

import numpy as np

from envs.arrays import F8

_ROUNDS = 300
_GOLDEN_ANGLE = 2.399963229728653  # successive multiples spread evenly over the circle


def places(position_m: F8, width: float, height: float, radius: float) -> F8:
    """Return the centres (M, 2) of nodes of a radius in a box of width x height; y grows upwards."""
    low, high = position_m.min(axis=0), position_m.max(axis=0)
    size = np.array([width, height])
    span = np.where(high > low, high - low, 1.0)
    at = np.where(high > low, (position_m - low) / span, 0.5) * size
    return _apart(at, size, min(3.2 * radius, 0.8 * float(np.sqrt(width * height / len(at)))))


def node_radius(n_nodes: int, width: float, height: float) -> float:
    """Return a radius at which so many nodes leave room for links in a box."""
    return float(np.clip(0.2 * np.sqrt(width * height / n_nodes), 3.0, 19.0))


def _apart(at: F8, size: F8, least: float) -> F8:
    """Push points apart until none are closer than ``least``, as far as the box allows."""
    from scipy.spatial import cKDTree  # slow to import, and needed for pictures alone

    angle = _GOLDEN_ANGLE * np.arange(len(at))
    jitter = 3e-3 * least * np.stack((np.cos(angle), np.sin(angle)), axis=1)  # so that no two stay at one place
    for _ in range(_ROUNDS):
        at = np.clip(at, 0.0, size) + jitter
        pairs = cKDTree(at).query_pairs(0.99 * least, output_type="ndarray")
        if len(pairs) == 0:
            break
        apart = at[pairs[:, 0]] - at[pairs[:, 1]]
        distance = np.maximum(np.hypot(apart[:, 0], apart[:, 1]), 1e-9 * least)
        force = apart * ((least - distance) / distance)[:, None]
        push = np.zeros_like(at)
        np.add.at(push, pairs[:, 0], force)
        np.add.at(push, pairs[:, 1], -force)
        length = np.maximum(np.hypot(push[:, 0], push[:, 1]), 1e-12)[:, None]
        at = at + push * np.minimum(0.4, 0.5 * least / length)
    return np.asarray(np.clip(at, 0.0, size), np.float64)
