"""What a run is: the scenario, what learns on it, how large, how long, and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from envs.errors import ConfigError
from envs.rng import check_seed
from envs.scenario import Scenario


@dataclass(frozen=True)
class EvaluationConfig:
    """How a policy is judged on worlds that it never saw in training."""

    worlds: int  # held-out worlds of the final comparison; intervals are taken over them
    every_iterations: int  # training iterations between two evaluations; 0 for none before the end
    watched_worlds: int  # held-out worlds of an evaluation during training
    metric: str  # figure that chooses the best checkpoint and leads the tables, e.g. response_time_s_mean
    decisions: Literal["greedy", "sampled"]  # most probable target, or drawn from the policy as in training
    rules: tuple[str, ...]  # rules to compare with, by registry name or a user's file.py:Class; [all] for every one
    # what no policy can beat, for the normalised score; linear_program is sharper and takes some seconds a world, auto
    # takes the sharpest that is quick: exact optimum of a tiny network, linear_program of few tasks, else zero_queue
    bound: Literal["none", "zero_queue", "linear_program", "auto"]

    def __post_init__(self) -> None:
        _at_least(self, 1, "worlds")
        _at_least(self, 0, "every_iterations")
        _at_least(self, 1, "watched_worlds")


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved; it is saved at its end and when it is interrupted in any case."""

    every_iterations: int  # training iterations between two checkpoints; 0 for none before the end
    keep: int  # newest checkpoints that stay on disk, at least 1; the best one stays too

    def __post_init__(self) -> None:
        _at_least(self, 0, "every_iterations")
        _at_least(self, 1, "keep")


@dataclass(frozen=True)
class RunConfig:
    """Everything that defines a run; two equal configs give equal results on one env runner."""

    name: str  # of the run; the stem of its file
    scenario: Scenario  # the learning problem
    algorithm: Any  # a part of kind algorithm
    model: Any  # a part of kind model
    module_sharing: Literal["shared", "per_tier", "per_agent"]  # which agents share weights
    seed: int  # of worlds, decisions, weights and minibatches
    n_env_runners: int  # processes that sample; 0 samples in the main process
    n_worlds: int  # worlds of an env runner
    n_learners: int  # processes that learn; 0 learns in the main process
    n_gpus_per_learner: float  # GPUs of a learner; 0 for the CPU
    learner_threads: int  # threads of a learner; more only where cores are idle
    sample_ahead: bool  # collect the next rollout while learning; its weights are one update old
    total_env_steps: int  # length of the run, in steps of single worlds
    results: str  # folder under which the run's own folder is made
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig
    start_from: str | None = None  # result whose best weights the run begins with; none for weights drawn by the seed
    mutual_information: Any = None  # a part of that kind: a reward that is added in training; none for the task's alone

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("n_env_runners", "n_learners"):
            _at_least(self, 0, name)
        for name in ("n_worlds", "learner_threads", "total_env_steps"):
            _at_least(self, 1, name)
        if not self.n_gpus_per_learner >= 0.0:
            raise ConfigError(f"n_gpus_per_learner = {self.n_gpus_per_learner}: expected 0 or more")


def _at_least(config: Any, least: int, name: str) -> None:
    value = getattr(config, name)
    if value < least:
        raise ConfigError(f"{name} = {value}: expected at least {least}")
