"""A network at an instant as text: a map of characters and a table of the nodes; rich does the colours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.viewer.layout import places
from envs.viewer.recording import FIRST_DROP, IN_TIME, LATE, Frame, Recording
from envs.viewer.style import TIER_SIGNS, figures_line, level

_BAR = 10  # characters of a queue's bar
TABLE_WIDTH = 74  # columns; narrower there is no room for all its words
_LEAST_MAP = 24  # columns below which there is only the table
_MOST_LINES = 150  # pairs of neighbours above which links are not drawn
_LEVEL_STYLES = ("cyan", "yellow", "bold red")
_DECISION, _LINK, _UPLOAD, _RESULT, _LATE, _DROP = "yellow", "bright_black", "blue", "green", "magenta", "bold red"
_SHOWN_ENDINGS = {IN_TIME: ("✓", "green"), LATE: ("✓", "magenta")}
_HEADS = "→↗↑↖←↙↓↘"  # counter-clockwise from the right


class Screen:
    """Shows frames of one network as text of a fixed size."""

    def __init__(self, recording: Recording, width: int = 120, height: int = 32) -> None:
        """Lay the nodes out for a terminal of so many columns and lines."""
        self._recording = recording
        self._n_rows = max(height - 7, 5)  # without the title, the figures, the table's head and end, the legend
        self._columns = width - TABLE_WIDTH
        if self._columns >= _LEAST_MAP:
            box = (self._columns - 8.0, 2.0 * (self._n_rows - 1))  # a character is twice as high as wide
            at = places(recording.topology.position_m, *box, 1.6)
            self._column = np.rint(at[:, 0]).astype(int) + 3
            self._row = self._n_rows - 1 - np.rint(at[:, 1] / 2.0).astype(int)

    def show(self, frame: Frame, rewards: F8 | None = None) -> Any:
        """Return a frame as something that rich prints; ``rewards`` (N,) of the agents, if they are to be seen."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        title = Text(f"{self._recording.scenario}  {self._recording.policy}".rstrip(), "bold")
        title.append(f"   t = {frame.time_s:.3f} s, step {frame.step}", "not bold")
        body: Any = self._table(frame, rewards)
        if self._columns >= _LEAST_MAP:
            side_by_side = Table.grid()
            side_by_side.add_column(width=self._columns, no_wrap=True)
            side_by_side.add_column(width=TABLE_WIDTH)
            side_by_side.add_row(self._map(frame), body)
            body = side_by_side
        return Group(title, Text(figures_line(frame.figures, self._recording.drop_reasons)), body, _legend())

    def plain(self, frame: Frame, rewards: F8 | None = None, width: int = 160) -> str:
        """Return a frame as text without colours."""
        from rich.console import Console

        console = Console(
            file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
        )
        with console.capture() as captured:
            console.print(self.show(frame, rewards))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"

    def _table(self, frame: Frame, rewards: F8 | None) -> Any:
        from rich.table import Table
        from rich.text import Text

        recording, topology = self._recording, self._recording.topology
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("#", "node", "queue", "tasks", "cores"):
            widths = {"node": 16, "queue": _BAR}
            left = name in widths
            table.add_column(name, justify="left" if left else "right", no_wrap=True, min_width=widths.get(name))
        if rewards is not None:
            table.add_column("reward", justify="right")
        table.add_column("just now", no_wrap=True)
        n_tasks = frame.waiting + frame.serving
        fill = n_tasks / topology.queue_places
        rows = np.arange(topology.n_nodes)
        if len(rows) > self._n_rows:
            rows = np.sort(np.argsort(-fill, kind="stable")[: self._n_rows - 1])
        reward_of = dict(zip(recording.agent_node.tolist(), [] if rewards is None else rewards.tolist(), strict=False))
        cells: list[Any]
        for node in rows.tolist():
            style = _LEVEL_STYLES[level(float(fill[node]))]
            bar = min(round(_BAR * float(fill[node])), _BAR)
            bar = max(bar, int(n_tasks[node] > 0))
            label = Text(f"{TIER_SIGNS[topology.tier[node]]} ", style).append(topology.node_name[node][:14], "default")
            cells = [
                str(node), label, Text("█" * bar, style).append("·" * (_BAR - bar), _LINK),
                f"{n_tasks[node]}/{topology.queue_places[node]}", f"{frame.serving[node]}/{topology.n_cores[node]}",
            ]  # fmt: skip
            if rewards is not None:
                cells.append(f"{reward_of[node]:.2f}" if node in reward_of else "")
            table.add_row(*cells, self._just_now(frame, node))
        if len(rows) < topology.n_nodes:
            table.add_row("", Text(f"… and {topology.n_nodes - len(rows)} emptier ones", _LINK))
        return table

    def _just_now(self, frame: Frame, node: int) -> Any:
        """Return what a node's agent decided, and what ended there."""
        from rich.text import Text

        words = Text()
        targets = frame.decisions.what[frame.decisions.node == node]
        if len(targets):
            target = int(targets[-1])
            words.append(
                "stays " if target == node else f"→ {self._recording.topology.node_name[target][:14]} ", _DECISION
            )
        endings = frame.endings.what[frame.endings.node == node]
        for outcome in np.unique(endings).tolist():
            sign, style = _SHOWN_ENDINGS.get(outcome, ("✖", _DROP))
            count = int((endings == outcome).sum())
            words.append(f"{sign}{count if count > 1 else ''} ", style)
            if outcome >= FIRST_DROP:
                words.append(self._recording.outcomes[outcome].partition(": ")[2] + " ", _DROP)
        return words

    def _map(self, frame: Frame) -> Any:
        from rich.text import Text

        signs: Any = np.full((self._n_rows, self._columns), " ", dtype="<U1")
        styles: Any = np.full(signs.shape, "", dtype=object)

        def put(row: Any, column: Any, sign: str, style: str) -> None:
            signs[row, column], styles[row, column] = sign, style

        recording = self._recording
        ends = np.stack((recording.link_source, recording.link_target), axis=1)
        pairs = np.unique(np.sort(ends, axis=1), axis=0) if len(ends) else np.zeros((0, 2), int)
        for a, b in pairs.tolist() if len(pairs) <= _MOST_LINES else []:
            put(*self._line(a, b), "·", _LINK)
        for a, b in zip(frame.decisions.node.tolist(), frame.decisions.what.tolist(), strict=True):
            if a != b:
                rows, columns = self._line(a, b)
                put(rows, columns, "·", _DECISION)
                near = max(len(rows) - 3, 0)
                put(rows[near], columns[near], self._head(a, b), _DECISION)
        moving = frame.moving
        for link, progress, is_result, is_late in zip(*moving, strict=True):
            rows, columns = self._line(*ends[link].tolist())
            here = 1 + int(float(progress) * max(len(rows) - 3, 0)) if len(rows) > 2 else 0
            style = _LATE if is_late else _RESULT if is_result else _UPLOAD
            put(rows[here], columns[here], "○" if is_result else "•", style)
        self._put_nodes(frame, put)
        text = Text(no_wrap=True)
        for row in range(self._n_rows):
            for sign, style in zip(signs[row].tolist(), styles[row].tolist(), strict=True):
                text.append(sign, style)
            text.append("\n")
        text.right_crop(1)
        return text

    def _put_nodes(self, frame: Frame, put: Any) -> None:
        topology = self._recording.topology
        n_tasks = frame.waiting + frame.serving
        has_dropped = set(frame.endings.node[frame.endings.what >= FIRST_DROP].tolist())
        for node, (row, column) in enumerate(zip(self._row.tolist(), self._column.tolist(), strict=True)):
            style = _LEVEL_STYLES[level(float(n_tasks[node] / topology.queue_places[node]))]
            sign = TIER_SIGNS[topology.tier[node]]
            put(row, column, *(("✖", _DROP) if node in has_dropped else (sign, style)))
            for place, digit in enumerate(str(n_tasks[node]) if n_tasks[node] else ""):
                if column + 1 + place < self._columns:
                    put(row, column + 1 + place, digit, style)

    def _line(self, a: int, b: int) -> tuple[Any, Any]:
        """Return rows and columns of the characters from one node to another."""
        n = max(abs(self._row[a] - self._row[b]), abs(self._column[a] - self._column[b]), 1)
        share = np.arange(n + 1) / n
        rows = np.rint(self._row[a] + share * (self._row[b] - self._row[a])).astype(int)
        return rows, np.rint(self._column[a] + share * (self._column[b] - self._column[a])).astype(int)

    def _head(self, a: int, b: int) -> str:
        up, right = 2.0 * float(self._row[a] - self._row[b]), float(self._column[b] - self._column[a])
        return _HEADS[round(np.arctan2(up, right) / (np.pi / 4.0)) % 8]


def _legend() -> Any:
    from rich.text import Text

    signs = [
        *((f"{sign} {name}", "default") for sign, name in zip(TIER_SIGNS, TIER_NAMES, strict=True)),
        ("• upload", _UPLOAD),
        ("○ result", _RESULT),
        ("• past its deadline", _LATE),
        ("→ decision", _DECISION),
        ("✓ in time", "green"),
        ("✓ late", "magenta"),
        ("✖ dropped", _DROP),
    ]
    text = Text(no_wrap=True, overflow="ellipsis")
    for sign, style in signs:
        text.append(sign + "  ", style)
    return text
