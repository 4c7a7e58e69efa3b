"""One device, one server and exact information: value iteration knows the optimum, and learning comes near to it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer, figures_of
from envs.baselines.base import play
from envs.bounds.tiny import optimal_backlog
from envs.scenario import make

N_JUDGED = 256


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ippo_comes_within_two_percent_of_the_exact_optimum(ray_session, seed):
    run = load_run("tiny_exact", [f"seed={seed}"])
    config = algorithm_config(run)
    learner = config.build_algo()
    try:
        while learner.lifetime_steps() < run.total_env_steps:
            learner.train()
        player = PolicyPlayer(config, N_JUDGED, seed, JUDGED_WORLD_ID, explore=False)
        player.take_weights(learner)
    finally:
        learner.stop()
    learned = figures_of(player.world, player.play())

    world = make(run.scenario, N_JUDGED, seed)
    rule, _ = optimal_backlog(run.scenario)
    best = figures_of(world, play(world, rule, JUDGED_WORLD_ID + np.arange(N_JUDGED), seed))
    assert learned["drop_frac"] == best["drop_frac"] == 0.0
    assert learned["response_time_s_mean"] <= 1.02 * best["response_time_s_mean"]
