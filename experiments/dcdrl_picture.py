"""Tables and figure of experiments/dcdrl_paper.py, from its results file alone.

Command: python experiments/dcdrl_picture.py results/dcdrl_paper/dcdrl_paper.json [--out DIR]
Cost: seconds. Prints the tables, and draws the figure into --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_rllib.results import files, plots

TITLES = {
    "learners": "Ten users: return of an episode after the run",
    "n_step": "DDPG on the released box: how far returns run",
    "users": "IPPO: users of one edge server",
    "collective": "Four sites, the same steps in all",
}
SHOWN_RULES = ("bound", "round_robin_k", "top_backlog", "greedy_slot", "random", "local", "edge_only")


def _number(values: Sequence[float], digits: int = 1) -> str:
    mean, low, high = values
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def table(found: Mapping[str, Any]) -> str:
    """Return markdown: each part's returns and exploration costs, with rules and the bound by number of users."""
    lines: list[str] = []
    for part, title in TITLES.items():
        if not found.get(part):
            continue
        is_shared = part == "collective"
        heads = ["", "return at the end", "exploration cost", "seeds"]
        if is_shared:
            heads[1:2] = ["return of each site's own policy", "return of the run's policy, on all sites"]
        lines += [f"**{title}**", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for label, row in found[part].items():
            cells = [label, _number(row["return"], 2)]
            cells += [_number(row["master"], 2)] if is_shared else []
            lines.append(f"| {' | '.join([*cells, _number(row['exploration_cost'], 0), str(row['seeds'])])} |")
        lines.append("")
    users = list(found["references"])
    lines += ["**Rules and the bound: mean return by number of users**", ""]
    lines += [f"| | {' | '.join(users)} |", "|" + "---|" * (len(users) + 1)]
    for name in SHOWN_RULES:
        values = (f"{found['references'][n][name]:,.1f}" for n in users)
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw the cost of an episode while learning, of ten users' learners and of users' numbers, beside rules."""
    shown = [part for part in ("learners", "n_step", "collective") if found.get(part)]
    figure = Figure((4.6 * (len(shown) + bool(found.get("users"))), 4.2), layout="constrained")
    axes = figure.subplots(1, max(1, len(shown) + bool(found.get("users"))), squeeze=False)[0]
    for place, part in zip(axes, shown, strict=False):
        _curves(place, found, part)
    if found.get("users"):
        _users(axes[-1], found)
    figure.suptitle(f"Multi-user worlds, mean of {len(found['seeds'])} seeds; exploring while they learn")
    return figure


def _curves(axes: Axes, found: Mapping[str, Any], part: str) -> None:
    for label, row in found[part].items():
        axes.plot(row["curve"]["env_steps"], row["curve"]["cost_of_an_episode"], label=label)
    if part != "collective":
        for name in ("bound", "round_robin_k", "local"):
            axes.axhline(-found["references"]["10"][name], color="grey", linewidth=0.8, linestyle=":")
            axes.annotate(name, (0.0, -found["references"]["10"][name]), fontsize=7, color="grey")
    axes.set(yscale="log", xlabel="environment steps of all sites", ylabel="cost of an episode [-]", title=part)
    axes.legend(fontsize=7)


def _users(axes: Axes, found: Mapping[str, Any]) -> None:
    users = [int(n) for n in found["users"]]
    means = [-found["users"][str(n)]["return"][0] for n in users]
    least, most = ([-found["users"][str(n)]["return"][i] for n in users] for i in (2, 1))
    errors = [np.subtract(means, least), np.subtract(most, means)]
    axes.errorbar(users, means, yerr=errors, marker="o", capsize=3, label="IPPO, greedy at the end")
    for name in ("bound", "round_robin_k", "greedy_slot", "random"):
        axes.plot(users, [-found["references"][str(n)][name] for n in users], linestyle=":", label=name)
    axes.set(yscale="log", xlabel="users", ylabel="cost of an episode [-]", title="users")
    axes.legend(fontsize=7)


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write tables and the figure; return the files."""
    text, picture = out / "dcdrl_paper.md", out / "dcdrl_paper.png"
    files.write_text(text, table(found))
    plots.save(draw(found), picture)
    return [text, picture]


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
