"""Figures of results, drawn without a screen; every number comes from a file of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edge_rllib.results.comparison import LEARNED
from edge_rllib.results.files import new_file
from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.metrics import BINS_PER_DECADE, FIRST_BIN_S
from envs.topologies.topology import Topology

COLOURS = {  # a policy keeps its colour everywhere; the palette is that of Okabe and Ito
    LEARNED: "#D55E00",
    "least_response_time": "#0072B2",
    "least_queue": "#56B4E9",
    "power_of_two": "#009E73",
    "round_robin": "#CC79A7",
    "random": "#E69F00",
    "cloud_only": "#8C6D31",
    "local": "#000000",
    "ippo": "#D55E00",  # the algorithms where several are compared; IPPO is the default run's
    "mappo": "#882255",
    "ddqn": "#332288",
    "a2c": "#117733",
}
_OTHER_COLOURS = ("#7F7F7F", "#B279A2", "#4C9F70", "#A05D56")
_TIER_MARKERS = ("o", "s", "D")
_LABELS = {
    "response_time_s_mean": "mean response time [s]",
    "response_time_s_p50": "median response time [s]",
    "response_time_s_p95": "95th percentile of response time [s]",
    "response_time_s_p99": "99th percentile of response time [s]",
    "in_time_frac": "share of tasks finished in time [1]",
    "drop_frac": "share of tasks dropped [1]",
    "energy_j_per_task": "energy of a finished task [J]",
    "return": "return, sum over agents [1]",
}
_LOG_RATIO = 5.0  # largest over smallest value above which an axis is logarithmic
_LOWEST_SHARE = 1e-4  # shares of slower tasks are drawn down to here
_WIDTH, _HEIGHT, _DPI = 7.2, 4.4, 120


def learning_curves(
    rows: Sequence[Mapping[str, Any]], rules: Mapping[str, Mapping[str, Any]], figures: Sequence[str], about: str
) -> Figure:
    """Draw figures of the watched worlds over environment steps, with the rules on the same worlds as lines."""
    seen = [row for row in rows if "held_out" in row]
    figure = Figure((_WIDTH, 0.9 + 2.6 * len(figures)), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(len(figures), 1, sharex=True)), figures, strict=True):
        steps = [row["env_steps"] for row in seen]
        values = [np.nan if row["held_out"].get(name) is None else row["held_out"][name] for row in seen]
        axes.plot(steps, values, color=COLOURS[LEARNED], marker=".", label=LEARNED)
        for rule, of_rule in rules.items():
            if of_rule.get(name) is not None:
                axes.axhline(of_rule[name], color=colour(rule), linestyle="--", linewidth=1.2, label=rule)
        _scale(axes.yaxis, name, [*values, *[of_rule.get(name) for of_rule in rules.values()]])
        axes.set_ylabel(label(name))
        axes.grid(alpha=0.3)
    axes.set_xlabel("environment steps [steps of single worlds]")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    figure.supxlabel(about, fontsize=8)
    return figure


def comparison_chart(comparison: Mapping[str, Any], figures: Sequence[str]) -> Figure:
    """Draw each policy's figures with intervals, the best by the leading figure on top."""
    policies = _ranked(comparison)
    figure = Figure((3.0 + 2.4 * len(figures), 1.6 + 0.34 * len(policies)), layout="constrained")
    places = np.arange(len(policies))[::-1]
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(figures), sharey=True)), figures, strict=True):
        for place, policy in zip(places, policies, strict=True):
            estimate = comparison["policies"][policy]["figures"][name]
            if estimate["value"] is None or np.isnan(estimate["value"]):
                continue
            axes.plot([estimate["low"], estimate["high"]], [place, place], color=colour(policy), linewidth=3)
            axes.plot(estimate["value"], place, "o", color=colour(policy), markersize=6)
        values = [each["figures"][name]["value"] for each in comparison["policies"].values()]
        values += _draw_bound(axes, comparison, policies, places) if name == comparison["lead"] else []
        arrow = {"low": "\nlower is better", "high": "\nhigher is better"}.get(comparison["better"][name], "")
        axes.set_xlabel(label(name) + arrow, fontsize=9)
        axes.set_yticks(places, policies)
        _scale(axes.xaxis, name, values)
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel(caption(comparison), fontsize=8)
    return figure


def _draw_bound(axes: Any, comparison: Mapping[str, Any], policies: Sequence[str], places: Any) -> list[float | None]:
    """Draw the bound of each policy as a dashed line that steps from row to row, and return its values."""
    bounds = [comparison["policies"][policy].get("bound") for policy in policies]
    known = [(bound, place) for bound, place in zip(bounds, places, strict=True) if bound is not None]
    if known:
        x = np.repeat([bound for bound, _ in known], 2)
        y = np.ravel([(place + 0.5, place - 0.5) for _, place in known])
        axes.plot(x, y, linestyle="--", color="#444444", linewidth=1.2, label=f"bound: {comparison['bound']['name']}")
        axes.legend(fontsize=8, frameon=False, loc="best")
    return bounds


def response_times(comparison: Mapping[str, Any]) -> Figure | None:
    """Draw the share of tasks that take longer than a time, for each policy; None where no histogram was kept."""
    policies = [policy for policy in _ranked(comparison) if any(_bins(comparison, policy))]
    if not policies:
        return None
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    lowest_s, highest_s = np.inf, 0.0
    for policy in policies:
        bins = _bins(comparison, policy)
        slower = 1.0 - bins.cumsum() / bins.sum()
        edge_s = FIRST_BIN_S * 10.0 ** ((np.arange(len(bins)) + 1) / BINS_PER_DECADE)
        shown = slower > _LOWEST_SHARE
        width = 2.2 if policy == LEARNED else 1.3
        axes.plot(edge_s[shown], slower[shown], color=colour(policy), label=policy, linewidth=width)
        lowest_s = min(lowest_s, float(edge_s[np.argmax(slower < 0.9)]))
        highest_s = max(highest_s, float(edge_s[shown][-1]) if shown.any() else 0.0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(lowest_s, max(highest_s, 2.0 * lowest_s))
    axes.set_ylim(_LOWEST_SHARE, 1.1)
    axes.set_xlabel("response time [s]")
    axes.set_ylabel("share of finished tasks that take longer [1]")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, frameon=False)
    figure.supxlabel(caption(comparison).partition(";")[0], fontsize=8)
    return figure


def network(topology: Topology, load_frac: F8 | None = None) -> Figure:
    """Draw nodes and links, nodes coloured by the share of their cores in use."""
    figure = Figure((_WIDTH, 5.4), layout="constrained")
    axes = figure.subplots()
    x, y = topology.position_m[:, 0], topology.position_m[:, 1]
    for source, target in zip(topology.link_source, topology.link_target, strict=True):
        if source < target:
            axes.plot(x[[source, target]], y[[source, target]], color="#BBBBBB", linewidth=0.8, zorder=1)
    drawn = None
    for tier, marker in enumerate(_TIER_MARKERS):
        nodes = np.flatnonzero(topology.tier == tier)
        if len(nodes):
            shade = np.zeros(len(nodes)) if load_frac is None else load_frac[nodes]
            drawn = axes.scatter(
                x[nodes], y[nodes], c=shade, cmap="viridis", vmin=0.0, vmax=1.0, marker=marker, s=110,
                edgecolors="black", linewidths=0.6, zorder=2, label=TIER_NAMES[tier],
            )  # fmt: skip
    if load_frac is not None and drawn is not None:
        figure.colorbar(drawn, ax=axes, label="cores in use, share of the node's [1]")
    axes.set_xlabel("x [m]")
    axes.set_ylabel("y [m]")
    axes.legend(fontsize=8, frameon=False)
    return figure


def pixels(figure: Figure) -> Any:
    """Return a figure as a picture (H, W, 3) of bytes."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, at once."""
    FigureCanvasAgg(figure)
    with new_file(path) as part:
        figure.savefig(part, dpi=_DPI, format="png")
    return path


def caption(comparison: Mapping[str, Any]) -> str:
    """Return what was played, on what, and what the bars are."""
    return (
        f"{comparison['scenario']}, {comparison['worlds']} held-out worlds, seed {comparison['seed']}; "
        f"bars: {comparison['interval']}"
    )


def colour(policy: str) -> str:
    """Return the colour of a policy; one without its own always gets the same of the others."""
    if policy in COLOURS:
        return COLOURS[policy]
    return _OTHER_COLOURS[sum(policy.encode()) % len(_OTHER_COLOURS)]


def _scale(axis: Any, name: str, values: Sequence[float | None]) -> None:
    """Make an axis logarithmic where times or energies of policies differ by a large factor."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if known and not name.endswith("_frac") and min(known) > 0.0 and max(known) > _LOG_RATIO * min(known):
        set_scale = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _bins(comparison: Mapping[str, Any], policy: str) -> F8:
    return np.asarray(comparison["policies"][policy].get("response_bins", ()), np.float64)


def _ranked(comparison: Mapping[str, Any]) -> list[str]:
    lead = comparison["lead"]
    sign = -1.0 if comparison["better"][lead] == "high" else 1.0

    def rank(policy: str) -> float:
        value = comparison["policies"][policy]["figures"][lead]["value"]
        return np.inf if value is None or np.isnan(value) else sign * value

    return sorted(comparison["policies"], key=rank)


def label(name: str) -> str:
    """Return the name of a figure with its unit, for an axis."""
    return _LABELS.get(name, name.replace("_", " "))
