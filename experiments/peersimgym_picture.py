"""Table and figure of experiments/peersimgym_paper.py, from the values in its results file alone.

Command: python experiments/peersimgym_picture.py results/peersimgym_paper/peersimgym_paper.json [--picture FILE.png]
Cost: seconds. Prints the table, and draws the figure where --picture says.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edge_rllib.results import files, plots

DRAWN = {
    "response_time_s_mean": "mean response time [s]",
    "in_time_frac": "tasks in time [%]",
    "drop_frac": "tasks dropped [%]",
    "full_frac": "overload: full nodes [%]",
}
ARROWS = {"in_time_frac": "higher is better"}
TITLES = {
    "response_time_s_mean": "response time [s]",
    "response_time_s_p95": "95 % answer within [s]",
    "in_time_frac": "in time [%]",
    "drop_frac": "dropped [%]",
    "full_frac": "overload [%]",
}


def ranked(network: Mapping[str, Any], lead: str) -> list[str]:
    """Return the policies of a network, the best first."""
    values = {name: row["figures"][lead]["value"] for name, row in network["policies"].items()}
    return sorted(values, key=lambda name: math.inf if values[name] is None else values[name])


def verdicts(found: Mapping[str, Any]) -> str:
    """Return a markdown table of one row a network: best rule, best learned policy, their difference, the bound."""
    lines = [
        "| nodes | best rule [s] | best learned policy [s] | bound [s] | difference [s] | in time: difference [%] | |",
        "|---|---|---|---|---|---|---|",
    ]
    for nodes, network in found["networks"].items():
        rule, learned = network["best_rule"], network["best_learned"]
        rows, lead = network["policies"], found["lead"]
        response, in_time = (rows[learned]["minus_best_rule"][name] for name in (lead, "in_time_frac"))
        cells = [
            nodes,
            f"{rule} {_cell(rows[rule]['figures'][lead])}",
            f"{learned} {_cell(rows[learned]['figures'][lead])}",
            _number(rows[learned]["bound"]),
            _cell(response, sign="+"),
            _cell(in_time, 100.0, sign="+"),
            _word(response),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(found: Mapping[str, Any]) -> str:
    """Return the verdicts, and all figures of all policies, as markdown."""
    head = ["nodes", "policy", "seeds", "score", "bound [s]", *TITLES.values(), "all tasks [s]", "of all dropped [%]"]
    lines = [verdicts(found), f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for nodes, network in found["networks"].items():
        for name in ranked(network, found["lead"]):
            row = network["policies"][name]
            cells = [nodes, name, str(len(row["seeds"])) if "seeds" in row else "rule"]
            cells += [_number(row["score"]), _number(row["bound"])]
            cells += [_cell(row["figures"][key], 100.0 if key.endswith("_frac") else 1.0) for key in TITLES]
            pooled = {key: each["pooled"] for key, each in row["figures"].items()}
            cells += [_number(pooled["response_time_s_mean"]), _number(pooled["drop_frac"], 100.0)]
            lines.append(f"| {' | '.join(cells)} |")
    bound = next(iter(found["networks"].values()))["bound"]
    lines += [
        "",
        f"{found['worlds']} held-out worlds a network, the same for all policies; training seeds {_seeds(found)}.",
        f"Value: {found['value']}. In brackets: {found['interval']}. Last two columns: all tasks of all worlds as one.",
        f"Bound {bound['name']}: {bound['text']}. Score: (random - policy) / (random - bound).",
    ]
    return "\n".join(lines) + "\n"


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw a row a network and a column a figure: each policy with its interval, the bound as a dashed line."""
    networks, lead = found["networks"], found["lead"]
    n_policies = max(len(network["policies"]) for network in networks.values())
    figure = Figure((15.0, 0.9 + (0.6 + 0.24 * n_policies) * len(networks)), layout="constrained")
    grid, last = figure.subplots(len(networks), len(DRAWN), squeeze=False), list(networks)[-1]
    for line, (nodes, network) in zip(grid, networks.items(), strict=True):
        policies = ranked(network, lead)
        places = np.arange(len(policies))[::-1]
        for axes, (name, label) in zip(line, DRAWN.items(), strict=True):
            _draw_cell(axes, network, policies, places, name)
            if name == lead:
                bounds = [network["policies"][policy]["bound"] for policy in policies]
                y = np.ravel([(place + 0.5, place - 0.5) for place in places])
                axes.plot(np.repeat(np.array(bounds, float), 2), y, "--", color="#444444", linewidth=1.1, label="bound")
                axes.legend(fontsize=8, frameon=False, loc="upper right")
                axes.set_yticks(places, policies, fontsize=8)
                axes.set_ylabel(f"{nodes} nodes", fontsize=11)
            else:
                axes.set_yticks(places, [])
            if nodes == last:
                axes.set_xlabel(f"{label}\n{ARROWS.get(name, 'lower is better')}", fontsize=9)
    figure.supxlabel(caption(found), fontsize=8)
    return figure


def caption(found: Mapping[str, Any]) -> str:
    """Return what was played and what points and bars are."""
    return (
        f"{found['worlds']} held-out worlds a network, the same for all; training seeds {_seeds(found)}; points and "
        f"numbers: interquartile mean; bars: {found['interval']}; dashed: zero-queue bound for as many finished tasks"
    )


def _draw_cell(axes: Any, network: Mapping[str, Any], policies: list[str], places: Any, name: str) -> None:
    """Draw a figure of all policies; shares in percent."""
    scale = 100.0 if name.endswith("_frac") else 1.0
    lows = []
    for place, policy in zip(places, policies, strict=True):
        row = network["policies"][policy]
        estimate = {key: scale * value for key, value in row["figures"][name].items() if value is not None}
        if "value" not in estimate:
            continue
        lows.append(estimate["low"])
        marker = "D" if "seeds" in row else "o"
        axes.plot([estimate["low"], estimate["high"]], [place, place], color=plots.colour(policy), linewidth=2.5)
        axes.plot(estimate["value"], place, marker, color=plots.colour(policy), markersize=5)
        number, end = _number(estimate["value"]), (estimate["high"], place)
        axes.annotate(number, end, (5, -2.5), textcoords="offset points", fontsize=7)
    if name != "in_time_frac" and all(low > 0.0 for low in lows):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(-0.7, len(policies) - 0.3)
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="x", labelsize=8)


def _seeds(found: Mapping[str, Any]) -> str:
    rows = [row for network in found["networks"].values() for row in network["policies"].values()]
    return ", ".join(map(str, sorted({seed for row in rows for seed in row.get("seeds", [])})))


def _word(difference: Mapping[str, float | None]) -> str:
    low, high = difference["low"], difference["high"]
    if low is None or high is None or low <= 0.0 <= high:
        return "no clear difference"
    return "learned is better" if high < 0.0 else "rule is better"


def _number(value: float | None, scale: float = 1.0, sign: str = "") -> str:
    return "-" if value is None or math.isnan(value) else f"{scale * value:{sign}.3g}"


def _cell(estimate: Mapping[str, float | None], scale: float = 1.0, sign: str = "") -> str:
    value, low, high = (_number(estimate[key], scale, sign) for key in ("value", "low", "high"))
    return value if value == "-" else f"{value} [{low}, {high}]"


def main() -> None:
    """Print the table of a results file and draw its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file that peersimgym_paper.py wrote")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    found = files.read_json(arguments.results)
    print(table(found))
    if arguments.picture:
        print(f"picture: {plots.save(draw(found), arguments.picture)}")


if __name__ == "__main__":
    main()
