"""Who runs the sites; here this process, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from edge_rllib.collective.experience import ExperienceParams, Seen, Shard, shard_of
from edge_rllib.collective.population import Entry, Offer, Population, Receipt
from edge_rllib.collective.site import Report, Site
from envs.errors import ConfigError

BuildSite = Callable[[str], Site]
BuildPopulation = Callable[[], Population]


class Near:
    """A population in this process, with a clock."""

    def __init__(self, population: Population, clock: Callable[[], float]) -> None:
        self.population, self._clock = population, clock

    def push(self, entry: Entry) -> Receipt:
        """Hand over an entry."""
        return self.population.push(entry, self._clock())

    def offer(self, site: str) -> Offer | None:
        """Return what the site may take over."""
        self.population.tick(self._clock())
        return self.population.offer(site)


class Team(ABC):
    """Sites, a population and shards of experience."""

    n_lost: int = 0  # sites whose actor died

    @abstractmethod
    def play(self) -> list[Report]:
        """Return as many reports of generations as there are sites; fewer where some were lost."""

    @abstractmethod
    def ask(self, call: Callable[[Population], Any]) -> Any:
        """Return what a function of the population returns; it must not keep it."""

    @abstractmethod
    def push(self, entry: Entry) -> Receipt:
        """Hand an entry of who is no site to the population."""

    @abstractmethod
    def take_experience(self) -> list[Seen]:
        """Return what sites have shared since the last call."""

    @abstractmethod
    def add(self, site: str) -> None:
        """Take in a site."""

    @abstractmethod
    def remove(self, site: str) -> None:
        """Let a site go."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Return everything that the team goes on from; it waits for generations under way."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state`` of a team with the same sites."""

    @abstractmethod
    def stop(self) -> None:
        """End what it holds."""


class LocalTeam(Team):
    """Sites in this process, that take turns: its clock stands still, as nobody can be late for whom it waits."""

    def __init__(
        self, names: Sequence[str], build: BuildSite, population: BuildPopulation, experience: ExperienceParams
    ) -> None:
        """Build all sites."""
        self._build = build
        self._near = Near(population(), lambda: 0.0)
        self._shards = [Shard(experience) for _ in range(experience.n_shards)]
        self.sites: dict[str, Site] = {}
        for name in names:
            self.add(name)

    def play(self) -> list[Report]:
        """Return a report of each site, in their order."""
        n_shards = len(self._shards)
        return [site.play(self._near, self._shards, shard_of(name, n_shards)) for name, site in self.sites.items()]

    def ask(self, call: Callable[[Population], Any]) -> Any:
        """Return what a function of the population returns."""
        return call(self._near.population)

    def push(self, entry: Entry) -> Receipt:
        """Hand an entry of who is no site to the population."""
        self._near.population.join(entry.site)
        return self._near.push(entry)

    def take_experience(self) -> list[Seen]:
        """Return what sites have shared since the last call."""
        newest = self._near.population.generation
        return [seen for shard in self._shards for seen in shard.take(newest)]

    def add(self, site: str) -> None:
        """Take in a site."""
        refuse_known(site, self.sites)
        self.sites[site] = self._build(site)
        self._near.population.join(site)

    def remove(self, site: str) -> None:
        """Let a site go."""
        refuse_unknown(site, self.sites)
        self.sites.pop(site).stop()
        self._near.population.leave(site)

    def get_state(self) -> dict[str, Any]:
        """Return everything that the team goes on from."""
        return {
            "sites": {name: site.get_state() for name, site in self.sites.items()},
            "population": self._near.population.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state`` of a team with the same sites."""
        check_sites(state, self.sites)
        for name, site in self.sites.items():
            site.set_state(state["sites"][name])
        self._near.population.set_state(state["population"])

    def stop(self) -> None:
        """End all sites."""
        for site in self.sites.values():
            site.stop()
        self.sites.clear()


def refuse_known(site: str, known: Any) -> None:
    """Raise ConfigError for a site that is there already."""
    if site in known:
        raise ConfigError(f"site {site!r} is there; expected another name than {', '.join(known)}")


def refuse_unknown(site: str, known: Any) -> None:
    """Raise ConfigError for a site that is not there."""
    if site not in known:
        raise ConfigError(f"no site {site!r}; known: {', '.join(known)}")


def check_sites(state: dict[str, Any], known: Any) -> None:
    """Raise ConfigError unless a state is of the same sites."""
    if set(state["sites"]) != set(known):
        raise ConfigError(f"a state of sites {', '.join(state['sites'])}; expected {', '.join(known)}")
