"""The report of a result: its figures as PNG files and its table as text, from the files in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_rllib.results import plots
from edge_rllib.results.comparison import RETURN, table
from edge_rllib.results.files import (
    COMPARISON,
    FIGURES,
    STATUS,
    VERSIONS,
    WATCHED_RULES,
    read_json,
    read_progress,
    result_folder,
)

_CURVES = ("response_time_s_mean", "in_time_frac")
_CHART = ("response_time_s_mean", "response_time_s_p95", "in_time_frac", "energy_j_per_task")


def draw(folder: Path) -> list[Path]:
    """Draw what the result has files for, and return the paths of the pictures."""
    folder = result_folder(folder)
    comparison = read_json(folder / COMPARISON) if (folder / COMPARISON).is_file() else None
    rows = read_progress(folder)
    paths = []
    known = _known_figures(rows, comparison)
    curves = [name for name in _CURVES if name in known] or [RETURN]
    if any("held_out" in row for row in rows):
        rules = read_json(folder / WATCHED_RULES) if (folder / WATCHED_RULES).is_file() else {}
        figure = plots.learning_curves(rows, rules, curves, _about(folder, comparison))
        paths.append(plots.save(figure, folder / FIGURES / "learning_curve.png"))
    if comparison is not None:
        chart = [name for name in _CHART if name in known] or [comparison["lead"]]
        paths.append(plots.save(plots.comparison_chart(comparison, chart), folder / FIGURES / "comparison.png"))
        times = plots.response_times(comparison)
        if times is not None:
            paths.append(plots.save(times, folder / FIGURES / "response_times.png"))
    return paths


def text(folder: Path) -> str:
    """Return status, versions and the comparison of a result as text."""
    folder = result_folder(folder)
    lines = [f"result: {folder}"]
    if (folder / STATUS).is_file():
        status = read_json(folder / STATUS)
        reason = f" ({status['error']})" if status.get("error") else ""
        lines.append(
            f"status: {status['status']}{reason}, iteration {status['iteration']}, "
            f"{status['env_steps']:,} environment steps, {status['wall_s']:.0f} s of training"
        )
    if (folder / VERSIONS).is_file():
        found = read_json(folder / VERSIONS)
        parts = (f"{name} {found[name]}" for name in ("edge_rllib", "python", "ray", "torch", "numpy", "numba"))
        lines.append(f"versions: {', '.join(parts)}; commit {found['commit'] or 'none'}")
    if (folder / COMPARISON).is_file():
        lines += ["", table(read_json(folder / COMPARISON)).rstrip()]
    else:
        lines += ["", f"no comparison yet; make one with: edge-rllib evaluate {folder}"]
    return "\n".join(lines) + "\n"


def _known_figures(rows: list[dict[str, Any]], comparison: dict[str, Any] | None) -> set[str]:
    known = set(comparison["units"]) if comparison else set()
    for row in rows:
        known |= set(row.get("held_out", {}))
    return known


def _about(folder: Path, comparison: dict[str, Any] | None) -> str:
    if comparison is None:
        return folder.name
    return (
        f"{comparison['algorithm']} on {comparison['scenario']}, one run, seed {comparison['seed']}; "
        "all on the same watched worlds, which are not trained on"
    )
