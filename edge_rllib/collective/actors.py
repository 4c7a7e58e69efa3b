"""Sites as actors of Ray, with the population and the shards of experience as actors beside them.

A dead actor is started again, its sites go on from the policy that they sent last. Every wait has a limit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from edge_rllib.collective.errors import PushError
from edge_rllib.collective.experience import ExperienceParams, Seen, Shard, shard_of
from edge_rllib.collective.population import Entry, Offer, Population, Receipt
from edge_rllib.collective.site import Report
from edge_rllib.collective.teams import (
    BuildPopulation,
    BuildSite,
    Near,
    Team,
    check_sites,
    refuse_known,
    refuse_unknown,
)

log = logging.getLogger(__name__)

NAMESPACE = "edge_rllib"
MOST_STARTS = 3  # of an actor between two reports of its sites: one that cannot be built would start for ever


class PopulationServer(Near):
    """A population as an actor of Ray; it keeps its own copies, whoever sent them may die."""

    def __init__(self, build: BuildPopulation, names: Sequence[str]) -> None:
        super().__init__(build(), time.monotonic)
        for name in names:
            self.population.join(name)

    def ask(self, call: Callable[[Population], Any]) -> Any:
        """Return what a function of the population returns."""
        return call(self.population)


class Far:
    """A population in another process, for sites; an actor that is started again answers late, and then."""

    def __init__(self, server: Any, limit_s: float) -> None:
        self._server, self._limit_s = server, limit_s

    def push(self, entry: Entry) -> Receipt:
        """Hand over an entry; PushError where it is refused."""
        try:
            receipt: Receipt = ray.get(self._server.push.remote(entry), timeout=self._limit_s)
        except RayTaskError as error:
            if isinstance(error.cause, PushError):
                raise PushError(str(error.cause)) from None
            raise
        return receipt

    def offer(self, site: str) -> Offer | None:
        """Return what the site may take over."""
        offer: Offer | None = ray.get(self._server.offer.remote(site), timeout=self._limit_s)
        return offer


class FarShard:
    """A shard in another process, for sites: it is handed references."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard

    def add(self, fragments: list[Seen]) -> None:
        """Hand over a site's fragments; they are there before the generation is told of."""
        ray.get(self._shard.add.remote([seen._replace(rollout=ray.put(seen.rollout)) for seen in fragments]))


class Island:
    """Some sites as an actor of Ray."""

    def __init__(
        self, names: Sequence[str], build: BuildSite, server: Any, shards: Sequence[Any], limit_s: float
    ) -> None:
        """Build the sites; ``build`` is called once for each."""
        self._population, self._shards = Far(server, limit_s), [FarShard(shard) for shard in shards]
        self._build = build
        self._sites = {name: build(name) for name in names}

    def add(self, site: str, generation: int) -> None:
        """Take in a site that begins at a generation."""
        self._sites[site] = self._build(site)
        self._sites[site].generation = generation

    def remove(self, site: str) -> None:
        """Let a site go."""
        self._sites.pop(site).stop()

    def resume(self, site: str, generation: int, vector: Any) -> None:
        """Let a site go on at a generation with a policy (d,), or where it is where there is none."""
        self._sites[site].generation = generation
        if vector is not None:
            self._sites[site].load(vector)

    def play(self, site: str) -> Report:
        """Do a generation of a site."""
        return self._sites[site].play(self._population, self._shards, shard_of(site, len(self._shards)))

    def get_state(self, site: str) -> dict[str, Any]:
        """Return a site's state."""
        return self._sites[site].get_state()

    def set_state(self, site: str, state: dict[str, Any]) -> None:
        """Let a site go on."""
        self._sites[site].set_state(state)


class ActorTeam(Team):
    """Sites on actors; who is done goes on at once unless all wait for each other."""

    def __init__(
        self,
        names: Sequence[str],
        build: BuildSite,
        population: BuildPopulation,
        experience: ExperienceParams,
        n_actors: int,
        cpus_per_actor: float,
        limit_s: float,
        waits: bool,
        server_name: str,
    ) -> None:
        """Start the actors; ``waits`` is whether nobody begins a generation before all have ended theirs."""
        self._names, self._build, self._limit_s, self._waits = list(names), build, limit_s, waits
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        server = ray.remote(PopulationServer).options(name=server_name, namespace=NAMESPACE, **options)
        self._server = server.remote(population, list(names))
        self._shards = [ray.remote(Shard).options(**options).remote(experience) for _ in range(experience.n_shards)]
        self._cpus, self.n_lost = cpus_per_actor, 0
        self._homes = {name: index % n_actors for index, name in enumerate(names)}
        self._islands = [self._island(i) for i in range(n_actors)]
        self._starts = [0] * n_actors
        self._under_way: dict[Any, str] = {}

    def _island(self, index: int) -> Any:
        members = [name for name in self._names if self._homes[name] == index]
        actor = ray.remote(Island).options(num_cpus=self._cpus, max_restarts=0)
        return actor.remote(members, self._build, self._server, self._shards, self._limit_s)

    def play(self) -> list[Report]:
        """Return as many reports as there are sites; a lost site's is missing."""
        reports: list[Report] = []
        n_answers, n_wanted = 0, len(self._names)
        self.ask(_join(self._names))  # one that was started again knows those of the beginning
        busy = set(self._under_way.values())
        for name in self._names:
            if name not in busy:
                self._send(name)
        while n_answers < n_wanted and self._under_way:
            ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=self._limit_s)
            if not ready:
                late = sorted(self._under_way.values())
                raise TimeoutError(f"no site has answered for {self._limit_s:g} s; waiting for {', '.join(late)}")
            name = self._under_way.pop(ready[0])
            n_answers += 1
            try:
                report = ray.get(ready[0])
            except RayActorError:
                self._start_again(self._homes[name])
                continue
            self._starts[self._homes[name]] = 0
            reports.append(report)
            if not self._waits and n_answers < n_wanted:
                self._send(name)
        return reports

    def _send(self, name: str) -> None:
        self._under_way[self._islands[self._homes[name]].play.remote(name)] = name

    def _start_again(self, index: int) -> None:
        """Start an actor in the place of one that died; its sites go on from what they sent last."""
        self._starts[index] += 1
        if self._starts[index] > MOST_STARTS:
            raise RuntimeError(f"an actor of sites died {MOST_STARTS + 1} times without a report of its sites")
        members = [name for name in self._names if self._homes[name] == index]
        self.n_lost += len(members)
        log.warning("the actor of %s died and is started again", ", ".join(members))
        self._under_way = {ref: name for ref, name in self._under_way.items() if self._homes[name] != index}
        self._islands[index] = self._island(index)
        for name in members:
            self._resume(name)

    def _resume(self, name: str) -> None:
        generation, vector = self.ask(_last_of(name))
        ray.get(self._islands[self._homes[name]].resume.remote(name, generation + 1, vector), timeout=self._limit_s)

    def ask(self, call: Callable[[Population], Any]) -> Any:
        """Return what a function of the population returns."""
        return ray.get(self._server.ask.remote(call), timeout=self._limit_s)

    def push(self, entry: Entry) -> Receipt:
        """Hand an entry of who is no site to the population."""
        self.ask(_join([entry.site]))
        return Far(self._server, self._limit_s).push(entry)

    def take_experience(self) -> list[Seen]:
        """Return what sites have shared since the last call; what its sender took with it when it died is left out."""
        newest = self.ask(_generation)
        found = []
        for part in ray.get([shard.take.remote(newest) for shard in self._shards], timeout=self._limit_s):
            for seen in part:
                try:
                    found.append(seen._replace(rollout=ray.get(seen.rollout, timeout=self._limit_s)))
                except ray.exceptions.ObjectLostError:
                    log.warning("experience of %s is lost with its actor", seen.site)
        return found

    def add(self, site: str) -> None:
        """Take in a site, where the fewest are."""
        refuse_known(site, self._homes)
        homes = list(self._homes.values())
        index = min(range(len(self._islands)), key=homes.count)
        self._homes[site] = index
        self._names.append(site)
        self.ask(_join([site]))
        ray.get(self._islands[index].add.remote(site, self.ask(_generation) + 1), timeout=self._limit_s)

    def remove(self, site: str) -> None:
        """Let a site go; a generation under way is not waited for."""
        refuse_unknown(site, self._homes)
        self._names.remove(site)
        self._under_way = {ref: name for ref, name in self._under_way.items() if name != site}
        self._islands[self._homes.pop(site)].remove.remote(site)
        self.ask(_leaves(site))

    def get_state(self) -> dict[str, Any]:
        """Return everything that the team goes on from; it waits for generations under way."""
        if self._under_way:
            ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=self._limit_s)
        states = [self._islands[self._homes[name]].get_state.remote(name) for name in self._names]
        sites = dict(zip(self._names, ray.get(states, timeout=self._limit_s), strict=True))
        return {"sites": sites, "population": self.ask(Population.get_state)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state`` of a team with the same sites."""
        check_sites(state, self._homes)
        saved = state["sites"]
        ray.get(
            [self._islands[self._homes[name]].set_state.remote(name, saved[name]) for name in self._names],
            timeout=self._limit_s,
        )
        self.ask(_continues(state["population"]))

    def stop(self) -> None:
        """End all actors."""
        for actor in (*self._islands, self._server, *self._shards):
            ray.kill(actor)
        self._islands, self._shards = [], []


def _generation(population: Population) -> int:
    return population.generation


def _last_of(site: str) -> Callable[[Population], tuple[int, Any]]:
    return lambda population: population.last_of(site)


def _join(sites: Sequence[str]) -> Callable[[Population], None]:
    def join(population: Population) -> None:
        for site in sites:
            population.join(site)

    return join


def _leaves(site: str) -> Callable[[Population], bool]:
    return lambda population: population.leave(site, time.monotonic())


def _continues(state: dict[str, Any]) -> Callable[[Population], None]:
    return lambda population: population.set_state(state, time.monotonic())
