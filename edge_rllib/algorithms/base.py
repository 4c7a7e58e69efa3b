"""What all algorithms share: their RLlib config, how they collect rollouts, and how they save and restore worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from edge_rllib import compat
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.algorithms.start import begin_with
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.runners.agents import agent_mapping, agent_spaces
from edge_rllib.runners.batched import BatchedEnvRunner
from edge_rllib.runners.multi_agent_env import EdgeMultiAgentEnv
from edge_rllib.runners.report import WORLD
from edge_rllib.runners.rollout import Rollout
from envs.constants import EVALUATION_WORLD_ID
from envs.errors import ConfigError
from envs.scenario import make

NEVER = 10**9  # an interval beyond any run: builds the evaluation runner for explicit calls only
COMPONENT_RUNNER_WORLDS = "runner_worlds"


class BatchedConfig(AlgorithmConfig):
    """First base of a config, in front of RLlib's own: samples with the batched runner."""

    minibatch_size: int | None

    def __init__(self, algo_class: Any = None) -> None:
        """Set what holds for every run; ``apply`` sets the rest."""
        super().__init__(algo_class=algo_class)
        self.env_runner_cls = BatchedEnvRunner
        self.disable_env_checking = True
        self.sample_ahead = False
        self.keep_logits = False  # runners record logits, for losses that compare distributions
        self.learner_threads = 1
        self.start_from = ""
        self.train_on = "all"
        self.n_agents = 1
        self.has_amounts = False
        self.max_requests_in_flight_per_env_runner = 2  # sampling ahead and the weights behind it
        self.delay_between_env_runner_restarts_s = 0.0
        self.restart_failed_env_runners = True
        compat.sync_runner_states(self, is_on=False)

    def use_stock_runner(self) -> Any:
        """Sample with RLlib's own MultiAgentEnvRunner, for connectors of one's own or to compare; some 80 times slower.

        Modules, losses and checkpoints stay the same; ``train_on`` is "all" then.
        """
        if self.has_amounts:
            raise ConfigError(
                "the stock runner takes targets alone; this scenario's decisions have amounts: use the batched runner"
            )
        self.env_runner_cls = MultiAgentEnvRunner
        compat.sync_runner_states(self, is_on=True)
        return self

    def apply(self, settings: RunSettings, module_class: type, model_config: dict[str, Any], is_central: bool) -> Any:
        """Set worlds, runners, learners, modules and seeds; ``fragment_steps`` must be set before."""
        spec = make(settings.scenario, 1, settings.seed).spec
        if spec.n_decisions != 1:
            raise ConfigError(
                f"scenario {spec.scenario}: {spec.n_decisions} decisions a step do not fit; the algorithms take one"
            )
        if spec.n_amounts and not getattr(module_class, "takes_amounts", False):
            raise ConfigError(
                f"scenario {spec.scenario}: decisions have amounts ({', '.join(spec.amount_names)}), but this "
                "algorithm chooses targets alone; choose discrete decisions, or an algorithm such as ippo or maddpg"
            )
        mapping = agent_mapping(spec, settings.module_sharing)
        observation_space, action_space = agent_spaces(spec, is_central)
        self.n_agents, self.has_amounts = spec.n_agents, bool(spec.n_amounts)
        self.sample_ahead, self.learner_threads = settings.sample_ahead, settings.learner_threads
        self.start_from = settings.start_from
        env_config = {
            "scenario": settings.scenario,
            "seed": settings.seed,
            "first_world_id": 0,
            "with_state": is_central,
            "worlds_of_runner": settings.n_worlds,
        }
        self.environment(EdgeMultiAgentEnv, env_config=env_config)
        self.env_runners(num_env_runners=settings.n_env_runners, num_envs_per_env_runner=settings.n_worlds)
        self.learners(num_learners=settings.n_learners, num_gpus_per_learner=settings.n_gpus_per_learner)
        self.multi_agent(policies=set(mapping.module_ids()), policy_mapping_fn=mapping)
        self.rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=module_class,
                observation_space=observation_space,
                action_space=action_space,
                model_config={**model_config, "shape": ObservationShape.of(spec), "is_central": is_central},
            )
        )
        self.debugging(seed=settings.global_seed)
        if settings.n_evaluation_worlds:
            self.evaluation(
                evaluation_interval=settings.evaluation_interval or NEVER,
                evaluation_num_env_runners=0,
                evaluation_duration=settings.n_evaluation_worlds,
                evaluation_duration_unit="episodes",
                evaluation_config={
                    "explore": False,
                    "num_envs_per_env_runner": settings.n_evaluation_worlds,
                    "env_config": {**env_config, "first_world_id": EVALUATION_WORLD_ID},
                },
            )
        return self

    def validate(self) -> None:
        """Check as RLlib does, but for sizes: there ``minibatch_size`` is in rows and the train batch in steps."""
        rows, self.minibatch_size = self.minibatch_size, None
        try:
            super().validate()
        finally:
            self.minibatch_size = rows


class BatchedOnlyConfig(BatchedConfig):
    """Base of configs of algorithms that RLlib does not have: their Learners take rollouts and nothing else."""

    learner_class: type
    module_class: type
    needs: str  # what only the batched runner gives, for the message

    def get_default_learner_class(self) -> type:
        """Return the learner."""
        return self.learner_class

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return what RLlib completes the spec of ``apply`` with."""
        return RLModuleSpec(module_class=self.module_class)

    def use_stock_runner(self) -> Any:
        """Refuse."""
        raise ConfigError(f"{self.needs} needs the batched runner; stock runners serve ippo, mappo and a2c")


class BatchedAlgorithm(Algorithm):
    """First base of an Algorithm, in front of RLlib's own: collects rollouts, sends weights, saves worlds."""

    takes_reward_terms = True  # its Learners make batches, whose rewards terms are added to

    def setup(self, config: Any) -> None:
        """Build as RLlib does, and one world whose only task is to derive figures from metric sums."""
        super().setup(config)
        settings = self.config.env_config
        self._summariser = make(settings["scenario"], 1, settings["seed"])
        if self.config.start_from:
            begin_with(self, Path(self.config.start_from))

    @property
    def is_batched(self) -> bool:
        """Return whether rollouts come from the batched runner, not episodes from a stock one."""
        return issubclass(self.config.env_runner_cls, BatchedEnvRunner)

    def collect(self, n_steps: int = 0) -> list[Any]:
        """Sample at least ``n_steps`` environment steps, by default the train batch.

        Return the rollouts of a local runner, or references by rollout and learner.
        Runners that die meanwhile are left out; RLlib restarts them and hands them the weights.
        """
        group, wanted = self.env_runner_group, n_steps or self.config.total_train_batch_size
        data: list[Any] = []
        reports: list[Any] = []
        sums, n_summed, n_sampled = np.zeros(len(self._summariser.spec.sum_names)), 0, 0
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER), reduce="mean", window=1):
            while n_sampled < wanted:
                results = self._sample_once(group)
                if not results:
                    break  # all runners failed or were late; the next iteration finds them restarted
                for parts, steps, report, (more, count) in results:
                    data += parts
                    reports.append(report)
                    sums, n_summed, n_sampled = sums + more, n_summed + count, n_sampled + steps
        if reports:
            self.metrics.aggregate(reports, key=ENV_RUNNER_RESULTS)
        if n_summed:
            for name, value in self._summariser.summarise(sums).items():
                self.metrics.log_value((ENV_RUNNER_RESULTS, WORLD, *name.split("/")), value, reduce="mean", window=1)
        if data and self.config.sample_ahead and group.num_healthy_remote_env_runners():
            group.foreach_env_runner_async("sample_refs", tag=compat.SAMPLE_TAG)
        return data

    def _sample_once(self, group: Any) -> list[Any]:
        """Return what each runner's ``sample_refs`` returned; a local runner hands over its rollouts themselves."""
        if group.num_remote_env_runners() == 0:
            runner = group.local_env_runner
            rollouts = runner.sample()
            sums = runner.episodes.take_sums()
            return [(rollouts, sum(rollout.env_steps() for rollout in rollouts), runner.get_metrics(), sums)]
        timeout_s = self.config.sample_timeout_s
        if not self.config.sample_ahead:
            return list(
                group.foreach_env_runner(
                    lambda runner: runner.sample_refs(), local_env_runner=False, timeout_seconds=timeout_s
                )
            )
        if group.num_in_flight_async_reqs(compat.SAMPLE_TAG) == 0:
            group.foreach_env_runner_async("sample_refs", tag=compat.SAMPLE_TAG)
        ready = group.fetch_ready_async_reqs(tags=compat.SAMPLE_TAG, timeout_seconds=timeout_s)
        return [result for _, result in ready]

    def learner_data(self, data: list[Any]) -> dict[str, Any]:
        """Return collected data as the argument of ``LearnerGroup.update``: a run of references for each learner."""
        n_parts = max(1, self.config.num_learners)
        if isinstance(data[0], Rollout):
            if self.learner_group.is_local:
                return {"batches": data}
            data = [[ray.put(part) for part in rollout.split(n_parts)] for rollout in data]
        return {"batch_refs": [parts[i] for i in range(n_parts) for parts in data]}

    def learn(self, **options: Any) -> None:
        """Do one iteration: collect, hand everything to the learners, send the weights.

        ``options`` are those of ``LearnerGroup.update``; ``timesteps`` are added to.
        """
        data = self.collect()
        if not data:
            return
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.lifetime_steps(), **options.pop("timesteps", {})}
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER), reduce="mean", window=1):
            results = self.learner_group.update(**self.learner_data(data), timesteps=timesteps, **options)
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.sync(results)

    def sync(self, learner_results: list[Any]) -> None:
        """Send the learners' weights to the runners."""
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER), reduce="mean", window=1):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group,
                policies=set(learner_results[0]) - {ALL_MODULES},
                inference_only=True,
            )

    def lifetime_steps(self) -> int:
        """Return the environment steps sampled so far."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state and that of the remote runners' worlds, so that a resumed run continues them."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        group = self.env_runner_group
        if (
            self.is_batched
            and group.num_remote_env_runners()
            and compat.wants(self, COMPONENT_RUNNER_WORLDS, components, not_components)
        ):
            worlds = group.foreach_env_runner(lambda runner: runner.world_state(), local_env_runner=False)
            state[COMPONENT_RUNNER_WORLDS] = [world for world in worlds if world is not None]
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state; each remote runner picks out its own worlds."""
        super().set_state(state)
        worlds = state.get(COMPONENT_RUNNER_WORLDS)
        if worlds and self.env_runner_group.num_remote_env_runners():
            reference = ray.put(worlds)

            def restore(runner: Any) -> None:
                for world in ray.get(reference):
                    runner.set_world_state(world)

            self.env_runner_group.foreach_env_runner(restore, local_env_runner=False)
