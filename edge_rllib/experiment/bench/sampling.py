"""How fast experience is collected: the batched runner, remote runners, and the stock runner, on the same world."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
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
REMOTE_WORLDS = 64  # a fragment is 31 MB then; two runners with 256 worlds would fill the object store
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
    one, two = _remote_rates()
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
        Row(
            f"two remote runners of {REMOTE_WORLDS} worlds",
            two,
            "agent-steps/s",
            1.6,
            1.9,
            reference=one,
            reference_is="one remote runner",
        ),
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


def _remote_rates(repeats: int = 15) -> tuple[float, float]:
    """Return the rates of one and of two remote runners, measured in turn; the median of each."""
    actor = ray.remote(num_cpus=1)(BatchedEnvRunner)
    remote_config = config(REMOTE_WORLDS, 2)
    runners = [actor.remote(config=remote_config, worker_index=index, num_workers=2) for index in (1, 2)]

    def measure(group: list[Any]) -> float:
        begin = time.perf_counter()
        n_steps = sum(result[1] for result in ray.get([runner.sample_refs.remote() for runner in group]))
        return int(n_steps) * int(remote_config.n_agents) / (time.perf_counter() - begin)

    measure(runners)
    rates = np.array([(measure(runners[:1]), measure(runners)) for _ in range(repeats)])
    one, two = np.median(rates, axis=0)
    return float(one), float(two)
