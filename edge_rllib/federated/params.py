"""Values of federated training, and the rounds that they make: with a server, on a graph, in regions, or unawaited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.federated.algorithm import FederatedConfig
from edge_rllib.federated.asynchronous import Asynchronous, AsynchronousParams, Clock
from edge_rllib.federated.attacks.read import attack as read_attack
from edge_rllib.federated.attacks.schedule import FixedSet, MovingSet
from edge_rllib.federated.clients import Client
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.collectors.params import StealingParams
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.graphs import Hierarchical
from edge_rllib.federated.graphs import graph as read_graph
from edge_rllib.federated.peers import Peers
from edge_rllib.federated.pipeline import Pipeline, pipeline
from edge_rllib.federated.regions import Regions
from edge_rllib.federated.rounds import Rounds, Server, StepParams
from edge_rllib.federated.vectors import Vectors
from edge_rllib.modules.actor_critic import ActorCritic
from envs.errors import ConfigError, EdgeError
from envs.rng import key_from_seed


@dataclass(frozen=True)
class RegionsParams:
    """Values of regions below a cloud."""

    n_regions: int  # of nearly the same number of clients; 0: about the square root of the clients
    cloud: str  # rule for the regions' parameters, such as coordinate_median
    join_every_rounds: int  # rounds until the cloud joins them
    n_faulty_regions: int  # regions with more liars than the aggregator makes up for

    def __post_init__(self) -> None:
        checks.not_negative(self, "n_regions", "n_faulty_regions")
        checks.positive(self, "join_every_rounds")
        pipeline(self.cloud, "algorithm.regions.cloud")


@dataclass(frozen=True)
class FederatedParams:
    """Values of federated training."""

    n_clients: int
    n_faulty: int  # clients that rules make up for; hierarchical: in any one region
    mode: Literal["central", "decentralised", "hierarchical", "asynchronous"]
    graph: str  # decentralised: who hears whom, such as complete or k_regular(degree=4)
    aggregator: str  # of gradients, such as nnm > geometric_median
    agreement: str  # decentralised: of parameters
    n_agreement_rounds: int
    attack: str  # of the first n_faulty clients, such as alie; none
    attackers_move_every_rounds: int  # other n_faulty clients attack after so many rounds; 0: always the first ones
    estimator: EstimatorParams
    step: StepParams
    rounds_per_iteration: int
    stealing: StealingParams
    regions: RegionsParams  # hierarchical
    asynchronous: AsynchronousParams
    scenarios: tuple[str, ...]  # worlds of the clients, in turn; none: the run's scenario for all

    def __post_init__(self) -> None:
        checks.positive(self, "n_clients", "rounds_per_iteration")
        checks.not_negative(self, "n_faulty", "n_agreement_rounds", "attackers_move_every_rounds")
        if self.attack != "none":
            read_attack(self.attack, "algorithm.attack")
            if not self.n_faulty:
                raise ConfigError(
                    f"algorithm.attack = {self.attack!r} with n_faulty = 0: nobody attacks; expected 1 or more"
                )
        for text in (self.aggregator, self.agreement):
            pipeline(text)

    def federation(self, clients: Sequence[Client], start: Vectors, seed: int) -> Rounds:
        """Return the rounds of the mode; what does not fit each other raises ConfigError."""
        rule = pipeline(self.aggregator, "algorithm.aggregator")
        faults = None
        if self.attack != "none":
            every = self.attackers_move_every_rounds
            sets = (self.n_clients, self.n_faulty)
            schedule = MovingSet(*sets, every_rounds=every, seed=seed) if every else FixedSet(*sets)
            faults = Faults(read_attack(self.attack), schedule, rule, seed)
        own_seed = key_from_seed(seed, "federation") % 2**63
        collector = self.stealing.collect_with(clients, self.n_faulty, self.mode == "central", own_seed)
        try:
            return self._rounds(clients, start, rule, own_seed, faults, collector)
        except EdgeError:
            collector.stop()
            raise

    def _rounds(
        self,
        clients: Sequence[Client],
        start: Vectors,
        rule: Pipeline,
        seed: int,
        faults: Faults | None,
        collector: Collector,
    ) -> Rounds:
        if self.mode == "asynchronous":
            return self._asynchronous(clients, start, rule, seed, faults)
        first = (clients, start, self.estimator, self.step)
        last = (seed, faults, collector)
        if self.mode == "central":
            return Server(*first, rule, self.n_faulty, *last)
        if self.mode == "hierarchical":
            values = self.regions
            members = Hierarchical(values.n_regions).regions(len(clients))
            cloud = pipeline(values.cloud, "algorithm.regions.cloud")
            every, n_faulty_regions = values.join_every_rounds, values.n_faulty_regions
            return Regions(*first, members, rule, cloud, every, self.n_faulty, n_faulty_regions, *last)
        neighbours = read_graph(self.graph, "algorithm.graph")(len(clients), np.random.default_rng(seed))
        agreement = pipeline(self.agreement, "algorithm.agreement")
        return Peers(*first, neighbours, rule, agreement, self.n_agreement_rounds, self.n_faulty, *last)

    def _asynchronous(
        self, clients: Sequence[Client], start: Vectors, rule: Pipeline, seed: int, faults: Faults | None
    ) -> Rounds:
        stealing = self.stealing
        if stealing.collector != "in_process":
            raise ConfigError(f"algorithm.stealing.collector = {stealing.collector}: nobody waits; expected in_process")
        clock = Clock(stealing.profile(), stealing.virtual_step_s, stealing.network(len(clients)))
        parts = (self.estimator, self.step, self.asynchronous, clock, rule, self.n_faulty, seed, faults)
        return Asynchronous(clients, start, *parts)

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm."""
        if model.is_recurrent:
            raise ConfigError("federated: expected a model without memory, such as mlp")
        if settings.n_env_runners or settings.n_learners:
            raise ConfigError("federated: clients are its runners; expected n_env_runners = 0 and n_learners = 0")
        config = FederatedConfig()
        config.federated, config.module_sharing = self, settings.module_sharing
        config.training(train_batch_size_per_learner=1)
        return config.apply(settings, ActorCritic, {"model": model, "scale_value": False}, False)
