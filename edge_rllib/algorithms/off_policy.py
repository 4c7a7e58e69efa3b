"""What off-policy algorithms with central critics share: config, training step, values and their checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import ray
import torch
from torch import Tensor

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.central import CRITIC_SEES, CentralCriticConfig
from edge_rllib.algorithms.joint_learner import JointLearner
from edge_rllib.algorithms.joint_update import (
    OTHERS,
    TARGET_GRADIENTS,
    JointUpdate,
    Networks,
    SumGradients,
    UpdateRules,
)
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.algorithms.stored import FromEpisodes, StoredParams
from edge_rllib.modules.critics import CRITICS
from edge_rllib.modules.joint import JointModule
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.modules.stacked import INITIALS
from edge_rllib.ops import hybrid
from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.traces import Agreement
from edge_rllib.runners.rollout import Rollout
from envs.errors import ConfigError

N_STEP_RULES = ("fixed", "adaptive", "retrace")


class OffPolicyConfig(CentralCriticConfig):
    """RLlib's config with the batched runner; ``off_policy`` holds the algorithm's own values."""

    learner_class = JointLearner
    module_class = JointModule
    needs = "the joint replay"

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from the algorithm's params."""
        super().__init__(algo_class=algo_class or OffPolicy)
        self.off_policy: OffPolicyParams | None = None
        self.stored = StoredParams(episodes=(), offline=False)
        self.total_env_steps = 0


class OffPolicy(FromEpisodes):
    """Off-policy learning from a joint replay; the learner's steps make the difference between the algorithms."""

    @classmethod
    def get_default_config(cls) -> OffPolicyConfig:
        """Return the config's defaults."""
        return OffPolicyConfig(cls)

    def training_step(self) -> None:
        """Collect a fragment, store it, do the gradient steps that are due, send the weights."""
        self.learn()

    def learner_data(self, data: list[Any]) -> dict[str, Any]:
        """Return collected data as the argument of ``LearnerGroup.update``: every learner is handed all of it."""
        n_learners = max(1, self.config.num_learners)
        if isinstance(data[0], Rollout):
            return {"batches": data} if self.learner_group.is_local else self._put(data, n_learners)
        return {"batch_refs": [part for parts in data for part in parts] * n_learners}

    def _put(self, rollouts: list[Rollout], n_learners: int) -> dict[str, Any]:
        return {"batch_refs": [ray.put(rollout) for rollout in rollouts] * n_learners}


class Exploration(NamedTuple):
    """How much policies explore."""

    epsilon: float  # chance of a random target
    noise_std: float  # of amounts, in their units
    entropy_coeff: float  # weight of the entropy of targets in the policies' loss


@dataclass(frozen=True)
class OffPolicyParams(StoredParams, ABC):
    """Values that all algorithms of the family have. An environment step is one step of one world, all agents."""

    fragment_steps: int  # steps of each world between two calls of the learner
    policy_learning_rate: float  # of Adam, for policies
    critic_learning_rate: float  # of Adam, for critics
    final_rate_frac: float  # share of both learning rates at the end of the run; linear in between
    gamma: float  # discount a step, in [0, 1]
    n_step: int  # steps that a transition spans, or the most of them
    n_step_rule: str  # fixed; adaptive (while the policies decide as was decided); or retrace, as far as n_step
    trace_decay: float  # of Retrace, in [0, 1]
    agreement_frac: float  # amounts that differ by less of their range are one decision; where a world has no edges
    reward_scale: float  # factor of rewards, before anything else
    normalise_value: bool  # learn values at unit scale, set by the rewards of the warm-up
    replay_steps: int  # places of the replay, in environment steps
    warm_up_steps: int  # transitions in the replay before the first gradient step; decisions are random until then
    minibatch_steps: int  # transitions of a gradient step
    updates_per_step: float  # gradient steps for each environment step, however many worlds there are
    priority_alpha: float  # exponent of priorities, in [0, 1]; 0 draws all transitions with equal chance
    importance_beta: float  # first exponent of importance weights, in [0, 1]; 1 at the end of the run
    critic: str  # shared (one value for the team), per_agent or attention
    critic_sees: str  # observations of all agents, or the world's own global state
    first_weights: str  # orthogonal, or uniform as PyTorch's own
    target_rate: float  # share by which copied networks move each time
    grad_clip: float  # largest norm of the gradient of a critic, and of a group's policy
    others: str  # decisions of the others in an agent's policy loss: from replay, or of their policies
    target_gradient: str  # of the choice of a target: gumbel (one relaxed draw) or expectation over all targets
    save_replay: bool  # checkpoints hold the replay: a resumed run is bit-equal, and each checkpoint large

    is_stochastic: ClassVar[bool] = False
    n_critics: ClassVar[int] = 1

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "gamma", "priority_alpha", "importance_beta", "target_rate", "final_rate_frac")
        checks.in_unit_interval(self, "trace_decay", "agreement_frac")
        checks.positive(self, "fragment_steps", "policy_learning_rate", "critic_learning_rate", "n_step")
        checks.positive(self, "reward_scale", "replay_steps", "minibatch_steps", "updates_per_step")
        checks.positive(self, "target_rate", "grad_clip")
        checks.one_of(self, critic=CRITICS, critic_sees=CRITIC_SEES, first_weights=INITIALS)
        checks.one_of(self, others=OTHERS, target_gradient=TARGET_GRADIENTS, n_step_rule=N_STEP_RULES)
        if not self.minibatch_steps <= self.warm_up_steps <= self.replay_steps:
            raise ConfigError(
                f"minibatch_steps = {self.minibatch_steps}, warm_up_steps = {self.warm_up_steps}, replay_steps = "
                f"{self.replay_steps}: expected each to be at most the next"
            )
        if self.episodes and self.n_step_rule == "retrace":
            raise ConfigError(
                "n_step_rule = 'retrace' with episodes: files do not say how probable decisions were; expected "
                "fixed or adaptive"
            )

    @abstractmethod
    def joint_update(
        self,
        networks: Networks,
        optimizers: dict[str, torch.optim.Optimizer],
        generator: torch.Generator,
        sum_gradients: SumGradients | None,
        module: JointModule,
    ) -> JointUpdate:
        """Return what does this algorithm's gradient steps."""

    @abstractmethod
    def exploration(self, progress: float, sizes: Sizes) -> Exploration:
        """Return how to explore at a share of the run."""

    def agreement(self, shape: ObservationShape) -> Agreement:
        """Return when two amounts are one decision to the world."""
        sizes = shape.decision
        return Agreement(shape.amount_edges, self.agreement_frac * (sizes.high - sizes.low))

    def rules(self, module: JointModule) -> UpdateRules:
        """Return how a gradient step is made."""
        return UpdateRules(
            target_rate=self.target_rate,
            grad_clip=self.grad_clip,
            others=self.others,
            target_gradient=self.target_gradient,
            trace_decay=self.trace_decay,
            agreement=self.agreement(module.model_config["shape"]),
        )

    def exploration_model(self) -> dict[str, float]:
        """Return how runners explore beside what follows a schedule."""
        return {"noise_rate": 1.0, "parameter_noise_frac": 0.0}

    def first_temperature(self) -> float:
        """Return the first weight of entropies, for algorithms that learn it."""
        return 1.0

    @abstractmethod
    def algorithm(self) -> type[OffPolicy]:
        """Return the Algorithm's class."""

    def seen_decisions(self, target: Tensor, amounts: Tensor, sizes: Sizes) -> Tensor:
        """Return replayed decisions (R, N, W) as critics are trained on them."""
        return hybrid.decision_vectors(target, amounts, sizes)

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm."""
        if self.save_replay and settings.n_learners > 1:
            raise ConfigError(
                f"save_replay = true with n_learners = {settings.n_learners}: expected one learner, whose state a "
                "checkpoint holds"
            )
        self.check_episodes(settings)
        config = OffPolicyConfig(self.algorithm())
        config.off_policy, config.stored, config.total_env_steps = self, self, settings.total_env_steps
        model_config = {
            "n_critics": self.n_critics,
            "initial": self.first_weights,
            "is_stochastic": self.is_stochastic,
            "temperature": self.first_temperature(),
            **self.exploration_model(),
        }
        return config.configure(self, settings, model, model_config)
