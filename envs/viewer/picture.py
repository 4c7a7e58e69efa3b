"""A network at an instant as a picture, drawn by matplotlib without a screen; matplotlib is loaded on first use.

Coordinates are pixels. A node is filled like a glass by its tasks; the marks below it are its cores, coloured where
busy; tasks drive on the right, uploads as discs and results as diamonds. A number where a link begins counts the tasks
that wait for its channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.constants import TIER_NAMES
from envs.viewer.layout import node_radius, places
from envs.viewer.recording import FIRST_DROP, LATE, Fading, Frame, Moving, Recording
from envs.viewer.style import FILL_HALF, FILL_NEARLY, LIGHT, N_PIPS, Palette, drop_colour, figures_line, level, short

WIDTH, HEIGHT = 880, 620
_DPI = 100
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 52.0, 84.0, 108.0  # margins around the centres of the nodes
_LANE = 3.5  # pixels by which tasks keep to the right of their link
_MOST_NAMES = 40  # nodes up to which each is named
_MOST_BACKLOGS = 40  # links at which the number of tasks that wait for the channel is written
_SLICES = 14  # corners of each side of a node's filling
_CORNERS = 40  # of a circle


class Picture:
    """Draws frames of one network, one after the other."""

    def __init__(
        self, recording: Recording, width: int = WIDTH, height: int = HEIGHT, palette: Palette = LIGHT
    ) -> None:
        """Draw what stays: links, nodes, names, legend."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        topology = recording.topology
        self._palette, self._topology = palette, topology
        self._ends = np.stack((recording.link_source, recording.link_target), axis=1)
        self._outcomes, self._drop_reasons = recording.outcomes, recording.drop_reasons
        self._title = f"{recording.scenario}   {recording.policy}".rstrip()
        box = (width - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
        self._radius = node_radius(topology.n_nodes, *box)
        self._at = places(topology.position_m, *box, self._radius) + (_LEFT, _BOTTOM)
        self.figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor=palette.paper)
        FigureCanvasAgg(self.figure)
        self._axes: Any = self.figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(0, height))
        self._axes.set_axis_off()
        self._size = width, height
        self._draw_links()
        self._draw_nodes()
        self._prepare_moving()
        self._draw_words()
        self._draw_legend()

    def draw(self, frame: Frame) -> None:
        """Bring the figure to a frame."""
        self._fill_nodes(frame)
        self._move_tasks(frame.moving)
        self._point(frame.decisions)
        self._flash(frame.endings)
        self._clock.set_text(f"t = {frame.time_s:.3f} s   step {frame.step}")
        self._line.set_text(figures_line(frame.figures, self._drop_reasons))

    def pixels(self, frame: Frame) -> Any:
        """Return a frame as (H, W, 3) bytes."""
        self.draw(frame)
        canvas: Any = self.figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()

    def _draw_links(self) -> None:
        from matplotlib.collections import LineCollection

        pairs: Any = np.unique(np.sort(self._ends, axis=1), axis=0) if len(self._ends) else np.zeros((0, 2), np.int64)
        width = 1.2 if len(pairs) < 100 else 0.6
        self._axes.add_collection(LineCollection(list(self._at[pairs]), colors=self._palette.link, linewidths=width))

    def _draw_nodes(self) -> None:
        from matplotlib.collections import PolyCollection

        tier, palette = self._topology.tier, self._palette
        outlines = [_outline(int(each)) * self._radius + at for each, at in zip(tier, self._at, strict=True)]
        body: dict[str, Any] = {"edgecolors": "none", "facecolors": palette.node, "zorder": 3}
        edge: dict[str, Any] = {"edgecolors": palette.ink, "facecolors": "none", "linewidths": 1.1, "zorder": 5}
        self._axes.add_collection(PolyCollection(outlines, **body))
        self._filling = self._axes.add_collection(PolyCollection(outlines, edgecolors="none", zorder=4))
        self._axes.add_collection(PolyCollection(outlines, **edge))
        centred = {"ha": "center", "va": "center", "zorder": 6, "color": palette.ink}
        size = float(np.clip(0.62 * self._radius, 4.0, 10.0))
        self._counts = [self._axes.text(x, y - 0.5, "", fontsize=size, **centred) for x, y in self._at]
        self._draw_pips()
        if self._topology.n_nodes <= _MOST_NAMES:
            below = self._at[:, 1] - 1.2 * self._radius - 16.0
            for (x, _), y, name in zip(self._at, below, short(self._topology.node_name), strict=True):
                self._axes.text(x, y, name, fontsize=6.5, **{**centred, "color": palette.faint})

    def _draw_pips(self) -> None:
        """Put a mark for each core below its node, or eight marks for all of them."""
        n_pips = np.minimum(self._topology.n_cores, N_PIPS)
        side = max(self._radius / 4.5, 1.6)
        self._pip_node = np.repeat(np.arange(len(n_pips)), n_pips)
        self._pip_number = np.concatenate([np.arange(n) for n in n_pips])
        self._pip_count = n_pips[self._pip_node]
        offset = (self._pip_number - (self._pip_count - 1) / 2.0) * 1.5 * side
        below = 1.2 * self._radius + 1.4 * side
        at = self._at[self._pip_node] + np.stack((offset, np.full(len(offset), -below)), axis=1)
        edge = {"edgecolors": self._palette.faint, "linewidths": 0.5}
        self._pips = self._axes.scatter(*at.T, marker="s", s=(0.72 * side) ** 2, zorder=5, **edge)

    def _prepare_moving(self) -> None:
        from matplotlib.collections import LineCollection, PolyCollection

        palette, axes = self._palette, self._axes
        size = float(np.clip(0.34 * self._radius, 2.6, 5.4)) ** 2
        kinds = (("o", palette.upload), ("D", palette.result), ("o", palette.late), ("D", palette.late))
        self._dots = []
        for marker, colour in kinds:
            edge = {"edgecolors": palette.paper, "linewidths": 0.6, "zorder": 7}
            self._dots.append(axes.scatter([], [], marker=marker, s=size * 1.6, color=colour, **edge))
        backlog = {"fontsize": 6.5, "color": palette.ink, "zorder": 8, "ha": "left", "va": "center"}
        self._backlogs = [axes.text(0.0, 0.0, "", **backlog) for _ in range(_MOST_BACKLOGS)]
        self._shafts = axes.add_collection(LineCollection([], linewidths=1.7, zorder=2))
        self._heads = axes.add_collection(PolyCollection([], edgecolors="none", zorder=6.5))
        self._stays = axes.scatter([], [], s=[], facecolors="none", linewidths=1.6, zorder=2)
        self._rings = axes.scatter([], [], s=[], facecolors="none", linewidths=1.8, zorder=2)
        self._crosses = axes.scatter([], [], marker="X", s=[], linewidths=0.8, zorder=8)

    def _draw_words(self) -> None:
        width, height = self._size
        common = {"va": "top", "color": self._palette.ink}
        self._axes.text(16, height - 12, self._title, fontsize=11, fontweight="bold", ha="left", **common)
        self._clock = self._axes.text(width - 16, height - 12, "", fontsize=10, ha="right", **common)
        self._line = self._axes.text(16, height - 34, "", fontsize=9, ha="left", **common)

    def _draw_legend(self) -> None:
        from matplotlib.lines import Line2D

        palette = self._palette

        def mark(label: str, marker: str, colour: str, edge: str = "none", size: float = 6.0) -> Line2D:
            style: dict[str, Any] = {"markerfacecolor": colour, "markeredgecolor": edge, "markersize": size}
            return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

        calm, half, full = palette.levels
        marks = [
            *(mark(name, "osD"[tier], palette.node, palette.ink, 7.0) for tier, name in enumerate(TIER_NAMES)),
            mark("core busy", "s", palette.busy, palette.faint, 5.0),
            mark("queue", "s", calm, palette.faint),
            mark(f"over {100 * FILL_HALF:.0f} % full", "s", half, palette.faint),
            mark(f"over {100 * FILL_NEARLY:.0f} % full", "s", full, palette.faint),
            mark("upload", "o", palette.upload),
            mark("result", "D", palette.result, size=5.0),
            mark("past its deadline", "o", palette.late),
            mark("decision", ">", palette.decision),
            mark("stays", "o", "none", palette.decision, 8.0),
            mark("finished in time", "o", "none", palette.in_time, 8.0),
            mark("finished late", "o", "none", palette.late, 8.0),
            *(mark(what, "X", drop_colour(FIRST_DROP + i)) for i, what in enumerate(self._outcomes[FIRST_DROP:])),
        ]
        legend = self.figure.legend(
            handles=marks, loc="lower center", ncol=6, fontsize=7.5, frameon=False, handletextpad=0.2, columnspacing=1.4
        )
        for text in legend.get_texts():
            text.set_color(palette.faint)

    def _fill_nodes(self, frame: Frame) -> None:
        topology, palette = self._topology, self._palette
        n_tasks = frame.waiting + frame.serving
        fill = np.minimum(n_tasks / topology.queue_places, 1.0)
        shapes = [
            _filling(int(tier), float(share)) * self._radius + at
            for tier, share, at in zip(topology.tier, fill, self._at, strict=True)
        ]
        self._filling.set_verts(shapes)
        self._filling.set_facecolors([palette.levels[level(share)] for share in fill])
        for text, n in zip(self._counts, n_tasks.tolist(), strict=True):
            text.set_text(str(n) if n else "")
        busy = np.minimum(frame.serving / topology.n_cores, 1.0)
        is_busy = self._pip_number < np.ceil(busy[self._pip_node] * self._pip_count - 1e-9)
        self._pips.set_facecolors(np.where(is_busy, palette.busy, palette.paper))

    def _move_tasks(self, moving: Moving) -> None:
        at = self._on_links(moving.link, moving.progress)
        for is_late in (False, True):
            for is_result in (False, True):
                chosen: BOOL = (moving.is_late == is_late) & (moving.is_result == is_result)
                self._dots[2 * is_late + is_result].set_offsets(at[chosen])
        for text in self._backlogs:
            text.set_text("")
        links, counts = np.unique(moving.link[moving.progress <= 0.0], return_counts=True)
        longest = np.argsort(-counts, kind="stable")[: len(self._backlogs)]
        for text, link, count in zip(self._backlogs, links[longest], counts[longest], strict=False):
            if count > 1:
                text.set_position(self._on_links(np.array([link]), np.zeros(1))[0] + (4.0, 5.0))
                text.set_text(str(count))

    def _on_links(self, link: I8, progress: F8) -> F8:
        """Return places (X, 2) on links, on the right, from border to border of the nodes."""
        ends = self._at[self._ends[link]] if len(link) else np.zeros((0, 2, 2))
        way, across, length = _directions(ends[:, 0], ends[:, 1])
        driven = self._radius + progress[:, None] * np.maximum(length - 2.0 * self._radius, 0.0)
        return np.asarray(ends[:, 0] + way * driven - across * _LANE)

    def _point(self, decisions: Fading) -> None:
        """Draw arrows from agents to their targets, and rings around agents that keep a task."""
        stays = decisions.node == decisions.what
        alpha = 1.0 - decisions.age
        source, target = self._at[decisions.node[~stays]], self._at[decisions.what[~stays]]
        way, across, _ = _directions(source, target)
        head = float(np.clip(0.5 * self._radius, 3.5, 8.0))
        tip = target - way * (self._radius + 1.0)
        base = tip - way * head
        self._shafts.set_segments(np.stack((source + way * self._radius, base), axis=1))
        corners = np.stack((tip, base + across * head * 0.5, base - across * head * 0.5), axis=1)
        self._heads.set_verts(list(corners))
        colours = _faded(self._palette.decision, alpha[~stays])
        self._shafts.set_color(colours)
        self._heads.set_facecolors(colours)
        _ring(self._stays, self._at[decisions.node[stays]], self._radius + 4.0, alpha[stays], self._palette.decision)

    def _flash(self, endings: Fading) -> None:
        """Draw a ring that grows where a task finished, a cross where one was dropped."""
        is_somewhere = endings.node >= 0
        node, what, age = (part[is_somewhere] for part in endings)
        finished = what < FIRST_DROP
        rings = np.where(what[finished] == LATE, self._palette.late, self._palette.in_time)
        radius = self._radius * (1.0 + 0.9 * age[finished])
        _ring(self._rings, self._at[node[finished]], radius, 0.9 * (1.0 - age[finished]), rings.tolist())
        dropped = ~finished
        self._crosses.set_offsets(self._at[node[dropped]])
        self._crosses.set_sizes(np.full(int(dropped.sum()), (1.5 * self._radius) ** 2))
        alpha = 1.0 - age[dropped]
        colours = [drop_colour(outcome) for outcome in what[dropped].tolist()]
        self._crosses.set_facecolors(_faded(colours, alpha))
        self._crosses.set_edgecolors(_faded(self._palette.paper, alpha))


def _outline(tier: int) -> F8:
    """Return the corners (V, 2) of a node of radius 1: a circle for devices, a square for servers, else a diamond."""
    if tier == 0:
        angle = np.linspace(0.0, 2.0 * np.pi, _CORNERS, endpoint=False)
        return np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return _filling(tier, 1.0)


def _filling(tier: int, fill_frac: float) -> F8:
    """Return the corners of the lower part of a node of radius 1, up to a share of its height."""
    half = (1.0, 0.92, 1.22)[tier]
    y = np.linspace(-half, -half + 2.0 * half * fill_frac, _SLICES)
    width = (np.sqrt(np.maximum(1.0 - y**2, 0.0)), np.full(_SLICES, half), half - np.abs(y))[tier]
    if tier == 2 and fill_frac > 0.5:
        y = np.sort(np.append(y, 0.0))
        width = half - np.abs(y)
    return np.concatenate((np.stack((width, y), axis=1), np.stack((-width, y), axis=1)[::-1]))


def _directions(source: F8, target: F8) -> tuple[F8, F8, F8]:
    """Return unit vectors along and to the left of the way, (X, 2), and its length (X, 1)."""
    way = target - source
    length = np.hypot(way[:, 0], way[:, 1])[:, None]
    way = np.divide(way, length, out=np.zeros_like(way), where=length > 0.0)
    return way, np.stack((-way[:, 1], way[:, 0]), axis=1), length


def _faded(colour: Any, alpha: Any) -> F8:
    """Return a colour, or one for each, at degrees of opacity, (X, 4)."""
    from matplotlib.colors import to_rgba_array

    alpha = np.atleast_1d(alpha)
    rgba = np.broadcast_to(to_rgba_array(colour), (len(alpha), 4)).copy()
    rgba[:, 3] = alpha
    return rgba


def _ring(rings: Any, at: F8, radius: Any, alpha: Any, colour: Any) -> None:
    """Put hollow circles of radii in pixels at places."""
    points = 72.0 / _DPI  # the sizes of marks are squares of points
    rings.set_offsets(at)
    rings.set_sizes(np.broadcast_to((2.0 * np.asarray(radius) * points) ** 2, len(at)))
    rings.set_edgecolors(_faded(colour, alpha) if len(at) else "none")
