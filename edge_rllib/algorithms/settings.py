"""What a run decides about an algorithm beside its own values: scenario, scale, seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_rllib.algorithms import checks
from envs.errors import ConfigError
from envs.rng import check_seed
from envs.scenario import Scenario

_GLOBAL_SEEDS = 2**31


@dataclass(frozen=True)
class RunSettings:
    """Where and how large an algorithm runs."""

    scenario: Scenario
    seed: int = 0  # of worlds, decisions, weights and minibatches
    n_env_runners: int = 0  # remote env runners; 0 samples in the driver
    n_worlds: int = 64  # worlds of an env runner
    n_learners: int = 0  # remote learners; 0 learns in the driver
    module_sharing: str = "shared"  # shared, per_tier or per_agent weights
    sample_ahead: bool = False  # collect the next rollout while learning: its weights are one update old
    total_env_steps: int = 0  # length of the run, for schedules; 0 for constant learning rates
    learner_threads: int = 1  # threads of a learner; more only where cores are idle
    n_gpus_per_learner: float = 0.0
    n_evaluation_worlds: int = 0  # worlds of Algorithm.evaluate(); 0 builds no evaluation runner
    evaluation_interval: int = 0  # iterations between evaluations within train(); 0 for none
    start_from: str = ""  # checkpoint whose weights the run begins with; none for weights drawn by the seed

    def __post_init__(self) -> None:
        check_seed(self.seed)
        checks.not_negative(self, "n_env_runners", "n_learners", "total_env_steps")
        checks.not_negative(self, "n_evaluation_worlds", "evaluation_interval")
        for name in ("n_worlds", "learner_threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected 1 or more")
        if self.sample_ahead and not self.n_env_runners:
            raise ConfigError("sample_ahead = true needs remote env runners; n_env_runners is 0")
        if self.n_learners > self.n_worlds:
            raise ConfigError(
                f"n_worlds = {self.n_worlds} cannot be split over n_learners = {self.n_learners}: "
                "each learner takes whole worlds of every env runner"
            )

    @property
    def global_seed(self) -> int:
        """Return the seed of the generators of numpy and torch, below 2**31 because they take 32 bits.

        RLlib adds the index of the worker.
        """
        if self.seed < _GLOBAL_SEEDS:
            return self.seed
        return int(np.random.SeedSequence(self.seed).generate_state(1, np.uint32)[0]) % _GLOBAL_SEEDS

    @property
    def total_worlds(self) -> int:
        """Return the worlds of all env runners."""
        return self.n_worlds * max(1, self.n_env_runners)

    def linear(self, first: float, last: float) -> Any:
        """Return a schedule from the first to the last environment step of the run, or a constant."""
        if not self.total_env_steps or first == last:
            return first
        return [[0, first], [self.total_env_steps, last]]
