"""Tables and figure of experiments/testbed.py, from its results file alone.

Command: python experiments/testbed_picture.py results/testbed/testbed.json [--out DIR]
Cost: seconds. Prints the tables, and draws the figure into --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edge_rllib.results import files, plots
from edge_rllib.testbed.gap_picture import shade
from edge_rllib.testbed.gap_text import between, between_percent, markdown_table, percent

KINDS = ("simulated", "real")
PANELS = {
    "response_time_s": "response time [s]",
    "late_frac": "late tasks [% of all]",
    "cost_per_task": "cost a task [1]",
}
YARDSTICKS = ("local", "edge")
LOG_RATIO = 5.0  # largest over smallest value above which an axis is logarithmic


def table(found: Mapping[str, Any]) -> str:
    """Return markdown: figures simulated beside real, both against local-only and edge-only, and the gap."""
    parts = [_values(found), _gains(found), _gaps(found)]
    notes = [f"{n} devices: {line}" for n, row in found["devices"].items() for line in row["notes"]]
    notes += [f"not played: {line}" for line in found["failed"]]
    if notes:
        parts.append("**Mind**\n\n" + "\n".join(f"- {line}" for line in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _values(found: Mapping[str, Any]) -> str:
    heads = [
        "devices", "policy", "response time, s: simulated", "real", "late: simulated", "real",
        "cost a task: simulated", "real", "real runs",
    ]  # fmt: skip
    rows = []
    for n, of_n in found["devices"].items():
        for name, kinds in of_n["policies"].items():
            cells = []
            for key in PANELS:
                for kind in KINDS:
                    each = kinds.get(kind, {}).get(key)
                    is_share = key.endswith("_frac")
                    cells.append(between_percent(each) if is_share and each is not None else between(each))
            rows.append([n, name, *cells, str(kinds.get("real", {}).get("episodes", 0))])
    return "**What policies are worth**\n\n" + markdown_table(heads, rows)


def _gains(found: Mapping[str, Any]) -> str:
    """Return how much less the others take and cost than the yardsticks do."""
    heads = ["devices", "policy"]
    heads += [f"{what} beside {each}: {kind}" for what in ("time", "cost") for each in YARDSTICKS for kind in KINDS]
    rows = []
    for n, of_n in found["devices"].items():
        for name, kinds in of_n["policies"].items():
            if name not in YARDSTICKS:
                cells = [
                    percent(_less(kinds, of_n["policies"].get(each, {}), kind, key), "+")
                    for key in ("response_time_s", "cost_per_task")
                    for each in YARDSTICKS
                    for kind in KINDS
                ]
                rows.append([n, name, *cells])
    if not rows:
        return ""
    return "**Beside local-only and edge-only** (value over theirs, minus one)\n\n" + markdown_table(heads, rows)


def _less(own: Mapping[str, Any], other: Mapping[str, Any], kind: str, key: str) -> float | None:
    """Return a figure over that of another policy, minus one; None where one of them was not played."""
    if kind not in own or not other.get(kind, {}).get(key, {}).get("value"):
        return None
    return float(own[kind][key]["value"] / other[kind][key]["value"] - 1.0)


def _gaps(found: Mapping[str, Any]) -> str:
    heads = ["devices", "Spearman of costs", "Kendall of costs", "mean cost gap", "worst", "of"]
    rows = []
    for n, of_n in found["devices"].items():
        over = of_n["over_policies"]
        if over is not None:
            rank, gap = over["ranks"]["cost_per_task"], over["cost_gap_frac"]
            ranks = [between(rank["spearman"], ".2f"), between(rank["kendall"], ".2f")]
            gaps = [between_percent(gap["mean"]), between_percent(gap["worst"]), gap["worst_policy"]]
            rows.append([n, *ranks, *gaps])
    if found["all_ranks"] is not None and len(rows) > 1:
        of_all = found["all_ranks"]
        ranks = [between(of_all["spearman"], ".2f"), between(of_all["kendall"], ".2f")]
        rows.append([f"all, {of_all['cells']} pairs", *ranks, "-", "-", "-"])
    return "**Simulation beside testbed**\n\n" + markdown_table(heads, rows) if rows else ""


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw response time, late tasks and cost over the number of devices, a colour a policy."""
    figure = Figure((11.0, 4.2), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        _panel(axes, found, key)
        axes.set(xlabel="devices", ylabel=label)
    names = list(dict.fromkeys(name for row in found["devices"].values() for name in row["policies"]))
    handles = [Line2D([], [], color=shade(name), linewidth=2.0, label=name) for name in names]
    handles += [
        Line2D([], [], color="#222222", marker="o", label="testbed"),
        Line2D([], [], color="#222222", marker="o", markerfacecolor="white", linestyle="--", label="simulation"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    given = found["asked"]
    epochs = sorted({row["epochs"] for row in found["devices"].values()})
    figure.supxlabel(
        f"{', '.join(map(str, epochs))} epochs, tier {given['tier']}, time x {given['scale']:g}; up to "
        f"{given['repeats']} real runs, {given['episodes']} simulated episodes; bars: 95 % bootstrap",
        fontsize=8,
    )
    return figure


def _panel(axes: Axes, found: Mapping[str, Any], key: str) -> None:
    factor = 100.0 if key.endswith("_frac") else 1.0
    seen = []
    names = dict.fromkeys(name for row in found["devices"].values() for name in row["policies"])
    for place, name in enumerate(names):
        for kind in KINDS:
            points = [
                (int(n), row["policies"][name][kind][key])
                for n, row in found["devices"].items()
                if kind in row["policies"].get(name, {})
            ]
            points = [(n, each) for n, each in points if None not in each.values()]
            if points:
                values, low, high = (factor * np.array([each[end] for _, each in points]) for end in
                                     ("value", "low", "high"))  # fmt: skip
                shift = 0.06 * (place - 0.5 * (len(names) - 1))  # so that bars do not hide each other
                axes.errorbar(
                    [n + shift for n, _ in points], values, yerr=np.maximum([values - low, high - values], 0.0),
                    color=shade(name), capsize=2, marker="o", markersize=5,
                    linestyle="-" if kind == "real" else "--",
                    markerfacecolor=shade(name) if kind == "real" else "white",
                )  # fmt: skip
                seen += values.tolist()
    numbers = [int(n) for n in found["devices"]]
    axes.set_xticks(numbers)
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.5)
    axes.grid(alpha=0.3)
    if factor == 1.0 and seen and min(seen) > 0.0 and max(seen) > LOG_RATIO * min(seen):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write tables and the figure; return the files."""
    text, picture = out / "testbed.md", out / "testbed.png"
    files.write_text(text, table(found))
    if found["devices"]:
        plots.save(draw(found), picture)
    return [text, picture] if found["devices"] else [text]


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = files.read_json(given.results)
    for path in write(found, given.out or given.results.parent):
        print(f"written: {path}")
    print(table(found))


if __name__ == "__main__":
    main()
