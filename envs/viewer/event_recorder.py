"""Watch a fog world step by step, and work out from what is seen between steps where every task was in between.

A task is decided on at most once a step, and arrivals, starts and ends leave exact instants behind: in the task while
it is alive, in the task log afterwards. So the history of a task is exact, however much happens inside a step. Only
where a result crosses several links within one step are the instants between them put in by proportion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.arrays import I8
from envs.fog.state import DROP_REASONS, WORLD_FULL
from envs.fog.state import RETURN as RETURNING
from envs.fog.state import UPLOAD as UPLOADING
from envs.viewer import glimpse
from envs.viewer.base import Recorder, Stretch
from envs.viewer.glimpse import Ending, TaskSeen
from envs.viewer.recording import FIRST_DROP, IN_TIME, LATE, NOWHERE, RESULT, SERVING, UPLOAD, WAITING


@dataclass
class _Hop:
    """A task's crossing of a link."""

    link: int
    left_s: float  # instant of the decision
    arrived_s: float  # as far as it is known
    upload_before_s: float  # seconds on links before this one


@dataclass
class _History:
    """What is known of a task."""

    number: int
    seen: TaskSeen
    hops: list[_Hop] = field(default_factory=list)
    completed_s: float = -1.0  # end of service; -1 before it
    way_home: list[int] = field(default_factory=list)
    home_s: dict[int, float] = field(default_factory=dict)  # instants of its result's arrivals over links 0, 1, ...


class EventRecorder(Recorder):
    """Records the fog world of exact instants."""

    drop_reasons = DROP_REASONS

    def begin(self) -> None:
        """Forget everything; see Recorder.begin."""
        super().begin()
        self._alive: dict[tuple[int, int, float], _History] = {}
        self._n_tasks, self._n_left, self._n_refused = 0, 0, 0

    def _now_s(self) -> float:
        return glimpse.now_s(self._world, self._b)

    def _agents_with_task(self) -> list[bool]:
        return glimpse.has_task(self._world, self._b)

    def _links(self) -> tuple[I8, I8]:
        return self._world.network.link_source, self._world.network.link_target

    def _take_in(self, begin_s: float, end_s: float) -> None:
        world, b = self._world, self._b
        seen = {(task.place, task.origin, task.created_s): task for task in glimpse.tasks_seen(world, b)}
        rows, self._n_left = glimpse.endings_seen(world, b, self._n_left)
        self._close(seen.keys(), rows, begin_s)
        for key, task in seen.items():
            self._update(self._alive.get(key) or self._new(key, task), task, begin_s)
        n_refused, between_s = glimpse.refused_by_world(world, b), 0.5 * (begin_s + end_s)
        for _ in range(n_refused - self._n_refused):
            self._created_s.append(between_s)
            self._endings.append((between_s, NOWHERE, FIRST_DROP + WORLD_FULL, math.nan))
        self._n_refused = n_refused

    def _open_stretches(self) -> Iterator[Stretch]:
        for history in self._alive.values():
            yield from self._stretches(history, None)

    def _new(self, key: tuple[int, int, float], task: TaskSeen) -> _History:
        history = _History(self._n_tasks, task)
        self._n_tasks += 1
        self._created_s.append(task.created_s)
        self._alive[key] = history
        return history

    def _update(self, history: _History, task: TaskSeen, decided_s: float) -> None:
        """Take in how a task stands after a step whose decisions were taken at ``decided_s``."""
        for link in task.path[len(history.hops) :]:
            history.hops.append(_Hop(link, decided_s, math.inf, history.seen.upload_s))
        if task.stage == UPLOADING:
            history.hops[-1].arrived_s = task.event_s
        else:
            self._arrive(history, task.upload_s)
        if task.stage == RETURNING:
            self._complete(history, task.path, task.entered_s)
            history.home_s[glimpse.links_behind(self._world, task, history.way_home)] = task.event_s
        history.seen = task

    @staticmethod
    def _arrive(history: _History, upload_s: float) -> None:
        """Note the arrival over the last link; ``upload_s`` are the seconds on links up to it."""
        if history.hops:
            hop = history.hops[-1]
            hop.arrived_s = hop.left_s + upload_s - hop.upload_before_s

    def _complete(self, history: _History, path: tuple[int, ...], completed_s: float) -> None:
        """Note the end of service."""
        if history.completed_s < 0.0:
            history.completed_s = max(completed_s, history.seen.started_s)
            history.way_home = glimpse.way_home(self._world, path, history.seen.origin)

    def _close(self, still: Any, rows: list[Ending], decided_s: float) -> None:
        """End the histories of the tasks that left in a step."""
        of_key: dict[tuple[int, float], list[Ending]] = {}
        for row in rows:
            of_key.setdefault((row.origin, row.created_s), []).append(row)
        gone = [key for key in self._alive if key not in still]
        # Tasks that were created at one instant at one node differ by what has happened to them; the most goes first.
        gone.sort(key=lambda key: (self._alive[key].seen.started_s, self._alive[key].seen.n_hops), reverse=True)
        for key in gone:
            history = self._alive.pop(key)
            candidates = of_key.get(key[1:], [])
            ending = next((row for row in candidates if self._fits(history, row)), None)
            if ending is None:  # the log is full
                self._closed += self._stretches(history, decided_s)
                continue
            candidates.remove(ending)
            self._end(history, ending, decided_s)
        for row in [row for rows_of_key in of_key.values() for row in rows_of_key]:  # created and gone in one step
            self._n_tasks += 1
            self._created_s.append(row.created_s)
            self._end(_History(self._n_tasks - 1, _unseen(row)), row, decided_s)

    def _fits(self, history: _History, row: Ending) -> bool:
        """Return whether a row of the log can be the end of this task."""
        seen = history.seen
        if row.due_s != seen.due_s:
            return False
        if seen.started_s >= 0.0:
            return row.started_s == seen.started_s
        if seen.stage == UPLOADING or row.n_hops == seen.n_hops:
            is_there = row.upload_s == seen.upload_s or seen.stage == UPLOADING
            return is_there and row.n_hops == seen.n_hops and row.node == self._place_of(history)
        return row.n_hops == seen.n_hops + 1 and self._link_to(row.node, history) >= 0

    def _link_to(self, node: int, history: _History) -> int:
        """Return the link to a node from where a task was last, -1 for none."""
        network = self._world.network
        links = np.flatnonzero((network.link_source == self._place_of(history)) & (network.link_target == node))
        return int(links[0]) if len(links) else -1

    def _end(self, history: _History, row: Ending, decided_s: float) -> None:
        """Write the history of a task that left, and its ending."""
        if self._place_of(history) != row.node:  # decided on and gone in one step
            link = self._link_to(row.node, history)
            history.hops.append(_Hop(link, decided_s, math.inf, history.seen.upload_s))
        self._arrive(history, row.upload_s)
        history.seen = history.seen._replace(started_s=row.started_s)
        is_finished = row.reason < 0
        if is_finished:
            self._complete(history, tuple(hop.link for hop in history.hops), row.left_s - row.return_s)
        self._closed += self._stretches(history, row.left_s)
        outcome = FIRST_DROP + row.reason
        if is_finished:
            outcome = IN_TIME if row.left_s <= row.due_s else LATE
        response_s = row.left_s - row.created_s if is_finished else math.nan
        self._endings.append((row.left_s, row.origin if is_finished else row.node, outcome, response_s))

    def _place_of(self, history: _History) -> int:
        """Return the node where a task was, or was going to, when it was last seen."""
        if not history.hops:
            return history.seen.origin
        return int(self._world.network.link_target[history.hops[-1].link])

    def _stretches(self, history: _History, left_s: float | None) -> Iterator[Stretch]:
        """Yield where a task was, until it left or, for one that has not, with the ends that are foreseen."""
        seen, end_s = history.seen, math.inf if left_s is None else left_s
        at_s, node = seen.created_s, seen.origin
        started_s = seen.started_s if seen.started_s >= 0.0 else math.inf  # a limit to arrivals, which are rounded

        def stretch(kind: int, place: int, until_s: float, move_s: float | None = None) -> Stretch:
            return (
                history.number,
                kind,
                place,
                at_s,
                at_s if move_s is None else move_s,
                min(until_s, end_s),
                seen.due_s,
            )

        for hop in history.hops:
            yield stretch(WAITING, node, hop.left_s)
            at_s, until_s = hop.left_s, min(hop.arrived_s, end_s, started_s)
            yield stretch(UPLOAD, hop.link, until_s, self._begin_of_motion(hop.link, seen.size_bits, at_s, until_s))
            at_s, node = until_s, int(self._world.network.link_target[hop.link])
        if at_s >= end_s:
            return
        if seen.started_s < 0.0:
            yield stretch(WAITING, node, math.inf)
            return
        yield stretch(WAITING, node, seen.started_s)
        at_s = seen.started_s
        if history.completed_s < 0.0:
            yield stretch(SERVING, node, math.inf)
            return
        yield stretch(SERVING, node, history.completed_s)
        at_s = history.completed_s
        for link, until_s in zip(history.way_home, self._arrivals_at_home(history, end_s), strict=True):
            yield stretch(RESULT, link, until_s, self._begin_of_motion(link, seen.result_bits, at_s, until_s))
            at_s = until_s

    def _begin_of_motion(self, link: int, bits: float, start_s: float, end_s: float) -> float:
        """Return when a transmission begins that was given to a link at ``start_s`` and arrives at ``end_s``."""
        if math.isinf(end_s) or not glimpse.waits_for_channel(self._world):
            return start_s
        return max(start_s, end_s - glimpse.transmission_s(self._world, link, bits))

    def _arrivals_at_home(self, history: _History, left_s: float) -> list[float]:
        """Return when a result arrives over each link of its way; what was not seen is put in by proportion."""
        bits, links = history.seen.result_bits, history.way_home
        weights = [max(glimpse.transmission_s(self._world, link, bits), 1e-12) for link in links]
        reached = np.cumsum([0.0, *weights])
        known = {place + 1: time_s for place, time_s in history.home_s.items()} | {0: history.completed_s}
        if math.isfinite(left_s):
            known[len(links)] = left_s
        places = sorted(place for place in known if known[place] <= left_s)
        arrivals = np.interp(reached[1:], reached[places], [known[place] for place in places])
        arrivals[places[-1] :] = math.inf
        if places[-1] > 0:
            arrivals[places[-1] - 1] = known[places[-1]]
        return [float(arrival) for arrival in arrivals]


def _unseen(row: Ending) -> TaskSeen:
    """Return a task that was created and left between two looks, as it was created."""
    return TaskSeen(
        created_s=row.created_s,
        due_s=row.due_s,
        origin=row.origin,
        stage=0,
        n_hops=0,
        hops_left=0,
        upload_s=0.0,
        started_s=-1.0,
        entered_s=row.created_s,
        link=-1,
        event_s=math.inf,
        size_bits=0.0,
        result_bits=0.0,
        path=(),
        place=-1,
    )
