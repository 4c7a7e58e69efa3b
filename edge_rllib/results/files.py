"""Files of a result: written beside their place and moved there when whole, so that nothing half-written is found."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.errors import EdgeError

CONFIG, VERSIONS, PROGRESS, STATUS = "config.yaml", "versions.json", "progress.jsonl", "status.json"
COMPARISON, COMPARISON_TEXT, SUMS = "comparison.json", "comparison.txt", "comparison_sums.npz"
WATCHED_RULES = "watched_rules.json"
CHECKPOINTS, SOURCES, FIGURES = "checkpoints", "sources", "figures"


class ResultError(EdgeError):
    """A result cannot be written or read."""


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file moves to ``path`` when the block ends, and is removed after an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of ``path`` when the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with explained(path):
            part.mkdir(parents=True)
            yield part
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            if path.exists():
                path.replace(old)
            part.replace(path)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the operating system while ``path`` is written into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(path)).free
            raise ResultError(f"{path}: the disk is full ({free / 1e6:.0f} MB free); nothing was left there") from error
        raise ResultError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file at once."""
    with new_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file at once; NaN becomes null."""
    write_text(path, json.dumps(_without_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: cannot be read: {error}") from error


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of training, one an iteration; a last line that was cut by a crash is left out."""
    path = folder / PROGRESS
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Add a row of training."""
    path = folder / PROGRESS
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_without_nan(row), allow_nan=False) + "\n")


def keep_rows(folder: Path, last_iteration: int) -> None:
    """Remove the rows after an iteration, which a resumed run writes again."""
    rows = [row for row in read_progress(folder) if row["iteration"] <= last_iteration]
    write_text(folder / PROGRESS, "".join(json.dumps(row) + "\n" for row in rows))


def fresh_folder(results: Path, name: str) -> Path:
    """Return a path for a new result that does not exist yet, named after the run and the time."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = results / stem, 2
    while path.exists():
        path, number = results / f"{stem}-{number}", number + 1
    return path


def result_folder(path: str | Path) -> Path:
    """Return a folder that holds a result; raise ResultError for anything else."""
    folder = Path(path)
    if not folder.is_dir():
        near = sorted(entry.name for entry in folder.parent.glob("*") if (entry / CONFIG).is_file())
        hint = f"; in {folder.parent} there is: {', '.join(near[-5:])}" if near else ""
        raise ResultError(f"no result folder {folder}{hint}")
    if not (folder / CONFIG).is_file():
        inside = sorted(entry.name for entry in folder.glob("*") if (entry / CONFIG).is_file())
        hint = f"; did you mean {folder / inside[-1]}?" if inside else ""
        raise ResultError(f"{folder} is not a result: it has no {CONFIG}{hint}")
    return folder.resolve()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _without_nan(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
