"""Train tables and minibatches: which rows are trained on together, the same on one learner as on several.

All learners draw one permutation of *all* rows, numbered by world id, time and agent. Each takes the rows that it owns
of every minibatch and weights its mean loss by its share, so that the summed gradient is that of the whole minibatch
on one learner, up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edge_rllib import compat


class Table(NamedTuple):
    """The train rows of one module on this learner.

    ``columns`` have one entry a row; ``shared`` columns one a group of ``group_of[row]``, as the global state, which is
    the same for all agents of a world. ``world`` (R,) is the world id of each row; rows of a world are in order.
    """

    columns: dict[str, Tensor]
    shared: dict[str, Tensor]
    group_of: Tensor
    world: Tensor

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the columns of some rows."""
        rows = rows.to(self.group_of.device)
        taken = {name: column.index_select(0, rows) for name, column in self.columns.items()}
        if self.shared:
            groups = self.group_of.index_select(0, rows)
            taken |= {name: column.index_select(0, groups) for name, column in self.shared.items()}
        return taken


class Layout(NamedTuple):
    """Where this learner's rows stand among the rows of all learners."""

    row_at: Tensor  # (total,) own row at each place, -1 where another learner has it
    n_total: int


def layout(world: Tensor) -> Layout:
    """Return the layout of rows with world ids (R,); a collective call among learners."""
    world = world.cpu()
    ids, counts = torch.unique(world, return_counts=True)
    everyone = compat.gather_objects((ids.tolist(), counts.tolist()))
    size_of = {world_id: count for part in everyone for world_id, count in zip(*part, strict=True)}
    start_of, total = {}, 0
    for world_id in sorted(size_of):
        start_of[world_id] = total
        total += size_of[world_id]
    starts = torch.tensor([start_of[world_id] for world_id in ids.tolist()], dtype=torch.int64)
    order = torch.argsort(world, stable=True)
    own_starts = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(world)) + torch.repeat_interleave(starts - own_starts, counts)
    row_at = torch.full((total,), -1, dtype=torch.int64)
    row_at[place] = order
    return Layout(row_at, total)


class Minibatches:
    """Iterates over the minibatches of all modules in lockstep; ``share_of`` is this learner's part of the current one.

    A minibatch has as close to ``minibatch_rows`` rows as equal sizes allow; no row is left out of an epoch.
    """

    def __init__(self, tables: Mapping[str, Table], env_steps: int) -> None:
        """Lay out the rows; a collective call among learners."""
        self.tables = dict(tables)
        self.env_steps = env_steps
        self.layouts = {module_id: layout(table.world) for module_id, table in self.tables.items()}
        self.share_of: dict[str, float] = {}
        self.is_last = False
        self._plan = (1, 0, 0)

    @property
    def is_empty(self) -> bool:
        """Return whether no learner has a row to train on; all learners agree."""
        return not any(place.n_total for place in self.layouts.values())

    def plan(self, n_epochs: int, minibatch_rows: int, seed: int) -> None:
        """Set how to iterate; 0 rows means one minibatch an epoch."""
        self._plan = (n_epochs, minibatch_rows, seed)

    def n_minibatches(self) -> int:
        """Return the minibatches of an epoch: those of the module with the most rows."""
        _, rows, _ = self._plan
        largest = max(place.n_total for place in self.layouts.values())
        return max(1, round(largest / rows)) if rows else 1

    def __iter__(self) -> Iterator[Any]:
        n_epochs, _, seed = self._plan
        count = self.n_minibatches()
        generator = torch.Generator().manual_seed(seed)
        for epoch in range(n_epochs):
            parts = {
                module_id: torch.randperm(place.n_total, generator=generator).tensor_split(count)
                for module_id, place in self.layouts.items()
                if place.n_total
            }
            for index in range(count):
                self.is_last = (epoch, index) == (n_epochs - 1, count - 1)
                yield self._minibatch({module_id: part[index] for module_id, part in parts.items()}, count)

    def _minibatch(self, places: Mapping[str, Tensor], count: int) -> Any:
        columns = {}
        for module_id, place in places.items():
            if len(place) == 0:
                continue
            rows = self.layouts[module_id].row_at[place]
            rows = rows[rows >= 0]
            self.share_of[module_id] = len(rows) / len(place)
            if len(rows) == 0:  # all learners take part in each step; this one's row has no weight
                rows = torch.zeros(1, dtype=torch.int64)
            columns[module_id] = self.tables[module_id].take(rows)
        return compat.minibatch(columns, max(1, self.env_steps // count))
