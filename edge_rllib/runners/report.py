"""What a runner logs: once a fragment and once a finished episode, never once a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ray.rllib.utils.metrics import (
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from edge_rllib import compat

WORLD = "world"  # group of the world's own figures
WORLD_TIME_SHARE = "world_time_share"  # of a fragment's seconds, those spent in the world
SAMPLING_RATE = "agent_steps_per_s"  # of a runner, while it samples
MAX_AGENT_TAGS = 64  # with more agents no figure is logged by agent


def log_fragment(runner: Any, n_steps: int, spent_s: float, world_s: float) -> None:
    """Log the counters and timers of a fragment of ``n_steps`` steps of all worlds."""
    log = runner.metrics.log_value
    env_steps = n_steps * runner.num_envs
    agent_steps = env_steps * runner.env.spec.n_agents
    compat.count_env_steps(runner, env_steps)
    log(WEIGHTS_SEQ_NO, runner._weights_seq_no, reduce="mean", window=1)
    log(WORLD_TIME_SHARE, world_s / spent_s, reduce="mean", window=1)
    log(SAMPLING_RATE, agent_steps / spent_s, reduce="mean", window=1)
    log(NUM_ENV_STEPS_SAMPLED, env_steps, reduce="sum", with_throughput=True)
    log(NUM_ENV_STEPS_SAMPLED_LIFETIME, env_steps, reduce="lifetime_sum", with_throughput=True)
    log((NUM_AGENT_STEPS_SAMPLED, "all"), agent_steps, reduce="sum")  # nested: Algorithm adds up the values below
    log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, "all"), agent_steps, reduce="lifetime_sum")
    for module_id, agents in runner.groups.items():
        log((NUM_MODULE_STEPS_SAMPLED, module_id), env_steps * len(agents), reduce="sum")
        log((NUM_MODULE_STEPS_SAMPLED_LIFETIME, module_id), env_steps * len(agents), reduce="lifetime_sum")


def log_results(runner: Any) -> None:
    """Log the returns of finished episodes, and the world's figures where nobody took its sums before."""
    finished = runner.episodes.take_finished()
    sums, n_summed = runner.episodes.take_sums()
    if n_summed:
        for name, value in runner.env.summarise(sums).items():
            runner.metrics.log_value((WORLD, *name.split("/")), value, reduce="mean", window=1)
    if not finished:
        return
    window = max(1, math.ceil(runner.config.metrics_num_episodes_for_smoothing / max(1, runner.config.num_env_runners)))
    log = runner.metrics.log_value
    log(NUM_EPISODES, len(finished), reduce="sum")
    log(NUM_EPISODES_LIFETIME, len(finished), reduce="lifetime_sum")
    latest = finished[-window:]
    for episode in latest:
        total = float(episode.returns.sum())
        log(EPISODE_RETURN_MEAN, total, reduce="mean", window=window)
        log(EPISODE_RETURN_MIN, total, reduce="min", window=window)
        log(EPISODE_RETURN_MAX, total, reduce="max", window=window)
        log(EPISODE_LEN_MEAN, episode.n_steps, reduce="mean", window=window)
        log(EPISODE_LEN_MIN, episode.n_steps, reduce="min", window=window)
        log(EPISODE_LEN_MAX, episode.n_steps, reduce="max", window=window)
    agents = runner.env.spec.agents
    if len(agents) <= MAX_AGENT_TAGS:
        means = np.mean([episode.returns for episode in latest], 0)
        for agent, mean in zip(agents, means, strict=True):
            log((EPISODE_AGENT_RETURN_MEAN, agent), float(mean), reduce="mean", window=1)
