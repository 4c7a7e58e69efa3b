"""The normalised score: which share of what can be gained over chance at all a policy gains.

score = (random - policy) / (random - bound) of the leading figure: 0 for chance, 1 for a policy at the bound. Each
policy is measured against the bound that holds for it, with the tasks that it left unfinished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_rllib.results.estimates import interval
from envs.arrays import F8
from envs.bounds.base import Limit

RANDOM = "random"


@dataclass(frozen=True)
class Bounding:
    """A bound on the leading figure, for each policy that played; or the reason why there is none."""

    name: str  # of the bound, "none" for none
    text: str  # what the bound means, or why there is none
    limits: Mapping[str, Limit] = field(default_factory=dict)  # policy -> limit in each world
    of_all: float = math.nan  # the bound for whoever finishes every task


def add_scores(
    rows: dict[str, dict[str, Any]],
    bounding: Bounding,
    values: Mapping[str, float],
    samples: Mapping[str, F8],
    counts: F8,
) -> dict[str, Any]:
    """Put ``bound`` and ``score`` into the rows of the policies and return what the comparison says of the bound.

    ``values`` and ``samples`` (R,) are the policies' leading figure and its resamples, made by ``counts`` (R, W).
    """
    is_scored = bool(bounding.limits) and RANDOM in values
    for policy, row in rows.items():
        limit = bounding.limits.get(policy)
        row["bound"] = _number(limit.value) if limit else None
        row["score"] = None
        if limit is None or not is_scored:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            redrawn = (counts @ limit.top) / (counts @ limit.bottom)
            scores = (samples[RANDOM] - samples[policy]) / (samples[RANDOM] - redrawn)
        value = _score(values[RANDOM], values[policy], limit.value)
        if value is not None:
            low, high = interval(np.where(np.isfinite(scores), scores, np.nan))
            row["score"] = {"value": value, "low": _number(low), "high": _number(high)}
    text = bounding.text
    if bounding.limits and RANDOM not in values:
        text += "; no score, as the rule random was not played"
    return {"name": bounding.name, "text": text, "of_all_tasks": _number(bounding.of_all)}


def _score(chance: float, value: float, bound: float) -> float | None:
    """Return the score; None where there is nothing to win, or no value."""
    gain = chance - bound
    if not (math.isfinite(gain) and math.isfinite(value)) or gain == 0.0:
        return None
    return (chance - value) / gain


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
