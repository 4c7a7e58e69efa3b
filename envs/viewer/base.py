"""What recorders of all worlds share: steps, decisions, and turning what they saw into a recording."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np

from envs.arrays import I8
from envs.constants import LOCAL
from envs.viewer.recording import Decisions, Endings, Recording, Stretches, no_figures

Stretch = tuple[int, int, int, float, float, float, float]  # a row of Stretches


class Recorder(ABC):
    """Follows world ``b`` of a batch; call ``see`` after every step, beginning with the first of an episode.

    With ``keep_steps`` only that many steps stay in memory; the figures go on counting from the start. Subclasses fill
    ``_created_s``, ``_closed`` and ``_endings``, and say where the tasks are that are still alive.
    """

    drop_reasons: tuple[str, ...]

    def __init__(self, world: Any, b: int = 0, policy: str = "", keep_steps: int | None = None) -> None:
        """Begin before the first step."""
        self._world = world
        self._b, self._policy, self._keep_steps = b, policy, keep_steps
        self.begin()

    def begin(self) -> None:
        """Forget everything: the world is at the beginning of an episode."""
        self._episode = self._episode_of_world()
        self._step_s = [0.0]
        self._created_s: list[float] = []
        self._closed: list[Stretch] = []
        self._endings: list[tuple[float, int, int, float]] = []
        self._decisions: list[tuple[float, int, int]] = []
        self._n_steps_before, self._before = 0, no_figures(self.drop_reasons)
        self._has_task = [False] * self._world.spec.n_agents

    def see(self, decision: I8) -> bool:
        """Take in the step that the world has just made under ``decision`` (B, N) or (B, N, D).

        Return False, and take nothing in, where it ended the episode: the world is in the next one already, so that the
        very last step of an episode cannot be seen. Go on with ``begin``.
        """
        if self._episode_of_world() != self._episode:
            return False
        begin_s, end_s = self._step_s[-1], self._now_s()
        for n in np.flatnonzero(self._has_task).tolist():
            nodes = self._world.spec.target_node[n]
            for target in self._chosen_nodes(nodes, np.atleast_1d(decision[self._b, n])):
                self._decisions.append((begin_s, int(nodes[LOCAL]), target))
        self._take_in(begin_s, end_s)
        self._has_task = self._agents_with_task()
        self._step_s.append(end_s)
        if self._keep_steps is not None and len(self._step_s) > self._keep_steps + 1:
            self._forget()
        return True

    def recording(self) -> Recording:
        """Return what was seen so far; the recorder may go on."""
        rows = [*self._closed, *self._open_stretches()]
        rows.sort(key=lambda row: row[3])
        self._created_s.sort()
        self._endings.sort(key=lambda row: row[0])
        whole, real = np.int64, np.float64
        link_source, link_target = self._links()
        return Recording(
            scenario=self._world.spec.scenario,
            policy=self._policy,
            drop_reasons=self.drop_reasons,
            world_id=self._episode[0],
            topology=self._world.topology,
            link_source=link_source,
            link_target=link_target,
            agent_node=self._world.spec.target_node[:, LOCAL].copy(),
            step_s=np.array(self._step_s),
            created_s=np.array(self._created_s),
            stretches=Stretches(*_columns(rows, (whole, whole, whole, real, real, real, real))),
            endings=Endings(*_columns(self._endings, (real, whole, whole, real))),
            decisions=Decisions(*_columns(self._decisions, (real, whole, whole))),
            n_steps_before=self._n_steps_before,
            before=self._before,
        )

    @abstractmethod
    def _now_s(self) -> float:
        """Return the instant of the next decision."""

    @abstractmethod
    def _agents_with_task(self) -> list[bool]:
        """Return which agents have a task to decide on."""

    @abstractmethod
    def _links(self) -> tuple[I8, I8]:
        """Return the sources and targets (L,) of what stretches call links."""

    @abstractmethod
    def _take_in(self, begin_s: float, end_s: float) -> None:
        """Note what has happened in a step."""

    @abstractmethod
    def _open_stretches(self) -> Iterable[Stretch]:
        """Return where the tasks are, and were, that are still alive."""

    def _episode_of_world(self) -> tuple[int, int]:
        row = self._world.state.world[self._b]
        return int(row["world_id"]), int(row["episode"])

    @staticmethod
    def _chosen_nodes(nodes: I8, decision: I8) -> list[int]:
        """Return the nodes that were chosen, each once; a target that there is not stands for the own node."""
        chosen = [
            int(nodes[k]) if 0 <= k < len(nodes) and nodes[k] >= 0 else int(nodes[LOCAL]) for k in decision.tolist()
        ]
        return list(dict.fromkeys(chosen))

    def _forget(self) -> None:
        """Count what happened before the steps that are kept, and let it go."""
        assert self._keep_steps is not None
        first_s = self._step_s[-self._keep_steps - 1]
        self._before = self.recording().figures(first_s)
        self._n_steps_before += len(self._step_s) - self._keep_steps - 1
        del self._step_s[: -self._keep_steps - 1]
        self._created_s = [time_s for time_s in self._created_s if time_s >= first_s]
        self._closed = [row for row in self._closed if row[5] >= first_s]
        self._endings = [row for row in self._endings if row[0] >= first_s]
        self._decisions = [row for row in self._decisions if row[0] >= first_s]


def _columns(rows: list[Any], types: tuple[Any, ...]) -> list[Any]:
    """Return the columns of rows as arrays of the types."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    return [np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)]
