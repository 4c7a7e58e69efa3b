"""Boxes around faces, and how well found ones agree with true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

IOU_THRESHOLD = 0.4  # LBP's boxes are square and about a tenth larger or smaller than the faces; half is too strict


class Box(NamedTuple):
    """A rectangle of whole pixels in a frame."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


class Matches(NamedTuple):
    """Counts of one or more clips; they add up."""

    hits: int  # true faces that were found
    misses: int  # true faces that were not
    false_alarms: int  # found boxes without a face

    @property
    def precision(self) -> float:
        """Return the share of found boxes that hold a face; NaN if nothing was found."""
        found = self.hits + self.false_alarms
        return self.hits / found if found else float("nan")

    @property
    def recall(self) -> float:
        """Return the share of faces that were found; NaN if there were none."""
        faces = self.hits + self.misses
        return self.hits / faces if faces else float("nan")


def iou(a: Box, b: Box) -> float:
    """Return the area that two boxes share over the area that they cover together, in [0, 1]."""
    width = min(a.left_px + a.width_px, b.left_px + b.width_px) - max(a.left_px, b.left_px)
    height = min(a.top_px + a.height_px, b.top_px + b.height_px) - max(a.top_px, b.top_px)
    shared = max(width, 0) * max(height, 0)
    together = a.width_px * a.height_px + b.width_px * b.height_px - shared
    return shared / together if together else 0.0


def match(found: Sequence[Box], true: Sequence[Box], threshold: float = IOU_THRESHOLD) -> Matches:
    """Pair the boxes of one frame, best agreement first, each at most once; below the threshold nothing is paired."""
    pairs = sorted(((iou(f, t), i, j) for i, f in enumerate(found) for j, t in enumerate(true)), reverse=True)
    used_found: set[int] = set()
    used_true: set[int] = set()
    for agreement, i, j in pairs:
        if agreement >= threshold and i not in used_found and j not in used_true:
            used_found.add(i)
            used_true.add(j)
    hits = len(used_found)
    return Matches(hits, len(true) - hits, len(found) - hits)
