"""The comparison of ExplabOff runs from its command to its tables, and does nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "explaboff_paper.py"
RULES = {"best_assignment", "local", "myopic_oracle", "one_server", "random", "size_rank"}


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)


def logs(out: Path) -> str:
    return "".join(path.read_text() for path in sorted((out / "runs").glob("*.log")))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explaboff") / "out"
    ended = run(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr + logs(folder)
    return folder


@pytest.mark.slow
def test_quick_comparison_reports_every_policy_beside_the_rules_and_the_oracle(out: Path) -> None:
    found = json.loads((out / "explaboff_paper.json").read_text(encoding="utf-8"))
    rows = found["settings"]["2es_3md"]["policies"]

    assert set(rows) == {"explaboff", "mpoff"} | RULES
    for name, row in rows.items():
        estimate = row["figures"]["cost_mean"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        assert row.get("seeds", []) == ([1, 2] if name in ("explaboff", "mpoff") else []), name
    assert found["settings"]["2es_3md"]["best_rule"] != found["oracle"] == "myopic_oracle"
    assert (out / "explaboff_paper.md").read_text(encoding="utf-8").count(
        "| explaboff |"
    ) >= 2  # ours and the release's
    for figure in ("comparison", "curves"):
        assert (out / f"explaboff_paper_{figure}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_policies_get_the_same_number_of_trials_on_worlds_that_are_not_judged(out: Path) -> None:
    choices = json.loads((out / "explaboff_choices.json").read_text(encoding="utf-8"))
    found = json.loads((out / "explaboff_paper.json").read_text(encoding="utf-8"))

    assert {policy: len(row["trials"]) for policy, row in choices["policies"].items()} == {"explaboff": 2, "mpoff": 2}
    assert choices["training_seed"] not in found["seeds"]
    assert choices["judging_seed"] == 7_101  # the policies are judged on the worlds of seed 7001
    assert found["choices"] == {policy: row["overrides"] for policy, row in choices["policies"].items()}


@pytest.mark.slow
def test_reported_values_are_those_of_the_judged_worlds(out: Path) -> None:
    from edge_rllib.results.estimates import iqm
    from envs.mec.figures import summarise

    found = json.loads((out / "explaboff_paper.json").read_text(encoding="utf-8"))
    sums = [np.load(out / "runs" / f"2es_3md-mpoff-{seed}" / "judged.npz")["learned"] for seed in (1, 2)]
    costs_s = np.array([summarise(worlds.sum(0))["cost_mean"] for worlds in sums])

    assert [len(worlds) for worlds in sums] == [4, 4]
    row = found["settings"]["2es_3md"]["policies"]["mpoff"]["figures"]["cost_mean"]
    assert row["value"] == pytest.approx(iqm(costs_s), abs=1e-12)
    assert row["seeds"] == pytest.approx(list(costs_s), abs=1e-12)


@pytest.mark.slow
def test_finished_runs_are_kept_and_runs_of_other_settings_refused(out: Path) -> None:
    judged = sorted(out.glob("runs/*/judged.npz"))
    times = [path.stat().st_mtime_ns for path in judged]
    assert len(judged) == 8  # two policies: two trials and two seeds each

    again, other = run(out), run(out, "--steps", "320")

    assert again.returncode == 0, again.stderr
    assert again.stdout.count("4 runs, 4 of them finished before") == 2  # tuning, comparison
    assert [path.stat().st_mtime_ns for path in judged] == times
    assert other.returncode != 0
    assert "total_env_steps: 640" in other.stderr and "total_env_steps: 320" in other.stderr
