"""What the state of a fog world shows between two steps: everything that recordings read of it is read here."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from envs.arrays import F8
from envs.fog import state as s
from envs.scenario import Scenario

LOG_PLACES = 65_536  # endings of an episode that are told one by one: 6 MB a world
_READ = ("created_s", "due_s", "origin", "stage", "n_hops", "hops_left", "upload_s", "started_s", "entered_s", "link")
_LOGGED = (
    "created_s",
    "left_s",
    "origin_node",
    "last_node",
    "drop_reason",
    "hops",
    "upload_s",
    "return_s",
    "started_s",
    "due_s",
)
_NO_TASKS = (s.FREE, s.UPDATE, s.DELIVERED)  # stages of what is not a task


class TaskSeen(NamedTuple):
    """A task that is alive."""

    created_s: float
    due_s: float
    origin: int
    stage: int
    n_hops: int
    hops_left: int
    upload_s: float
    started_s: float
    entered_s: float
    link: int
    event_s: float  # when it will arrive, as things stand, if it is on a link
    size_bits: float
    result_bits: float
    path: tuple[int, ...]  # links that it crossed, or is on
    place: int  # its place in the state, which another task may take when it has left


class Ending(NamedTuple):
    """A row of the task log."""

    created_s: float
    left_s: float
    origin: int
    node: int
    reason: int  # -1: finished
    n_hops: int
    upload_s: float
    return_s: float
    started_s: float
    due_s: float


def watchable(scenario: Scenario) -> Scenario:
    """Return the scenario with a task log that recordings can read; the trajectories are the same."""
    params = scenario.params
    if not hasattr(params, "task_log_places") or params.task_log_places >= LOG_PLACES:
        return scenario
    return dataclasses.replace(scenario, params=dataclasses.replace(params, task_log_places=LOG_PLACES))


def now_s(world: Any, b: int) -> float:
    """Return the instant of the next decision."""
    return float(world.state.world["now_s"][b])


def tasks_seen(world: Any, b: int) -> list[TaskSeen]:
    """Return the tasks that are alive."""
    state = world.state
    places = np.flatnonzero(~np.isin(state.task["stage"][b], _NO_TASKS))
    rows = state.task[b][places]
    columns = [rows[name].tolist() for name in _READ]
    bits = (rows["size_bits"].tolist(), rows["result_bits"].tolist())
    n_hops = columns[_READ.index("n_hops")]
    paths = [tuple(path[:n]) for path, n in zip(state.path_link[b][places].tolist(), n_hops, strict=True)]
    event_s = _arrivals_s(world, b, rows).tolist()
    return [TaskSeen(*row) for row in zip(*columns, event_s, *bits, paths, places.tolist(), strict=True)]


def _arrivals_s(world: Any, b: int, rows: Any) -> F8:
    """Return the instants of the tasks' events; of those that share a channel, when they will arrive at this rate."""
    state, network, heap_place = world.state, world.network, rows["heap_place"]
    event_s = np.where(heap_place >= 0, state.event["time_s"][b][np.maximum(heap_place, 0)], np.inf)
    sending = np.flatnonzero((rows["is_sending"] == 1) & np.isin(rows["stage"], (s.UPLOAD, s.RETURN)))
    link = rows["link"][sending]
    since_s = state.channel["since_s"][b][network.link_channel[link]]
    event_s[sending] = since_s + rows["left_bits"][sending] / rows["rate_bps"][sending] + network.link_delay_s[link]
    return np.asarray(event_s, np.float64)


def endings_seen(world: Any, b: int, first: int) -> tuple[list[Ending], int]:
    """Return the rows of the task log from row ``first`` on, and how many tasks have left so far."""
    n_left = int(world.state.world["n_logged"][b])
    rows = world.state.log[b][first:n_left][:, [s.LOG_COLUMNS.index(name) for name in _LOGGED]]
    return [Ending(*row[:2], *map(int, row[2:6]), *row[6:]) for row in rows.tolist()], n_left


def refused_by_world(world: Any, b: int) -> int:
    """Return how many tasks found no place in the world's memory; they are in no log."""
    return int(world.state.sums[b, s.DROPPED + s.WORLD_FULL])


def has_task(world: Any, b: int) -> list[bool]:
    """Return which agents have a task to decide on."""
    return [task >= 0 for task in world.state.agent["next_task"][b].tolist()]


def way_home(world: Any, path: tuple[int, ...], origin: int) -> list[int]:
    """Return the links of the way back of a result whose task went along ``path``."""
    network = world.network
    if world.scenario.params.results == "reverse" or not path:
        return [int(network.link_back[link]) for link in reversed(path)]
    node, links = int(network.link_target[path[-1]]), []
    while node != origin:
        links.append(int(network.next_link[node, origin]))
        node = int(network.link_target[links[-1]])
    return links


def links_behind(world: Any, task: TaskSeen, way: list[int]) -> int:
    """Return how many links of its way home a result on a link has crossed."""
    if world.scenario.params.results == "reverse":
        return len(way) - task.hops_left - 1
    return way.index(task.link)


def transmission_s(world: Any, link: int, bits: float) -> float:
    """Return the seconds that a link takes with the whole rate for itself, delay included."""
    network = world.network
    return float(bits / network.link_rate_bps[link] + network.link_delay_s[link])


def waits_for_channel(world: Any) -> bool:
    """Return whether transmissions wait for a channel, rather than share it."""
    return bool(world.scenario.params.contention == "fifo")
