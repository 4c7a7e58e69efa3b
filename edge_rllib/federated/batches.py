"""Episodes as the result of a chunk: their columns, and the batch that chunks make together.

Where chunks are as long as suits those who execute them, an estimate must not know where one ends. Then a chunk's
result is its episodes, and the estimate is that of the whole batch, put together in the order of its episodes: bit for
bit what a client finds that plays all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edge_rllib.federated.episodes import Streams
from edge_rllib.federated.stealing.chunks import ChunkResult

STREAM = "stream/"  # in front of a module's name and a column's, in a result's arrays


def columns(streams: Mapping[str, Streams]) -> dict[str, NDArray[np.generic]]:
    """Return the columns of each module's streams as arrays with names."""
    return {
        f"{STREAM}{module_id}/{name}": column.numpy()
        for module_id, each in streams.items()
        for name, column in each._asdict().items()
    }


def joined(results: Sequence[ChunkResult]) -> dict[str, Streams]:
    """Return the streams of all results by module, in the order given; behind an episode's end they are zero."""
    names = [name for name in results[0].arrays if name.startswith(STREAM)]
    modules = dict.fromkeys(name.removeprefix(STREAM).rpartition("/")[0] for name in names)
    return {
        module_id: Streams(
            *(
                _side_by_side([each.arrays[f"{STREAM}{module_id}/{name}"] for each in results])
                for name in Streams._fields
            )
        )
        for module_id in modules
    }


def _side_by_side(parts: Sequence[NDArray[np.generic]]) -> torch.Tensor:
    """Return columns (T, E, ...) next to each other, the shorter ones filled up with zeros."""
    n_steps, widths = max(len(part) for part in parts), np.cumsum([0, *(part.shape[1] for part in parts)])
    whole = np.zeros((n_steps, int(widths[-1]), *parts[0].shape[2:]), parts[0].dtype)
    for first, part in zip(widths, parts, strict=False):
        whole[: len(part), first : first + part.shape[1]] = part
    return torch.from_numpy(whole)
