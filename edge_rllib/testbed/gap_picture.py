"""The picture of the gap: costs simulated against real, and the response times of both by policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edge_rllib.results.plots import colour
from edge_rllib.testbed import gap_measures as measures
from edge_rllib.testbed.gap_runs import Pair
from envs.arrays import F8

_LOG_RATIO = 5.0  # largest over smallest cost above which axes are logarithmic
_BAND = (0.025, 0.975)  # of simulated episodes
_MARKERS = "osD^vP*X<>"
_EDGE_COLOUR = "#009E73"  # as the work of servers in the timeline; the others' colour would be like round_robin's


def draw(found: Mapping[str, Any], paired: Sequence[Pair]) -> Figure:
    """Draw one point a policy beside the diagonal, and below the share of tasks that have ended within a time."""
    n_columns = 2 if len(paired) in (2, 4) else 3
    n_rows = -(-len(paired) // n_columns)
    figure = Figure((9.0, 4.4 + 2.5 * n_rows), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(4.0, 2.5 * n_rows), squeeze=False)[:, 0]
    _costs(upper.subplots(), found)
    panels = lower.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    for axes, pair in zip(panels, paired, strict=False):
        _ended(axes, pair, found)
    for axes in panels[len(paired) :]:
        axes.set_visible(False)
    for axes in panels[::n_columns]:
        axes.set_ylabel("share of tasks ended [1]")
    handles = [
        Line2D([], [], color="#222222", linewidth=1.8, label="testbed"),
        Line2D([], [], color="#222222", linestyle="--", linewidth=1.4, label="simulation; band: 95 % of its episodes"),
        Line2D([], [], color="#888888", linestyle=":", label="deadline"),
    ]
    lower.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    episodes = sorted({row["tasks"]["simulated"]["episodes"] for row in found["policies"].values()})
    runs = sorted({row["tasks"]["real"]["episodes"] for row in found["policies"].values()})
    figure.supxlabel(
        f"{found['scenario']}, {found['devices']} devices, {found['epochs']} epochs, seed {found['seed']}; "
        f"real runs of a policy: {_range(runs)}, simulated episodes: {_range(episodes)}; "
        f"bars: 95 % bootstrap, {found['resamples']} resamples",
        fontsize=8,
    )
    return figure


def shade(policy: str) -> str:
    """Return the colour of a policy in pictures of the testbed."""
    return _EDGE_COLOUR if policy == "edge" else colour(policy)


def _costs(axes: Axes, found: Mapping[str, Any]) -> None:
    ends = []
    for number, (policy, row) in enumerate(found["policies"].items()):
        here, there = row["cost_per_task"]["simulated"], row["cost_per_task"]["real"]
        ends += [here["low"], here["high"], there["low"], there["high"]]
        axes.errorbar(
            there["value"], here["value"], xerr=_bar(there), yerr=_bar(here), color=shade(policy), capsize=2,
            marker=_MARKERS[number % len(_MARKERS)], markersize=7, linestyle="none", label=policy,
        )  # fmt: skip
    known = [end for end in ends if np.isfinite(end)] or [0.0, 1.0]
    low, high = min(known), max(known)
    is_log = low > 0.0 and high > _LOG_RATIO * low
    if is_log:
        low, high = low / 1.3, high * 1.3
    else:
        margin = 0.1 * (high - low) or 1.0
        low, high = low - margin, high + margin
    axes.plot([low, high], [low, high], color="#888888", linewidth=1.0, zorder=0, label="simulated = real")
    axes.set(xlim=(low, high), ylim=(low, high))
    if is_log:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    else:
        axes.locator_params(nbins=6)
    axes.set_box_aspect(1.0)
    axes.set_xlabel("cost a task on the testbed [1]")
    axes.set_ylabel("cost a task, simulated [1]")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.03, 0.5), fontsize=8, frameon=False)


def _ended(axes: Axes, pair: Pair, found: Mapping[str, Any]) -> None:
    row = found["policies"][pair.policy]
    longest_s = max(float(side.response_s().max()) for side in (pair.simulated, pair.real))
    grid_s: F8 = np.linspace(0.0, 1.05 * longest_s, 400)
    own = shade(pair.policy)
    if len(pair.simulated.episodes) > 1:
        each = [measures.ended_frac(episode, grid_s) for episode in pair.simulated.episodes]
        axes.fill_between(grid_s, *np.quantile(each, _BAND, 0), color=own, alpha=0.2, linewidth=0)
    axes.plot(grid_s, measures.ended_frac(pair.real, grid_s), color=own, linewidth=1.8)
    axes.plot(grid_s, measures.ended_frac(pair.simulated, grid_s), color=own, linestyle="--", linewidth=1.4)
    axes.axvline(found["deadline_s"], color="#888888", linestyle=":", linewidth=1.2)
    axes.set(xlim=(0.0, grid_s[-1]), ylim=(0.0, 1.03), xlabel="response time [s]")
    axes.set_title(f"{pair.policy}: apart by {row['distance']['wasserstein_s']:.3g} s", fontsize=9)
    axes.grid(alpha=0.3)


def _bar(estimate: Mapping[str, float]) -> F8 | None:
    """Return the lengths of an error bar; a value may lie outside the interval of its resamples."""
    bar = np.array([[estimate["value"] - estimate["low"]], [estimate["high"] - estimate["value"]]])
    return np.maximum(bar, 0.0) if np.isfinite(bar).all() else None


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
