"""Results appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edge_rllib.results import files
from edge_rllib.results.files import ResultError


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_file_is_not_there_until_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with files.new_file(target) as part:
        part.write_text("half")
        assert not target.exists()

    assert target.read_text() == "half"
    assert everything_in(tmp_path) == ["a.json"]


def test_error_leaves_the_old_file_and_no_trace_of_the_new(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="cut"), files.new_file(target) as part:
        part.write_text("half")
        raise RuntimeError("cut")

    assert target.read_text() == "old"
    assert everything_in(tmp_path) == ["a.json"]


def test_folder_replaces_the_old_one_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "best"
    with files.new_folder(target) as part:
        (part / "weights").write_text("1")
    with pytest.raises(RuntimeError, match="cut"), files.new_folder(target) as part:
        (part / "weights").write_text("2")
        raise RuntimeError("cut")
    assert (target / "weights").read_text() == "1"

    with files.new_folder(target) as part:
        (part / "weights").write_text("3")

    assert (target / "weights").read_text() == "3"
    assert everything_in(tmp_path) == ["best", "weights"]


def test_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="the disk is full") as caught, files.new_folder(tmp_path / "run") as part:
        (part / "config.yaml").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "\n" not in str(caught.value)
    assert everything_in(tmp_path) == []


def test_really_full_disk_is_told_in_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(ResultError, match="the disk is full"), files.explained(full), full.open("w") as file:
        file.write("x" * 100_000)


def test_line_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    for iteration in (1, 2):
        files.append_row(tmp_path, {"iteration": iteration, "value": float("nan")})
    with (tmp_path / files.PROGRESS).open("a") as file:
        file.write('{"iteration": 3, "val')

    assert files.read_progress(tmp_path) == [{"iteration": 1, "value": None}, {"iteration": 2, "value": None}]


def test_rows_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    for iteration in (1, 2, 3):
        files.append_row(tmp_path, {"iteration": iteration})

    files.keep_rows(tmp_path, 2)

    assert [row["iteration"] for row in files.read_progress(tmp_path)] == [1, 2]


def test_fresh_folders_never_share_a_name(tmp_path: Path) -> None:
    first = files.fresh_folder(tmp_path, "run")
    first.mkdir()

    assert files.fresh_folder(tmp_path, "run") != first


def test_folder_that_is_no_result_is_refused_with_what_is_near(tmp_path: Path) -> None:
    result = tmp_path / "run-1"
    result.mkdir()
    (result / files.CONFIG).write_text("")

    with pytest.raises(ResultError, match=r"has no config.yaml; did you mean .*run-1\?"):
        files.result_folder(tmp_path)
    with pytest.raises(ResultError, match="there is: run-1"):
        files.result_folder(tmp_path / "run-2")
