"""A trained policy can be watched: it decides as it does when it is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run, load_scenario
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.checkpoints import best
from edge_rllib.experiment.evaluation import PolicyPlayer
from edge_rllib.experiment.run import train
from edge_rllib.experiment.watching import watch_policy
from envs.constants import EVALUATION_WORLD_ID
from envs.fog.state import CREATED, DECISIONS

pytestmark = pytest.mark.usefixtures("ray_session")

TINY = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "scenario.workload.tasks_per_s": 12.0,
    "algorithm.fragment_steps": 10,
    "n_env_runners": 0,
    "n_worlds": 4,
    "total_env_steps": 80,
    "evaluation.worlds": 2,
    "evaluation.watched_worlds": 2,
    "evaluation.rules": ["local"],
}


@pytest.fixture(scope="module")
def result(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "tiny"
    train(load_run("quickstart", TINY), folder)
    return folder


SHORT = {"params": {"horizon_slots": 20}, "workload": {"tasks_per_s": 12.0}}


def test_recording_of_a_learned_policy_is_the_episode_that_evaluation_plays(result: Path) -> None:
    recording = watch_policy(load_scenario("fog_ring_8", SHORT), str(result), 100, None, EVALUATION_WORLD_ID)
    run = load_run(str(result / "config.yaml"))
    player = PolicyPlayer(algorithm_config(run), 1, run.seed, EVALUATION_WORLD_ID, explore=False)
    player.load_weights(best(result))
    sums = player.play().sums[0]

    assert recording.n_steps == 19  # of 20, the last of which cannot be seen
    assert recording.policy == "ippo (tiny)"
    # what the recording lacks is the last of 20 steps
    assert 0.8 * sums[CREATED] < len(recording.created_s) <= sums[CREATED]
    assert 0.8 * sums[DECISIONS] < len(recording.decisions.node) <= sums[DECISIONS]
    again = watch_policy(load_scenario("fog_ring_8", SHORT), str(result), 100, None, EVALUATION_WORLD_ID)
    np.testing.assert_array_equal(recording.decisions.target, again.decisions.target)


def test_command_takes_the_folder_of_a_result(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "learned.html"
    arguments = ["play", "fog_ring_8", "--policy", str(result), "--set", "params.horizon_slots=20"]
    assert main([*arguments, "--html", str(page), "--steps", "10"]) == 0
    assert "ippo (tiny)" in page.read_text(encoding="utf-8")


def test_policy_of_another_shape_is_one_line(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "pair_best_known", "--policy", str(result)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "damaged or of another model or scenario" in error
