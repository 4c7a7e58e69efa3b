"""Watch a world of PeersimGym's slots, in which nothing has an instant within a slot.

What is seen after a step is taken to have been so during all of it. How a task ended is told by where it was last and
by the world's counts: where these do not fit each other, the ending has no place on the map.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.arrays import I8
from envs.fog.peersim import state as s
from envs.viewer.base import Recorder, Stretch
from envs.viewer.recording import FIRST_DROP, IN_TIME, LATE, NOWHERE, RESULT, SERVING, UPLOAD, WAITING

_KEY = ("client_entry", "sent_slot", "due_slot", "type")  # with its place in the state, these name a task
_HOME, _ON_LINK = (s.RESULT, s.TO_CLIENT), (s.APPLICATION, s.OFFLOADED, s.RESULT, s.TO_CLIENT)


@dataclass
class _Track:
    """A task that is alive, and where it is."""

    number: int
    kind: int
    place: int
    start_s: float
    due_s: float
    node: int
    client: int
    stage: int


class SlotRecorder(Recorder):
    """Records the fog world with PeersimGym's semantics."""

    drop_reasons = s.DROP_REASONS

    def begin(self) -> None:
        """Forget everything; see Recorder.begin."""
        super().begin()
        self._alive: dict[tuple[int, ...], _Track] = {}
        self._n_tasks = 0
        self._counts = np.zeros(len(s.SUM_NAMES))

    def _now_s(self) -> float:
        return float(self._world.state.world["slot"][self._b] * self._world.scenario.params.slot_s)

    def _agents_with_task(self) -> list[bool]:
        return [flag == 1 for flag in self._world.state.agent["has_task"][self._b].tolist()]

    def _links(self) -> tuple[I8, I8]:
        entry = self._world.setup.entry
        return np.asarray(entry["source"], np.int64), np.asarray(entry["node"], np.int64)

    def _take_in(self, begin_s: float, end_s: float) -> None:
        tasks = self._world.state.task[self._b]
        seen = {}
        for place in np.flatnonzero(tasks["stage"] != s.FREE).tolist():
            seen[(place, *(int(tasks[name][place]) for name in _KEY))] = tasks[place]
        gone = [self._alive.pop(key) for key in [key for key in self._alive if key not in seen]]
        self._closed += [self._stretch(track, begin_s) for track in gone]
        for key, task in seen.items():
            self._follow(key, task, begin_s)
        self._end(gone, 0.5 * (begin_s + end_s))

    def _open_stretches(self) -> Iterator[Stretch]:
        for track in self._alive.values():
            yield self._stretch(track, math.inf)

    @staticmethod
    def _stretch(track: _Track, end_s: float) -> Stretch:
        return track.number, track.kind, track.place, track.start_s, track.start_s, end_s, track.due_s

    def _follow(self, key: tuple[int, ...], task: Any, begin_s: float) -> None:
        """Note where a task was in the step that began at ``begin_s``."""
        kind, place = self._where(key[0], task)
        track = self._alive.get(key)
        if track is None:
            slot_s = self._world.scenario.params.slot_s
            due_s = float(task["due_slot"]) * slot_s if task["due_slot"] < s.NEVER_SLOT else math.inf
            client = int(self._world.setup.entry["source"][task["client_entry"]])
            track = _Track(self._n_tasks, kind, place, begin_s, due_s, 0, client, 0)
            self._n_tasks += 1
            self._alive[key] = track
        elif (kind, place) != (track.kind, track.place):
            self._closed.append(self._stretch(track, begin_s))
            track.kind, track.place, track.start_s = kind, place, begin_s
        track.node, track.stage = int(task["node"]), int(task["stage"])

    def _where(self, place: int, task: Any) -> tuple[int, int]:
        """Return the kind and the place of the stretch that a task is in; messages to oneself wait at the node."""
        stage, node = int(task["stage"]), int(task["node"])
        if stage not in _ON_LINK:
            return (SERVING if stage == s.SERVICE else WAITING), node
        entries = self._world.setup.entry
        path = self._world.state.path[self._b, place]
        if stage == s.APPLICATION:
            entry = int(task["client_entry"])
        elif stage == s.OFFLOADED:
            entry = int(path[task["n_hops"] - 1])
        elif stage == s.TO_CLIENT:
            entry = int(entries["back"][task["client_entry"]])
        elif task["hops_left"] < task["n_hops"]:
            entry = int(entries["back"][path[task["hops_left"]]])
        else:
            return WAITING, node  # a result's message of its node to itself
        if entries["source"][entry] == entries["node"][entry]:
            return WAITING, node
        return (RESULT if stage in _HOME else UPLOAD), entry

    def _end(self, gone: list[_Track], time_s: float) -> None:
        """Give the endings that the world has counted to the tasks that are gone."""
        counts = self._world.state.sums[self._b].copy()
        new, self._counts = counts - self._counts, counts
        self._created_s += [time_s] * int(new[s.CREATED])
        n_finished, n_in_time = int(new[s.COMPLETED]), int(new[s.IN_TIME])
        outcomes = Counter({IN_TIME: n_in_time, LATE: n_finished - n_in_time})
        for reason in range(len(s.DROP_REASONS)):
            outcomes[FIRST_DROP + reason] += int(new[s.DROPPED + reason])
        response_s = new[s.RESPONSE_S] / n_finished if n_finished else math.nan
        gone.sort(key=lambda track: track.stage, reverse=True)  # what was on its way to its client finished, first
        for outcome, count in outcomes.items():
            for _ in range(count):
                is_finished = outcome < FIRST_DROP
                track = next((each for each in gone if (each.stage in (*_HOME, s.SERVICE)) == is_finished), None)
                if track is not None:
                    gone.remove(track)
                node = NOWHERE if track is None else track.client if is_finished else track.node
                self._endings.append((time_s, node, outcome, response_s if is_finished else math.nan))
