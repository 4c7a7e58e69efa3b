"""How long sites wait for their population: a push and a pull of whole policies, of 32 sites at once.

A policy has the size of DC-DRL's five networks for ten users, 3.15 MB. Its released code polls every 20 s.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

from edge_rllib.collective.actors import Far, PopulationServer
from edge_rllib.collective.joining import Elites
from edge_rllib.collective.population import Entry, Mode, Population
from edge_rllib.collective.vectors import Layout
from edge_rllib.experiment.bench.table import Row

N_SITES, N_NUMBERS = 32, 787_000
N_ISLANDS = 4  # processes that share the sites
N_GENERATIONS = 5
_LIMIT_S = 60.0


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench collective``."""
    measured = []
    for kind in ("barrier", "unawaited"):
        pushes, pulls = latencies(kind, N_SITES, N_NUMBERS, N_GENERATIONS)
        for what, seconds in (("push", pushes), ("pull", pulls)):
            label = f"{what} of 3.15 MB, {N_SITES} sites, {kind}, median"
            measured.append(Row(label, 1e3 * float(np.median(seconds)), "ms", 50.0, 50.0))
    return measured


def latencies(kind: str, n_sites: int, n_numbers: int, n_generations: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each push and of each pull of sites in some processes, with a population in another."""
    names = [f"site_{index}" for index in range(n_sites)]
    layout = Layout(n_numbers, np.ones(n_numbers, np.bool_))
    mode = Mode(kind, quorum_frac=0.5, limit_s=_LIMIT_S, most_stale=n_generations)  # type: ignore[arg-type]
    server = (
        ray.remote(PopulationServer).options(num_cpus=0).remote(lambda: Population(Elites(), mode, layout, 0), names)
    )
    n_islands = min(N_ISLANDS, n_sites)
    islands = [
        ray.remote(_Island).options(num_cpus=0).remote(names[i::n_islands], server, n_numbers) for i in range(n_islands)
    ]
    pushes: list[float] = []
    pulls: list[float] = []
    for generation in range(n_generations):
        for pushed, pulled in ray.get([island.play.remote(generation) for island in islands]):
            pushes += pushed
            pulls += pulled
    for actor in (*islands, server):
        ray.kill(actor)
    return pushes, pulls


class _Island:
    """Sites that send random policies."""

    def __init__(self, names: list[str], server: Any, n_numbers: int) -> None:
        self._names, self._population = names, Far(server, _LIMIT_S)
        self._vector = np.random.default_rng(0).standard_normal(n_numbers, np.float32)

    def play(self, generation: int) -> tuple[list[float], list[float]]:
        """Push and pull for each site in turn; return the seconds."""
        pushes, pulls = [], []
        for name in self._names:
            begin = time.perf_counter()
            self._population.push(Entry(name, generation, float(generation), 0.1, 1000, 0, self._vector))
            pushed = time.perf_counter()
            offer = self._population.offer(name)
            if offer is not None:
                pulls.append(time.perf_counter() - pushed)
            pushes.append(pushed - begin)
        return pushes, pulls
