"""Federated policy gradients as an RLlib Algorithm: clients, a server or a graph, and the checkpoints of both.

The learner group holds the agreed weights, for evaluation, checkpoints and export; it never does a gradient step of its
own. Clients play their own worlds, so that the env runner serves evaluation alone.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from edge_rllib import compat
from edge_rllib.algorithms.base import BatchedAlgorithm, BatchedOnlyConfig
from edge_rllib.algorithms.learner import RolloutLearner
from edge_rllib.federated.build import federation
from edge_rllib.federated.rounds import Report, Rounds
from edge_rllib.federated.vectors import load_vectors
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.runners.report import WORLD

COMPONENT_FEDERATION = "federation"


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
        self.federated: Any = None  # FederatedParams
        self.module_sharing = "shared"


class Federated(BatchedAlgorithm):
    """Rounds of clients."""

    takes_reward_terms = False  # clients learn where they play

    @classmethod
    def get_default_config(cls) -> FederatedConfig:
        """Return the config's defaults."""
        return FederatedConfig()

    def setup(self, config: Any) -> None:
        """Build as RLlib does, then clients that begin at the learner's weights."""
        super().setup(config)
        now = self.learner_group.get_weights()
        self.federation: Rounds = federation(self.config, *(self._modules(now) for _ in range(2)))

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
        agent_steps = (ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED, "all")
        self.metrics.log_value(agent_steps, report.n_agent_steps, reduce="sum")
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
        for name in [name for name in work if name.startswith(f"{WORLD}/")]:
            self.metrics.log_value((ENV_RUNNER_RESULTS, *name.split("/")), work.pop(name), reduce="mean", window=1)
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
