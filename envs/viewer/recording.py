"""What happened in one world, as plain arrays: where every task was when, how it ended, and who decided what.

A recording knows nothing of pictures. ``Recording.at`` returns the network at any instant, not only at the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.topologies.topology import Topology

WAITING, SERVING, UPLOAD, RESULT = range(4)  # kinds of a stretch
IN_TIME, LATE, FIRST_DROP = 0, 1, 2  # outcomes; FIRST_DROP + i is dropped for reason i of the recording's drop_reasons
NOWHERE = -1  # node of an ending whose place is not known


class Stretches(NamedTuple):
    """Times that tasks spent in one place, (S,) each, by start. Of links, motion begins at ``move_s``."""

    task: I8  # running number of the task
    kind: I8  # WAITING or SERVING at a node, UPLOAD or RESULT on a link
    place: I8  # the node or the link
    start_s: F8
    move_s: F8  # until then the task waits at the beginning of the link for the channel
    end_s: F8  # infinite where the end was not seen
    due_s: F8  # deadline of the task, infinite for none


class Endings(NamedTuple):
    """Tasks that left the system, (E,) each, by time."""

    time_s: F8
    node: I8  # where: the origin of a finished task, the node that dropped it; NOWHERE where not known
    outcome: I8  # IN_TIME, LATE, FIRST_DROP + ...
    response_s: F8  # NaN for dropped tasks


class Decisions(NamedTuple):
    """Decisions that agents took on a task, (D,) each, by time; staying local has the agent's node as target."""

    time_s: F8
    node: I8
    target: I8


class Moving(NamedTuple):
    """Tasks on links at an instant, (X,) each."""

    link: I8
    progress: F8  # 0 at the source, 1 at the target; 0 while waiting for the channel
    is_result: BOOL
    is_late: BOOL


class Fading(NamedTuple):
    """Something that has just happened, (X,) each; ``age`` runs from 0 to 1."""

    node: I8
    what: I8  # the target node of a decision, the outcome of an ending
    age: F8


@dataclass(frozen=True)
class Figures:
    """Figures from the start of the recording to an instant."""

    created: int
    in_time: int
    late: int
    dropped: tuple[int, ...]  # by the recording's drop_reasons
    response_s_mean: float  # over finished tasks; NaN before the first

    @property
    def left(self) -> int:
        """Tasks that finished or were dropped."""
        return self.in_time + self.late + sum(self.dropped)

    @property
    def in_time_frac(self) -> float:
        """Share of the tasks that left which finished in time; NaN before the first."""
        return self.in_time / self.left if self.left else float("nan")

    @property
    def drop_frac(self) -> float:
        """Share of the tasks that left which were dropped; NaN before the first."""
        return sum(self.dropped) / self.left if self.left else float("nan")


@dataclass(frozen=True, eq=False)
class Frame:
    """The network at one instant; what happens at that very instant is not in it yet."""

    time_s: float
    step: int  # steps that have begun
    waiting: I8  # (M,) tasks in the queue
    serving: I8  # (M,) tasks in service
    late: I8  # (M,) tasks at the node that are past their deadline
    moving: Moving
    decisions: Fading
    endings: Fading
    figures: Figures


@dataclass(frozen=True, eq=False)
class Recording:
    """One world from ``step_s[0]`` to ``step_s[-1]``."""

    scenario: str
    policy: str
    drop_reasons: tuple[str, ...]
    world_id: int
    topology: Topology
    link_source: I8  # (L,) nodes that tasks move between; links of the world's own, where it has such
    link_target: I8
    agent_node: I8  # (N,) nodes that decide
    step_s: F8  # (T + 1,) instants of the decisions, and of the end
    created_s: F8  # (J,) instants at which tasks were created, ascending
    stretches: Stretches
    endings: Endings
    decisions: Decisions
    n_steps_before: int  # steps of the episode before step_s[0]
    before: Figures  # of what was forgotten; zeros where the endings are those since the episode's start

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Words for the outcomes of endings."""
        return ("in time", "late", *(f"dropped: {reason.replace('_', ' ')}" for reason in self.drop_reasons))

    @property
    def n_steps(self) -> int:
        """Steps that were recorded."""
        return len(self.step_s) - 1

    @property
    def duration_s(self) -> float:
        """Seconds from the first decision to the end."""
        return float(self.step_s[-1] - self.step_s[0])

    def without_first(self, n_steps: int) -> Recording:
        """Return the recording from a later step on; its figures go on counting from the start."""
        n_left_out = min(n_steps, self.n_steps)
        return replace(self, step_s=self.step_s[n_left_out:], n_steps_before=self.n_steps_before + n_left_out)

    def instants(self, per_step: int) -> F8:
        """Return evenly spaced instants for frames, the start and the end included, ``per_step`` a step on average."""
        return np.linspace(self.step_s[0], self.step_s[-1], max(self.n_steps * per_step, 1) + 1)

    def at(self, time_s: float, decisions_s: float, endings_s: float) -> Frame:
        """Return the network just before an instant; decisions and endings fade over so many seconds."""
        s, n_nodes = self.stretches, self.topology.n_nodes
        here = np.flatnonzero((s.start_s < time_s) & (s.end_s >= time_s))
        kind, place, is_late = s.kind[here], s.place[here], s.due_s[here] < time_s
        counts = [np.bincount(place[kind == each], minlength=n_nodes) for each in (WAITING, SERVING)]
        late = np.bincount(place[(kind <= SERVING) & is_late], minlength=n_nodes)
        on_link = here[kind >= UPLOAD]
        way_s = s.end_s[on_link] - s.move_s[on_link]
        gone_s = np.maximum(time_s - s.move_s[on_link], 0.0)
        moves = np.isfinite(way_s) & (way_s > 0.0)
        progress = np.divide(gone_s, way_s, out=np.full(len(on_link), 0.5), where=moves)
        return Frame(
            time_s=time_s,
            step=self.n_steps_before + int(np.searchsorted(self.step_s[:-1], time_s)),
            waiting=counts[0],
            serving=counts[1],
            late=late,
            moving=Moving(place[kind >= UPLOAD], progress, s.kind[on_link] == RESULT, is_late[kind >= UPLOAD]),
            decisions=_fading(self.decisions.time_s, self.decisions.node, self.decisions.target, time_s, decisions_s),
            endings=_fading(self.endings.time_s, self.endings.node, self.endings.outcome, time_s, endings_s),
            figures=self.figures(time_s),
        )

    def figures(self, time_s: float) -> Figures:
        """Return the figures of everything before an instant."""
        before, n_left = self.before, int(np.searchsorted(self.endings.time_s, time_s))
        counts = self._counts[n_left]
        finished_before = before.in_time + before.late
        finished = finished_before + int(counts[IN_TIME] + counts[LATE])
        response_s = self._response_s[n_left] + (before.response_s_mean * finished_before if finished_before else 0.0)
        return Figures(
            created=before.created + int(np.searchsorted(self.created_s, time_s)),
            in_time=before.in_time + int(counts[IN_TIME]),
            late=before.late + int(counts[LATE]),
            dropped=tuple(int(a + b) for a, b in zip(before.dropped, counts[FIRST_DROP:], strict=True)),
            response_s_mean=float(response_s / finished) if finished else float("nan"),
        )

    @cached_property
    def _counts(self) -> I8:
        """Endings of each outcome among the first 0, 1, ... endings."""
        each = self.endings.outcome[:, None] == np.arange(len(self.outcomes))
        return np.concatenate((np.zeros((1, len(self.outcomes)), np.int64), each.cumsum(axis=0)))

    @cached_property
    def _response_s(self) -> F8:
        """Sum of the response times of the first 0, 1, ... endings."""
        return np.concatenate(([0.0], np.nan_to_num(self.endings.response_s).cumsum()))


def no_figures(drop_reasons: tuple[str, ...]) -> Figures:
    """Return the figures before anything has happened."""
    return Figures(created=0, in_time=0, late=0, dropped=(0,) * len(drop_reasons), response_s_mean=float("nan"))


def _fading(happened_s: F8, node: I8, what: I8, time_s: float, glow_s: float) -> Fading:
    """Return what happened within ``glow_s`` before an instant."""
    first, end = np.searchsorted(happened_s, [time_s - glow_s, time_s])
    age = np.clip((time_s - happened_s[first:end]) / max(glow_s, 1e-300), 0.0, 1.0)
    return Fading(node[first:end], what[first:end], age)
