"""How fast experience is collected: the batched runner, remote runners, and the stock runner, on the same world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.bench.table import Row, rate
from edge_rllib.experiment.bench.world import SCENARIO
from edge_rllib.runners.batched import BatchedEnvRunner

FRAGMENT_STEPS = 50
STOCK_WORLDS = 8  # more do not help the stock runner: its cost is by agent-step
BATCHED_WORLDS = 256
_MLP = {"name": "mlp", "hidden": [64, 64], "critic_hidden": [64, 64]}


def config(n_worlds: int, n_env_runners: int = 0, fragment_steps: int = FRAGMENT_STEPS, **values: Any) -> Any:
    """Return the IPPO config of the bench's world and networks."""
    source = Source(None)
    algorithm = load_part("algorithm", {"name": "ippo", "fragment_steps": fragment_steps, **values}, source)
    settings = RunSettings(load_scenario(SCENARIO), n_worlds=n_worlds, n_env_runners=n_env_runners)
    return algorithm.to_config(settings, load_part("model", _MLP, source))


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench sample``; Ray must be running."""
    torch.set_num_threads(1)
    batched = rate(_batched())
    stock = rate(_stock(), repeats=3)
    one, two = rate(_remote(1)), rate(_remote(2))
    return [
        Row(
            f"batched runner, one process, {BATCHED_WORLDS} worlds, MLP 64x64",
            batched,
            "agent-steps/s",
            must=40.0,
            aim=65.0,
            reference=stock,
            reference_is=f"stock MultiAgentEnvRunner, {STOCK_WORLDS} worlds",
        ),
        Row("two remote runners", two, "agent-steps/s", 1.6, 1.9, reference=one, reference_is="one remote runner"),
    ]


def _batched() -> Callable[[], int]:
    runner = BatchedEnvRunner(config=config(BATCHED_WORLDS), worker_index=0, num_workers=0)

    def work() -> int:
        return sum(rollout.agent_steps() for rollout in runner.sample())

    return work


def _stock() -> Callable[[], int]:
    stock_config = config(STOCK_WORLDS)
    stock_config.env_runner_cls = None
    runner = MultiAgentEnvRunner(config=stock_config, worker_index=0, num_workers=0)

    def work() -> int:
        return sum(episode.agent_steps() for episode in runner.sample(num_timesteps=STOCK_WORLDS * FRAGMENT_STEPS))

    return work


def _remote(n_runners: int) -> Callable[[], int]:
    actor = ray.remote(num_cpus=1)(BatchedEnvRunner)
    remote_config = config(BATCHED_WORLDS, n_runners)
    runners = [
        actor.remote(config=remote_config, worker_index=index + 1, num_workers=n_runners) for index in range(n_runners)
    ]
    n_agents = remote_config.n_agents

    def work() -> int:
        n_steps = sum(result[1] for result in ray.get([runner.sample_refs.remote() for runner in runners]))
        return int(n_steps) * n_agents

    return work
