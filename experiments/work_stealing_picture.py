"""Tables and figures of experiments/work_stealing.py, from the values in its results file alone.

Command: python experiments/work_stealing_picture.py results/work_stealing/work_stealing.json [--out DIR]
Cost: seconds. Prints the tables, and draws the figures into --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edge_rllib.results import files, plots

COLOURS = {"own": "#2b6ca3", "stolen": "#e08a1e", "waiting": "#d9d9d9", "barrier": "#d9d9d9"}
LABELS = {"own": "own episodes", "stolen": "stolen episodes", "waiting": "idle"}
DRAWN = ("static", "proportional", "central_queue", "steal_half, whole episodes", "steal_half")


def table(found: Mapping[str, Any]) -> str:
    """Return markdown: makespan over bound, and idle share, of each scheduler, profile and batch, and on actors."""
    lines: list[str] = []
    for batch, by_profile in found.get("figures", {}).items():
        lines += _rows(f"{batch} batches", by_profile)
    if "actors" in found:
        by_profile = found["actors"]["by_profile"]
        latencies_s = [cell["pull_latency_s"] for row in by_profile.values() for cell in row.values()]
        lines += _rows("actors of Ray, large batches", by_profile)
        lines += [f"From sending a chunk until it begins, and back: {1e3 * float(np.median(latencies_s)):.1f} ms.", ""]
    return "\n".join(lines)


def _rows(title: str, by_profile: Mapping[str, Any]) -> list[str]:
    profiles = list(by_profile)
    lines = [
        f"**{title}** (makespan over the bound; idle share)",
        "",
        f"| scheduler | {' | '.join(profiles)} |",
        "|" + "---|" * (len(profiles) + 1),
    ]
    for name in by_profile[profiles[0]]:
        cells = [by_profile[profile][name] for profile in profiles]
        shown = (f"{cell['over_bound']:.2f}; {100.0 * cell['idle_frac']:.0f} %" for cell in cells)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return [*lines, ""]


def draw_gantt(found: Mapping[str, Any]) -> Figure:
    """Draw what each client does in one round, a panel a scheduler; the dashed line is the bound."""
    schedulers = found["gantt"]["schedulers"]
    figure = Figure((11.0, 2.3 * len(schedulers)), layout="constrained")
    panels = figure.subplots(len(schedulers), 1, sharex=True)
    for axes, (name, one) in zip(panels, schedulers.items(), strict=True):
        for client, row in enumerate(one["rows"]):
            for kind, begin_s, end_s, _ in row:
                is_work = kind in ("own", "stolen")
                axes.barh(
                    client,
                    end_s - begin_s,
                    left=begin_s,
                    height=0.8,
                    color=COLOURS.get(kind, "#ffffff"),
                    edgecolor="#ffffff" if is_work else "none",
                    linewidth=0.3,
                )
        axes.axvline(one["bound_s"], color="#222222", linestyle="--", linewidth=1.0)
        axes.set_yticks(range(len(one["rows"])))
        axes.set_ylabel("client, slowest first" if found["gantt"]["profile"] == "linear" else "client", fontsize=9)
        title = f"{name}: {one['makespan_s']:.2f} s, {100.0 * one['idle_frac']:.0f} % idle"
        axes.set_title(title, fontsize=10, loc="left")
        axes.invert_yaxis()
    panels[-1].set_xlabel("time in the round [s]; dashed: no schedule ends earlier")
    figure.legend(
        handles=[Patch(color=COLOURS[kind], label=label) for kind, label in LABELS.items()],
        loc="outside upper right",
        ncols=len(LABELS),
        frameon=False,
        fontsize=9,
    )
    return figure


def draw_idle(found: Mapping[str, Any]) -> Figure:
    """Draw makespan over bound and idle share of large batches, bars by profile and scheduler."""
    by_profile = found["figures"]["large"]
    figure = Figure((11.0, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(DRAWN)
    places = np.arange(len(by_profile))
    for number, name in enumerate(DRAWN):
        shift = (number - 0.5 * (len(DRAWN) - 1)) * width
        for axes, key, scale in ((upper, "over_bound", 1.0), (lower, "idle_frac", 100.0)):
            values = [scale * row[name][key] for row in by_profile.values()]
            bars = axes.bar(places + shift, values, width, label=name, color=f"C{number}")
            axes.bar_label(bars, fmt="%.2f" if scale == 1.0 else "%.0f", fontsize=7, padding=1)
    upper.axhline(1.0, color="#222222", linestyle="--", linewidth=1.0)
    upper.set_ylabel("makespan over the bound")
    lower.set_ylabel("idle [% of the makespan]")
    lower.set_xticks(places, list(by_profile))
    upper.legend(frameon=False, fontsize=8, ncols=len(DRAWN), loc="upper left")
    lower.set_ylim(0.0, 1.1 * 100.0 * max(row[name]["idle_frac"] for row in by_profile.values() for name in DRAWN))
    upper.set_ylim(0.0, 1.15 * max(row[name]["over_bound"] for row in by_profile.values() for name in DRAWN))
    return figure


def draw_speed_up(found: Mapping[str, Any]) -> Figure:
    """Draw how much faster K clients are than one, a panel a profile."""
    numbers, by_profile = found["speed_up"]["n_clients"], found["speed_up"]["by_profile"]
    figure = Figure((9.0, 3.8), layout="constrained")
    panels = figure.subplots(1, len(by_profile), squeeze=False)[0]
    for axes, (profile, rows) in zip(panels, by_profile.items(), strict=True):
        axes.plot(numbers, numbers, color="#222222", linestyle="--", linewidth=1.0, label="K")
        for name, values in rows.items():
            axes.plot(numbers, values, marker="o", markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(numbers, [str(n) for n in numbers])
        axes.set_yticks(numbers, [str(n) for n in numbers])
        axes.set_title(profile, fontsize=10)
        axes.set_xlabel("clients K (mean speed 1)")
        axes.set_ylabel("speed-up")
        axes.legend(frameon=False, fontsize=8)
    return figure


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write the tables and draw the figures; return the paths."""
    files.write_text(out / "work_stealing.md", table(found))
    drawn = {"gantt": draw_gantt, "idle": draw_idle, "speed_up": draw_speed_up} if "figures" in found else {}
    return [plots.save(draw(found), out / f"work_stealing_{name}.png") for name, draw in drawn.items()]


def main() -> None:
    """Read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="folder; default: that of the results")
    given = parser.parse_args()
    found = files.read_json(given.results)
    write(found, given.out or given.results.parent)
    print(table(found))


if __name__ == "__main__":
    main()
