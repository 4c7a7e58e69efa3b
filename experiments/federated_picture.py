"""Tables and figures of experiments/federated_paper.py and attacks_by_aggregators.py, from their results files alone.

Command: python experiments/federated_picture.py results/federated_paper/federated_paper.json [--out DIR]
Cost: seconds. Prints the tables, and draws the figures into --out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edge_rllib.results import files, plots

AXES = {
    "episodes": "episodes of each client",
    "env_steps": "environment steps of all clients",
    "seconds": "seconds in one process",
}
PUBLISHED = {"1": 4900, "5": 4400, "13": 3900}  # episodes until 450, read off the paper's figure, +-5 %


def _number(values: Sequence[float | None], scale: float = 1.0, digits: int = 0) -> str:
    mean, low, high = (math.nan if value is None else scale * value for value in values)
    if math.isnan(mean):
        return "-"
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def table(found: Mapping[str, Any]) -> str:
    """Return markdown: episodes until 450 by number of clients, and what liars leave of the clean return."""
    lines = [
        "| clients | episodes until 450 | return at the end | with the published estimator and rate | published |",
        "|---|---|---|---|---|",
    ]
    for k, row in found["speed_up"].items():
        other = found["published"].get(k)
        theirs = f"{_number(other['episodes_to_450'])} ({other['reached']} of {other['seeds']})" if other else ""
        lines.append(
            f"| {k} | {_number(row['episodes_to_450'])} | {_number(row['judged'])} | {theirs} | {PUBLISHED[k]:,} |"
        )
    for mode, by_attack in found["liars"].items():
        rules = list(next(iter(by_attack.values())))
        lines += ["", f"**{mode}, 13 clients, 3 liars: return kept [%]**", ""]
        lines += [f"| attack | {' | '.join(rules)} |", "|" + "---|" * (len(rules) + 1)]
        for attack, by_rule in by_attack.items():
            cells = (_number(by_rule[rule]["kept"], 100.0) if rule in by_rule else "" for rule in rules)
            lines.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw_speed_up(found: Mapping[str, Any]) -> Figure:
    """Draw the return against episodes, steps and seconds for each number of clients; shades: all seeds."""
    figure = Figure((12.0, 3.8), layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(1, 3, sharey=True), AXES.items(), strict=True):
        for number, (k, row) in enumerate(found["speed_up"].items()):
            _draw_curve(axes, row["curves"][axis], f"K = {k}", f"C{number}")
        axes.set_xlabel(label)
        axes.axhline(450.0, color="#888888", linestyle=":", linewidth=1.0)
    figure.axes[0].set_ylabel("return (steps that the pole is up)")
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


def draw_liars(found: Mapping[str, Any]) -> Figure:
    """Draw the return against episodes under each attack, a line a rule and a row a mode."""
    by_mode = found["liars"]
    n_attacks = max(len(by_attack) for by_attack in by_mode.values())
    figure = Figure((3.0 * n_attacks, 2.9 * len(by_mode)), layout="constrained")
    grid = figure.subplots(len(by_mode), n_attacks, squeeze=False, sharex=True, sharey=True)
    for line, (mode, by_attack) in zip(grid, by_mode.items(), strict=True):
        for axes, (attack, by_rule) in zip(line, by_attack.items(), strict=False):
            for number, (rule, row) in enumerate(by_rule.items()):
                _draw_curve(axes, row["curves"]["episodes"], rule, f"C{number}")
            axes.set_title(f"{mode}: {attack}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel(AXES["episodes"], fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel("return of honest clients", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _draw_curve(axes: Any, curve: Sequence[Sequence[float]], label: str, colour: str) -> None:
    x, mean, low, high = (np.array(values, float) for values in curve)
    axes.plot(x, mean, color=colour, label=label, linewidth=1.4)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0.0)


def draw_heat_map(found: Mapping[str, Any]) -> Figure:
    """Draw the share of the clean return that is kept: a row an attack, a column a rule."""
    attacks, rules = found["attacks"], found["rules"]
    kept = np.array([[_nan(found["kept"][attack].get(rule)) for rule in rules] for attack in attacks])
    figure = Figure((1.5 + 0.62 * len(rules), 1.8 + 0.3 * len(attacks)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100.0 * kept, cmap="RdYlGn", vmin=0.0, vmax=100.0, aspect="auto")
    for row, column in np.ndindex(kept.shape):
        if np.isfinite(kept[row, column]):
            value = 100.0 * kept[row, column]
            ink = "#ffffff" if abs(value - 50.0) > 38.0 else "#000000"  # on the dark ends of the colours
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(len(rules)), rules, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(attacks)), attacks, fontsize=8)
    figure.colorbar(image, ax=axes, label="return kept [%]", shrink=0.6)
    return figure


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write the tables and draw the figures; return the paths."""
    if "kept" in found:
        return [plots.save(draw_heat_map(found), out / "attacks_by_aggregators.png")]
    files.write_text(out / "federated_paper.md", table(found))
    paths = []
    if found["speed_up"]:
        paths.append(plots.save(draw_speed_up(found), out / "federated_paper_speed_up.png"))
    if found["liars"]:
        paths.append(plots.save(draw_liars(found), out / "federated_paper_liars.png"))
    return paths


def main() -> None:
    """Read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="folder; default: that of the results")
    given = parser.parse_args()
    found = files.read_json(given.results)
    write(found, given.out or given.results.parent)
    if "kept" not in found:
        print(table(found))


if __name__ == "__main__":
    main()
