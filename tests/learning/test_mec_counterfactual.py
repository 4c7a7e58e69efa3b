"""Two servers and three devices: COMA finds that one device must leave the fast server to the others."""

from __future__ import annotations

import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer, figures_of


@pytest.mark.slow
def test_coma_leaves_the_local_optimum_of_one_server_for_all(ray_session):
    own = ["algorithm=cmoff", "mutual_information=none", "module_sharing=per_agent", "total_env_steps=20000"]
    run = load_run("explaboff_2es_3md", own)
    config = algorithm_config(run)
    learner = config.build_algo()
    try:
        while learner.lifetime_steps() < run.total_env_steps:
            learner.train()
        player = PolicyPlayer(config, 256, run.seed, JUDGED_WORLD_ID, explore=False)
        player.take_weights(learner)
    finally:
        learner.stop()
    learned = figures_of(player.world, player.play())
    # with all tasks on the fast server the third is late in every first slot: no episode is completed, cost 1.35 s
    assert learned["success_frac"] > 0.3
    assert learned["cost_mean"] < 1.25
