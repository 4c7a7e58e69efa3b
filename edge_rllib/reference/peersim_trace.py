"""The first slots of one episode of PeersimGym beside the distribution of ours.

One episode is one draw: in each slot its value is so many standard deviations from the mean of ours. The largest such
number of a series is compared with the largest ones of our own worlds, each held against all, so that a long series
of a lawful episode is not refused for its one odd slot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_rllib.reference.peersim_check import named_scenarios, read_configuration
from edge_rllib.reference.rows import Report, Row, refused_row, unknown_row
from envs.arrays import F8, I8
from envs.errors import EdgeError, UnknownName
from envs.scenario import Scenario

MAX_TAIL_PROB = 0.0027  # of a lawful episode, the share that is refused; 3 standard deviations of a normal law
# series of a trace, summed over its nodes -> metric sum
_SUMS = {
    "created": "created",
    "finished": "completed",
    "expired": "dropped_expired",
    "client_dropped": "client_dropped",
}
_SEEN = "obs_node_Q_free"  # of each agent: its node, tasks and free places of the nodes in its list


def is_trace(contents: Any) -> bool:
    """Return whether a file's contents are slots of episodes by policy."""
    return (
        isinstance(contents, Mapping)
        and bool(contents)
        and all(
            isinstance(slots, list)
            and slots
            and all(isinstance(s, Mapping) and {"t", "trueQ"} <= set(s) for s in slots)
            for slots in contents.values()
        )
    )


def check_trace(
    contents: Mapping[str, Any], file: str, sibling: Mapping[str, Any] | None, n_worlds: int, seed: int = 0
) -> Report:
    """Return a row for each policy and series: sums and the mean response of all, tasks of nodes, what agents see."""
    n_nodes = len(next(iter(contents.values()))[0]["trueQ"])
    found = _scenario_entry(file, sibling, n_nodes)
    if isinstance(found, str):
        return Report(
            tuple(unknown_row(file, "-", policy, "-", None, found) for policy in contents), (f"{file}: {found}",)
        )
    name, entry = found
    rows: list[Row] = []
    try:
        scenario = read_configuration(entry, file, name)
    except EdgeError as error:
        return Report((refused_row(file, name, "-", str(error)),), ())
    for policy, slots in contents.items():
        try:
            ours = watch(scenario, policy, n_worlds, seed, 1 + max(int(slot["t"]) for slot in slots))
        except UnknownName as error:
            rows.append(unknown_row(file, name, policy, "-", None, str(error)))
            continue
        rows += _rows(file, name, policy, slots, ours)
    return Report(tuple(rows), ())


class Watched(NamedTuple):
    """What an observer sees in the first slots of our worlds."""

    series: dict[str, F8]  # (T, B); tasks of nodes (T, B, M); tasks and free places as agents see them (T, B, N, K)
    agent_node: I8  # (N,)
    target_node: I8  # (N, K), -1 padding


def watch(scenario: Scenario, policy: str, n_worlds: int, seed: int, n_slots: int) -> Watched:
    """Return what an observer sees in slots 0 to n_slots - 1 of worlds 0 to n_worlds - 1."""
    from edge_rllib.reference.peersim_play import POLICIES
    from envs.baselines.base import Player, look
    from envs.fog.peersim.world import PeersimWorld
    from envs.scenario import make

    if policy not in POLICIES:
        raise UnknownName("reference policy", policy, POLICIES)
    world = make(scenario, n_worlds, seed)
    assert isinstance(world, PeersimWorld)
    out = world.outcome()
    world.reset(np.arange(n_worlds), out)
    player = Player(POLICIES[policy], world.spec, np.arange(n_worlds), seed)
    names = world.spec.sum_names
    columns = {name: names.index(column) for name, column in _SUMS.items()}
    response, completed = names.index("response_s"), names.index("completed")
    seen_node = world.spec.target_node
    seen_entry = world.setup.node["first_entry"][world.setup.node_of_agent][:, None] + np.arange(seen_node.shape[1])
    seen_entry = np.where(seen_node >= 0, seen_entry, 0)
    series: dict[str, list[F8]] = {name: [] for name in (*columns, "rt", "tasks", "seen_queue", "seen_free")}
    for slot in range(n_slots):
        node, sums = world.state.node, world.state.sums
        for name, column in columns.items():
            series[name].append(sums[:, column].astype(np.float64))
        series["rt"].append(sums[:, response] / (scenario.params.slot_s * np.maximum(sums[:, completed], 1.0)))
        in_node = node["n_queued"] + node["n_received"] + (node["current"] >= 0)
        series["tasks"].append(in_node.astype(np.float64))
        series["seen_queue"].append(world.view().queue_tasks.copy())
        held = world.state.entry["seen_tasks"][:, seen_entry]
        held[:, :, 0] = in_node[:, world.setup.node_of_agent]
        series["seen_free"].append((world.setup.node["queue_places"][seen_node] - held).astype(np.float64))
        if slot < n_slots - 1:
            world.step(player.decide(look(world)), out)
    watched = {name: np.array(values) for name, values in series.items()}
    return Watched(watched, world.setup.node_of_agent.copy(), seen_node.copy())


def worst_z(values: F8, ours: F8) -> float:
    """Return the largest distance of a series (T,) from the mean of ours (T, B), in standard deviations.

    In a slot in which all of ours are equal, another value is infinitely far.
    """
    mean, sd = ours.mean(axis=1), ours.std(axis=1, ddof=1)
    distance = np.abs(values - mean)
    z = np.divide(distance, sd, out=np.where(distance > 1e-9, np.inf, 0.0), where=sd > 0.0)
    return float(z.max())


def _rows(file: str, name: str, policy: str, slots: Sequence[Mapping[str, Any]], watched: Watched) -> list[Row]:
    ours = watched.series
    times = [int(slot["t"]) for slot in slots]
    rows = []
    for series in _SUMS:
        theirs = np.array([float(np.sum(slot[series])) for slot in slots if series in slot])
        if len(theirs) == len(slots):
            rows.append(_row(file, name, policy, f"{series}, all nodes", theirs, ours[series][times]))
    if all({"rt", "finished"} <= set(slot) for slot in slots):
        # of each client the mean of its finished tasks
        theirs = np.array([np.dot(slot["rt"], slot["finished"]) / max(sum(slot["finished"]), 1) for slot in slots])
        rows.append(_row(file, name, policy, "rt, all clients", theirs, ours["rt"][times]))
    true_tasks = np.array([slot["trueQ"] for slot in slots], np.float64)
    for node in range(true_tasks.shape[1]):
        rows.append(
            _row(file, name, policy, f"tasks in node {node}", true_tasks[:, node], ours["tasks"][times][:, :, node])
        )
    if _SEEN in slots[0]:
        rows += _seen_rows(file, name, policy, slots, watched)
    for key in slots[0]:
        if key not in ("t", "trueQ", "rt", _SEEN, *_SUMS):
            rows.append(unknown_row(file, name, policy, key, None, "this series is not compared"))
    return rows


def _seen_rows(file: str, name: str, policy: str, slots: Sequence[Mapping[str, Any]], watched: Watched) -> list[Row]:
    """Return rows for the tasks and the free places that each agent sees at each node of its list."""
    rows = []
    times = [int(slot["t"]) for slot in slots]
    for n, (node, targets) in enumerate(zip(watched.agent_node.tolist(), watched.target_node.tolist(), strict=True)):
        n_targets = sum(target >= 0 for target in targets)
        try:
            theirs = np.array([[slot[_SEEN][n][1], slot[_SEEN][n][2]] for slot in slots], np.float64)
            is_ours = theirs.shape[2] == n_targets and all(slot[_SEEN][n][0] == node for slot in slots)
        except (IndexError, TypeError, ValueError):
            is_ours = False
        if not is_ours:
            why = f"expected of node {node} its number, {n_targets} queues and {n_targets} free places in each slot"
            rows.append(unknown_row(file, name, policy, f"{_SEEN}, node {node}", None, why))
            continue
        for k, target in enumerate(targets[:n_targets]):
            for part, series in enumerate(("queue", "free")):
                label = f"{series} of node {target} as node {node} sees it"
                ours = watched.series[f"seen_{series}"][times][:, :, n, k]
                rows.append(_row(file, name, policy, label, theirs[:, part, k], ours))
    return rows


def _row(file: str, name: str, policy: str, series: str, theirs: F8, ours: F8) -> Row:
    score = worst_z(theirs, ours)
    own = np.sort([worst_z(ours[:, b], ours) for b in range(ours.shape[1])])
    limit = float(np.quantile(own, 1.0 - MAX_TAIL_PROB))
    is_ok = score <= limit
    what = f"worst |z| of {len(theirs)} slots <= {limit:.3g}, as of all but {MAX_TAIL_PROB:.2%} of ours"
    label = f"{series}, mean over slots"
    return Row(
        file, name, policy, label, float(theirs.mean()), float(ours.mean()), score, what, "ok" if is_ok else "out"
    )


def _scenario_entry(file: str, sibling: Mapping[str, Any] | None, n_nodes: int) -> tuple[str, Mapping[str, Any]] | str:
    """Return the scenario that the file's name speaks of, or what is missing."""
    if sibling is None:
        return "its scenario's configuration is missing: expected a reference.json in the same folder"
    scenarios = named_scenarios(sibling, "reference.json")
    words = re.split(r"[^A-Za-z0-9]+", file)
    fitting = [name for name in scenarios if name in file or name.split("_")[0] in words]
    fitting = fitting or (list(scenarios) if len(scenarios) == 1 else [])
    for name in fitting:
        n_theirs = int(scenarios[name]["config"].get("SIZE", n_nodes))
        if n_theirs == n_nodes:
            return name, scenarios[name]
        return f"its slots have {n_nodes} nodes, but {name} in reference.json has {n_theirs}"
    return f"no scenario of reference.json is named in {file}: {', '.join(scenarios)}"
