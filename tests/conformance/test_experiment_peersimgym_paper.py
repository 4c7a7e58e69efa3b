"""The experiment on PeersimGym's networks runs from its command to its table, and does nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "peersimgym_paper.py"
RULES = {"cloud_only", "least_queue", "least_response_time", "local", "power_of_two", "random", "round_robin"}


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--quick", "--out", str(out), *options]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *options), capture_output=True, text=True, cwd=ROOT, timeout=500)


def logs(out: Path) -> str:
    return "".join(path.read_text() for path in sorted(out.glob("runs/*.log")))


def rows(out: Path) -> list[dict[str, object]]:
    path = out / "runs" / "ether_12_v1-ippo-1" / "progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper") / "out"
    ended = run(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr + logs(folder)
    return folder


@pytest.mark.slow
def test_quick_experiment_reports_every_policy_with_its_interval(out: Path) -> None:
    found = json.loads((out / "peersimgym_paper.json").read_text(encoding="utf-8"))
    network = found["networks"]["12"]

    assert set(network["policies"]) == {"ippo", "ddqn"} | RULES
    for name, row in network["policies"].items():
        estimate = row["figures"]["response_time_s_mean"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        assert row["bound"] <= estimate["value"], name
        assert row.get("seeds", []) == ([1, 2] if name in ("ippo", "ddqn") else []), name
    assert network["best_rule"] in RULES
    assert network["best_learned"] in ("ippo", "ddqn")
    assert (out / "peersimgym_paper.md").read_text(encoding="utf-8").count("| 12 |") == 1 + len(network["policies"])
    assert (out / "peersimgym_paper.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_reported_values_are_those_of_the_judged_worlds(out: Path) -> None:
    from edge_rllib.results.estimates import iqm
    from envs.fog.figures import summarise

    found = json.loads((out / "peersimgym_paper.json").read_text(encoding="utf-8"))
    sums = [np.load(out / "runs" / f"ether_12_v1-ippo-{seed}" / "judged.npz")["learned"] for seed in (1, 2)]
    times_s = np.array([[summarise(world)["response_time_s_mean"] for world in seed] for seed in sums])

    assert times_s.shape == (2, 4)  # two seeds on four worlds
    assert found["networks"]["12"]["policies"]["ippo"]["figures"]["response_time_s_mean"]["value"] == iqm(times_s)


@pytest.mark.slow
def test_finished_runs_are_kept_and_runs_of_other_settings_refused(out: Path) -> None:
    judged = sorted(out.glob("runs/*/judged.npz"))
    times = [path.stat().st_mtime_ns for path in judged]
    assert len(judged) == 4  # two algorithms, two seeds

    again, other = run(out), run(out, "--steps", "4000")

    assert again.returncode == 0, again.stderr
    assert "4 runs, 4 of them finished before" in again.stdout
    assert [path.stat().st_mtime_ns for path in judged] == times
    assert other.returncode != 0
    assert "total_env_steps: 2000" in other.stderr and "total_env_steps: 4000" in other.stderr


@pytest.mark.slow
def test_stopped_runs_save_themselves_and_go_on_where_they_were(tmp_path: Path) -> None:
    options = ("--algorithms", "ippo", "--seeds", "1", "--steps", "20000")
    began = time.monotonic()
    process = subprocess.Popen(command(tmp_path, *options), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    while len(rows(tmp_path)) < 5 and process.poll() is None and time.monotonic() - began < 300:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=120)
    n_saved = len(rows(tmp_path))
    is_judged = (tmp_path / "runs" / "ether_12_v1-ippo-1" / "judged.npz").is_file()

    ended = run(tmp_path, *options)
    trained = [row["iteration"] for row in rows(tmp_path) if "held_out" not in row]

    assert process.returncode == 130, told
    assert n_saved >= 5 and not is_judged  # it was stopped while it learnt
    assert ended.returncode == 0, ended.stdout + ended.stderr + logs(tmp_path)
    assert trained == list(range(1, 201))  # 200 updates of 25 steps x 4 worlds, none twice
    assert "learned" in np.load(tmp_path / "runs" / "ether_12_v1-ippo-1" / "judged.npz")
