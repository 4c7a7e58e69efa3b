"""How good a policy is: greedy episodes in worlds of its own, beside a rule's on the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from edge_rllib.collective.pulling import Fitness
from edge_rllib.collective.vectors import Layout, load_vector
from edge_rllib.runners.agents import agent_spaces, groups
from edge_rllib.runners.batched import BatchedEnvRunner
from envs.arrays import F4
from envs.baselines.base import Rule, play
from envs.constants import EVALUATION_WORLD_ID
from envs.scenario import make

FITNESS_WORLD_ID = EVALUATION_WORLD_ID // 2  # worlds that choose among policies: neither trained on nor reported
LEAST_SCORE = 1e-9  # of a rule, as a unit of fitness


class Judging:
    """Plays policies; the same random numbers for all of them, at all sites."""

    def __init__(self, config: Any, n_worlds: int, rule: Rule) -> None:
        """Build worlds of the config's scenario; the rule's score is the unit of fitness."""
        judging = config.copy(copy_frozen=False)
        judging.callbacks_on_sample_end = None
        judging.env_runners(num_envs_per_env_runner=n_worlds, explore=False)
        judging.environment(env_config={**config.env_config, "first_world_id": FITNESS_WORLD_ID})
        judging.in_evaluation = True
        self._runner = BatchedEnvRunner(config=judging)
        self._modules = _whole_modules(config)
        self.layout = Layout.of(self._modules)
        settings = config.env_config
        world = make(settings["scenario"], n_worlds, settings["seed"])
        ids = FITNESS_WORLD_ID + np.arange(n_worlds, dtype=np.int64)
        self.rule_return = float(play(world, rule, ids, settings["seed"]).returns.sum(1).mean())
        self._n_worlds = n_worlds

    @staticmethod
    def layout_of(config: Any) -> Layout:
        """Return the layout of policies of a config."""
        return Layout.of(_whole_modules(config))

    def __call__(self, vector: F4) -> Fitness:
        """Return the fitness of a policy (d,): 0 is the rule's, 1 is better by the size of the rule's score."""
        load_vector(self._modules, vector)
        self._runner.module.set_state(self._modules.get_state(inference_only=True))
        self._runner.sample(num_episodes=self._n_worlds, explore=False)
        returns = np.array([episode.returns.sum() for episode in self._runner.episodes.take_finished()])
        self._runner.get_metrics()
        scores = (returns - self.rule_return) / max(abs(self.rule_return), LEAST_SCORE)
        return Fitness(float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(len(scores))))


def _whole_modules(config: Any) -> Any:
    """Return modules with all that a learner's have."""
    spec = make(config.env_config["scenario"], 1, config.env_config["seed"]).spec
    spaces = agent_spaces(spec, bool(config.env_config["with_state"]))
    keys = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES, *groups(spec, config.policy_mapping_fn))
    modules = config.get_multi_rl_module_spec(
        env=None, spaces=dict.fromkeys(keys, spaces), inference_only=False
    ).build()
    for _, module in modules.items():
        if isinstance(module.unwrapped(), TargetNetworkAPI):
            module.unwrapped().make_target_networks()
    return modules
