"""What a rule carries from step to step: random numbers by counter, and how often each agent had its turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8, I8
from envs.rng import key_from_seed, unit_pair


@kernel
def _fill_pairs(out: F8, world_ids: I8, n_agents: int, key: np.uint64, stream: np.uint64, step: np.uint64) -> None:
    """Fill ``out`` (2, B, N) with two uniforms for each agent of each world."""
    for b in range(world_ids.size):
        for n in range(n_agents):
            out[0, b, n], out[1, b, n] = unit_pair(key, np.uint64(n), stream, np.uint64(world_ids[b]), step)


class RuleDraws:
    """The chance and the memory of a rule on a batch of worlds; a world's part is the same in any batch."""

    def __init__(self, seed: int, world_ids: Sequence[int] | I8, n_agents: int) -> None:
        """Name the worlds; the same seed and world id give the same numbers."""
        self._key = np.uint64(key_from_seed(seed, "rule"))
        self._world_ids = np.array(world_ids, np.int64)
        self.turns: I8 = np.zeros((len(self._world_ids), n_agents), np.int64)  # steps in which an agent had a task

    def uniforms(self, step: int, stream: int = 0) -> F8:
        """Return two independent uniforms in (0, 1) for each agent, (2, B, N); streams are independent."""
        out = np.empty((2, *self.turns.shape))
        _fill_pairs(out, self._world_ids, out.shape[2], self._key, np.uint64(stream), np.uint64(step))
        return out
