"""A run from settings to result: everything is there, it can be interrupted, and resuming is as if it never stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run
from edge_rllib.config.paths import config_root
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment import run as run_module
from edge_rllib.experiment.run import resume, train
from edge_rllib.results import report
from edge_rllib.results.files import ResultError, read_json, read_progress
from envs.errors import ConfigError

pytestmark = pytest.mark.usefixtures("ray_session")

N_WORLDS, FRAGMENT_STEPS, N_ITERATIONS = 4, 10, 4
STEPS = N_WORLDS * FRAGMENT_STEPS * N_ITERATIONS
TINY = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "algorithm.fragment_steps": FRAGMENT_STEPS,
    "scenario.workload.tasks_per_s": 12.0,
    "n_env_runners": 0,
    "n_worlds": N_WORLDS,
    "total_env_steps": STEPS,
    "evaluation.worlds": 6,
    "evaluation.watched_worlds": 3,
    "evaluation.every_iterations": 2,
    "evaluation.rules": ["local", "least_queue"],
    "checkpoint.every_iterations": 1,
    "checkpoint.keep": 2,
}
TIMES = ("speed/", "time_share/")  # tags that no two runs share


@pytest.fixture(scope="module")
def result(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("results") / "whole"
    finished = train(load_run("quickstart", TINY), folder)
    assert not finished.is_interrupted
    return folder


@pytest.fixture
def copy(result: Path, tmp_path: Path) -> Path:
    """A copy of that result, to do damage to."""
    shutil.copytree(result, tmp_path / "copy")
    return tmp_path / "copy"


def interrupted_after(n_looks: int) -> Callable[..., Any]:
    """Return a stand-in for the signal handlers: Ctrl-C arrives while iteration ``n_looks`` runs."""

    @contextlib.contextmanager
    def interrupts(note: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
        looks = iter(range(1000))
        yield lambda: next(looks) >= n_looks

    return interrupts


def training_rows(folder: Path) -> list[dict[str, float]]:
    rows = [row for row in read_progress(folder) if "held_out" not in row]
    return [{k: v for k, v in row.items() if not k.startswith(TIMES) and k != "wall_s"} for row in rows]


def test_result_holds_settings_versions_rows_checkpoints_and_comparison(result: Path) -> None:
    assert load_run(str(result / "config.yaml")) == load_run("quickstart", {**TINY, "name": "quickstart"})
    assert set(read_json(result / "versions.json")) >= {
        "edge_rllib",
        "commit",
        "python",
        "ray",
        "torch",
        "numpy",
        "numba",
    }
    assert [row["iteration"] for row in training_rows(result)] == [1, 2, 3, 4]
    assert [row["env_steps"] for row in read_progress(result) if "held_out" in row] == [0, STEPS // 2, STEPS]
    assert sorted(path.name for path in (result / "checkpoints").iterdir()) == ["000003", "000004", "best"]
    assert read_json(result / "status.json")["status"] == "finished"
    compared = read_json(result / "comparison.json")
    assert set(compared["policies"]) == {"learned", "local", "least_queue", "random"}  # the last one for the score
    assert compared["bound"]["name"] == "zero_queue"
    assert compared["policies"]["random"]["score"]["value"] == 0.0
    assert all(each["bound"] <= each["figures"][compared["lead"]]["value"] for each in compared["policies"].values())
    assert not list(result.rglob(".*"))


def test_tensorboard_has_groups_with_units_histograms_figure_and_settings(result: Path) -> None:
    events = EventAccumulator(str(result), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()

    wanted = {
        "return/mean",
        "response_time_s/p95",
        "tasks/in_time_frac",
        "drops/queue_full_frac",
        "decisions/to_edge_frac",
        "occupancy/device_frac",
        "energy/j_per_task",
        "learning/shared/loss_policy",
        "learning/shared/entropy_nats",
        "learning/shared/kl_nats",
        "learning/shared/explained_variance_frac",
        "speed/agent_steps_per_s",
        "held_out/response_time_s/mean",
        "judged/response_time_s/mean",
    }
    assert wanted <= set(tags["scalars"])
    assert {"decisions/tier_device_edge_cloud", "queues/tasks_at_device"} <= set(tags["histograms"])
    assert tags["images"] == ["network/load"]
    assert [event.step for event in events.Scalars("speed/env_steps_per_s")] == [STEPS * i // 4 for i in (1, 2, 3, 4)]


def test_resumed_run_is_the_run_that_was_never_interrupted(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_interrupts", interrupted_after(2))
        stopped = train(load_run("quickstart", TINY), folder)
    assert stopped.is_interrupted
    assert read_json(folder / "status.json")["status"] == "interrupted"
    assert len(training_rows(folder)) == 2

    finished = resume(folder)

    assert finished.comparison is not None
    assert training_rows(folder) == training_rows(result)
    whole, broken = (read_json(each / "comparison.json")["policies"]["learned"] for each in (result, folder))
    assert broken == whole


def test_best_checkpoint_is_that_of_the_best_look(result: Path) -> None:
    looks = [row for row in read_progress(result) if "held_out" in row]
    values = [row["held_out"]["response_time_s_mean"] for row in looks]
    state = checkpoints.load_state(checkpoints.best(result))

    assert state["best"] == min(values)
    assert state["iteration"] == looks[values.index(min(values))]["iteration"]


def test_damaged_checkpoint_is_refused_in_one_line(copy: Path) -> None:
    newest = checkpoints.latest(copy)
    for file in newest.rglob("*.pkl"):
        file.write_bytes(file.read_bytes()[:10])

    with pytest.raises(ResultError, match="cannot be restored") as caught:
        resume(copy, {"total_env_steps": 2 * STEPS})

    assert "\n" not in str(caught.value)


def test_result_without_checkpoint_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")

    with pytest.raises(ResultError, match="no checkpoint"):
        resume(copy)


def test_resumed_run_keeps_its_settings(copy: Path) -> None:
    with pytest.raises(ConfigError, match="override 'seed': a resumed run keeps its settings"):
        resume(copy, ["seed=2"])


def test_wrong_leading_figure_leaves_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    code = main(["train", "quickstart", *sets, "--set=evaluation.metric=delay", f"--set=results={tmp_path}"])

    assert code == 2
    assert "evaluation.metric = 'delay'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_and_show_write_tables_and_pictures(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(copy), "--worlds", "3", "--sampled", "--checkpoint", "latest", "--bound", "auto"]) == 0
    assert "3 held-out worlds of fog_ring_8" in capsys.readouterr().out
    assert main(["show", str(copy)]) == 0

    out = capsys.readouterr().out
    assert "status: finished, iteration 4" in out
    assert "learned minus" in out
    assert {path.name for path in report.draw(copy)} == {"learning_curve.png", "comparison.png", "response_times.png"}


def test_evaluation_is_a_function_of_weights_and_worlds(result: Path, copy: Path) -> None:
    assert main(["evaluate", str(copy), "--worlds", "6"]) == 0
    again = next((copy / "evaluations").glob("*/comparison.json"))

    assert read_json(again)["policies"] == read_json(result / "comparison.json")["policies"]


def test_scenario_of_another_shape_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(copy), "--scenario", "fog_ether_urban_19", "--worlds", "2"]) == 2
    assert "checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "mappo", "module_sharing": "per_tier"},
        {"model": "gru", "algorithm.train_on": "all", "model.sequence_steps": 5},
        {"model": "target_mlp", "module_sharing": "per_agent"},
    ],
)
def test_every_kind_of_policy_is_watched_judged_and_restored(settings: dict[str, Any], tmp_path: Path) -> None:
    finished = train(load_run("quickstart", {**TINY, **settings}), tmp_path / "result")

    assert main(["evaluate", str(finished.folder), "--worlds", str(TINY["evaluation.worlds"])]) == 0
    again = read_json(next((finished.folder / "evaluations").glob("*/comparison.json")))
    assert again["policies"] == read_json(finished.folder / "comparison.json")["policies"]


def test_quiet_world_without_any_choice_is_no_error(tmp_path: Path) -> None:
    settings = {**TINY, "scenario.workload.tasks_per_s": 1e-6, "evaluation.metric": "return"}

    finished = train(load_run("quickstart", settings), tmp_path / "result")

    assert [row["env_steps"] for row in training_rows(finished.folder)] == [STEPS * i // 4 for i in (1, 2, 3, 4)]


USERS_FILE = '''"""A topology and a rule of the user's own."""
from dataclasses import dataclass
import numpy as np
from envs.baselines.base import Rule
from envs.topologies.ring import Ring

@dataclass(frozen=True)
class MyRing(Ring):
    """My ring."""

@dataclass(frozen=True)
class Stay(Rule):
    """Stay at home."""
    def decide(self, view, step, draws):
        return np.zeros(view.has_task.shape, np.int64)
'''


def test_users_own_topology_and_rule_travel_with_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / "mine.py").write_text(USERS_FILE)
    values = yaml.safe_load((config_root() / "topology" / "ring.yaml").read_text())
    settings = {
        **TINY,
        "scenario.topology": {"name": "mine.py:MyRing", **values, "n_nodes": 4},
        "evaluation.rules": ["local", "mine.py:Stay"],
        "total_env_steps": 40,
    }
    finished = train(load_run("quickstart", settings), tmp_path / "result")
    shutil.rmtree(home)

    again = load_run(str(finished.folder / "config.yaml"))
    policies = finished.comparison["policies"]
    assert again.scenario.network().n_nodes == 4
    assert (finished.folder / "sources" / "mine.py").is_file()
    assert policies["Stay"]["figures"]["return"] == policies["local"]["figures"]["return"]
    assert main(["evaluate", str(finished.folder), "--worlds", "2"]) == 0
