"""Trains a run's algorithm for some steps and judges it, greedy, on worlds that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_rule, load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer, figures_of
from envs.baselines.base import play
from envs.scenario import make


class Judged(NamedTuple):
    """Figures, with "return", of the learned policy and of rules, on the same held-out worlds."""

    learned: dict[str, float]
    rules: dict[str, dict[str, float]]


def train_and_judge(
    algorithm: dict[str, Any],
    scenario: str,
    rules: tuple[str, ...],
    total_env_steps: int,
    seed: int = 0,
    model: str = "mlp",
    n_worlds: int = 32,
    n_judged: int = 64,
) -> Judged:
    source = Source(None)
    settings = RunSettings(load_scenario(scenario), seed=seed, n_worlds=n_worlds, total_env_steps=total_env_steps)
    part = load_part("algorithm", algorithm, source)
    config = part.to_config(settings, load_part("model", model, source))
    learner = config.build_algo()
    try:
        while learner.lifetime_steps() < total_env_steps:
            learner.train()
        player = PolicyPlayer(config, n_judged, seed, JUDGED_WORLD_ID, explore=False)
        player.take_weights(learner)
    finally:
        learner.stop()
    learned = figures_of(player.world, player.play())
    world_ids = list(range(JUDGED_WORLD_ID, JUDGED_WORLD_ID + n_judged))
    judged = {}
    for rule in rules:
        world = make(settings.scenario, n_judged, seed)
        judged[rule] = figures_of(world, play(world, load_rule(rule), world_ids, seed))
    return Judged(learned, judged)


@pytest.fixture
def judge(ray_session: None) -> Callable[..., Judged]:
    return train_and_judge
