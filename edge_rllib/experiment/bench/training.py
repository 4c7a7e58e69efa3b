"""How fast PPO trains: against stock RLlib at one schedule and at the best setting of each; the learner alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPO
from torch import nn

from edge_rllib.experiment.bench.sampling import STOCK_WORLDS, config
from edge_rllib.experiment.bench.table import Row, rate
from edge_rllib.runners.batched import BatchedEnvRunner

_N_ITERATIONS = 3
_EPOCHS, _MINIBATCH_ROWS = 4, 8000
_SAME: dict[str, Any] = {"epochs": _EPOCHS, "minibatch_rows": 2000, "train_on": "all", "normalise_value": False}
_SAME_STEPS = 140  # x 8 worlds x 18 agents: 20,160 rows
_BEST: dict[str, Any] = {**_SAME, "minibatch_rows": _MINIBATCH_ROWS}
_BEST_STEPS, _BEST_WORLDS = 50, 128


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench train``; Ray must be running."""
    torch.set_num_threads(1)
    same = config(STOCK_WORLDS, fragment_steps=_SAME_STEPS, **_SAME)
    stock_best = _stock(config(STOCK_WORLDS, 2, fragment_steps=_SAME_STEPS // 2, **_SAME))
    best = config(_BEST_WORLDS, 1, fragment_steps=_BEST_STEPS, **_BEST)
    best.learners(num_learners=2)
    best.sample_ahead = True
    best.train_batch_size_per_learner = _BEST_STEPS * _BEST_WORLDS // 2
    choices = config(_BEST_WORLDS, 2, fragment_steps=_BEST_STEPS, **{**_BEST, "train_on": "decisions"})
    stock_rate = _train_rate(_stock(config(STOCK_WORLDS, fragment_steps=_SAME_STEPS, **_SAME)), PPO)
    stock_best_rate = _train_rate(stock_best, PPO)
    learner_rate, plain_rate = _learner_rates()
    return [
        Row(
            "PPO training, identical schedule (20,160 rows, 4 epochs, minibatch 2,000)",
            _train_rate(same),
            "agent-steps/s",
            must=5.0,
            aim=6.0,
            reference=stock_rate,
            reference_is=f"stock, {STOCK_WORLDS} worlds, one process",
        ),
        Row(
            f"PPO training, best setting: one runner of {_BEST_WORLDS} worlds, two learners, sampling ahead",
            _train_rate(best),
            "agent-steps/s",
            must=5.0,
            aim=10.0,
            reference=stock_best_rate,
            reference_is=f"stock, two runners of {STOCK_WORLDS} worlds",
        ),
        Row(
            "PPO training on the rows that have a choice: two runners",
            _train_rate(choices),
            "agent-steps/s",
            must=5.0,
            aim=10.0,
            reference=stock_best_rate,
            reference_is=f"stock on all rows, two runners of {STOCK_WORLDS} worlds",
        ),
        Row(
            "learner alone, minibatch 8,000",
            learner_rate,
            "rows/s",
            must=0.8,
            aim=0.95,
            reference=plain_rate,
            reference_is="plain torch loop",
        ),
    ]


def _stock(stock_config: Any) -> Any:
    """Return a config with RLlib's own runner, connectors and training step, for the same modules and loss."""
    stock_config.env_runner_cls = None
    return stock_config


@contextmanager
def _built(algorithm_config: Any, algorithm_class: Any = None) -> Iterator[Any]:
    algorithm = algorithm_class(config=algorithm_config) if algorithm_class else algorithm_config.build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()


def _train_rate(algorithm_config: Any, algorithm_class: Any = None) -> float:
    """Return the agent-steps that were sampled and trained on per second, over some iterations after the first."""
    with _built(algorithm_config, algorithm_class) as algorithm:
        before = _steps(algorithm.train())
        begin = time.perf_counter()
        for _ in range(_N_ITERATIONS):
            result = algorithm.train()
        elapsed_s = time.perf_counter() - begin
        return (_steps(result) - before) * int(algorithm_config.n_agents) / elapsed_s


def _steps(result: dict[str, Any]) -> float:
    return float(result["env_runners"]["num_env_steps_sampled_lifetime"])


def _learner_rates() -> tuple[float, float]:
    """Return rows per second of our Learner and of a plain loop on the same rollout, networks and minibatches."""
    learner_config = config(_BEST_WORLDS, fragment_steps=_BEST_STEPS, **_BEST)
    runner = BatchedEnvRunner(config=learner_config, worker_index=0, num_workers=0)
    learner = learner_config.build_learner(spaces=runner.get_spaces())
    rollout = runner.sample()[0]
    n_rows = rollout.agent_steps() * _EPOCHS

    def with_learner() -> int:
        learner.update(batch=rollout, num_epochs=_EPOCHS, minibatch_size=_MINIBATCH_ROWS)
        return int(n_rows)

    columns = rollout.columns["shared"]
    return rate(with_learner, repeats=3), rate(_plain_loop(columns, n_rows), repeats=3)


def _plain_loop(columns: dict[str, Any], n_rows: int) -> Callable[[], int]:
    """Return PPO as one would write it by hand: values, advantages, shuffled minibatches, clipped loss, Adam."""
    observation = torch.from_numpy(np.ascontiguousarray(columns["obs"]))
    mask = torch.from_numpy(np.ascontiguousarray(columns["action_mask"][:-1])).bool().flatten(0, 2)
    action = torch.from_numpy(np.ascontiguousarray(columns["actions"])).flatten()
    old_logp = torch.from_numpy(np.ascontiguousarray(columns["action_logp"])).flatten()
    reward = torch.from_numpy(np.ascontiguousarray(columns["rewards"]))
    actor = _mlp(observation.shape[-1], mask.shape[-1])
    critic = _mlp(observation.shape[-1], 1)
    adam = torch.optim.Adam(itertools.chain(actor.parameters(), critic.parameters()), lr=5e-4, fused=True)
    flat = observation[:-1].flatten(0, 2)

    def work() -> int:
        with torch.no_grad():
            value = critic(observation).squeeze(-1)
            advantage = torch.empty_like(reward)
            running = torch.zeros_like(reward[0])
            for t in reversed(range(len(reward))):
                running = reward[t] + 0.95 * value[t + 1] - value[t] + 0.95 * 0.95 * running
                advantage[t] = running
            target = (advantage + value[:-1]).flatten()
            advantage = ((advantage - advantage.mean()) / advantage.std()).flatten()
        for _ in range(_EPOCHS):
            order = torch.randperm(len(flat))
            for rows in order.split(_MINIBATCH_ROWS):
                logits = actor(flat[rows]).masked_fill(~mask[rows], -1e9)
                log_prob = torch.log_softmax(logits, -1)
                logp = log_prob.gather(-1, action[rows].unsqueeze(-1)).squeeze(-1)
                ratio = (logp - old_logp[rows]).exp()
                gain = torch.minimum(ratio * advantage[rows], ratio.clamp(0.8, 1.2) * advantage[rows])
                entropy = -(log_prob.exp() * log_prob).sum(-1)
                error = (critic(flat[rows]).squeeze(-1) - target[rows]).square().clamp_max(10.0)
                loss = (0.5 * error - gain - 0.005 * entropy).mean()
                adam.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(itertools.chain(actor.parameters(), critic.parameters()), 0.5)
                adam.step()
        return int(n_rows)

    return work


def _mlp(n_inputs: int, n_outputs: int) -> nn.Sequential:
    widths = (n_inputs, 64, 64)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))
