"""The picture of a scenario's network: who stands where, how fast each is, how fast the links are, who decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.fog.load import Load
from envs.topologies.topology import Topology

Entry = tuple[Any, str]  # a line of the legend: what is drawn, and its text

TIER_COLOURS = ("#56B4E9", "#E69F00", "#009E73")  # Okabe and Ito
TIER_MARKERS = ("o", "s", "D")
_TIER_WORDS = ("device", "edge server", "cloud node")
_MANY_NODES = 50  # beyond, nodes are not named and are drawn smaller
_MANY_RATES = 6  # beyond, links have a colour bar instead of a legend
_LINK_COLOURS = ListedColormap(colormaps["plasma"](np.linspace(0.72, 0.02, 256)))  # orange is slow, dark blue fast
_FEW_NODES = 20  # up to here names are written larger
_OUTLINES = {True: "black", False: "#AAAAAA"}  # of nodes that decide, and of others
_NOTHING = Line2D([], [], linestyle="none")
_SPREAD = 0.4  # nodes are moved apart, in the picture, to this over the square root of their number
_SPREAD_ROUNDS = 60
_FULL_LINKS = 150  # pairs of linked nodes beyond which lines become thinner and more transparent
_WIDTHS = (0.9, 3.0)  # of the slowest and fastest links, points
_SIZES = (60.0, 420.0)  # of the weakest and strongest nodes, square points


def draw_network(load: Load) -> Figure:
    """Draw the network of a scenario: tiers by colour and shape, capacities by size, rates by colour and width."""
    topology = load.topology
    is_large = topology.n_nodes > _MANY_NODES
    figure = Figure((12.0, 9.0) if is_large else (10.0, 7.0), layout="constrained")
    axes = figure.subplots()
    place = spread(topology.position_m)
    entries = _draw_links(figure, axes, topology, place)
    size = _sizes(load.capacity_hz, is_large)
    _draw_nodes(axes, load, place, size, is_large)
    if not is_large:
        _name_nodes(axes, topology, place, size)
    axes.set_aspect("equal")
    axes.margins(0.07)
    axes.set_axis_off()
    handles, labels = zip(*_node_entries(load), *entries, strict=True)
    figure.legend(
        handles, labels, loc="outside right upper", fontsize=9, frameon=False, labelspacing=0.9, handlelength=2.2,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )  # fmt: skip
    axes.set_title(title(load), fontsize=12)
    verdict, reason = load.judgement
    figure.supxlabel(f"{verdict}: {reason}", fontsize=8, wrap=True)
    return figure


def title(load: Load) -> str:
    """Return the scenario's name with its number of nodes, by tier."""
    counts = np.bincount(load.topology.tier, minlength=len(TIER_NAMES)).tolist()
    parts = [f"{count} {name}{'s' * (count > 1)}" for count, name in zip(counts, _TIER_WORDS, strict=True) if count]
    return f"{load.scenario}: {load.topology.n_nodes} nodes ({', '.join(parts)})"


def spread(position_m: F8) -> F8:
    """Return places (M, 2) in the unit square's scale, with nodes that lie on each other moved apart."""
    extent_m = float(np.ptp(position_m, axis=0).max()) or 1.0
    place = (position_m - position_m.min(axis=0)) / extent_m
    n_nodes = len(place)
    place = place + 1e-6 * np.stack([np.cos(np.arange(n_nodes)), np.sin(np.arange(n_nodes))], axis=1)  # none coincide
    least = _SPREAD / np.sqrt(n_nodes)
    for _ in range(_SPREAD_ROUNDS):
        apart = place[:, None] - place[None, :]
        distance = np.hypot(apart[..., 0], apart[..., 1]) + np.eye(n_nodes)
        lacking = np.clip(least - distance, 0.0, None)
        np.fill_diagonal(lacking, 0.0)
        if not lacking.any():
            break
        place = place + 0.5 * (apart * (lacking / distance)[..., None]).sum(axis=1)
    return np.asarray(place, np.float64)


def _draw_links(figure: Figure, axes: Any, topology: Topology, place: F8) -> list[Entry]:
    """Draw each pair of opposite links as one line, the fastest on top; return what the legend says of them."""
    if not topology.n_links:
        return []
    rate_of = dict(
        zip(
            zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True),
            topology.link_rate_bps.tolist(),
            strict=True,
        )
    )
    pairs = [(a, b) for a, b in rate_of if a < b]
    rates = np.array([sorted((rate_of[a, b], rate_of[b, a])) for a, b in pairs])
    slow, low, high = rates[:, 0], rates.min(), rates[:, 0].max()
    norm = LogNorm(low, high if high > low else 1.0001 * low)
    order = np.argsort(slow, kind="stable")
    thin, thick = _WIDTHS
    width = thin + (thick - thin) * np.asarray(norm(slow))
    crowd = np.clip(np.sqrt(_FULL_LINKS / len(pairs)), 0.2, 1.0)
    alpha = (0.8 * crowd) ** (width / thick)  # thin lines stay visible
    lines = LineCollection(
        [place[list(pairs[i])] for i in order], array=slow[order], cmap=_LINK_COLOURS, norm=norm,
        linewidths=width[order] * max(crowd, 0.5), alpha=alpha[order], zorder=1,
    )  # fmt: skip
    axes.add_collection(lines)
    kinds = sorted({(float(a), float(b)) for a, b in rates})
    if len(kinds) > _MANY_RATES:
        bar = figure.colorbar(lines, ax=axes, label="rate of the slower direction [bit/s]", shrink=0.5, pad=0.01)
        if bar.solids is not None:
            bar.solids.set_alpha(1.0)
        return []
    entries: list[Entry] = [(_NOTHING, "\nlinks")]
    for a, b in kinds:
        line = Line2D([], [], color=_LINK_COLOURS(norm(a)), linewidth=thin + (thick - thin) * float(norm(a)))
        entries.append((line, _rate(a) if a == b else f"{_rate(a)} / {_rate(b)}, by direction"))
    return entries


def _draw_nodes(axes: Any, load: Load, place: F8, size: F8, is_large: bool) -> None:
    """Draw the nodes: black outlines decide, grey ones do not; a white dot creates tasks."""
    topology = load.topology
    for tier, (colour, marker) in enumerate(zip(TIER_COLOURS, TIER_MARKERS, strict=True)):
        for decides in (False, True):
            nodes = np.flatnonzero((topology.tier == tier) & (load.is_agent == decides))
            axes.scatter(
                place[nodes, 0], place[nodes, 1], s=size[nodes], c=colour, marker=marker, zorder=2 + tier,
                edgecolors=_OUTLINES[decides], linewidths=0.6 if is_large else 1.4,
            )  # fmt: skip
    devices = topology.device_nodes
    axes.scatter(place[devices, 0], place[devices, 1], s=0.1 * size[devices], c="white", marker="o", zorder=6)


def _name_nodes(axes: Any, topology: Topology, place: F8, size: F8) -> None:
    is_small = topology.n_nodes <= _FEW_NODES
    for m, name in enumerate(topology.node_name):
        axes.annotate(
            name, place[m], xytext=(0.0, -0.6 * np.sqrt(size[m]) - 1.0), textcoords="offset points",
            ha="center", va="top", fontsize=8.0 if is_small else 6.5, color="#333333", zorder=7,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.6},
        )  # fmt: skip


def _node_entries(load: Load) -> list[Entry]:
    """Return what the legend says of nodes: tiers with their capacities, then outlines and dots."""
    topology = load.topology
    entries: list[Entry] = [(_NOTHING, "nodes, 10^9 cycles/s of all cores")]
    for tier, (name, colour, marker) in enumerate(zip(TIER_NAMES, TIER_COLOURS, TIER_MARKERS, strict=True)):
        capacity_hz = load.capacity_hz[topology.tier == tier]
        if len(capacity_hz):
            entries.append((_mark(marker, colour, _OUTLINES[True]), f"{name}: {_span(capacity_hz / 1e9)}"))
    if load.is_agent.any():
        entries.append((_mark("o", "white", _OUTLINES[True]), "black outline: decides"))
    if not load.is_agent.all():
        entries.append((_mark("o", "white", _OUTLINES[False]), "grey outline: serves what it is given"))
    dot = Line2D([], [], marker="o", linestyle="none", color="white", markersize=3.5)
    return [*entries, ((_mark("o", TIER_COLOURS[0], _OUTLINES[True]), dot), "white dot: creates tasks")]


def _mark(marker: str, fill: str, outline: str) -> Line2D:
    return Line2D(
        [], [], marker=marker, linestyle="none", markerfacecolor=fill, markeredgecolor=outline, markeredgewidth=1.2,
        markersize=9,
    )  # fmt: skip


def _sizes(capacity_hz: F8, is_large: bool) -> F8:
    """Return areas, by the logarithm of the capacity: a server has a hundred times the cores of a device."""
    small, large = _SIZES
    low, high = np.log(capacity_hz.min()), np.log(capacity_hz.max())
    share = (np.log(capacity_hz) - low) / max(high - low, np.log(20.0))  # a factor of 20 or more fills the span
    return np.asarray((small + (large - small) * share) * (0.3 if is_large else 1.0), np.float64)


def _span(values: F8 | Sequence[float]) -> str:
    low, high = (f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}" for value in (np.min(values), np.max(values)))
    return low if low == high else f"{low} to {high}"


def _rate(rate_bps: float) -> str:
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if rate_bps >= factor:
            return f"{rate_bps / factor:.3g} {unit}"
    return f"{rate_bps:.3g} bit/s"
