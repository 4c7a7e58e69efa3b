"""Replay of transitions as columns: a ring of one module's rows, built as rollouts come in, drawn by priority.

A row is an agent's decision. Its transition ends ``n_step`` rows of the same agent later: with rows of all steps that
is n-step learning; with rows of decisions only, the steps in between belong to the transition too (a semi-Markov
process): their rewards are added up, discounted by step, and the discount behind them is gamma to the number of steps.
[Bradtke and Duff, Reinforcement Learning Methods for Continuous-Time Markov Decision Problems, 1994]

Transitions go on over the ends of fragments. A termination closes the open ones with nothing behind them. A truncation
closes them at the agent's last row before it, whose mask and value are known: worlds report no mask with their final
observation. That last row itself leads nowhere that is known and is not drawn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edge_rllib.runners import rollout as column
from edge_rllib.runners.rollout import Rollout
from edge_rllib.runners.sum_tree import SumTree
from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4, F8, I8
from envs.errors import ConfigError


class Ring(NamedTuple):
    """Rows of a replay; the row with serial number s lies at place s modulo the number of places."""

    observation: F4  # (C, F)
    mask: BOOL  # (C, K)
    decision: I8  # (C,)
    returns: F4  # (C,) discounted rewards of the transition
    discount: F4  # (C,) weight of the value behind it; 0 behind a termination
    following: I8  # (C,) place of the row behind it; it is younger, so that it lives as long
    n_written: I8  # (1,) rows ever written


class Open(NamedTuple):
    """The rows of each agent whose transitions have not ended, oldest first."""

    serial: I8  # (B, n, n_step)
    n_open: I8  # (B, n)
    returns: F4  # (B, n, n_step) of the row's transition when the agent's latest row began
    discount: F4  # (B, n, n_step) likewise


class Rows(NamedTuple):
    """Drawn transitions."""

    place: I8  # (R,)
    observation: F4  # (R, F)
    mask: BOOL  # (R, K)
    decision: I8  # (R,)
    returns: F4  # (R,)
    discount: F4  # (R,)
    next_observation: F4  # (R, F)
    next_mask: BOOL  # (R, K)
    weight: F4  # (R,) importance weights, at most 1


@inlined
def _has_choice(mask: BOOL) -> bool:
    is_found = False
    for k in range(1, mask.size):
        is_found = is_found or mask[k]
    return is_found


@inlined
def _begin(ring: Ring, still: Open, ended: I8, n_ended: int, b: int, i: int, row: int, serial: int) -> int:
    """Open the transition of a written row and close the one that ends there; return the number of closed ones."""
    n_places, n_step = ring.decision.size, still.serial.shape[2]
    count = still.n_open[b, i]
    if count == n_step:
        oldest = still.serial[b, i, 0]
        if oldest > serial - n_places:
            ring.following[oldest % n_places] = row
            ended[n_ended] = oldest
            n_ended += 1
        count -= 1
        for j in range(count):
            still.serial[b, i, j] = still.serial[b, i, j + 1]
    for j in range(count):
        place = still.serial[b, i, j] % n_places
        still.returns[b, i, j] = ring.returns[place]
        still.discount[b, i, j] = ring.discount[place]
    still.serial[b, i, count] = serial
    still.n_open[b, i] = count + 1
    return n_ended


@inlined
def _close(ring: Ring, still: Open, ended: I8, n_ended: int, b: int, i: int, alive: int, is_terminated: bool) -> int:
    """Close the open transitions of an agent whose episode ended; return the number of closed ones."""
    n_places, count = ring.decision.size, still.n_open[b, i]
    last = still.serial[b, i, max(count - 1, 0)] % n_places
    for j in range(count if is_terminated else count - 1):
        if still.serial[b, i, j] >= alive:
            place = still.serial[b, i, j] % n_places
            if is_terminated:
                ring.discount[place] = 0.0
            else:
                ring.returns[place] = still.returns[b, i, j]
                ring.discount[place] = still.discount[b, i, j]
            ring.following[place] = last
            ended[n_ended] = still.serial[b, i, j]
            n_ended += 1
    still.n_open[b, i] = 0
    return n_ended


@kernel
def _write_rows(
    ring: Ring,
    still: Open,
    ended: I8,
    observation: F4,
    mask: BOOL,
    decision: I8,
    reward: F4,
    terminated: BOOL,
    truncated: BOOL,
    gamma: float,
    is_every_step: bool,
) -> int:
    """Write a fragment into ``ring`` and ``still``, closed transitions' serials into ``ended``; return how many."""
    n_steps, n_worlds, n_agents = reward.shape
    n_places = ring.decision.size
    n_ended = 0
    for t in range(n_steps):
        for b in range(n_worlds):
            for i in range(n_agents):
                if is_every_step or _has_choice(mask[t, b, i]):
                    serial = ring.n_written[0]
                    ring.n_written[0] = serial + 1
                    row = serial % n_places
                    for f in range(observation.shape[3]):
                        ring.observation[row, f] = observation[t, b, i, f]
                    for k in range(mask.shape[3]):
                        ring.mask[row, k] = mask[t, b, i, k]
                    ring.decision[row] = decision[t, b, i]
                    ring.returns[row] = 0.0
                    ring.discount[row] = 1.0
                    n_ended = _begin(ring, still, ended, n_ended, b, i, row, serial)
                alive = ring.n_written[0] - n_places  # rows with older serials have been overwritten
                for j in range(still.n_open[b, i]):
                    if still.serial[b, i, j] >= alive:
                        place = still.serial[b, i, j] % n_places
                        ring.returns[place] += ring.discount[place] * reward[t, b, i]
                        ring.discount[place] *= gamma
                if terminated[t, b] or truncated[t, b]:
                    n_ended = _close(ring, still, ended, n_ended, b, i, alive, terminated[t, b])
    return n_ended


class _Stream:
    """What a replay keeps of a batch of worlds between two of its fragments."""

    def __init__(self, shape: tuple[int, int], n_step: int) -> None:
        size = (*shape, n_step)
        returns, discount = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.still = Open(np.zeros(size, np.int64), np.zeros(shape, np.int64), returns, discount)
        self.seen: F4 | None = None  # observations behind the last fragment

    def follow(self, observation: F4) -> None:
        """Forget the open transitions if a fragment does not begin where the last one ended: its runner was lost."""
        if self.seen is None or not np.array_equal(self.seen, observation[0]):
            self.still.n_open[:] = 0
        self.seen = observation[-1].copy()


class Replay:
    """One module's transitions."""

    def __init__(
        self, n_places: int, sizes: tuple[int, int], n_step: int, gamma: float, is_every_step: bool, alpha: float
    ) -> None:
        """Allocate ``n_places`` rows of ``sizes`` (F, K); priorities count to the power ``alpha``, 0 for equal ones."""
        n_features, n_targets = sizes
        self.n_step, self.gamma, self.is_every_step, self.alpha = n_step, gamma, is_every_step, alpha
        self.ring = Ring(
            np.zeros((n_places, n_features), np.float32),
            np.zeros((n_places, n_targets), np.bool_),
            np.zeros(n_places, np.int64),
            np.zeros(n_places, np.float32),
            np.zeros(n_places, np.float32),
            np.zeros(n_places, np.int64),
            np.zeros(1, np.int64),
        )
        self.tree = SumTree(n_places)
        self.n_ready = 0  # rows that can be drawn
        self._largest = 1.0  # priority of rows that were never drawn
        self._streams: dict[bytes, _Stream] = {}

    @property
    def n_places(self) -> int:
        """Return the number of rows that fit."""
        return len(self.ring.decision)

    def add(self, rollout: Rollout, module_id: str) -> int:
        """Take in a module's part of a rollout; return how many transitions became drawable."""
        columns = rollout.columns[module_id]
        reward = _own(columns[column.REWARD])
        if reward.size > self.n_places:
            raise ConfigError(
                f"replay_rows: module {module_id!r} has {self.n_places} places, but a fragment up to {reward.size} rows"
            )
        observation = _own(columns[column.OBSERVATION])
        stream = self._stream(rollout, reward.shape[1:])
        stream.follow(observation)
        written = int(self.ring.n_written[0])
        ended: I8 = np.empty(reward.size + stream.still.serial.size, np.int64)
        n_ended = _write_rows(
            self.ring,
            stream.still,
            ended,
            observation,
            _own(columns[column.MASK]),
            _own(columns[column.DECISION]),
            reward,
            _own(rollout.terminated),
            _own(rollout.truncated),
            self.gamma,
            self.is_every_step,
        )
        now = int(self.ring.n_written[0])
        overwritten = np.arange(written, now, dtype=np.int64) % self.n_places
        self.n_ready -= int(np.count_nonzero(self.tree.priorities[overwritten]))
        self.tree.assign(overwritten, np.zeros(len(overwritten)))
        ready = ended[:n_ended]
        ready = ready[ready >= now - self.n_places] % self.n_places
        self.tree.assign(ready, np.full(len(ready), self._largest**self.alpha))
        self.n_ready += len(ready)
        return len(ready)

    def draw(self, n_rows: int, beta: float, generator: np.random.Generator) -> Rows:
        """Return transitions drawn by priority, with weights that make up for it; fully so at ``beta`` 1."""
        place = self.tree.draw(n_rows, generator)
        chance = self.tree.priorities[place] / self.tree.total
        weight = (self.n_ready * chance) ** -beta
        following = self.ring.following[place]
        return Rows(
            place,
            self.ring.observation[place],
            self.ring.mask[place],
            self.ring.decision[place],
            self.ring.returns[place],
            self.ring.discount[place],
            self.ring.observation[following],
            self.ring.mask[following],
            (weight / weight.max()).astype(np.float32),
        )

    def prioritise(self, place: I8, priority: F8) -> None:
        """Set the priorities (R,) of drawn rows, positive; nothing may have been added since."""
        if self.alpha == 0.0:
            return
        self._largest = max(self._largest, float(priority.max()))
        self.tree.assign(place, priority**self.alpha)

    def ready_returns(self) -> tuple[F4, F4]:
        """Return the rewards and discounts of all transitions that can be drawn."""
        is_ready = self.tree.priorities > 0.0
        return self.ring.returns[is_ready], self.ring.discount[is_ready]

    def get_state(self) -> dict[str, Any]:
        """Return a copy of the contents."""
        used = min(int(self.ring.n_written[0]), self.n_places)
        return {
            "ring": {name: array[:used].copy() for name, array in self.ring._asdict().items() if name != "n_written"},
            "n_written": int(self.ring.n_written[0]),
            "priorities": self.tree.priorities[:used].copy(),
            "largest": self._largest,
            "streams": {
                key: (tuple(array.copy() for array in stream.still), stream.seen)
                for key, stream in self._streams.items()
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the contents of a replay of the same sizes."""
        used = len(state["priorities"])
        for name, array in state["ring"].items():
            getattr(self.ring, name)[:used] = array
        self.ring.n_written[0] = state["n_written"]
        self.tree.assign(np.arange(self.n_places), np.zeros(self.n_places))
        self.tree.assign(np.arange(used), state["priorities"])
        self.n_ready = int(np.count_nonzero(state["priorities"]))
        self._largest = state["largest"]
        self._streams = {}
        for key, (still, seen) in state["streams"].items():
            shape = still[1].shape
            stream = self._streams[key] = _Stream((shape[0], shape[1]), self.n_step)
            for name, saved in zip(Open._fields, still, strict=True):
                getattr(stream.still, name)[...] = saved
            stream.seen = seen

    def _stream(self, rollout: Rollout, shape: tuple[int, ...]) -> _Stream:
        key = np.asarray(rollout.world_ids).tobytes()
        if key not in self._streams:
            self._streams[key] = _Stream((shape[0], shape[1]), self.n_step)
        return self._streams[key]


def _own(array: Any) -> Any:
    """Return an array in C order that may be written: kernels are compiled for that one kind."""
    return array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")
