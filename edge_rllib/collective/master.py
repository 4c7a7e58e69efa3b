"""The master's policy: what it learnt, or what the population has, whichever is best on the run's own worlds."""

from __future__ import annotations

from typing import Any

from edge_rllib.collective.judging import Judging
from edge_rllib.collective.population import Entry, Offer, Population
from edge_rllib.collective.pulling import Fitness
from edge_rllib.collective.site import load, policy_of
from edge_rllib.collective.teams import Team
from envs.arrays import F4

NAME = "master"


class Master:
    """Chooses the policy that the Algorithm stands for, and sends it to the population if it learns itself."""

    def __init__(self, algorithm: Any) -> None:
        """Judge on worlds of the run's scenario."""
        values = algorithm.config.collective
        self._algorithm = algorithm
        self._judging = Judging(algorithm.config, values.fitness_worlds, values.rule())
        self._generation = 0

    def publish(self, team: Team, n_steps: int) -> None:
        """Send what was learnt from so many env steps to the population, as a member of it."""
        vector = policy_of(self._algorithm)
        fitness = self._judging(vector)
        team.push(Entry(NAME, self._generation, *fitness, n_steps, 0, vector))
        self._generation += 1

    def choose(self, team: Team) -> dict[str, float]:
        """Take over what the population made, or its fittest member, if it is better here; return figures."""
        own = self._judging(policy_of(self._algorithm))
        figures = {"fitness/master": own.mean}
        best, vector = own, None
        for name, found in zip(("joined", "fittest"), team.ask(_candidates), strict=True):
            if found is None:
                continue
            fitness: Fitness = self._judging(found)
            figures[f"fitness/{name}"] = fitness.mean
            if fitness.mean > best.mean:
                best, vector = fitness, found
        if vector is not None:
            load(self._algorithm, vector)
        figures["fitness/policy"] = best.mean
        figures["master_replaced"] = float(vector is not None)
        return figures

    def get_state(self) -> dict[str, Any]:
        """Return what it goes on from, beside the learner's state."""
        return {"generation": self._generation}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self._generation = state["generation"]


def _candidates(population: Population) -> tuple[F4 | None, F4 | None]:
    """Return the population's policy and that of its fittest member."""
    offer: Offer | None = population.offer(NAME)
    return None if offer is None else offer.vector, population.fittest()
