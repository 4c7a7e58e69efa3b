"""Statistics of PeersimGym's episodes beside those of ours under the same configuration and policy.

Layouts: ``reference.json`` (scenarios with a configuration, what follows from it, and means over episodes) and
``per_seed.json`` (a row for each episode). Event orders are random on both sides, so that means are compared, in
standard errors of their difference. A metric or policy that this project does not have is shown and not judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.reference.peersim_import import scenario_of
from edge_rllib.reference.rows import Report, Row, Sample, equal_row, refused_row, unknown_row, worst_row, z_row
from envs.arrays import F8
from envs.errors import EdgeError, UnknownName
from envs.scenario import Scenario
from envs.topologies.layered import Layered
from envs.workloads.task_types import TaskTypes

Figures = dict[str, F8]
Cell = Sample | tuple[Sample, ...] | None  # of a metric; of each node, for a list; of nothing that is a number
# scenario, policy, worlds, seed -> metric -> (worlds,), of lists (worlds, nodes)
Play = Callable[[Scenario, str, int, int], Figures]
N_NETWORKS = 100  # where places or clocks are drawn, each of their episodes has a network of its own
DEFAULT_EPISODES = 20
_NOT_METRICS = ("policy", "seed", "steps")
# names of PeersimGym's agent library, without case and underscores
_ALIASES = {"alwayslocal": "local", "leastqueues": "leastqueue", "leastqueue": "leastqueue", "randomcontrol": "random"}
_RATE_TOLERANCE = 6e-6  # published with five decimals


def is_statistics(contents: Any) -> bool:
    """Return whether a file's contents are scenarios with statistics."""
    if not isinstance(contents, Mapping):
        return False
    scenarios = named_scenarios(contents, "")
    return bool(scenarios) and all(_is_scenario(each) for each in scenarios.values())


def is_per_seed(contents: Any) -> bool:
    """Return whether a file's contents are rows of episodes by scenario."""
    return isinstance(contents, Mapping) and bool(contents) and all(_is_episodes(rows) for rows in contents.values())


def check_statistics(contents: Mapping[str, Any], file: str, n_worlds: int, play: Play, seed: int = 0) -> Report:
    """Return the comparison of every scenario, policy and metric of a file."""
    rows: list[Row] = []
    n_episodes = int(contents.get("episodes_per_policy", DEFAULT_EPISODES))
    for name, entry in named_scenarios(contents, file).items():
        results = {
            policy: {metric: _sample(cell, n_episodes) for metric, cell in cells.items()}
            for policy, cells in entry["results"].items()
        }
        rows += _check_scenario(file, name, entry, results, n_worlds, play, seed)
    return Report(tuple(rows), ())


def check_per_seed(
    contents: Mapping[str, Any], file: str, sibling: Mapping[str, Any] | None, n_worlds: int, play: Play, seed: int = 0
) -> Report:
    """Return the comparison of the means of the rows; their configurations stand in the file beside."""
    if sibling is None:
        why = "its scenarios' configurations are missing: expected a reference.json in the same folder"
        return Report(tuple(unknown_row(file, name, "-", "-", None, why) for name in contents), (f"{file}: {why}",))
    rows: list[Row] = []
    known = named_scenarios(sibling, "reference.json")
    for name, episodes in contents.items():
        if name not in known:
            rows.append(unknown_row(file, name, "-", "-", None, f"reference.json has no {name}: {', '.join(known)}"))
            continue
        rows += _check_scenario(file, name, {**known[name], "derived": {}}, _by_policy(episodes), n_worlds, play, seed)
    return Report(tuple(rows), ())


def named_scenarios(contents: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return the scenarios of a file: those it lists, or the single one that it is, named by the file."""
    if isinstance(contents.get("scenarios"), Mapping):
        return dict(contents["scenarios"])
    return {str(contents.get("name", Path(file).stem or "scenario")): contents}


def read_configuration(entry: Mapping[str, Any], file: str, name: str) -> Scenario:
    """Return the scenario of an entry of a file."""
    return scenario_of(entry["config"], f"{file}, scenario {name}", name)


def _is_scenario(entry: Any) -> bool:
    return isinstance(entry, Mapping) and all(isinstance(entry.get(key), Mapping) for key in ("config", "results"))


def _is_episodes(rows: Any) -> bool:
    return (
        isinstance(rows, list)
        and bool(rows)
        and all(isinstance(r, Mapping) and {"policy", "seed"} <= set(r) for r in rows)
    )


def _sample(cell: Any, n_episodes: int) -> Sample | None:
    """Return a published mean with what is known about its error; None for what is no number."""
    if isinstance(cell, Mapping) and isinstance(cell.get("mean"), (int, float)):
        sd, sem = float(cell.get("sd", 0.0)), float(cell.get("sem", 0.0))
        n = int(cell.get("n", round((sd / sem) ** 2) if sd > 0.0 and sem > 0.0 else n_episodes))
        return Sample(float(cell["mean"]), sd, max(n, 1))
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return Sample(float(cell), 0.0, n_episodes)
    return None


def _by_policy(episodes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Cell]]:
    results: dict[str, dict[str, Cell]] = {}
    for policy in dict.fromkeys(str(row["policy"]) for row in episodes):
        own = [row for row in episodes if str(row["policy"]) == policy]
        results[policy] = {}
        for metric in (key for key in own[0] if key not in _NOT_METRICS):
            results[policy][metric] = _cell([row.get(metric) for row in own])
    return results


def _cell(values: Sequence[Any]) -> Cell:
    """Return what episodes say of a metric: numbers, or lists of one length; None for anything else."""
    if all(isinstance(value, (int, float)) for value in values):
        numbers = np.array(values, np.float64)
        sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        return Sample(float(numbers.mean()), sd, len(numbers))
    if all(isinstance(value, list) and value and len(value) == len(values[0]) for value in values):
        cells = tuple(_cell(column) for column in zip(*values, strict=True))
        return cells if all(isinstance(cell, Sample) for cell in cells) else None  # type: ignore[return-value]
    return None


def _check_scenario(
    file: str,
    name: str,
    entry: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Cell]],
    n_worlds: int,
    play: Play,
    seed: int,
) -> list[Row]:
    try:
        scenario = read_configuration(entry, file, name)
    except EdgeError as error:
        return [refused_row(file, name, "-", str(error))]
    rows = _check_derived(file, name, entry.get("derived") or {}, scenario)
    for policy, cells in results.items():
        try:
            ours = _figures(scenario, policy, n_worlds, play, seed)
        except UnknownName as error:
            rows.append(unknown_row(file, name, policy, "-", None, str(error)))
            continue
        except EdgeError as error:
            rows.append(refused_row(file, name, policy, str(error)))
            continue
        n_lost = float(np.nansum(ours.get("world_full", np.zeros(1))))
        if n_lost > 0.0:
            why = f"{n_lost:g} tasks found no place in our worlds (max_alive_tasks = {scenario.params.max_alive_tasks})"
            rows.append(refused_row(file, name, policy, why))
        rows += [_metric_row(file, name, policy, metric, theirs, ours.get(metric)) for metric, theirs in cells.items()]
    return rows


def _metric_row(file: str, name: str, policy: str, metric: str, theirs: Cell, ours: F8 | None) -> Row:
    mean = theirs.mean if isinstance(theirs, Sample) else None
    if theirs is None or ours is None:
        return unknown_row(file, name, policy, metric, mean, "no such metric here")
    if isinstance(theirs, Sample) and ours.ndim == 1:
        return z_row(file, name, policy, metric, theirs, ours)
    if isinstance(theirs, Sample) or ours.ndim == 1 or len(theirs) != ours.shape[1]:
        return unknown_row(file, name, policy, metric, mean, f"ours is of shape {ours.shape[1:]}")
    return worst_row(file, name, policy, metric, theirs, ours)


def _figures(scenario: Scenario, policy: str, n_worlds: int, play: Play, seed: int) -> Figures:
    """Return our figures of each world; where the network is drawn, of each network, the mean of its worlds."""
    known = policy.lower().replace("_", "").replace(" ", "")
    policy = _ALIASES.get(known, known if known in ("local", "random") else policy)
    if not is_drawn(scenario):
        figures = play(scenario, policy, n_worlds, seed)
    else:
        n_networks = min(N_NETWORKS, n_worlds)
        each = [
            play(
                dataclasses.replace(scenario, topology_seed=number),
                policy,
                max(1, n_worlds // n_networks),
                seed + number,
            )
            for number in range(n_networks)
        ]
        figures = {metric: np.array([_mean(one[metric]) for one in each]) for metric in each[0]}
    # times are counted in the simulator's slots there, of which SCALE make a tick
    slot_s = float(scenario.params.slot_s)
    return {name: values / slot_s if name == "mean_response_time" else values for name, values in figures.items()}


def is_drawn(scenario: Scenario) -> bool:
    """Return whether chance has a part in the network."""
    network = scenario.topology
    if not isinstance(network, Layered):
        return False
    return not network.positions_m or any(layer.core_hz_spread > 0.0 for layer in network.layers)


def _mean(values: F8) -> F8:
    """Return the mean over worlds of those that have one."""
    is_finite = np.isfinite(values)
    total, n = np.where(is_finite, values, 0.0).sum(axis=0), is_finite.sum(axis=0)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0), np.float64)


def _check_derived(file: str, name: str, derived: Mapping[str, Any], scenario: Scenario) -> list[Row]:
    """Return rows for what follows from a configuration without chance: neighbours, delays, rates, service times."""
    network, workload = scenario.topology, scenario.workload
    if not derived or is_drawn(scenario) or not isinstance(network, Layered) or not isinstance(workload, TaskTypes):
        return []
    from envs.fog.peersim.setup import build_setup

    topology = scenario.network()
    setup = build_setup(scenario, topology)
    n_entries = setup.node["n_entries"]
    lists = [
        [int(setup.entry["node"][first + k]) for k in range(n)]
        for first, n in zip(setup.node["first_entry"].tolist(), n_entries.tolist(), strict=True)
    ]
    rows: list[Row] = []
    theirs = derived.get("neighbour_lists")
    if isinstance(theirs, list):
        n_equal = sum(a == b for a, b in zip(theirs, lists, strict=False))
        rows.append(equal_row(file, name, "neighbour lists that are equal", float(len(theirs)), float(n_equal)))
    if scenario.params.peersim.scale != 1:
        return rows  # what follows is said in ticks
    for a, b, delay in _link_delays(derived.get("task_delay_per_link")):
        if a < len(lists) and b in lists[a]:
            number = int(setup.node["first_entry"][a]) + lists[a].index(b)
            ours = float(setup.out_slots[number, -1])
            rows.append(equal_row(file, name, f"slots of a task on link {a}-{b}", delay, ours))
    rate = workload.schedules[0].pieces[0][1] if workload.pattern is None else 0.0
    published = derived.get("effective_rate_per_stream")
    if isinstance(published, (int, float)) and rate > 0.0:
        rows.append(equal_row(file, name, "tasks of a stream per slot", published, _rounded_hz(rate), _RATE_TOLERANCE))
    service = derived.get("service_ticks")
    work = {each.work_cycles for each in workload.types}
    if len(work) == 1 and isinstance(service, list) and len(service) == len(network.layers):
        for number, (layer, slots) in enumerate(zip(network.layers, service, strict=True)):
            ours = next(iter(work)) / (layer.n_cores * layer.core_hz)
            rows.append(equal_row(file, name, f"slots of service, layer {number}", float(slots), ours, 1e-6))
    return rows


def _link_delays(published: Any) -> list[tuple[int, int, float]]:
    """Return ends and slots of the links for which a delay is published."""
    found = []
    for pair, values in published.items() if isinstance(published, Mapping) else ():
        ends = str(pair).split("-")
        delay = values.get("delay_ticks") if isinstance(values, Mapping) else None
        if len(ends) == 2 and all(end.isdigit() for end in ends) and isinstance(delay, (int, float)):
            found.append((int(ends[0]), int(ends[1]), float(delay)))
    return found


def _rounded_hz(rate: float) -> float:
    """Return the tasks per slot of a stream whose gaps are max(1, round(Exp(rate)))."""
    return 1.0 / (1.0 + math.exp(-1.5 * rate) / -math.expm1(-rate))


@cache
def default_play() -> Play:
    """Return what plays the reference policies; imported on use, as it compiles the world."""
    from edge_rllib.reference.peersim_play import play_reference

    return play_reference
