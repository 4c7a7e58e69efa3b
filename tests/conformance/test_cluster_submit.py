"""``edge-rllib submit`` against a real head with its job server on this machine: submit, follow, fetch, stop."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from edge_rllib.cli.main import main
from edge_rllib.experiment.cluster import Gathered, packed_lines, stage
from edge_rllib.results.files import read_json
from envs.errors import EdgeError

START_S, STOP_S = 90.0, 60.0
TINY = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "scenario.workload.tasks_per_s": 12.0,
    "algorithm.fragment_steps": 10,
    "n_env_runners": 1,
    "n_worlds": 4,
    "total_env_steps": 80,
    "evaluation.worlds": 3,
    "evaluation.watched_worlds": 2,
    "evaluation.rules": ["local"],
}
SETS = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]


class Head(NamedTuple):
    address: str
    folder: Path
    home: Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line names a folder: those of one head."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in each.info["cmdline"] or ())
    ]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head of its own: own ports, own folder, own home; at the end exactly its processes are terminated."""
    with tempfile.TemporaryDirectory(prefix="rh", dir="/tmp") as temporary:  # a short path: Ray puts sockets below it
        folder, home, port = Path(temporary) / "r", Path(temporary) / "home", free_port()
        home.mkdir()
        environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "disabled"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment.pop("RAY_ADDRESS", None)
        command = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=3",
            f"--port={free_port()}", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}",
            f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}", "--object-store-memory=200000000",
            "--disable-usage-stats",
        ]  # fmt: skip
        log = Path(temporary) / "head.log"
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                wait_for_jobs(f"http://127.0.0.1:{port}", process, log)
                yield Head(f"http://127.0.0.1:{port}", folder, home)
            finally:
                process.terminate()
                process.wait(STOP_S)
                left = processes_of(folder)
                for each in left:
                    each.terminate()
                psutil.wait_procs(left, STOP_S)
        assert processes_of(folder) == []


def wait_for_jobs(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the job server answers."""
    begin = time.monotonic()
    while time.monotonic() - begin < START_S:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            process_wait(process)
    raise AssertionError(f"no job server after {START_S} s: {log.read_text()}")


def process_wait(process: subprocess.Popen[bytes]) -> None:
    """Give a process half a second; it is expected to go on."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture(autouse=True)
def without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speak to the head as it was started."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.mark.slow
def test_submitted_run_is_followed_and_its_result_fetched(
    head: Head, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fetched"

    code = main(["submit", "run/quickstart", *SETS, f"--address={head.address}", f"--into={target}"])

    out = capfd.readouterr().out
    assert code == 0, out
    assert "edge-rllib-part:" not in out
    comparison = read_json(target / "comparison.json")
    assert set(comparison["policies"]) == {"learned", "local", "random"}
    assert f"learned minus {comparison['best_rule']}: " in out  # the job's own output was followed
    assert read_json(target / "status.json")["env_steps"] == 80
    assert main(["evaluate", str(target), "--worlds", "2"]) == 0
    job = next(line.split()[1] for line in out.splitlines() if line.startswith("job: "))
    again = tmp_path / "again"
    assert main(["submit", f"--fetch={job}", f"--address={head.address}", f"--into={again}"]) == 0
    assert (again / "comparison.json").read_bytes() == (target / "comparison.json").read_bytes()


@pytest.mark.slow
def test_failed_job_is_told_and_nothing_is_fetched(
    head: Head, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fetched"

    python = f"{sys.executable} -c 'raise SystemExit(3)'"
    code = main(["submit", "run/quickstart", f"--address={head.address}", f"--into={target}", f"--python={python}"])

    assert code == 1
    assert "ended as FAILED" in capfd.readouterr().err
    assert not target.exists()


@pytest.mark.slow
def test_unknown_job_is_refused_with_the_known_ones(head: Head, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--stop=raysubmit_x", f"--address={head.address}"]) == 2
    assert "the cluster knows no job 'raysubmit_x'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run/quickstart", "--address=127.0.0.1:1"], ["expected the job server's http address"]),
        (["run/quickstart", "--address=http://127.0.0.1:1"], ["no Ray job server answers at http://127.0.0.1:1"]),
        (["--address=http://127.0.0.1:1"], ["expected one of RUN, --follow JOB"]),
        (["run/quickstar", "--address=http://127.0.0.1:1"], ["'quickstart'"]),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *arguments]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_result_survives_the_way_through_a_log(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "checkpoints").mkdir(parents=True)
    (source / "checkpoints" / "weights").write_bytes(hashlib.sha256(b"x").digest() * 2000)
    gathered = Gathered()
    lines = list(packed_lines(source))

    taken = [gathered.take(line) for line in ["Epoch 1", *lines, "done"]]
    gathered.unpack(tmp_path / "target")

    assert taken == [False, *[True] * len(lines), False]
    assert (tmp_path / "target/checkpoints/weights").read_bytes() == (source / "checkpoints/weights").read_bytes()


def test_result_that_lost_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(bytes(range(256)) * 300)
    lines = list(packed_lines(tmp_path / "source"))
    gathered = Gathered()
    for line in [*lines[:1], *lines[2:]]:
        gathered.take(line)

    with pytest.raises(EdgeError, match="its hash differs"):
        gathered.unpack(tmp_path / "target")
    with pytest.raises(EdgeError, match="no whole result"):
        Gathered().unpack(tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_job_is_sent_the_code_of_this_installation(tmp_path: Path) -> None:
    stage(tmp_path, "name: x\n")

    assert {path.name for path in tmp_path.iterdir()} == {"edge_rllib", "envs", "config.yaml"}
    assert (tmp_path / "edge_rllib" / "configs" / "run" / "quickstart.yaml").is_file()
    assert not list(tmp_path.rglob("*.pyc"))
