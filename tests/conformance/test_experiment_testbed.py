"""The experiment on the testbed runs from its command to its table, and does nothing twice."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "testbed.py"
SIMULATED = {"3-local-simulated", "3-edge-simulated"}
REAL = {"3-local-real_1", "3-edge-real_1"}


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--quick", "--out", str(out / "bed"), *options]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *options), capture_output=True, text=True, cwd=ROOT, timeout=300)


def results(out: Path) -> Path:
    return out / "bed_quick"


def finished(out: Path) -> dict[str, int]:
    """Return when each finished run was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in results(out).glob("runs/*/summary.json")}


def found(out: Path) -> dict[str, Any]:
    return json.loads((results(out) / "testbed.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("testbed")
    ended = run(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.mark.slow
def test_quick_experiment_reports_both_policies_on_both_sides(out: Path) -> None:
    (of_three,) = found(out)["devices"].values()

    assert set(finished(out)) == SIMULATED | REAL
    assert set(of_three["policies"]) == {"local", "edge"}
    for name, kinds in of_three["policies"].items():
        assert (kinds["simulated"]["episodes"], kinds["real"]["episodes"]) == (2, 1)
        for kind, figures in kinds.items():
            assert figures["tasks"] == figures["episodes"] * 4 * 3, (name, kind)  # epochs and devices
            for figure in ("response_time_s", "late_frac", "cost_per_task"):
                estimate = figures[figure]
                assert estimate["low"] <= estimate["value"] + 1e-12, (name, kind, figure)
                assert estimate["value"] <= estimate["high"] + 1e-12, (name, kind, figure)
    text = (results(out) / "testbed.md").read_text(encoding="utf-8")
    assert "| 3 | local |" in text and "| 3 | edge |" in text
    assert (results(out) / "testbed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_reported_values_are_those_of_the_runs(out: Path) -> None:
    policies = found(out)["devices"]["3"]["policies"]

    for name in ("local", "edge"):
        for kind, folder in (("simulated", f"3-{name}-simulated"), ("real", f"3-{name}-real_1")):
            tasks = json.loads((results(out) / "runs" / folder / "tasks.json").read_text(encoding="utf-8"))
            mean = sum(task["cost"] for task in tasks) / len(tasks)
            assert policies[name][kind]["cost_per_task"]["value"] == pytest.approx(mean)
            assert policies[name][kind]["late_frac"]["value"] == pytest.approx(
                sum(task["is_late"] for task in tasks) / len(tasks)
            )


@pytest.mark.slow
def test_gap_of_each_number_of_devices_is_written(out: Path) -> None:
    gap = json.loads((results(out) / "gap_3" / "gap.json").read_text(encoding="utf-8"))

    assert set(gap["policies"]) == {"local", "edge"}
    for row in gap["policies"].values():  # both rules choose the same whatever they see
        assert row["agreement"] == {"same_target": 1.0, "same_both": 1.0}
    assert gap["over_policies"]["cost_gap_frac"] == found(out)["devices"]["3"]["over_policies"]["cost_gap_frac"]
    assert (results(out) / "gap_3" / "figures" / "gap.png").is_file()


@pytest.mark.slow
def test_finished_runs_are_kept_and_runs_of_other_settings_refused(out: Path) -> None:
    before = finished(out)

    again, other = run(out), run(out, "--epochs", "5")

    assert again.returncode == 0, again.stderr
    assert "4 runs, 4 of them finished before" in again.stdout
    assert finished(out) == before
    assert other.returncode == 2
    assert "was made with scenario.n_epochs = 4, and 5 is asked for; give another --out" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_policy_that_cannot_be_played_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    ended = run(tmp_path, "--simulate-only", "--policies", "gone={devices}_none.py:Gone", "local")

    assert ended.returncode == 2, ended.stderr
    assert set(finished(tmp_path)) == {"3-local-simulated"}
    assert list(found(tmp_path)["devices"]["3"]["policies"]) == ["local"]
    (line,) = found(tmp_path)["failed"]
    assert "3-gone-simulated: ConfigError" in line and "3_none.py:Gone" in line
    assert "not played: 3-gone-simulated" in ended.stdout
    assert not (results(tmp_path) / "gap_3").exists()


@pytest.mark.slow
def test_experiment_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    log = results(tmp_path) / "runs" / "3-local-real_1" / "log.txt"
    began_s = time.monotonic()
    while not log.is_file() and process.poll() is None and time.monotonic() - began_s < 200:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    before = finished(tmp_path)

    ended = run(tmp_path)

    assert process.returncode == 130, said
    assert "the same command goes on where it stopped" in said
    assert set(before) == SIMULATED
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 runs, 2 of them finished before" in ended.stdout
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) == SIMULATED | REAL


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("testbed")


@pytest.mark.slow
def test_every_policy_has_its_turn_before_one_is_repeated(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def simulated_run(scenario: Any, policy: Any, name: str, where: Any, folder: Path) -> dict[str, Any]:
        order.append(folder.name)
        summary = experiment.simulate(scenario, None, name, 1, len(order), folder)
        (folder / "summary.json").write_text(json.dumps({"policy": name, "tier": where.tier, "scale": where.scale}))
        return summary

    monkeypatch.setattr(experiment.testbed, "run", simulated_run)
    names = ["local", "edge", "round_robin"]
    options = ["--devices", "4", "3", "--policies", *names, "--repeats", "2"]

    assert experiment.main(["--quick", "--out", str(tmp_path / "bed"), *options]) == 0

    assert order == [f"{n}-{name}-real_{repeat}" for repeat in (1, 2) for n in (3, 4) for name in names]
    reported = found(tmp_path)
    assert reported["all_ranks"]["cells"] == 6  # two numbers of devices, three policies
    # the same simulator on both sides: whoever costs more here costs more there
    assert reported["all_ranks"]["spearman"]["value"] > 0.9
    text = (results(tmp_path) / "testbed.md").read_text(encoding="utf-8")
    assert "| all, 6 pairs |" in text
    assert text.count("| 4 | round_robin |") == 2  # its values, and beside local-only and edge-only


@pytest.mark.slow
def test_policy_that_was_changed_is_not_taken_for_what_was_played(
    experiment: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from edge_rllib.testbed.policies import LocalRule as Mine\n", encoding="utf-8")
    options = ["--quick", "--simulate-only", "--policies", f"mine={mine}:Mine", "--out", str(tmp_path / "bed")]
    first, again = experiment.main(options), experiment.main(options)
    mine.write_text("from edge_rllib.testbed.policies import EdgeRule as Mine\n", encoding="utf-8")

    changed = experiment.main(options)

    assert (first, again, changed) == (0, 0, 2)
    assert "3-mine-simulated was made with content = " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policies", "egde"], "no rule of the testbed named 'egde'; did you mean 'edge'?"),
        (["--policies", "edge", "edge=mine.py:Mine"], "two policies have the name 'edge'"),
        (["--policies", "a/b=mine.py:Mine"], "expected a rule, or NAME=SPEC with a NAME of letters"),
        (["--devices", "9"], "no testbed named 'testbed_9'; did you mean"),
        (["--repeats", "0"], "--repeats 0: expected at least 1"),
        (["--fitted", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_mistake_is_said_in_one_line(
    options: list[str], message: str, experiment: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment.main(["--quick", "--out", str(tmp_path / "bed"), *options]) == 2

    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not results(tmp_path).exists()
