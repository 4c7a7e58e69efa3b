"""Searches through Tune: trials share the cores, weak ones stop, the best becomes a result of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run
from edge_rllib.config.search import load_search
from edge_rllib.experiment.trial import Trial
from edge_rllib.experiment.tuning import clip_to_space, concurrent_trials, trial_table
from edge_rllib.results.files import read_json, read_progress

STEPS = 240
RUN = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "scenario.workload.tasks_per_s": 12.0,
    "algorithm.fragment_steps": 10,
    "n_env_runners": 0,
    "n_worlds": 4,
    "total_env_steps": STEPS,
    "evaluation.worlds": 3,
    "evaluation.watched_worlds": 2,
    "evaluation.every_iterations": 1,
    "evaluation.rules": ["local"],
}


def sets(more: dict[str, object]) -> list[str]:
    return [
        f"--set={key}={json.dumps(value)}" for key, value in {**{f"run.{k}": v for k, v in RUN.items()}, **more}.items()
    ]


def test_each_process_of_a_trial_takes_a_core() -> None:
    run = load_search("ippo_asha").run

    assert concurrent_trials(run, 2) == 2
    assert concurrent_trials(load_run("quickstart", {"n_env_runners": 2}), 2) == 1  # three processes: one at a time
    assert concurrent_trials(load_run("quickstart", {"n_env_runners": 2, "n_learners": 1}), 9) == 2


def test_perturbed_settings_stay_within_their_bounds() -> None:
    space = {"a": {"uniform": [0.0, 1.0]}, "b": {"choice": [1, 2]}}

    assert clip_to_space({"a": 1.2, "b": 2}, space) == {"a": 1.0, "b": 2}
    assert clip_to_space({"a": -0.1, "b": 2}, space) == {"a": 0.0, "b": 2}


def test_table_of_no_trials_says_so() -> None:
    assert trial_table([]) == "no trials\n"


def test_weights_of_another_trial_are_trained_on_with_own_settings(ray_session: None, tmp_path: Path) -> None:
    run = load_run("quickstart", {**RUN, "algorithm.final_learning_rate": 0.001, "total_env_steps": 10_000})
    good = Trial(run, {"algorithm.learning_rate": 0.001})
    good.report()
    good.save(tmp_path)
    heir = Trial(run, {"algorithm.learning_rate": 0.002, "algorithm.final_learning_rate": 0.002})

    heir.restore(tmp_path)
    heir.report()
    report = heir.report()

    assert report["iteration"] == 3
    assert report["tags"]["learning/shared/learning_rate"] == pytest.approx(0.002)
    good.stop()
    heir.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("ippo_asha", {"n_trials": 3, "asha.grace_env_steps": 80}),
        ("ippo_pbt", {"n_trials": 2, "pbt.perturbation_env_steps": 80, "pbt.quantile_frac": 0.5}),
    ],
)
def test_search_ends_with_a_table_and_a_best_trial_that_is_a_result(
    ray_session: None, tmp_path: Path, name: str, more: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"

    assert main(["train", f"search/{name}", *sets(more), f"--into={folder}"]) == 0

    rows = read_json(folder / "trials.json")
    values = [row["response_time_s_mean"] for row in rows]
    assert len(rows) == more["n_trials"]
    assert values == sorted(values)
    assert max(row["env_steps"] for row in rows) == STEPS
    assert all(row["error"] is None for row in rows)
    best = yaml.safe_load((folder / "best" / "config.yaml").read_text())
    assert best["algorithm"]["learning_rate"] == pytest.approx(rows[0]["algorithm.learning_rate"])
    assert set(read_json(folder / "best" / "comparison.json")["policies"]) == {"learned", "local", "random"}
    events = EventAccumulator(rows[0]["folder"])
    events.Reload()
    assert {"return/mean", "held_out/response_time_s/mean"} <= set(events.Tags()["scalars"])
    assert read_progress(Path(rows[0]["folder"]))
    assert main(["evaluate", str(folder / "best"), "--worlds", "2"]) == 0
    assert "2 held-out worlds" in capsys.readouterr().out
