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
from edge_rllib.export.loading import load as load_exported
from edge_rllib.runners.stored_episodes import read_episodes
from edge_rllib.testbed.mec_policy import MecPolicy
from edge_rllib.testbed.policies import load_policy
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.sight import Sight, sight_of_row

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
SMALL = ["--set", "n_epochs=5", "--episodes", "1", "--into"]
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


@pytest.mark.slow
def test_a_policy_goes_on_learning_from_what_processes_did(played: Path, tmp_path: Path) -> None:
    twin = {key: value for key, value in BRIEF.items() if not key.startswith("algorithm")}
    learner = {"algorithm": "ddqn", "algorithm.replay_rows": 2000, "algorithm.warm_up_rows": 8}
    common = {
        **twin,
        **learner,
        "algorithm.minibatch_rows": 8,
        "algorithm.fragment_steps": 10,
        "evaluation.bound": "none",
    }
    train(load_run("testbed_5", common), tmp_path / "first")
    tuned = {"start_from": str(tmp_path / "first"), "algorithm.episodes": [str(played / "episodes.npz")]}
    train(
        load_run("testbed_5", {**common, **tuned, "algorithm.offline": True, "total_env_steps": 80}), tmp_path / "tuned"
    )
    bed = load_scenario("testbed_ci")
    row = json.loads((played / "epochs.json").read_text(encoding="utf-8"))[0]
    policy = load_policy(str(tmp_path / "tuned"), bed)
    shown = policy.observe(sight_of_row(row, bed.deadline_s))  # type: ignore[attr-defined]
    load_policy(str(tmp_path / "first"), bed)  # exports it
    scores = [
        load_exported(tmp_path / name / "policy").say(shown, np.ones((3, 5), np.bool_)).scores
        for name in ("first", "tuned")
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4


def test_a_policy_of_another_size_is_one_line(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["testbed", "run", "testbed_2bs_3md", "--policy", str(trained), "--into", str(tmp_path / "x")]) == 2
    assert "has 5 targets and 0 amounts; testbed scenario testbed_2bs_3md has 2 servers" in capsys.readouterr().err
    assert main(["testbed", "run", "testbed_ci", "--policy", str(tmp_path), "--into", str(tmp_path / "x")]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained_in_mec(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "mec"
    brief = {"scenario": "mec_testbed_2bs_3md_v1", "total_env_steps": 160, "algorithm.fragment_steps": 10}
    judged = {"evaluation.worlds": 4, "evaluation.watched_worlds": 4, "evaluation.rules": ["local"]}
    train(load_run("testbed_5", {**brief, **judged, "evaluation.bound": "none"}), folder)
    return folder


def test_a_policy_of_the_mec_world_sees_there_what_is_reported_here(trained_in_mec: Path, tmp_path: Path) -> None:
    bed = load_scenario("testbed_2bs_3md", ["n_epochs=5"])
    policy = load_policy(str(trained_in_mec), bed)
    assert isinstance(policy, MecPolicy)
    sight = Sight(
        n_frames=np.full(3, 8.0),
        payload_bits=np.full((3, 4), 1e6),
        local_backlog_s=np.array([0.0, 1.0, 3.0]),
        local_service_s=np.array([1.5, 3.0, 6.0]),
        server_backlog_s=np.array([0.5, 0.0]),
        server_service_s=np.ones((3, 2)),
        rate_bps=np.full((3, 2), 3e7),
        is_up=np.array([[True, True], [False, False], [True, False]]),
        deadline_s=3.0,
    )
    names = list(load_exported(trained_in_mec / "policy").about.feature_names)
    shown = policy.observe(sight)
    np.testing.assert_allclose(shown[:, names.index("own/local_service")], [1 / 3, 1 / 2, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(shown[:, names.index("own/local_backlog")], [0.0, 1 / 4, 1 / 2], rtol=1e-6)
    np.testing.assert_allclose(shown[:, names.index("own/deadline")], 0.5, rtol=1e-6)
    targets, shares = policy.decide(shown, sight.target_mask)
    assert targets[1] == 0  # both servers are down for it
    assert targets[2] in (0, 1)
    assert ((shares >= 0.0) & (shares <= 1.0)).all()
    assert main(["testbed", "simulate", "testbed_2bs_3md", "--policy", str(trained_in_mec), *SMALL, str(tmp_path)]) == 0
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["tasks"] == 15


def test_a_policy_of_a_mec_world_of_another_size_is_one_line(
    trained_in_mec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["testbed", "simulate", "testbed_3bs_5md", "--policy", str(trained_in_mec)]) == 2
    message = "mec_testbed_2bs_3md_v1 with 3 devices and 2 servers; testbed scenario testbed_3bs_5md has 5 and 3"
    assert message in capsys.readouterr().err
