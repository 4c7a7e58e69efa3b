"""What was measured of ExplabOff's released training: shown, not judged, as ours trains differently and elsewhere.

Learning curves (one row a window of episodes), their index, sizes of the mutual-information reward, and speeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edge_rllib.reference.rows import Report, Row, info_row

_CURVE = ("episode_end", "env_steps", "reward_mean", "success_frac")
_OF_CURVE = {"reward_mean": "reward", "cost_delay_s": "reported cost", "success_frac": "success rate"}
_OF_WINDOW = {"reward": "reward", "cost": "reported cost", "succ": "success rate"}
_SPEEDS = {"env_steps_per_s": "env steps/s", "per_s_cpu": "calls/s of one core"}
_OF_THEIRS = "their training as released or as the run's name says"
_BENCH = "their speed on their machine; `edge-rllib bench` measures ours"


def is_curve(header: Sequence[str]) -> bool:
    """Return whether a table's first line is that of a learning curve."""
    return set(_CURVE) <= set(header)


def show_curve(table: Sequence[Mapping[str, str]], file: str) -> Report:
    """Return the last and the best window of a learning curve."""
    run = file.rpartition("/")[2].removesuffix(".csv").removeprefix("curve_")
    best = max(table, key=lambda row: _number(row.get("reward_mean")) or -math.inf)
    rows: list[Row] = []
    for label, row in (("last window", table[-1]), ("best window", best)):
        why = f"{_OF_THEIRS}; after {row.get('episode_end')} episodes, {row.get('env_steps')} env steps"
        rows += [
            info_row(file, run, f"{name}, {label}", _number(row.get(key)), None, why)
            for key, name in _OF_CURVE.items()
            if key in row
        ]
    return Report(tuple(rows), ())


def is_figures(contents: Any) -> bool:
    """Return whether a file's contents are an index of curves, sizes of rewards, or speeds, by name."""
    return isinstance(contents, Mapping) and any(_kind(entry) for entry in contents.values())


def show_figures(contents: Mapping[str, Any], file: str) -> Report:
    """Return the leading numbers of each entry."""
    rows: list[Row] = []
    for name, entry in contents.items():
        kind = _kind(entry)
        if kind == "run":
            rows += _show_run(entry, file, name)
        elif kind == "sizes":
            rows += [
                info_row(file, name, f"{part}, mean", _number(values["mean"]), None, _spread(values))
                for part, values in entry.items()
                if isinstance(values, Mapping) and "mean" in values
            ]
        elif kind == "speed":
            rows += [
                info_row(file, name, unit, _number(entry[key]), None, _BENCH)
                for key, unit in _SPEEDS.items()
                if key in entry
            ]
    return Report(tuple(rows), ())


def _kind(entry: Any) -> str:
    """Return what an entry is; nothing for what it is not."""
    if not isinstance(entry, Mapping):
        return ""
    if isinstance(entry.get("last"), Mapping) and "episodes" in entry:
        return "run"
    if any(isinstance(values, Mapping) and {"mean", "p5", "p95"} <= set(values) for values in entry.values()):
        return "sizes"
    return "speed" if set(_SPEEDS) & set(entry) else ""


def _show_run(entry: Mapping[str, Any], file: str, name: str) -> list[Row]:
    rows = []
    for label in ("last", "best"):
        window = entry.get(label)
        if not isinstance(window, Mapping):
            continue
        for key, what in _OF_WINDOW.items():
            if key in window:
                why = str(entry.get("desc", _OF_THEIRS))
                rows.append(info_row(file, name, f"{what}, {label} window", _number(window[key]), None, why))
    for key in ("episodes", "env_steps", "updates"):
        if key in entry:
            rows.append(info_row(file, name, key, _number(entry[key]), None, str(entry.get("desc", _OF_THEIRS))))
    return rows


def _spread(values: Mapping[str, Any]) -> str:
    return (
        f"batch means of {values.get('n', '?')} updates of theirs; 5 to 95 %: {values['p5']:.3g} to {values['p95']:.3g}"
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
