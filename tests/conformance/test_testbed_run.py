"""Runs on real processes: they complete at tier 0 whatever happens to a server, and nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.testbed import calibrate
from edge_rllib.testbed import run as testbed
from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.gathering import Gathering
from edge_rllib.testbed.ground import MACHINES
from edge_rllib.testbed.launcher import Launcher
from edge_rllib.testbed.listening import LOOPBACK, call
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.policies import load_policy
from edge_rllib.testbed.run import Where
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.shaping.probe import probe
from envs.errors import ConfigError

TINY = (
    "n_epochs=3",
    "epoch_s=0.4",
    "work.side_px=96",
    "work.frames=[1, 2]",
    "work.clips=1",
    "deadline_s=10.0",
    "drain_s=20.0",
)
N_TASKS = 3 * 3  # devices and epochs


def tiny(*more: str) -> BedScenario:
    return load_scenario("testbed_ci", [*TINY, *more])


def play(
    scenario: BedScenario,
    policy: str,
    folder: Path,
    tier: int = 0,
    on_start: Callable[[Gathering, dict[str, int]], None] = lambda gathering, pids: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    where = Where(tier, 1.0, "")
    figures = testbed.run(scenario, load_policy(policy, scenario), policy, where, folder, on_start)
    return figures, json.loads((folder / testbed.TASKS).read_text(encoding="utf-8"))


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]], Path, list[int]]:
    """Return the summary, the tasks, the folder and the process ids of a run of three devices."""
    folder = tmp_path_factory.mktemp("run")
    processes: list[int] = []
    figures, tasks = play(tiny(), "round_robin", folder, on_start=lambda _, pids: processes.extend(pids.values()))
    return figures, tasks, folder, processes


def test_every_task_of_every_device_is_finished(played: Any) -> None:
    figures, tasks, _, _ = played

    assert {(task["device"], task["epoch"]) for task in tasks} == {(n, e) for n in range(3) for e in range(3)}
    assert (figures["tasks"], figures["finished"], figures["tier"]) == (N_TASKS, N_TASKS, 0)
    assert {task["target"] for task in tasks} == {0, 1}


def test_parts_of_measured_times_add_up_in_the_order_of_events(played: Any) -> None:
    _, tasks, _, _ = played

    for task in tasks:
        parts = [task[name] for name in ("upload_s", "wait_s", "service_s", "return_s")]
        assert sum(parts) == pytest.approx(task["response_s"])
        assert min(parts) >= -1e-6
        assert task["created_s"] <= task["decided_s"] <= task["result_s"]
        assert [stage["name"] for stage in task["stages"]] == ["decode", "detect", "crop", "encode"]
        if task["done_by"] == "server":
            assert task["decided_s"] <= task["upload_start_s"] <= task["upload_end_s"] <= task["result_s"]


def test_lanes_are_as_slow_as_they_should_be(played: Any) -> None:
    _, tasks, _, _ = played
    scenario = tiny()
    lane = {"device": scenario.cores_of(0), "server": scenario.servers[0].cores / scenario.servers[0].n_lanes}

    for task in tasks:
        cpu_s = sum(stage["cpu_s"] for stage in task["stages"])
        took_s = task["stages"][-1]["end_s"] - task["stages"][0]["start_s"]
        if task["cut"] in (0, 4):  # done in one place
            # CPU time at the lane's share of a core; a busy machine only adds
            assert took_s >= 0.999 * cpu_s / lane[task["done_by"]]


def test_result_has_its_files(played: Any) -> None:
    figures, _, folder, _ = played
    epochs = json.loads((folder / testbed.EPOCHS).read_text(encoding="utf-8"))

    assert [row["epoch"] for row in epochs] == [0, 1, 2]
    assert all(np.shape(row["observation"])[0] == 3 for row in epochs)
    assert sum(row["cost"] for row in epochs) == pytest.approx(N_TASKS * figures["cost_per_task"])
    assert load_scenario(str(folder / "config.yaml"), ["name=testbed_ci"]) == tiny()
    assert (folder / "figures" / testbed.TIMELINE).stat().st_size > 1000
    assert "the controller listens" in (folder / testbed.LOG).read_text(encoding="utf-8")


def test_no_process_is_left(played: Any) -> None:
    _, _, _, processes = played

    assert len(processes) == 5  # relay, server, three devices
    assert not any(is_alive(process) for process in processes)


@pytest.mark.slow
def test_killed_server_does_not_end_the_run(tmp_path: Path) -> None:
    def kill_soon(_: Gathering, pids: dict[str, int]) -> None:
        threading.Timer(2.0, os.kill, (pids["server 0"], signal.SIGKILL)).start()

    figures, tasks = play(tiny("n_epochs=10"), "edge", tmp_path, on_start=kill_soon)

    assert (figures["tasks"], figures["in_flight"]) == (10 * 3, 0)
    assert [(lost["role"], lost["index"]) for lost in figures["lost"]] == [("server", 0)]
    assert "server" in {task["done_by"] for task in tasks}
    # the rule avoids a server that has gone
    assert {task["target"] for task in tasks if task["epoch"] == 9} == {0}
    # whatever was on its way when the server died was done by its device
    assert all(task["done_by"] == "device" for task in tasks if task["fallback"])


@pytest.mark.slow
def test_killed_device_does_not_end_the_run(tmp_path: Path) -> None:
    def kill(_: Gathering, pids: dict[str, int]) -> None:
        os.kill(pids["device 1"], signal.SIGKILL)

    _, tasks = play(tiny("drain_s=1.0"), "local", tmp_path, on_start=kill)

    assert {task["device"] for task in tasks} == {0, 2}
    assert len(tasks) == 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize("tier", [1, 2])
def test_higher_tiers_run_the_same_where_the_machine_has_them(tier: int, tmp_path: Path) -> None:
    state = probe()[tier]
    if not state.is_there:
        pytest.skip(state.reason)

    figures, _ = play(tiny(), "edge", tmp_path, tier)

    assert (figures["tasks"], figures["in_flight"], figures["tier"]) == (N_TASKS, 0, tier)
    assert set(figures["group_cpu_s"]) >= {"device0", "device2", "server0lane0"}
    assert sum(figures["group_cpu_s"].values()) >= sum(figures["lane_cpu_s"].values()) * 0.9
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=False).stdout
    assert f"ertb{os.getpid()}" not in names


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    command = ["testbed", "run", "testbed_ci", "--policy", "edge", "--tier", "0", "--into", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_rllib.cli.main", *command, "--set", "n_epochs=1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / testbed.LOG
    wait_for(lambda: log.exists() and "device 2 is here" in log.read_text(encoding="utf-8"))
    children = descendants(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "edge-rllib: testbed was interrupted"
    assert len(children) >= 6  # the launcher and what it started
    wait_for(lambda: not any(is_alive(child) for child in children))


@pytest.mark.slow
def test_killed_controller_leaves_nothing(tmp_path: Path) -> None:
    command = ["testbed", "run", "testbed_ci", "--policy", "edge", "--tier", "0", "--into", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_rllib.cli.main", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = tmp_path / "run" / testbed.LOG
    wait_for(lambda: log.exists() and "device 2 is here" in log.read_text(encoding="utf-8"))
    children = descendants(process.pid)
    process.kill()
    process.wait()

    assert len(children) >= 6
    wait_for(lambda: not any(is_alive(child) for child in children))


def wait_for(is_true: Callable[[], bool], longest_s: float = 60.0) -> None:
    end_s = time.monotonic() + longest_s
    while not is_true():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def descendants(process: int) -> list[int]:
    """Return the children of a process, theirs, and so on."""
    path = Path(f"/proc/{process}/task/{process}/children")
    own = [int(child) for child in path.read_text(encoding="ascii").split()] if path.exists() else []
    return own + [below for child in own for below in descendants(child)]


@pytest.mark.slow
def test_machines_of_their_own_play_the_same_run(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    token = tmp_path / "token"
    token.write_text("sixteen bytes, or more of them", encoding="ascii")
    node = [sys.executable, "-m", "edge_rllib.cli.main", "testbed", "node", "--once", "--token-file", str(token)]
    node += ["--connect", f"{LOOPBACK}:{port}"]
    nodes = [subprocess.Popen([*node, *more]) for more in (["--listen", f"{LOOPBACK}:0"], [], [])]
    scenario = tiny("n_devices=2")
    where = testbed.place_on_machines(LOOPBACK, port, token.read_bytes())

    figures = testbed.run(scenario, load_policy("edge", scenario), "edge", where, tmp_path / "run")

    assert where.tier == MACHINES
    assert (figures["tasks"], figures["in_flight"], figures["tier"]) == (6, 0, "machines")
    assert [process.wait(timeout=30) for process in nodes] == [0, 0, 0]


@pytest.mark.slow
def test_calibration_finds_quotas_rates_and_crowding(tmp_path: Path) -> None:
    found = calibrate.calibrate(tiny(), "0", 2, tmp_path)

    assert json.loads((tmp_path / calibrate.MEASURED).read_text(encoding="utf-8"))["tier"] == 0
    assert [row["quota"] for row in found["service"]] == [0.12, 0.24, 0.5, 1.0]
    for row in found["service"]:
        assert row["share"][0] <= 1.01 * row["quota"]
        assert set(row["stages"]) == {"decode", "detect", "crop", "encode"}
    sizes = list(found["frame_bytes"].values())
    assert sizes[0] > 96 * 96 * 3
    assert sizes == sorted(sizes, reverse=True)
    assert "goodput" in calibrate.text(found)


def test_scale_at_which_a_lane_needs_more_than_a_core_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--scale 0\.2: a lane would need more than a whole core; at least 0\.25"):
        testbed.place(tiny(), "0", 0.2)


def test_scenario_that_is_too_large_for_the_machine_is_said() -> None:
    where = testbed.place(tiny("servers=[{cores: 1000.0, n_lanes: 2, discipline: processor_sharing}]"), "0", 1.0)

    assert "the scenario asks for 1000.36 cores" in where.note


def test_stranger_is_refused_by_the_controller(caplog: pytest.LogCaptureFixture) -> None:
    token = b"token of this run"
    with (
        Gathering(LOOPBACK, 0, token, {"device": 1}) as gathering,
        call(LOOPBACK, gathering.port, token, 5.0) as device,
        call(LOOPBACK, gathering.port, token, 5.0) as other,
    ):
        device.send("hello", role="device", index=0, pid=1, boot="")
        wait_for(lambda: gathering.missing() == [])
        other.send("hello", role="device", index=0, pid=2, boot="")
        wait_for(lambda: any("device 0 is not wanted, or there already" in line for line in caplog.messages))
        device.send("report", epoch=0)

        said = [gathering.next(time.monotonic() + 5.0) for _ in range(2)]

    assert [frame.kind for _, frame in said if frame is not None] == ["hello", "report"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "testbed_9"], "no testbed named 'testbed_9'"),
        (["run", "testbed_3", "--policy", "egde"], "did you mean 'edge'"),
        (["run", "testbed_3", "--devices", "99"], "n_devices = 99: expected 1 to 64"),
        (["run", "testbed_3", "--listen", "0.0.0.0:7700"], "0.0.0.0 can be reached by others, so a token"),
        (["node", "--connect", "192.0.2.1:7700"], "192.0.2.1 can be reached by others, so a token"),
        (["node", "--connect", "here"], "expected HOST:PORT"),
        (["calibrate", "testbed_3", "--repeats", "1"], "--repeats 1: expected at least 2"),
    ],
)
def test_mistake_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["testbed", *arguments]) == 2

    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1


def test_missing_token_file_is_said(tmp_path: Path) -> None:
    from edge_rllib.testbed.node import read_token

    with pytest.raises(SetupError, match="No such file"):
        read_token(tmp_path / "none", LOOPBACK)
    assert read_token(None, LOOPBACK) == b""


def test_probe_prints_a_line_for_each_tier(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["testbed", "probe"]) == 0

    assert [line[:7] for line in capsys.readouterr().out.splitlines()] == ["tier 0:", "tier 1:", "tier 2:"]


@pytest.mark.slow
def test_process_that_cannot_be_what_it_should_ends_the_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_setup = testbed.Ground.server_setup
    monkeypatch.setattr(
        testbed.Ground, "server_setup", lambda self, server: {**server_setup(self, server), "work": [80, "none"]}
    )

    with pytest.raises(SetupError, match="server 0 has ended while it got ready; see the log of the run"):
        play(tiny(), "edge", tmp_path)

    log = (tmp_path / testbed.LOG).read_text(encoding="utf-8")
    assert "server-0 ends: UnknownName: no detector named 'none'" in log.replace(" server-0 server-0", " server-0")
    assert "Traceback" not in log


@pytest.mark.slow
def test_launcher_that_has_ended_is_told(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path / "log.txt")
    launcher.close()

    with pytest.raises(SetupError, match="the launcher has ended before it started device 0"):
        launcher.start("device", 0, LOOPBACK, 1, b"token")
