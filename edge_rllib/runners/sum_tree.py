"""A binary tree of sums over priorities: setting a priority and drawing in proportion both take log2(places) steps.

[Schaul et al., Prioritized Experience Replay, 2016, appendix B.2.1]
"""

from __future__ import annotations

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, I8


@kernel
def _assign(tree: F8, places: I8, priorities: F8) -> None:
    """Write priorities into ``tree`` and add up the sums above them anew, so that rounding does not gather."""
    first = tree.size // 2
    for i in range(places.size):
        node = first + places[i]
        tree[node] = priorities[i]
        node //= 2
        while node > 0:
            tree[node] = tree[2 * node] + tree[2 * node + 1]
            node //= 2


@kernel
def _find(places: I8, tree: F8, heights: F8) -> None:
    """Write into ``places`` whose priority covers each height in [0, total); one of priority 0 is never found."""
    first = tree.size // 2
    for i in range(places.size):
        node, height = 1, heights[i]
        while node < first:
            node *= 2
            if height >= tree[node] and tree[node + 1] > 0.0:
                height -= tree[node]
                node += 1
        places[i] = node - first


class SumTree:
    """Priorities of ``n_places`` places, all 0 at first."""

    def __init__(self, n_places: int) -> None:
        """Allocate the smallest full tree with that many leaves."""
        self.n_places = n_places
        self._tree: F8 = np.zeros(2 << max(n_places - 1, 1).bit_length(), np.float64)

    @property
    def total(self) -> float:
        """Return the sum of all priorities."""
        return float(self._tree[1])

    @property
    def priorities(self) -> F8:
        """Return a view of the priorities (n_places,)."""
        first = len(self._tree) // 2
        return self._tree[first : first + self.n_places]

    def assign(self, places: I8, priorities: F8) -> None:
        """Set the priorities (R,), 0 or more, of places (R,); of a place named twice the last one counts."""
        _assign(self._tree, places, priorities)

    def draw(self, n_rows: int, generator: np.random.Generator) -> I8:
        """Return places (R,) drawn in proportion to priority, one from each of R equal parts of the total."""
        heights = (np.arange(n_rows) + generator.random(n_rows)) * (self.total / n_rows)
        places: I8 = np.empty(n_rows, np.int64)
        _find(places, self._tree, heights)
        return places
