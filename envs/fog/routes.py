"""The quickest ways through a network, for results that need not return as their tasks came, and for model updates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from envs.arrays import I8
from envs.constants import PADDING
from envs.topologies.topology import Topology


def quickest_links(topology: Topology, size_bits: float) -> I8:
    """Return the first link (M, M) of the quickest way from each node to each other, channels idle; -1 at home.

    A message of ``size_bits`` is sent whole over one link after the other. Of equally quick ways the result is one, the
    same in each call.
    """
    n_nodes = topology.n_nodes
    if topology.n_links == 0:
        return np.full((n_nodes, n_nodes), PADDING, np.int64)
    hop_s = size_bits / topology.link_rate_bps + topology.link_delay_s
    least_s = np.maximum(hop_s, 1e-15)  # a sparse matrix takes 0 for no link
    # From all targets backwards, so that a predecessor in the reversed graph is the next node on the way.
    reversed_links = csr_array((least_s, (topology.link_target, topology.link_source)), shape=(n_nodes, n_nodes))
    _, following = dijkstra(reversed_links, directed=True, return_predecessors=True)
    link_of = np.full((n_nodes, n_nodes), PADDING, np.int64)
    link_of[topology.link_source, topology.link_target] = np.arange(topology.n_links)
    target, source = np.nonzero(following >= 0)
    first = np.full((n_nodes, n_nodes), PADDING, np.int64)
    first[source, target] = link_of[source, following[target, source]]
    return first
