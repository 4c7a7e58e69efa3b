"""Values of collective training, and the sites and the population that they make."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.off_policy import OffPolicyParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.collective.actors import ActorTeam
from edge_rllib.collective.algorithm import Collective
from edge_rllib.collective.experience import ExperienceParams
from edge_rllib.collective.joining import JoiningRule
from edge_rllib.collective.judging import FITNESS_WORLD_ID, Judging
from edge_rllib.collective.mutation import Mutator
from edge_rllib.collective.population import Mode, Population
from edge_rllib.collective.pulling import PullRule
from edge_rllib.collective.site import Site, SiteParams
from edge_rllib.collective.teams import LocalTeam, Team
from edge_rllib.config.load import load_rule, load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.federated.pipeline import named_part
from edge_rllib.modules.shape import ObservationShape
from envs.arrays import F4
from envs.baselines.base import Rule
from envs.errors import ConfigError
from envs.rng import key_from_seed
from envs.scenario import Scenario, make

SITE = "site_"  # and its number


@dataclass(frozen=True)
class CollectiveParams:
    """Values of collective training."""

    learner: dict[str, Any]  # algorithm of the sites and of the master, {name: ddpg} with values of its own
    n_sites: int
    scenarios: tuple[str, ...]  # worlds of the sites, in turn; none: the run's scenario, each site its own worlds of it
    topology_seeds: Literal["same", "own"]  # own: a site adds its number, so that its geometry and traffic are its own
    generation_steps: int  # env steps of each site between two pushes
    fitness_worlds: int  # greedy episodes that judge a policy
    fitness_rule: str  # whose score on the same worlds is the unit of fitness
    mode: Mode
    joining: str  # how a policy is made of the members', such as elites(weighting=shifted)
    mutation: str  # none, or such as isotropic(std=0.01)
    pull: str  # when a site takes over the population's policy, such as tested
    optimizer: Literal["keep", "reset"]  # the memory of a site's optimisers with a pull
    experience: ExperienceParams
    n_actors: int  # processes of Ray that share the sites; 0: this one
    cpus_per_actor: float  # that Ray sets aside; 0: actors share what there is
    limit_s: float  # without a sign of life for so long a run ends with an error

    def __post_init__(self) -> None:
        checks.positive(self, "n_sites", "generation_steps", "limit_s")
        checks.not_negative(self, "n_actors", "cpus_per_actor")
        if self.fitness_worlds < 2:
            raise ConfigError(f"fitness_worlds = {self.fitness_worlds}: expected 2 or more, for a standard error")
        if self.n_actors > self.n_sites:
            raise ConfigError(f"n_actors = {self.n_actors}: more than n_sites = {self.n_sites}")
        self._parts()
        values = self.learner_values()
        if not isinstance(values, OffPolicyParams):
            raise ConfigError(
                f"learner {self.learner.get('name')} learns from its own decisions alone; expected one with a replay "
                "of joint decisions, such as ddpg, td3, sac or maddpg"
            )

    def _parts(self) -> tuple[JoiningRule, Mutator, PullRule]:
        where = "algorithm"
        joining = named_part(self.joining.strip(), "joining_rule", f"{where}.joining", "rank(share=0.5)")
        mutation = named_part(self.mutation.strip(), "mutator", f"{where}.mutation", "isotropic(std=0.01)")
        pull = named_part(self.pull.strip(), "pull_rule", f"{where}.pull", "below_mean(prob=0.8)")
        return joining, mutation, pull

    def learner_values(self) -> Any:
        """Return the values of the learner."""
        return load_part("algorithm", self.learner, Source(None, "algorithm.learner"))

    def rule(self) -> Rule:
        """Return the rule whose score is the unit of fitness."""
        return load_rule(self.fitness_rule)

    def team(self, config: Any, start: F4) -> Team:
        """Return sites that begin at a policy (d,), for an Algorithm's config."""
        joining, mutation, pull = self._parts()
        site_values = SiteParams(
            self.generation_steps, self.fitness_worlds, self.rule(), mutation, pull, self.optimizer, self.experience
        )
        seed, (settings, model) = config.env_config["seed"], config.of_sites
        scenarios = self.site_scenarios(settings.scenario)

        def build(name: str) -> Site:
            index = int(name.removeprefix(SITE))
            site_config = self._site_config(settings, model, scenarios(index), index)
            return Site(name, site_config, site_values, start, seed)

        layout = Judging.layout_of(config)
        own_seed = key_from_seed(seed, "population") % 2**63

        def population() -> Population:
            return Population(joining, self.mode, layout, own_seed)

        names = [f"{SITE}{index}" for index in range(self.n_sites)]
        if not self.n_actors:
            return LocalTeam(names, build, population, self.experience)
        waits, server_name = self.mode.kind == "barrier", f"population_{os.getpid()}_{time.time_ns()}"
        processes = (self.n_actors, self.cpus_per_actor, self.limit_s)
        return ActorTeam(names, build, population, self.experience, *processes, waits, server_name)

    def site_scenarios(self, scenario: Scenario) -> Callable[[int], Scenario]:
        """Return which scenario a site has, by its number; ``scenario`` is the run's."""
        given = [load_scenario(name) for name in self.scenarios] or [scenario]

        def of_site(index: int) -> Scenario:
            own = given[index % len(given)]
            return own if self.topology_seeds == "same" else replace(own, topology_seed=own.topology_seed + index)

        return of_site

    def _site_config(self, settings: RunSettings, model: Any, scenario: Scenario, index: int) -> Any:
        """Return the config of a site's own Algorithm, with worlds that no other site has."""
        total = settings.total_env_steps // self.n_sites
        own = replace(settings, scenario=scenario, total_env_steps=total, n_evaluation_worlds=0, evaluation_interval=0)
        config = self.learner_values().to_config(own, model)
        first = index * settings.n_worlds
        if first + settings.n_worlds > FITNESS_WORLD_ID:
            raise ConfigError(f"site {index} with {settings.n_worlds} worlds: no names are left for its worlds")
        return config.environment(env_config={**config.env_config, "first_world_id": first})

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm; its learner is the master's."""
        if settings.n_env_runners or settings.sample_ahead:
            raise ConfigError("collective: sites are its runners; expected n_env_runners = 0 and sample_ahead = false")
        expected = ObservationShape.of(make(settings.scenario, 1, settings.seed).spec)
        scenarios = self.site_scenarios(settings.scenario)
        for index in range(self.n_sites):
            scenario = scenarios(index)
            given = ObservationShape.of(make(scenario, 1, settings.seed).spec)
            if given != expected:
                raise ConfigError(
                    f"algorithm.scenarios: site {index}, {scenario.name} with topology_seed {scenario.topology_seed}, "
                    f"shows {given}; the run's scenario {settings.scenario.name} shows {expected}"
                )
        config = self.learner_values().to_config(settings, model)
        config.algo_class, config.collective = Collective, self
        config.of_sites = (replace(settings, n_learners=0), model)
        return config
