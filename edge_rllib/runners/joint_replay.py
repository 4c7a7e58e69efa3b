"""Replay of joint transitions as columns: a ring of world-steps, each with what all agents saw, decided and earned.

A row is one step of one world. The row behind it is known by its place in the ring, so that no observation is stored
twice; a truncation writes one more row with the final observation, which is never drawn itself. A transition of
``n_step`` steps is the chain of rows that starts at its own; a termination ends it with nothing behind, a truncation
at the final observation. Chains go on over the ends of fragments: the last rows of each world wait for the next one.

Rewards are kept as the world paid them, step by step: terms that are added to them are computed anew for each draw,
of *all* steps of a transition, so that they count as if the world had paid them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_rllib.runners.joint import JointRows
from edge_rllib.runners.priority_ring import PriorityRing, owned
from edge_rllib.runners.rollout import Finals
from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4, I8
from envs.errors import ConfigError

UNKNOWN, NOTHING, FINAL = -1, -2, -3  # in ``following``: not there yet; behind a termination; of a final observation


class JointSizes(NamedTuple):
    """Sizes of a world-step: agents N, features F, targets K, amounts A, state S (0 where none is kept)."""

    n_agents: int
    n_features: int
    n_targets: int
    n_amounts: int
    n_state: int

    @classmethod
    def of(cls, rows: JointRows) -> JointSizes:
        """Return the sizes of a rollout's rows."""
        n_state = 0 if rows.state is None else rows.state.shape[-1]
        n_agents, n_features = rows.observation.shape[2:]
        return cls(n_agents, n_features, rows.mask.shape[-1], rows.amounts.shape[-1], n_state)


class Ring(NamedTuple):
    """World-steps; the row with serial number s lies at place s modulo the number of places C."""

    observation: F4  # (C, N, F)
    mask: BOOL  # (C, N, K)
    state: F4  # (C, S)
    target: I8  # (C, N)
    amounts: F4  # (C, N, A)
    logp: F4  # (C, N)
    reward: F4  # (C, N) of this step alone
    following: I8  # (C,) place of the row behind it, which is younger and so lives as long; or one of the marks
    n_written: I8  # (1,) rows ever written


class Open(NamedTuple):
    """The rows of each world whose transitions have not ended, oldest first."""

    serial: I8  # (B, n_step)
    n_open: I8  # (B,)


class JointDraw(NamedTuple):
    """Drawn transitions; L = n_step, and steps beyond a transition's end have weight 0."""

    place: I8  # (R,)
    step_place: I8  # (R, L) rows of the steps; the last one is repeated beyond the end
    step_weight: F4  # (R, L) gamma to the number of steps before; 0 beyond the end
    behind: I8  # (R,) row behind the last step; the last step itself after a termination
    discount: F4  # (R,) weight of the value behind; 0 after a termination
    weight: F4  # (R,) importance weights, at most 1


@inlined
def _copy_seen(ring: Ring, row: int, observation: F4, mask: BOOL, state: F4) -> None:
    """Write what was seen in one world, (N, F), (N, K), (S,), into a row of ``ring``."""
    for i in range(observation.shape[0]):
        for f in range(observation.shape[1]):
            ring.observation[row, i, f] = observation[i, f]
        for k in range(mask.shape[1]):
            ring.mask[row, i, k] = mask[i, k]
    for s in range(state.size):
        ring.state[row, s] = state[s]


@inlined
def _next_row(ring: Ring) -> int:
    """Return the place of the next row and count it in ``ring``."""
    serial = ring.n_written[0]
    ring.n_written[0] = serial + 1
    return int(serial % ring.following.size)


@inlined
def _link(ring: Ring, still: Open, b: int, row: int) -> None:
    """Make ``row``, the latest, the one behind a world's last open row in ``ring``, unless that was overwritten."""
    count, n_places = still.n_open[b], ring.following.size
    if count > 0 and still.serial[b, count - 1] >= ring.n_written[0] - n_places:
        ring.following[still.serial[b, count - 1] % n_places] = row


@inlined
def _begin(ring: Ring, still: Open, ended: I8, n_ended: int, b: int) -> int:
    """Open the row just written in ``still``; write the serial of a transition that ends there into ``ended``."""
    count = still.n_open[b]
    if count == still.serial.shape[1]:
        ended[n_ended] = still.serial[b, 0]
        n_ended += 1
        count -= 1
        for j in range(count):
            still.serial[b, j] = still.serial[b, j + 1]
    still.serial[b, count] = ring.n_written[0] - 1
    still.n_open[b] = count + 1
    return n_ended


@inlined
def _close(still: Open, ended: I8, n_ended: int, b: int) -> int:
    """Write the serials of all open rows of a world into ``ended`` and forget them in ``still``."""
    for j in range(still.n_open[b]):
        ended[n_ended] = still.serial[b, j]
        n_ended += 1
    still.n_open[b] = 0
    return n_ended


@kernel
def _write_rows(
    ring: Ring,
    still: Open,
    ended: I8,
    observation: F4,
    mask: BOOL,
    state: F4,
    target: I8,
    amounts: F4,
    logp: F4,
    reward: F4,
    terminated: BOOL,
    truncated: BOOL,
    final_of: I8,
    final_observation: F4,
    final_mask: BOOL,
    final_state: F4,
) -> int:
    """Write a fragment into ``ring`` and ``still``, serials of ended transitions into ``ended``; return how many.

    ``final_of`` (T, B) is the index of a step's final observation, or -1.
    """
    n_steps, n_worlds, n_agents = reward.shape
    n_ended = 0
    for t in range(n_steps):
        for b in range(n_worlds):
            row = _next_row(ring)
            _copy_seen(ring, row, observation[t, b], mask[t, b], state[t, b])
            for i in range(n_agents):
                ring.target[row, i] = target[t, b, i]
                ring.logp[row, i] = logp[t, b, i]
                ring.reward[row, i] = reward[t, b, i]
                for a in range(amounts.shape[3]):
                    ring.amounts[row, i, a] = amounts[t, b, i, a]
            ring.following[row] = NOTHING if terminated[t, b] else UNKNOWN
            _link(ring, still, b, row)
            n_ended = _begin(ring, still, ended, n_ended, b)
            if terminated[t, b]:
                n_ended = _close(still, ended, n_ended, b)
            elif truncated[t, b]:
                f = final_of[t, b]
                last = _next_row(ring)
                _copy_seen(ring, last, final_observation[f], final_mask[f], final_state[f])
                ring.following[last] = FINAL
                _link(ring, still, b, last)
                n_ended = _close(still, ended, n_ended, b)
    return n_ended


@kernel
def _follow(step_place: I8, step_weight: F4, behind: I8, discount: F4, following: I8, place: I8, gamma: float) -> None:
    """Write the chains that start at places (R,) into the first four arguments, as in ``JointDraw``."""
    n_steps = step_place.shape[1]
    for r in range(place.size):
        row, weight, is_over = place[r], 1.0, False
        for j in range(n_steps):
            if is_over:
                step_place[r, j] = step_place[r, j - 1]
                step_weight[r, j] = 0.0
                continue
            step_place[r, j] = row
            step_weight[r, j] = weight
            weight *= gamma
            if following[row] == NOTHING:
                weight, is_over = 0.0, True
            else:
                row = following[row]
                is_over = following[row] == FINAL
        behind[r] = row
        discount[r] = weight


class JointReplay(PriorityRing):
    """Transitions of whole worlds."""

    ring: Ring

    def __init__(self, n_places: int, sizes: JointSizes, n_step: int, gamma: float, alpha: float) -> None:
        """Allocate ``n_places`` rows; priorities count to the power ``alpha``, 0 for equal chances."""
        n, f, k, a, s = sizes
        self.sizes, self.n_step, self.gamma = sizes, n_step, gamma
        ring = Ring(
            np.zeros((n_places, n, f), np.float32),
            np.zeros((n_places, n, k), np.bool_),
            np.zeros((n_places, s), np.float32),
            np.zeros((n_places, n), np.int64),
            np.zeros((n_places, n, a), np.float32),
            np.zeros((n_places, n), np.float32),
            np.zeros((n_places, n), np.float32),
            np.full(n_places, UNKNOWN, np.int64),
            np.zeros(1, np.int64),
        )
        super().__init__(ring, n_places, alpha)

    def nothing_open(self, shape: tuple[int, ...]) -> Open:
        """Return the open rows of no world yet, (B,)."""
        return Open(np.zeros((*shape, self.n_step), np.int64), np.zeros(shape, np.int64))

    def add(self, rows: JointRows, world_ids: I8) -> int:
        """Take in a fragment of worlds; return how many transitions became drawable."""
        n_steps, n_worlds = rows.terminated.shape
        n_finals = len(rows.finals.t) if rows.finals is not None else 0
        if n_steps * n_worlds + n_finals > self.n_places:
            raise ConfigError(
                f"replay_steps = {self.n_places}: a fragment has {n_steps * n_worlds + n_finals} rows; "
                "expected room for one at least"
            )
        observation = owned(rows.observation)
        still = self._open_rows(world_ids, (n_worlds,), observation)
        written = int(self.ring.n_written[0])
        ended: I8 = np.empty(n_steps * n_worlds + still.serial.size, np.int64)
        n_ended = _write_rows(
            self.ring,
            still,
            ended,
            observation,
            owned(rows.mask),
            self._state(rows.state, (n_steps + 1, n_worlds)),
            owned(rows.target),
            owned(rows.amounts),
            owned(rows.logp),
            owned(rows.reward),
            owned(rows.terminated),
            owned(rows.truncated),
            *self._finals(rows),
        )
        return self._make_drawable(written, ended[:n_ended])

    def draw(self, n_rows: int, beta: float, generator: np.random.Generator) -> JointDraw:
        """Return transitions drawn by priority, with weights that make up for it; fully so at ``beta`` 1."""
        place = self.tree.draw(n_rows, generator)
        drawn = self._chains(place)
        if self.alpha == 0.0:
            return drawn
        weight = (self.n_ready * self.tree.priorities[place] / self.tree.total) ** -beta
        return drawn._replace(weight=(weight / weight.max()).astype(np.float32))

    def _chains(self, place: I8) -> JointDraw:
        """Return the transitions that start at places (R,), each of weight 1."""
        n_rows, n_step = len(place), self.n_step
        step_place: I8 = np.empty((n_rows, n_step), np.int64)
        step_weight: F4 = np.empty((n_rows, n_step), np.float32)
        behind: I8 = np.empty(n_rows, np.int64)
        discount: F4 = np.empty(n_rows, np.float32)
        _follow(step_place, step_weight, behind, discount, self.ring.following, place, self.gamma)
        return JointDraw(place, step_place, step_weight, behind, discount, np.ones(n_rows, np.float32))

    def ready_returns(self) -> tuple[F4, F4]:
        """Return the rewards (P, N), discounted, and the discounts (P,) of all transitions that can be drawn."""
        drawn = self._chains(np.flatnonzero(self.tree.priorities > 0.0))
        returns: F4 = (self.ring.reward[drawn.step_place] * drawn.step_weight[..., None]).sum(1)
        return returns, drawn.discount

    def _state(self, state: F4 | None, shape: tuple[int, ...]) -> F4:
        return np.zeros((*shape, 0), np.float32) if state is None else owned(state)

    def _finals(self, rows: JointRows) -> tuple[I8, F4, BOOL, F4]:
        """Return the index of each step's final observation (T, B) and what was seen there."""
        index: I8 = np.full(rows.terminated.shape, -1, np.int64)
        finals = rows.finals
        if finals is None:
            n, f, k, _, s = self.sizes
            nowhere = np.zeros((0, n, f), np.float32), np.zeros((0, n, k), np.bool_), np.zeros((0, s), np.float32)
            return index, *nowhere
        index[finals.t, finals.b] = np.arange(len(finals.t))
        state = self._state(finals.state, (len(finals.t),))
        return index, owned(finals.observation), owned(finals.mask), state


def shortened(drawn: JointDraw, n_steps: I8) -> JointDraw:
    """Return transitions that end after so many of their steps (R,), one or more, and go on from the row behind."""
    n_rows, n_all = drawn.step_weight.shape
    is_cut = n_steps < (drawn.step_weight > 0.0).sum(1)
    at = np.arange(n_rows), np.minimum(n_steps, n_all - 1)
    weight = np.where(np.arange(n_all) < n_steps[:, None], drawn.step_weight, np.float32(0.0))
    behind = np.where(is_cut, drawn.step_place[at], drawn.behind)
    return drawn._replace(
        step_weight=weight, behind=behind, discount=np.where(is_cut, drawn.step_weight[at], drawn.discount)
    )


class Walk(NamedTuple):
    """The steps of drawn transitions one by one; R rows, L steps."""

    behind: I8  # (R, L) row behind each step
    discount: F4  # (R, L) weight of the value behind; 0 behind a termination
    is_alive: BOOL  # (R, L) False beyond a transition's end


def walk(drawn: JointDraw) -> Walk:
    """Return what lies behind each step of transitions."""
    is_alive = drawn.step_weight > 0.0
    goes_on = np.concatenate((is_alive[:, 1:], np.zeros((len(is_alive), 1), np.bool_)), 1)
    later = np.concatenate((drawn.step_weight[:, 1:], drawn.discount[:, None]), 1)
    places = np.concatenate((drawn.step_place[:, 1:], drawn.behind[:, None]), 1)
    weight = np.where(goes_on, later, drawn.discount[:, None])
    discount = np.divide(weight, drawn.step_weight, out=np.zeros_like(weight), where=is_alive)
    return Walk(np.where(goes_on, places, drawn.behind[:, None]), discount, is_alive)


def join_worlds(parts: Sequence[JointRows]) -> JointRows:
    """Return fragments of the same steps of different worlds as one; undoes ``Rollout.split``."""
    if len(parts) == 1:
        return parts[0]
    moved = []
    first = 0
    for part in parts:
        if part.finals is not None:
            moved.append(part.finals._replace(b=part.finals.b + first))
        first += part.terminated.shape[1]
    columns = {name: _joined([getattr(part, name) for part in parts], 1) for name in JointRows._fields[:-1]}
    finals = {name: _joined([getattr(part, name) for part in moved], 0) for name in Finals._fields} if moved else None
    return JointRows(**columns, finals=None if finals is None else Finals(**finals))


def _joined(arrays: list[Any], axis: int) -> Any:
    return None if arrays[0] is None else np.concatenate(arrays, axis)
