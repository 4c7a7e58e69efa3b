"""The command line: what it lists, how it fails, what it does not import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from edge_rllib.cli import list as list_command
from edge_rllib.cli.main import COMMANDS, main
from envs import registry


def in_a_fresh_process(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    command: Sequence[str] = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


HEAVY = "[m for m in ('ray', 'torch', 'numba', 'networkx', 'matplotlib') if m in sys.modules]"


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert in_a_fresh_process(f"import sys, edge_rllib; print({HEAVY})") == "[]\n"


def test_listing_everything_loads_nothing_heavy() -> None:
    code = f"import sys; from edge_rllib.cli.main import main; main(['list']); print({HEAVY})"

    assert in_a_fresh_process(code).endswith("[]\n")


@pytest.mark.parametrize("kind", list_command.KINDS)
def test_every_name_is_listed_with_one_line_about_it(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_command.entries(kind))
    assert all(len(line.split()) >= 3 for line in lines), lines


def test_what_is_registered_at_run_time_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        """Do as I do."""

    monkeypatch.setattr(registry, "_ADDED", {"baseline": {"mine": Mine}})

    assert ("mine", "Do as I do.") in list_command.entries("baseline")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "scenarios"], ["no kind named 'scenarios'", "did you mean 'scenario'?"]),
        (["train"], ["expected either a RUN"]),
        (["train", "run/quickstar"], ["no run named 'quickstar'", "'quickstart'"]),
        (["train", "quickstart", "--set", "algorithm.gama=1"], ["algorithm.gama", "'gamma'"]),
        (["train", "quickstart", "--into", "/"], ["--into /", "exists already"]),
        (["train", "--resume", "/nowhere/at/all"], ["no result folder /nowhere/at/all"]),
        (["show", "/"], ["/ is not a result"]),
        (["evaluate", "/"], ["/ is not a result"]),
    ],
)
def test_users_mistake_is_one_line_and_exit_code_two(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_interrupt_has_the_exit_code_of_interrupts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_command, "run", interrupted)

    assert main(["list"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_unknown_command_shows_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["trian"])

    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert all(command in error for command in COMMANDS)
