"""COMA: policies follow what a decision was worth beyond the policy's own average, by one central critic.

[Foerster et al., Counterfactual Multi-Agent Policy Gradients, 2018]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.base import BatchedAlgorithm
from edge_rllib.algorithms.central import CRITIC_SEES, CentralCriticConfig
from edge_rllib.algorithms.coma_learner import ComaLearner
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.counterfactual import CounterfactualModule
from edge_rllib.modules.critics import CRITICS
from envs.errors import ConfigError
from envs.scenario import make


class ComaConfig(CentralCriticConfig):
    """RLlib's config with the batched runner; ``coma`` holds the algorithm's own values."""

    learner_class = ComaLearner
    module_class = CounterfactualModule
    needs = "the critic of joint decisions"

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from ``ComaParams``."""
        super().__init__(algo_class=algo_class or Coma)
        self.coma: ComaParams | None = None


MAX_NODES = 4096  # of the counterfactual mean of a decision: beyond, a small batch takes gigabytes


class Coma(BatchedAlgorithm):
    """Counterfactual multi-agent policy gradients."""

    @classmethod
    def get_default_config(cls) -> ComaConfig:
        """Return the config's defaults."""
        return ComaConfig()

    def training_step(self) -> None:
        """Collect, learn from everything once, send the weights."""
        self.learn()


@dataclass(frozen=True)
class ComaParams:
    """Values of COMA. An environment step is one step of one world, all agents."""

    fragment_steps: int  # steps of each world between two updates
    policy_learning_rate: float  # of Adam, for policies
    critic_learning_rate: float  # of Adam, for the critic
    final_rate_frac: float  # share of both learning rates at the end of the run; linear in between
    gamma: float  # discount a step, in [0, 1]
    td_lambda: float  # in [0, 1]; 0 trusts the copied critic, 1 the returns
    entropy_coeff: float  # weight of the entropy of decisions in the policies' loss, 0 or more
    grad_clip: float  # largest norm of the gradient of the critic, and of a group's policy
    normalise_value: bool  # learn values at unit scale, with the head rescaled as the scale moves
    critic: str  # shared (one value for the team), per_agent or attention
    critic_sees: str  # observations of all agents, or the world's own global state
    critic_epochs: int  # passes of the critic over a batch, before the policies move
    critic_minibatch_steps: int  # environment steps of a gradient step of the critic; 0 takes the whole batch
    target_rate: float  # share by which the copied critic moves with each gradient step, in (0, 1]
    epochs: int  # passes of the policies over a batch; 1 over the whole batch is COMA as published
    minibatch_steps: int  # environment steps of a gradient step of the policies; 0 takes the whole batch
    clip: float  # largest change of a probability ratio that is rewarded; without effect on a batch's first step
    amount_nodes: int  # quadrature nodes of each amount in the counterfactual mean; without effect on targets

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "gamma", "td_lambda", "target_rate", "final_rate_frac")
        checks.positive(self, "fragment_steps", "policy_learning_rate", "critic_learning_rate", "grad_clip")
        checks.positive(self, "critic_epochs", "target_rate", "epochs", "clip", "amount_nodes")
        checks.not_negative(self, "entropy_coeff", "critic_minibatch_steps", "minibatch_steps")
        checks.one_of(self, critic=CRITICS, critic_sees=CRITIC_SEES)

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm; refuse too many amounts to average over."""
        spec = make(settings.scenario, 1, settings.seed).spec
        if self.amount_nodes**spec.n_amounts > MAX_NODES:
            raise ConfigError(
                f"scenario {spec.scenario}: the counterfactual mean over {spec.n_amounts} amounts of an agent takes "
                f"amount_nodes ** {spec.n_amounts} = {self.amount_nodes**spec.n_amounts:.2g} nodes; expected at most "
                f"{MAX_NODES}: choose agents with fewer amounts, or discrete decisions"
            )
        config = ComaConfig()
        config.coma = self
        return config.configure(self, settings, model, {"scale_value": self.normalise_value})
