"""Files of reference data: which layout one has, and its comparison with what this project does."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_rllib.reference.alibaba_check import check_alibaba, is_alibaba
from edge_rllib.reference.dcdrl_check import check_dcdrl, is_dcdrl
from edge_rllib.reference.explaboff_check import check_arrays, check_json, check_table
from edge_rllib.reference.explaboff_settings import is_parameters
from edge_rllib.reference.peersim_check import (
    Play,
    check_per_seed,
    check_statistics,
    default_play,
    is_per_seed,
    is_statistics,
)
from edge_rllib.reference.peersim_file import read_json
from edge_rllib.reference.peersim_trace import check_trace, is_trace
from edge_rllib.reference.rows import Report, Row, info_row, join
from envs.errors import ConfigError

SUFFIXES = (".json", ".csv", ".npz")
_N_KEYS = 8


def check_path(path: Path, n_worlds: int, play: Play | None = None) -> Report:
    """Return the comparison of a file, or of all files below a folder; ConfigError where there is nothing to read."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise ConfigError(f"{path}: no JSON, CSV or NPZ file in this folder")
        return join(check_file(file, n_worlds, play, file.relative_to(path).as_posix()) for file in files)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder")
    return check_file(path, n_worlds, play)


def check_file(path: Path, n_worlds: int, play: Play | None = None, label: str = "") -> Report:
    """Return the comparison of one file; its layout is recognised by its contents, whatever its name.

    ``label`` is what the report calls the file; by default its name.
    """
    file = label or path.name
    if path.suffix.lower() == ".npz":
        return check_arrays(path, file) or _no_reader(file, "arrays that are no recorded update")
    if path.suffix.lower() == ".csv":
        return check_table(_table(path), file) or _no_reader(file, _first_line(path))
    contents = read_json(path)
    if is_statistics(contents):
        return check_statistics(contents, file, n_worlds, play or default_play())
    if is_per_seed(contents):
        return check_per_seed(contents, file, _sibling(path, is_statistics), n_worlds, play or default_play())
    if is_trace(contents):
        return check_trace(contents, file, _sibling(path, is_statistics), n_worlds)
    if is_alibaba(contents):
        return check_alibaba(contents, file, n_worlds)
    if is_dcdrl(contents):
        return check_dcdrl(contents, file)
    if is_throughput(contents):
        return show_throughput(contents, file)
    released = check_json(contents, file, lambda: _sibling(path, is_parameters), n_worlds)
    if released is not None:
        return released
    return _no_reader(file, list(contents) if isinstance(contents, Mapping) else type(contents).__name__)


def is_throughput(contents: Any) -> bool:
    """Return whether a file's contents are speeds of PeersimGym, by machine."""
    return isinstance(contents, Mapping) and any(
        isinstance(rows, list) and rows and all(isinstance(row, Mapping) and "steps_per_s" in row for row in rows)
        for rows in contents.values()
    )


def show_throughput(contents: Mapping[str, Any], file: str) -> Report:
    """Return their speeds; ours depend on the machine, `edge-rllib bench` measures them."""
    rows: list[Row] = []
    for machine, runs in contents.items():
        for run in runs if isinstance(runs, list) else ():
            name = f"{machine}: {run.get('config', '?')} ({run.get('reward', '?')})"
            why = "their environment steps per second; `edge-rllib bench` measures ours"
            rows.append(info_row(file, name, "steps_per_s", run["steps_per_s"], None, why))
    return Report(tuple(rows), ())


def _sibling(path: Path, is_wanted: Callable[[Any], bool]) -> Mapping[str, Any] | None:
    """Return the first file beside this one that is wanted, as one with configurations; reference.json comes first."""
    candidates = sorted(path.parent.glob("*.json"), key=lambda file: (file.name != "reference.json", file.name))
    for candidate in candidates:
        if candidate != path:
            contents = read_json(candidate)
            if is_wanted(contents):
                found: Mapping[str, Any] = contents
                return found
    return None


def _table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table by the names in its first line; none of what is no table."""
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            return [{str(key): value or "" for key, value in row.items()} for row in csv.DictReader(lines)]
        except csv.Error:
            return []


def _no_reader(file: str, keys: list[str] | str) -> Report:
    listed = (
        keys
        if isinstance(keys, str)
        else ", ".join(map(str, keys[:_N_KEYS])) + (", ..." if len(keys) > _N_KEYS else "")
    )
    return Report((), (f"{file}: no reader for this layout yet; it has: {listed}",))


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return next(lines, "").strip()[:200]
