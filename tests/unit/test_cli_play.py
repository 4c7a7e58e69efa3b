"""``edge-rllib play``: what it prints, which files it writes, how it ends, and what it says of mistakes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_rllib.cli.main import main
from edge_rllib.experiment import watching
from edge_rllib.runners.stored_episodes import read_episodes
from envs.constants import EVALUATION_WORLD_ID

RING = ["play", "fog_ring_8", "--policy"]


def test_what_is_no_terminal_gets_the_last_step_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RING, "least_queue", "--steps", "30"]) == 0

    printed = capsys.readouterr()
    assert "\x1b" not in printed.out
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "fog_ring_8  least_queue   t = 3.000 s, step 30"
    assert lines[1].startswith("mean response ")
    assert sum(bool(re.search(r"\d+/\d+ +\d/\d", line)) for line in lines) == 8  # tasks/places and busy/cores of a node


def test_every_nth_step_is_printed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RING, "random", "--steps", "25", "--every", "10"]) == 0

    assert re.findall(r"step (\d+)$", capsys.readouterr().out, re.MULTILINE) == ["10", "20", "25"]


def test_gif_is_written_with_frames_for_its_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "ring.gif"

    # 5 steps of 0.1 s at half of real time are 1 s: 12.5 frames of 0.08 s, and the first
    assert main([*RING, "random", "--steps", "5", "--speed", "0.5", "--gif", str(path)]) == 0

    assert re.match(rf"written: {path} \(5 steps, 13 frames, 0\.\d\d MB\)\n", capsys.readouterr().out)
    with Image.open(path) as image:
        assert image.n_frames == 13
    assert [each.name for each in path.parent.iterdir()] == ["ring.gif"]


def test_page_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RING, "random", "--steps", "40", "--html", str(tmp_path / "ring.html")]) == 0

    assert "written: " in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["ring.html"]
    assert "fog_ring_8" in (tmp_path / "ring.html").read_text(encoding="utf-8")


def test_same_seed_and_world_are_the_same_film_and_others_are_not(tmp_path: Path) -> None:
    options: list[list[str]] = [[], ["--seed", "0", "--world-id", str(EVALUATION_WORLD_ID)], ["--world-id", "5"]]
    options += [["--seed", "1"], ["--set", "workload.tasks_per_s=9"]]
    pages = []
    for number, each in enumerate(options):
        path = tmp_path / f"{number}.html"
        assert main([*RING, "random", "--steps", "30", "--html", str(path), *each]) == 0
        pages.append(re.sub(r'"world":\d+', "", path.read_text(encoding="utf-8")))
    assert pages[0] == pages[1]
    assert len(set(pages[1:])) == 4


def test_skipped_steps_are_played_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = [*RING, "random", "--steps", "30"]
    assert main(whole) == 0
    assert main([*RING, "random", "--skip", "20", "--steps", "10"]) == 0
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]

    path = tmp_path / "late.gif"
    assert main([*RING, "random", "--skip", "20", "--steps", "4", "--gif", str(path)]) == 0
    assert "(4 steps, 21 frames," in capsys.readouterr().out  # 4 x 0.4 s of 0.08 s each, and the first


def test_user_own_rule_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "import numpy as np\n"
        "from envs.baselines.base import Rule\n\n\n"
        "@dataclass(frozen=True)\n"
        "class ToTheRight(Rule):\n"
        "    def decide(self, view, step, draws):\n"
        "        return np.where(view.has_task, 2, 0)\n",
        encoding="utf-8",
    )
    assert main([*RING, f"{tmp_path}/mine.py:ToTheRight", "--steps", "60"]) == 0

    assert "fog_ring_8  ToTheRight " in capsys.readouterr().out


def test_steps_beyond_the_episode_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RING, "local", "--steps", "50", "--set", "params.horizon_slots=20"]) == 0

    printed = capsys.readouterr()
    assert "the episode was over after 20 steps; all but its last are shown" in printed.err
    assert "step 19" in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["play", "fog_ring_9", "--policy", "random"], ["no scenario named 'fog_ring_9'", "'fog_ring_8'"]),
        ([*RING, "randm"], ["no baseline named 'randm'", "'random'"]),
        ([*RING, "results/none"], ["no result folder results/none"]),
        ([*RING, "random", "--steps", "0"], ["--steps 0: expected more than 0"]),
        ([*RING, "random", "--skip", "-1"], ["--skip -1: expected 0 or more"]),
        ([*RING, "random", "--speed", "-1"], ["--speed -1: expected more than 0"]),
        ([*RING, "random", "--world-id", "-1"], ["first_world_id = -1"]),
        ([*RING, "random", "--set", "params.slots=3"], ["params.slots", "slot_s"]),
        ([*RING, "random", "--n-episodes", "3"], ["--n-episodes: expected together with --episodes FILE"]),
        ([*RING, "random", "--episodes", "a.npz", "--n-episodes", "0"], ["--n-episodes 0: expected more than 0"]),
        ([*RING, "random", "--episodes", "a.npz", "--steps", "9"], ["whole episodes", "--n-episodes", "--steps"]),
        ([*RING, "random", "--episodes", "a.npy"], ["--episodes a.npy", ".npz"]),
        ([*RING, "random", "--episodes", "a.npz", "--sampled"], ["'random'", "only a learned policy"]),
        ([*RING, "randm", "--episodes", "a.npz"], ["no baseline named 'randm'", "'random'"]),
        (["play", "cartpole_v1", "--policy", "random", "--episodes", "a.npz"], ["has no view()"]),
        ([*RING, "random", "--episodes", "/proc/none/a.npz"], ["/proc/none/a.npz: cannot be written"]),
        ([*RING, "random", "--gif", "/proc/none/a.gif"], ["/proc/none/a.gif: cannot be written"]),
        ([*RING, "random", "--gif", "a.gif", "--speed", "0.0001"], ["expected at most 2000", "fewer --steps"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert list(tmp_path.iterdir()) == []


def test_episodes_of_a_rule_are_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*RING, "random", "--set", "params.horizon_slots=20"]
    path = tmp_path / "new" / "ring.npz"
    assert main([*short, "--episodes", str(path), "--n-episodes", "20"]) == 0

    assert re.match(rf"written: {path} \(20 episodes, 400 steps, 0\.\d\d MB\)\n", capsys.readouterr().out)
    stored = read_episodes(path)
    assert (stored.n_episodes, stored.n_steps) == (20, 400)
    assert (stored.header.scenario, stored.header.source) == ("fog_ring_8", "simulation")
    episodes = stored.observation.reshape(20, -1)  # of 16 worlds, four of which have two
    assert len({episode.tobytes() for episode in episodes}) == 20
    assert main([*short, "--episodes", str(path), "--n-episodes", "20", "--seed", "1"]) == 0
    assert not np.array_equal(read_episodes(path).reward, stored.reward)


def test_gif_and_page_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*RING, "random", "--gif", "a.gif", "--html", "a.html"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_result"),
    [("random", False), ("mine.py:Mine", False), ("a/mine.py:Mine", False), ("results/run-1", True), (".", True)],
)
def test_policy_with_a_folder_is_a_result(name: str, is_result: bool) -> None:
    assert watching.is_result(name) is is_result


def read_until(terminal: int, mark: bytes, limit_s: float) -> bytes:
    """Return what a terminal shows up to a mark, or to its end."""
    text, end_s = b"", time.monotonic() + limit_s
    while mark not in text and time.monotonic() < end_s:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
    return text


@pytest.mark.slow
def test_animation_in_a_terminal_moves_and_ctrl_c_ends_it_quietly() -> None:
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "edge_rllib.cli.main", *RING, "random", "--steps", "400"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment)
    os.close(other)
    try:
        shown = read_until(terminal, b"step 2", 120.0)
        process.send_signal(signal.SIGINT)
        shown += read_until(terminal, b"stopped", 30.0)
        assert process.wait(30.0) == 0
    finally:
        process.kill()
        os.close(terminal)
    assert b"\x1b[" in shown
    assert "●".encode() in shown
    assert b"stopped" in shown
    assert b"Traceback" not in shown
