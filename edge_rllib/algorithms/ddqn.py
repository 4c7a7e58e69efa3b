"""Double deep Q-learning, each agent on its own: prioritised replay, several-step returns, dueling networks.

[van Hasselt et al., Deep Reinforcement Learning with Double Q-learning, 2016; Hessel et al., Rainbow, 2018]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_rllib.algorithms import checks
from edge_rllib.algorithms.base import BatchedOnlyConfig
from edge_rllib.algorithms.preparation import TRAIN_ON
from edge_rllib.algorithms.q_learner import QLearner
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.algorithms.stored import FromEpisodes, StoredParams
from edge_rllib.modules.q_module import QModule
from envs.errors import ConfigError


class DdqnConfig(BatchedOnlyConfig):
    """RLlib's config with the batched runner; ``ddqn`` holds the algorithm's own values."""

    learner_class = QLearner
    module_class = QModule
    needs = "the replay of ddqn"

    def __init__(self, algo_class: Any = None) -> None:
        """Set defaults; values come from ``DdqnParams``."""
        super().__init__(algo_class=algo_class or Ddqn)
        self.ddqn: DdqnParams | None = None
        self.stored = StoredParams(episodes=(), offline=False)
        self.total_env_steps = 0


class Ddqn(FromEpisodes):
    """Double deep Q-learning."""

    @classmethod
    def get_default_config(cls) -> DdqnConfig:
        """Return the config's defaults."""
        return DdqnConfig()

    def training_step(self) -> None:
        """Collect a fragment, store it, learn from the replay, send the weights."""
        self.learn()


@dataclass(frozen=True)
class DdqnParams(StoredParams):
    """Values of DDQN."""

    fragment_steps: int  # steps of each world between two calls of the learner
    learning_rate: float  # of Adam, at the start
    final_learning_rate: float  # of Adam, at the end of the run; linear in between
    gamma: float  # discount a step, in [0, 1]
    n_step: int  # rows of an agent that a transition spans
    train_on: str  # all rows, or only the "decisions": then a transition leads from one choice to the next
    replay_rows: int  # places of the replay, all modules and learners together
    warm_up_rows: int  # transitions in the replay before the first gradient step; decisions are random until then
    minibatch_rows: int  # transitions of a gradient step
    replay_ratio: float  # how often a transition is trained on, on average, however many worlds there are
    priority_alpha: float  # exponent of priorities, in [0, 1]; 0 draws all rows with equal chance
    importance_beta: float  # first exponent of importance weights, in [0, 1]; 1 at the end of the run
    epsilon: float  # first chance of a random decision
    final_epsilon: float  # last chance of a random decision
    epsilon_frac: float  # share of the run over which the chance falls
    is_double: bool  # the network picks the next decision, its copy judges it; else the copy does both
    is_dueling: bool  # a value of the state beside the scores of targets
    target_interval: int  # gradient steps between two moves of the copied network
    target_rate: float  # share of the way that a move takes, in (0, 1]; 1 copies
    huber: float  # error at which the loss becomes linear, at unit scale
    grad_clip: float  # largest global norm of a gradient
    normalise_value: bool  # learn values at unit scale, set by the rewards of the warm-up
    save_replay: bool  # checkpoints hold the replay: a resumed run is bit-equal, and each checkpoint large

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "gamma", "priority_alpha", "importance_beta")
        checks.in_unit_interval(self, "epsilon", "final_epsilon", "epsilon_frac", "target_rate")
        checks.positive(self, "fragment_steps", "learning_rate", "n_step", "replay_rows", "minibatch_rows")
        checks.positive(self, "replay_ratio", "target_interval", "target_rate", "huber", "grad_clip")
        checks.not_negative(self, "final_learning_rate")
        checks.one_of(self, train_on=TRAIN_ON)
        if not self.minibatch_rows <= self.warm_up_rows <= self.replay_rows:
            raise ConfigError(
                f"minibatch_rows = {self.minibatch_rows}, warm_up_rows = {self.warm_up_rows}, replay_rows = "
                f"{self.replay_rows}: expected each to be at most the next"
            )

    def to_config(self, settings: RunSettings, model: Any) -> Any:
        """Return the config from which ``build_algo`` makes the Algorithm."""
        if model.is_recurrent:
            raise ConfigError("ddqn: the replay holds single rows; choose a model without memory, such as mlp")
        if self.save_replay and settings.n_learners > 1:
            raise ConfigError(
                f"save_replay = true with n_learners = {settings.n_learners}: a checkpoint holds one learner's state"
            )
        self.check_episodes(settings)
        config = DdqnConfig()
        config.training(
            lr=settings.linear(self.learning_rate, self.final_learning_rate),
            gamma=self.gamma,
            grad_clip=self.grad_clip,
            grad_clip_by="global_norm",
            train_batch_size_per_learner=self.fragment_steps * settings.total_worlds // max(1, settings.n_learners),
        )
        config.env_runners(rollout_fragment_length=self.fragment_steps)
        config.ddqn, config.stored, config.train_on = self, self, self.train_on
        config.total_env_steps = settings.total_env_steps
        model_config = {"model": model, "is_dueling": self.is_dueling, "epsilon": self.epsilon}
        return config.apply(settings, QModule, model_config, is_central=False)
