"""Bookkeeping of finished episodes: returns, lengths and the world's metric sums."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.arrays import BOOL, F4, F8, I8

NO_LIMIT = np.iinfo(np.int64).max


class Finished(NamedTuple):
    """An episode that ended: its length and each agent's return (N,)."""

    n_steps: int
    returns: F8


class Episodes:
    """Keeps what running episodes have gathered, and what finished ones leave until it is taken."""

    def __init__(self, n_worlds: int, n_agents: int, n_sums: int) -> None:
        """Start with all worlds at the beginning of an episode."""
        self.returns: F8 = np.zeros((n_worlds, n_agents))
        self.lengths: I8 = np.zeros(n_worlds, np.int64)
        self.finished: list[Finished] = []
        self.sums: F8 = np.zeros(n_sums)
        self.n_summed = 0
        self.count_first(None)

    def count_first(self, n_each: int | None) -> None:
        """Count only the next ``n_each`` episodes of each world; None counts all."""
        limit = NO_LIMIT if n_each is None else n_each
        self._to_sum: I8 = np.full(len(self.lengths), limit, np.int64)
        self._to_list: I8 = self._to_sum.copy()

    def is_complete(self) -> bool:
        """Return whether each world has finished the episodes that count."""
        return not self._to_sum.any()

    def restart(self) -> None:
        """Forget the running episodes, which will not be finished."""
        self.returns[:] = 0.0
        self.lengths[:] = 0

    def add_sums(self, final_sums: F8, ended: BOOL) -> None:
        """Take in the metric sums (B, G) of the worlds that ended in a step."""
        counted = ended & (self._to_sum > 0)
        self.sums += final_sums[counted].sum(0)
        self.n_summed += int(counted.sum())
        self._to_sum -= counted

    def add_fragment(self, reward: F4, ended: BOOL) -> None:
        """Take in the rewards (T, B, N) and endings (T, B) of a fragment."""
        earned = reward.cumsum(0, dtype=np.float64)
        booked = np.zeros_like(self.returns)  # earned before the running episode began, within this fragment
        begun = np.zeros_like(self.lengths)
        for t, b in np.argwhere(ended):
            if self._to_list[b]:
                returns = self.returns[b] + earned[t, b] - booked[b]
                self.finished.append(Finished(int(self.lengths[b] + t + 1 - begun[b]), returns))
                self._to_list[b] -= 1
            self.returns[b], self.lengths[b] = 0.0, 0
            booked[b], begun[b] = earned[t, b], t + 1
        self.returns += earned[-1] - booked
        self.lengths += len(reward) - begun

    def take_finished(self) -> list[Finished]:
        """Return the episodes finished since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def take_sums(self) -> tuple[F8, int]:
        """Return the metric sums (G,) of the episodes finished since the last call, and their number."""
        sums, count = self.sums, self.n_summed
        self.sums, self.n_summed = np.zeros_like(sums), 0
        return sums, count

    def get_state(self) -> dict[str, Any]:
        """Return what the running episodes have gathered."""
        return {"returns": self.returns.copy(), "lengths": self.lengths.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue running episodes."""
        self.returns[:], self.lengths[:] = state["returns"], state["lengths"]
