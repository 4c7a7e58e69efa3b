"""Ten users of one edge server: a decision for each user passes the best rotation of DC-DRL's world as it was meant.

The world of the specification's reference scores: places of seed 2020, interference of others alone, all else as
released. There all local earns -463, random decisions -394, four users in turn -14.3, and no policy more than -12.0.
"""

from __future__ import annotations

import pytest

from edge_rllib.config.load import load_rule, load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer
from envs.baselines.base import play
from envs.scenario import make

PLACES_M = [[16, 56], [-13, 38], [11, 45], [51, -9], [77, -32], [72, -71], [59, -25], [34, 22], [-11, -32], [76, 68]]
AS_MEANT = {
    "scenario.topology.position_m": PLACES_M,
    "scenario.params.semantics.users": "sequential",
    "scenario.params.semantics.service": "k_fold",
    "scenario.params.semantics.late_uploads": "run",
}
N_JUDGED = 128


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_a_decision_for_each_user_passes_the_best_rotation_within_50_000_steps(seed) -> None:
    run = load_run("run/multiuser_10", {**AS_MEANT, "seed": seed})
    config = algorithm_config(run)
    algorithm = config.build_algo()
    while algorithm.lifetime_steps() < 50_000:
        algorithm.train()
    player = PolicyPlayer(config, N_JUDGED, seed, JUDGED_WORLD_ID, explore=False)
    player.take_weights(algorithm)
    algorithm.stop()

    ids = range(JUDGED_WORLD_ID, JUDGED_WORLD_ID + N_JUDGED)
    world = make(run.scenario, N_JUDGED, seed)
    rotation = play(world, load_rule("round_robin_k"), list(ids), seed).returns.sum(1).mean()
    assert rotation == pytest.approx(-14.3, abs=0.3)
    assert player.play().returns.sum(1).mean() > -14.0
