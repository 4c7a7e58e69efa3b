"""The federated experiments run from their commands to their tables and figures, and play no run twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG"


def run(script: str, out: Path, *options: str) -> str:
    """Return what an experiment prints, after checking that it came to its end."""
    command = [sys.executable, str(ROOT / "experiments" / script), "--quick", "--out", str(out), *options]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_stealing_is_compared_with_other_schedulers_and_drawn(tmp_path: Path) -> None:
    printed = run("work_stealing.py", tmp_path, "--profiles", "homogeneous", "bimodal")

    found = json.loads((tmp_path / "work_stealing.json").read_text(encoding="utf-8"))
    large = found["figures"]["large"]
    assert "steal_half" in printed
    assert large["bimodal"]["static"]["idle_frac"] > 0.3  # two of eight clients are four times slower
    assert large["bimodal"]["steal_half"]["idle_frac"] < 0.1
    assert 1.0 <= large["bimodal"]["steal_half"]["over_bound"] < 1.15
    assert large["homogeneous"]["steal_half"]["makespan_s"] <= 1.02 * large["homogeneous"]["static"]["makespan_s"]
    for name in ("gantt", "idle", "speed_up"):
        assert (tmp_path / f"work_stealing_{name}.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_the_published_sweep_is_played_once_and_drawn(tmp_path: Path) -> None:
    first = run("federated_paper.py", tmp_path, "--part", "speed_up")
    second = run("federated_paper.py", tmp_path, "--part", "speed_up")

    found = json.loads((tmp_path / "federated_paper.json").read_text(encoding="utf-8"))
    assert "3 runs, 0 of them finished before" in first
    assert "3 runs, 3 of them finished before" in second
    assert set(found["speed_up"]) == {"1", "5", "13"}
    assert found["speed_up"]["13"]["judged"][0] > 20.0  # what an untrained policy gets
    assert (tmp_path / "federated_paper_speed_up.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_attacks_and_rules_are_crossed_and_drawn(tmp_path: Path) -> None:
    run("attacks_by_aggregators.py", tmp_path)

    found = json.loads((tmp_path / "attacks_by_aggregators.json").read_text(encoding="utf-8"))
    assert found["kept"]["none"]["mean"] == 1.0
    assert found["kept"]["large_noise"]["mean"] < 0.5 < found["kept"]["large_noise"]["nnm > trimmed_mean"]
    assert (tmp_path / "attacks_by_aggregators.png").read_bytes().startswith(PNG)
