"""Federated policy gradients as an RLlib Algorithm: clients, a server or a graph, and the checkpoints of both.

The learner group holds the agreed weights, for evaluation, checkpoints and export; it never does a gradient step of its
own. Clients play their own worlds, so that the env runner serves evaluation alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, Protocol

import numpy as np
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from edge_rllib import compat
from edge_rllib.algorithms import checks
from edge_rllib.algorithms.base import BatchedAlgorithm, BatchedOnlyConfig
from edge_rllib.algorithms.learner import RolloutLearner
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.federated.attacks.base import Attack
from edge_rllib.federated.attacks.chunk import ChunkPoisoning
from edge_rllib.federated.attacks.data import DataAttack
from edge_rllib.federated.attacks.read import attack as read_attack
from edge_rllib.federated.attacks.schedule import FixedSet, MovingSet
from edge_rllib.federated.clients import Client, Networks
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.collectors.params import StealingParams
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.graphs import graph as read_graph
from edge_rllib.federated.peers import Peers
from edge_rllib.federated.pipeline import Pipeline, pipeline
from edge_rllib.federated.rounds import Report, Server, StepParams
from edge_rllib.federated.vectors import Vectors, load_vectors, vector_of
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.runners.agents import agent_mapping, groups
from envs.errors import ConfigError, EdgeError
from envs.rng import key_from_seed
from envs.scenario import make

COMPONENT_FEDERATION = "federation"


class Federation(Protocol):
    """A server with its clients, or clients on a graph."""

    figures: dict[str, float]  # of the last round's work, by name

    def play(self) -> Report:
        """Play a round."""

    def policy(self) -> Vectors:
        """Return the parameters that are judged."""

    def get_state(self) -> dict[str, Any]:
        """Return everything that the next rounds depend on."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""

    def stop(self) -> None:
        """Give back what it holds."""


class FederatedLearner(RolloutLearner):
    """Holds the weights; rounds change them."""


class FederatedConfig(BatchedOnlyConfig):
    """RLlib's config; ``federated`` holds the algorithm's own values."""

    learner_class = FederatedLearner
    module_class = ActorCritic
    needs = "federated training"

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from ``FederatedParams``."""
        super().__init__(algo_class=algo_class or Federated)
        self.federated: FederatedParams | None = None
        self.module_sharing = "shared"


class Federated(BatchedAlgorithm):
    """Rounds of clients."""

    @classmethod
    def get_default_config(cls) -> FederatedConfig:
        """Return the config's defaults."""
        return FederatedConfig()

    def setup(self, config: Any) -> None:
        """Build as RLlib does, then clients that begin at the learner's weights."""
        super().setup(config)
        values, settings = self.config.federated, self.config.env_config
        now = self.learner_group.get_weights()
        modules, older = (self._modules(now) for _ in range(2))
        seed, networks = settings["seed"], Networks(modules, older)
        scenarios = [load_scenario(name) for name in values.scenarios] or [settings["scenario"]]
        specs = [make(scenario, 1, seed).spec for scenario in scenarios]
        members = [groups(spec, agent_mapping(spec, self.config.module_sharing)) for spec in specs]
        start = {module_id: vector_of(modules[module_id]) for module_id in members[0]}
        clients = [
            Client(
                index,
                values.n_clients,
                scenarios[index % len(scenarios)],
                seed,
                values.estimator,
                networks,
                members[index % len(scenarios)],
                values.stealing.chunk_episodes,
            )
            for index in range(values.n_clients)
        ]
        self.federation: Federation = values.federation(clients, start, seed)

    def _modules(self, weights: Any) -> Any:
        """Return copies of the modules with given weights, for clients to put theirs into."""
        modules = self.config.get_multi_rl_module_spec(
            env=None, spaces=self.env_runner_group.get_spaces(), inference_only=False
        ).build()
        modules.set_state(weights)
        return modules

    def training_step(self) -> None:
        """Play rounds, put the policy into the learner, send it to the runners."""
        values = self.config.federated
        for _ in range(values.rounds_per_iteration):
            report = self.federation.play()
            self._log(report)
        policy = self.federation.policy()
        self.learner_group.foreach_learner(lambda learner: load_vectors(learner.module, policy))
        self.sync([dict.fromkeys(policy)])

    def _log(self, report: Report) -> None:
        """Log what is told of a round, under the names that other algorithms have."""
        runners: dict[str, Any] = {EPISODE_RETURN_MEAN: report.honest_return}
        self.metrics.log_dict(runners, key=ENV_RUNNER_RESULTS, window=1)
        steps = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        self.metrics.log_value(steps, report.n_steps, reduce="lifetime_sum", with_throughput=True)
        figures = {
            "rounds": report.round + 1,
            "large": float(report.is_large),
            "effective_share": report.effective_share,
            "refused_vectors": report.n_refused,
            "aggregate_norm": report.aggregate_norm,
            "aggregate_less_honest_mean_norm": report.distance,
            "parameters_diameter_before_agreement": report.diameter_before,
            "parameters_diameter": report.diameter,
        }
        work = {name: value for name, value in self.federation.figures.items() if isfinite(value)}
        self.metrics.log_dict({**work, **figures}, key=(LEARNER_RESULTS, ALL_MODULES, "federated"), window=1)

    def cleanup(self) -> None:
        """End the actors of the federation, then what RLlib has."""
        if hasattr(self, "federation"):
            self.federation.stop()
        super().cleanup()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state and that of the federation."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if compat.wants(self, COMPONENT_FEDERATION, components, not_components):
            state[COMPONENT_FEDERATION] = self.federation.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        super().set_state(state)
        if COMPONENT_FEDERATION in state:
            self.federation.set_state(state[COMPONENT_FEDERATION])


@dataclass(frozen=True)
class FederatedParams:
    """Values of federated training."""

    n_clients: int
    n_faulty: int  # clients that rules make up for
    mode: Literal["central", "decentralised"]
    graph: str  # decentralised: who hears whom, such as complete or k_regular(degree=4)
    aggregator: str  # of gradients, such as nnm > geometric_median
    agreement: str  # decentralised: of parameters
    n_agreement_rounds: int
    attack: str  # of the first n_faulty clients, such as alie; none
    attackers_move_every_rounds: int  # other n_faulty clients attack after so many rounds; 0: always the first ones
    estimator: EstimatorParams
    step: StepParams
    rounds_per_iteration: int
    stealing: StealingParams = field(default_factory=StealingParams)
    scenarios: tuple[str, ...] = ()  # worlds of the clients, in turn; none: the run's scenario for all

    def __post_init__(self) -> None:
        checks.positive(self, "n_clients", "rounds_per_iteration")
        checks.not_negative(self, "n_faulty", "n_agreement_rounds", "attackers_move_every_rounds")
        if self.attack != "none":
            self._read_attack()
        for text in (self.aggregator, self.agreement):
            pipeline(text)

    def _read_attack(self) -> Attack | DataAttack | ChunkPoisoning:
        found = read_attack(self.attack, "algorithm.attack")
        if not isinstance(found, (Attack, DataAttack, ChunkPoisoning)):
            raise ConfigError(f"algorithm.attack = {self.attack!r}: expected an attack on vectors, data or chunks")
        return found

    def federation(self, clients: Sequence[Client], start: Vectors, seed: int) -> Federation:
        """Return the server or the peers; what does not fit each other raises ConfigError."""
        rule = pipeline(self.aggregator, "algorithm.aggregator")
        faults = None
        if self.attack != "none":
            every = self.attackers_move_every_rounds
            sets = (self.n_clients, self.n_faulty)
            schedule = MovingSet(*sets, every_rounds=every, seed=seed) if every else FixedSet(*sets)
            faults = Faults(self._read_attack(), schedule, rule, seed)
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
    ) -> Federation:
        if self.mode == "central":
            return Server(clients, start, self.estimator, self.step, rule, self.n_faulty, seed, faults, collector)
        return Peers(
            clients,
            start,
            self.estimator,
            self.step,
            read_graph(self.graph, "algorithm.graph")(len(clients), np.random.default_rng(seed)),
            rule,
            pipeline(self.agreement, "algorithm.agreement"),
            self.n_agreement_rounds,
            self.n_faulty,
            seed,
            faults,
            collector,
        )

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
