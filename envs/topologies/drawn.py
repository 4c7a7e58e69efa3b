"""Networks of chance: random places in a square, random links, drawn again until all nodes are connected."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np

from envs.arrays import BOOL, F8
from envs.errors import TopologyError
from envs.topologies.artificial import Pair
from envs.topologies.assemble import Position

MAX_DRAWS = 1000  # a network that is connected less often than this is a mistake in the settings


def draw_connected(
    rng: np.random.Generator, n_nodes: int, side_m: float, is_linked: Callable[[F8], BOOL], label: str
) -> tuple[list[Position], list[Pair]]:
    """Return places, uniform in a square, and linked pairs in which every node reaches every other.

    ``is_linked`` says of each pair's distance whether the pair is linked. Raises TopologyError after MAX_DRAWS; the
    label says what was drawn and what was expected.
    """
    firsts, seconds = np.triu_indices(n_nodes, k=1)
    for _ in range(MAX_DRAWS):
        place_m = side_m * rng.random((n_nodes, 2))
        chosen = is_linked(np.hypot(*(place_m[firsts] - place_m[seconds]).T))
        pairs = list(zip(firsts[chosen].tolist(), seconds[chosen].tolist(), strict=True))
        graph = nx.empty_graph(n_nodes)
        graph.add_edges_from(pairs)
        if nx.is_connected(graph):
            return [(x, y) for x, y in place_m.tolist()], pairs
    raise TopologyError(f"{label}; none of {MAX_DRAWS} draws was connected")
