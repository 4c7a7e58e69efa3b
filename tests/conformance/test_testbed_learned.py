"""A policy trained in the testbed's twin decides for real processes, unchanged; their episodes can teach it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run
from edge_rllib.experiment.run import train
from edge_rllib.runners.stored_episodes import read_episodes
from edge_rllib.testbed.policies import load_policy
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.sight import sight_of_row

pytestmark = pytest.mark.usefixtures("ray_session")

BRIEF = {
    "scenario.topology.n_devices": 3,
    "scenario.params.horizon_slots": 10,
    "algorithm.fragment_steps": 10,
    "algorithm.minibatch_rows": 240,
    "n_worlds": 8,
    "total_env_steps": 240,
    "evaluation.worlds": 4,
    "evaluation.watched_worlds": 4,
    "evaluation.rules": ["local"],
}
RUN = ["testbed", "run", "testbed_ci", "--tier", "0", "--set", "n_epochs=4", "--set", "work.clips=1"]


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "brief"
    train(load_run("testbed_5", BRIEF), folder)
    return folder


@pytest.fixture(scope="module")
def played(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of a run on three devices that the trained policy decided for."""
    folder = tmp_path_factory.mktemp("testbed") / "learned"
    assert main([*RUN, "--policy", str(trained), "--into", str(folder)]) == 0
    return folder


def test_a_trained_policy_decides_for_processes_of_this_machine(trained: Path, played: Path) -> None:
    summary = json.loads((played / "summary.json").read_text(encoding="utf-8"))
    assert summary["tasks"] == summary["finished"] == 12
    assert summary["refused_targets"] == 0
    assert (trained / "policy" / "policy.json").is_file()  # exported on the way
    bed = load_scenario("testbed_ci")
    policy = load_policy(str(trained), bed)
    for row in json.loads((played / "epochs.json").read_text(encoding="utf-8")):
        sight = sight_of_row(row, bed.deadline_s)
        shown = policy.observe(sight)  # type: ignore[attr-defined]
        np.testing.assert_allclose(shown, np.array(row["observation"], np.float32), rtol=1e-6)
        targets, _ = policy.decide(shown, sight.target_mask)
        assert targets.tolist() == row["targets"]


def test_its_episodes_have_what_was_seen_decided_and_paid(played: Path) -> None:
    stored = read_episodes(played / "episodes.npz")
    tasks: list[dict[str, Any]] = json.loads((played / "tasks.json").read_text(encoding="utf-8"))
    assert (stored.n_episodes, stored.n_steps, stored.header.source) == (1, 4, "testbed, tier 0")
    assert stored.reward[:, 0].sum() == pytest.approx(-sum(task["cost"] for task in tasks) / 3, rel=1e-5)
    assert stored.terminated.tolist() == [False, False, False, True]


def test_a_policy_of_another_world_is_one_line(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["testbed", "run", "testbed_2bs_3md", "--policy", str(trained), "--into", str(tmp_path / "x")]) == 2
    assert "has 5 targets and 0 amounts; testbed scenario testbed_2bs_3md has 2 servers" in capsys.readouterr().err
    assert main(["testbed", "run", "testbed_ci", "--policy", str(tmp_path), "--into", str(tmp_path / "x")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
