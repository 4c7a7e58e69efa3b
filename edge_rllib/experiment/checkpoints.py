"""Checkpoints of a run: a folder each, which appears whole; the newest few and the best stay."""

from __future__ import annotations

import contextlib
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_rllib.results.files import CHECKPOINTS, ResultError, new_folder, read_json, write_json

BEST = "best"
_STATE = "run_state.json"
_DIGITS = 6


def save(algorithm: Any, folder: Path, state: dict[str, Any]) -> Path:
    """Save an Algorithm and the run's own counters as the checkpoint of ``state["iteration"]``."""
    path = folder / CHECKPOINTS / f"{state['iteration']:0{_DIGITS}d}"
    _save(algorithm, path, state)
    return path


def fill(algorithm: Any, folder: Path, state: dict[str, Any]) -> None:
    """Write an Algorithm and the run's own counters into a folder that somebody else makes appear."""
    algorithm.save_to_path(str(folder.resolve()))
    write_json(folder / _STATE, state)


def save_best(algorithm: Any, folder: Path, state: dict[str, Any]) -> Path:
    """Save an Algorithm as the best so far."""
    path = folder / CHECKPOINTS / BEST
    _save(algorithm, path, state)
    return path


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest checkpoints; the best one is not counted."""
    for path in _numbered(folder)[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a result."""
    numbered = _numbered(folder)
    if not numbered:
        raise ResultError(f"{folder / CHECKPOINTS} has no checkpoint; the run ended before its first one was saved")
    return numbered[-1]


def best(folder: Path) -> Path:
    """Return the best checkpoint of a result, or the newest where none was judged."""
    path = folder / CHECKPOINTS / BEST
    return path if path.is_dir() else latest(folder)


def of_iteration(folder: Path, iteration: str) -> Path:
    """Return the checkpoint of an iteration."""
    known = {path.name.lstrip("0") or "0": path for path in _numbered(folder)}
    if iteration.lstrip("0") not in known:
        raise ResultError(
            f"{folder / CHECKPOINTS} has no iteration {iteration!r}; it has: {', '.join(known) or 'none'}, best"
        )
    return known[iteration.lstrip("0")]


def load_state(path: Path) -> dict[str, Any]:
    """Return the run's own counters in a checkpoint."""
    if not path.is_dir():
        raise ResultError(f"no checkpoint {path}")
    state: dict[str, Any] = read_json(path / _STATE)
    return state


def restore(algorithm: Any, path: Path) -> dict[str, Any]:
    """Restore an Algorithm in place and return the run's own counters; a damaged checkpoint raises ResultError."""
    state = load_state(path)
    with damaged(path):
        algorithm.restore_from_path(str(path.resolve()))
    return state


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn the errors of reading a checkpoint into one line for the user."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
        raise ResultError(
            f"checkpoint {path} cannot be restored ({type(error).__name__}: {_one_line(error)}); "
            "it is damaged or of another model or scenario"
        ) from error


def _save(algorithm: Any, path: Path, state: dict[str, Any]) -> None:
    with new_folder(path) as part:
        fill(algorithm, part, state)


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / CHECKPOINTS).glob("[0-9]*") if path.is_dir())


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
