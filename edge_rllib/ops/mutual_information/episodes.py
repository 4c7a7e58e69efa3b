"""Whole episodes from fragments, and buffers that hold the best or the latest of them.

Columns are numpy arrays in ``Entry``; what the columns are is up to the caller.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, Literal, NamedTuple

import numpy as np

from envs.arrays import BOOL, F4, F8, I8
from envs.errors import ConfigError

Columns = dict[str, Any]  # name -> array whose first axis is the rows
ThresholdRule = Literal["minimum", "moving_average", "quantile"]
Unit = Literal["transitions", "episodes"]


class Entry(NamedTuple):
    """An episode, or what is kept of it."""

    total: float  # its return, the mean over agents
    columns: Columns  # rows in order of time
    world_id: int
    number: int  # of the episode in its world

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))


class _Open(NamedTuple):
    """An episode that goes on behind the last fragment."""

    total: float
    keys: F8  # (n,) random; the rows with the smallest keys are kept
    columns: Columns
    is_whole: bool  # False: its beginning was not seen


class EpisodeCutter:
    """Cuts fragments of many worlds into episodes; open ones wait, by world, for the fragment that ends them.

    Of an episode at most ``n_kept`` rows are kept, drawn uniformly (0 keeps all). A fragment that does not begin where
    the world's last one ended comes from a restarted runner: the open episode is forgotten.
    """

    def __init__(self, n_kept: int, generator: np.random.Generator) -> None:
        self.n_kept, self._generator = n_kept, generator
        self._open: dict[int, _Open] = {}
        self._behind: dict[int, F4] = {}  # observation behind the last fragment of each world
        self._n_finished: dict[int, int] = {}  # episodes of each world
        self._is_resumed = False

    def add(self, columns: Columns, reward: F8, ended: BOOL, world_ids: I8, first: F4, behind: F4) -> list[Entry]:
        """Return the episodes that end in a fragment, by world and then by time.

        ``columns`` are (T, B, ...), ``reward`` and ``ended`` (T, B); ``first`` and ``behind`` (B, ...) are observations
        before and after the fragment.
        """
        finished: list[Entry] = []
        for b, world_id in enumerate(world_ids.tolist()):
            still = self._continued(world_id, first[b])
            begin = 0
            for end in (np.flatnonzero(ended[:, b]) + 1).tolist():
                still = self._longer(still, columns, reward, b, begin, end)
                number = self._n_finished[world_id] = self._n_finished.get(world_id, 0) + 1
                if still.is_whole:
                    finished.append(Entry(still.total, still.columns, world_id, number))
                still, begin = _Open(0.0, np.zeros(0), {}, True), end
            self._open[world_id] = self._longer(still, columns, reward, b, begin, len(reward))
            self._behind[world_id] = np.array(behind[b])
        return finished

    def _continued(self, world_id: int, first: F4) -> _Open:
        if world_id in self._open and np.array_equal(self._behind[world_id], first):
            return self._open[world_id]
        is_unseen = world_id not in self._open
        return _Open(0.0, np.zeros(0), {}, not (is_unseen and self._is_resumed))

    def _longer(self, still: _Open, columns: Columns, reward: F8, b: int, begin: int, end: int) -> _Open:
        """Return an open episode with the steps of world b from ``begin`` up to ``end``."""
        if begin == end:
            return still
        total = still.total + float(reward[begin:end, b].sum())
        keys = np.concatenate((still.keys, self._generator.random(end - begin)))
        kept: Any = slice(None)
        if self.n_kept and len(keys) > self.n_kept:
            kept = np.sort(np.argpartition(keys, self.n_kept)[: self.n_kept])
        longer = {
            name: np.concatenate(
                (still.columns[name], column[begin:end, b]) if still.columns else (column[begin:end, b],)
            )
            for name, column in columns.items()
        }
        return _Open(total, keys[kept], {name: column[kept] for name, column in longer.items()}, still.is_whole)

    def get_state(self) -> dict[str, Any]:
        """Return the open episodes."""
        return {
            "open": {world_id: tuple(still) for world_id, still in self._open.items()},
            "behind": dict(self._behind),
            "n_finished": dict(self._n_finished),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over open episodes; those of worlds that are not among them count from their next beginning."""
        self._open = {world_id: _Open(*still) for world_id, still in state["open"].items()}
        self._behind, self._n_finished = dict(state["behind"]), dict(state["n_finished"])
        self._is_resumed = True


class EpisodeBuffer:
    """Episodes up to a capacity: with ``keeps_best`` the worst return leaves first, else the oldest.

    In the unit ``transitions`` the one to leave loses single rows, its earliest, until the rest fits.
    """

    def __init__(self, capacity: int, unit: Unit, keeps_best: bool) -> None:
        self.capacity, self.unit, self.keeps_best = capacity, unit, keeps_best
        self.n_rows = 0
        self._n_pushed = 0
        self._heap: list[tuple[float, int, Entry]] = []  # the next to leave in front
        self._flat: Columns | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def worst(self) -> float:
        """Return the smallest return; the buffer must not be empty."""
        return self._heap[0][0] if self.keeps_best else min(entry.total for _, _, entry in self._heap)

    def totals(self) -> list[float]:
        """Return the returns of the episodes, smallest first."""
        return sorted(entry.total for _, _, entry in self._heap)

    def push(self, entry: Entry) -> None:
        """Take in an episode; whatever is too much leaves."""
        order = entry.total if self.keeps_best else 0.0
        heapq.heappush(self._heap, (order, self._n_pushed, entry))
        self._n_pushed += 1
        self.n_rows += entry.n_rows
        self._flat = None
        while (len(self._heap) if self.unit == "episodes" else self.n_rows) > self.capacity:
            self._shrink()

    def _shrink(self) -> None:
        order, number, worst = self._heap[0]
        excess = self.n_rows - self.capacity
        if self.unit == "episodes" or worst.n_rows <= excess:
            heapq.heappop(self._heap)
            self.n_rows -= worst.n_rows
            return
        shorter = {name: column[excess:] for name, column in worst.columns.items()}
        self._heap[0] = (order, number, worst._replace(columns=shorter))
        self.n_rows -= excess

    def draw(self, n_rows: int, generator: np.random.Generator, with_replacement: bool) -> Columns:
        """Return rows drawn uniformly."""
        if self._flat is None:
            entries = [entry.columns for _, _, entry in self._heap]
            self._flat = {name: np.concatenate([columns[name] for columns in entries]) for name in entries[0]}
        chosen = generator.choice(self.n_rows, n_rows, replace=with_replacement, shuffle=True)
        return {name: column[chosen] for name, column in self._flat.items()}

    def get_state(self) -> dict[str, Any]:
        """Return the contents."""
        heap = [(order, number, tuple(entry)) for order, number, entry in self._heap]
        return {"heap": heap, "n_pushed": self._n_pushed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over contents."""
        self._heap = [(order, number, Entry(*entry)) for order, number, entry in state["heap"]]
        self._n_pushed, self._flat = state["n_pushed"], None
        self.n_rows = sum(entry.n_rows for _, _, entry in self._heap)


class Threshold:
    """What a return must exceed to be superior: the largest of the rules' values.

    ``minimum``: the smallest return among the superior ones; ``moving_average`` and ``quantile``: of the latest
    ``window`` returns, from ``least_episodes`` on. Without any value everything is superior.
    """

    def __init__(self, rules: tuple[ThresholdRule, ...], window: int, least_episodes: int, quantile: float) -> None:
        if not rules:
            raise ConfigError("thresholds = []: expected at least one of minimum, moving_average, quantile")
        self.rules, self.least_episodes, self.quantile = rules, least_episodes, quantile
        self.returns: deque[float] = deque(maxlen=window)

    def value(self, superior: EpisodeBuffer) -> float:
        """Return the threshold, minus infinity at first."""
        values = [-np.inf]
        if "minimum" in self.rules and len(superior):
            values.append(superior.worst)
        if len(self.returns) >= self.least_episodes:
            if "moving_average" in self.rules:
                values.append(float(np.mean(self.returns)))
            if "quantile" in self.rules:
                values.append(float(np.quantile(self.returns, self.quantile)))
        return float(max(values))

    def observe(self, total: float) -> None:
        """Take in the return of an episode, after it was judged."""
        self.returns.append(total)
