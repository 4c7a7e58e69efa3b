"""Where to draw nodes: where they stand, stretched to the picture, and apart where they would cover each other.

Where most stand close together and a few far away, distances are evened out; who is left of whom, and above, stays.
"""

from __future__ import annotations

import numpy as np

from envs.arrays import F8

_ROUNDS = 300
_CROWDED = 0.3  # share of the distance of evenly spread nodes below which that to the nearest is small
_EVENNESS = 0.6  # of a crowded network: weight of the order of nodes from left to right, and upwards, beside positions
_GOLDEN_ANGLE = 2.399963229728653  # successive multiples spread evenly over the circle


def places(position_m: F8, width: float, height: float, radius: float) -> F8:
    """Return the centres (M, 2) of nodes of a radius in a box of width x height; y grows upwards."""
    size = np.array([width, height])
    at = _stretched(position_m) * size
    if _is_crowded(at, width * height):
        ranks = np.stack([np.unique(np.round(column, 9), return_inverse=True)[1] for column in at.T], axis=1)
        at = (1.0 - _EVENNESS) * at + _EVENNESS * _stretched(ranks.astype(np.float64)) * size
    return _apart(at, size, min(3.2 * radius, 0.8 * float(np.sqrt(width * height / len(at)))))


def _stretched(position: F8) -> F8:
    """Return positions stretched to 0 .. 1 in both directions; 0.5 where they do not differ."""
    low, high = position.min(axis=0), position.max(axis=0)
    return np.where(high > low, (position - low) / np.where(high > low, high - low, 1.0), 0.5)


def _is_crowded(at: F8, area: float) -> bool:
    """Return whether most nodes stand in small parts of a picture, because a few are far away."""
    if len(at) < 4:
        return False
    from scipy.spatial import cKDTree  # slow to import, and needed for pictures alone

    nearest = cKDTree(at).query(at, k=2)[0][:, 1]
    return bool(np.median(nearest) < _CROWDED * np.sqrt(area / len(at)))


def node_radius(n_nodes: int, width: float, height: float) -> float:
    """Return a radius at which so many nodes leave room for links in a box."""
    return float(np.clip(0.2 * np.sqrt(width * height / n_nodes), 3.0, 19.0))


def _apart(at: F8, size: F8, least: float) -> F8:
    """Push points apart until none are closer than ``least``, as far as the box allows."""
    from scipy.spatial import cKDTree

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
