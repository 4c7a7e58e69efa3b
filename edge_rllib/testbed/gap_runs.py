"""Result folders of the testbed and of its simulated twin, read for a comparison and paired by policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.config.tree import read_yaml
from edge_rllib.results.files import CONFIG, ResultError, read_json, result_folder
from edge_rllib.testbed.run import EPOCHS, SUMMARY, TASKS
from envs.arrays import BOOL, F8, I8

SIMULATED = "simulated"  # the tier of a simulation's summary
UNSAID = ("name",)  # keys of a scenario that two runs of a pair need not share
_TASK_KEYS = ("device", "epoch", "n_frames", "created_s", "result_s", "is_late", "cost")


@dataclass(frozen=True)
class Episode:
    """What came of one run of the testbed, or of one episode of its simulation; I tasks, E epochs, N devices."""

    epoch: I8  # (I,) in which a task was created
    response_s: F8  # (I,) of a task in flight the time that it had waited when the run ended
    is_in_flight: BOOL  # (I,) when the run ended
    is_late: BOOL  # (I,)
    cost: F8  # (I,)
    epochs: I8  # (E,) that were decided on
    targets: I8  # (E, N)
    cuts: I8  # (E, N)
    frames: I8  # (E, N) of the clip; -1 where a task has no record

    @property
    def n_lost(self) -> int:
        """Return how many tasks have no record, since their device went away."""
        return self.targets.size - len(self.epoch)


@dataclass(frozen=True)
class Side:
    """All episodes of a policy, simulated or real, from one folder or several."""

    policy: str
    folders: tuple[Path, ...]
    config: dict[str, Any]
    summaries: tuple[dict[str, Any], ...]  # one a folder
    episodes: tuple[Episode, ...]

    def response_s(self) -> F8:
        """Return the response times of all episodes, cut at the end of the run."""
        return np.concatenate([episode.response_s for episode in self.episodes])

    def is_in_flight(self) -> BOOL:
        """Return which of them are those of tasks in flight."""
        return np.concatenate([episode.is_in_flight for episode in self.episodes])


@dataclass(frozen=True)
class Pair:
    """A policy on both sides."""

    policy: str
    simulated: Side
    real: Side


def pairs(simulated: Sequence[Path], real: Sequence[Path]) -> tuple[list[Pair], list[str]]:
    """Return the policies that both sides have, in the order of the real folders, and a line for each other policy.

    Raises ResultError for a folder that is no result, is of the other side, or differs from the first in a setting.
    """
    sides = {"--simulated": _sides(simulated, "--simulated"), "--real": _sides(real, "--real")}
    first = next(iter(sides["--real"].values()))
    for by_policy in sides.values():
        for side in by_policy.values():
            refuse_difference(side.folders[0], side.config, first.folders[0], first.config)
    found = [
        Pair(policy, sides["--simulated"][policy], side)
        for policy, side in sides["--real"].items()
        if policy in sides["--simulated"]
    ]
    if not found:
        named = [", ".join(sorted(by_policy)) for by_policy in sides.values()]
        raise ResultError(f"no policy is on both sides: simulated {named[0]}; real {named[1]}")
    alone = [
        f"{policy} is left out: it is only {'simulated' if option == '--simulated' else 'real'}"
        for option, by_policy in sides.items()
        for policy in by_policy
        if policy not in {pair.policy for pair in found}
    ]
    return found, alone


def _sides(folders: Sequence[Path], option: str) -> dict[str, Side]:
    """Return the folders of a side, put together by policy."""
    by_policy: dict[str, list[Side]] = {}
    seen: set[Path] = set()
    for given in folders:
        folder = result_folder(given)
        if folder in seen:
            raise ResultError(f"{option}: {given} is named twice")
        seen.add(folder)
        side = read(folder)
        is_simulated = side.summaries[0].get("tier") == SIMULATED
        if is_simulated != (option == "--simulated"):
            what = "a simulation" if is_simulated else "a run of the testbed"
            other = "--real" if option == "--simulated" else "--simulated"
            raise ResultError(f"{option}: {given} is {what}; it belongs to {other}")
        by_policy.setdefault(side.policy, []).append(side)
    return {policy: together(several) for policy, several in by_policy.items()}


def together(several: Sequence[Side]) -> Side:
    """Return sides of one policy as one; raises ResultError where their scenarios differ."""
    first = several[0]
    for side in several[1:]:
        refuse_difference(side.folders[0], side.config, first.folders[0], first.config)
    return Side(
        first.policy,
        tuple(side.folders[0] for side in several),
        first.config,
        tuple(side.summaries[0] for side in several),
        tuple(episode for side in several for episode in side.episodes),
    )


def read(folder: Path) -> Side:
    """Return what a result folder holds; raises ResultError for one that is not whole."""
    config, summary = read_yaml(folder / CONFIG), read_json(folder / SUMMARY)
    tasks, rows = read_json(folder / TASKS), read_json(folder / EPOCHS)
    for name in ("n_epochs", "n_devices", "epoch_s", "drain_s", "deadline_s"):
        if name not in config:
            raise ResultError(f"{folder / CONFIG}: no key {name!r}; expected a scenario of the testbed")
    if not isinstance(summary, dict) or "policy" not in summary:
        raise ResultError(f"{folder / SUMMARY}: no key 'policy'; expected the summary of a run of the testbed")
    _refuse_rows(folder / TASKS, tasks, _TASK_KEYS)
    _refuse_rows(folder / EPOCHS, rows, ("epoch", "targets", "cuts"))
    end_s = config["n_epochs"] * config["epoch_s"] + config["drain_s"]
    by_episode: dict[int, tuple[list[Any], list[Any]]] = {}
    for row in rows:
        by_episode.setdefault(row.get("episode", 0), ([], []))[1].append(row)
        if not len(row["targets"]) == len(row["cuts"]) == config["n_devices"]:
            raise ResultError(
                f"{folder / EPOCHS}: epoch {row['epoch']} has {len(row['targets'])} targets and {len(row['cuts'])} "
                f"cuts; expected one for each of {config['n_devices']} devices"
            )
    known = {(row.get("episode", 0), row["epoch"]) for row in rows}
    if len(known) != len(rows):
        raise ResultError(f"{folder / EPOCHS}: {len(rows)} rows of {len(known)} epochs; expected one of each")
    for task in tasks:
        number = task.get("episode", 0)
        if (number, task["epoch"]) not in known:
            raise ResultError(
                f"{folder / TASKS}: a task of epoch {task['epoch']}, episode {number}, which {EPOCHS} does not have"
            )
        by_episode[number][0].append(task)
    empty = [number for number, (own, _) in by_episode.items() if not own]
    if empty:
        raise ResultError(f"{folder / TASKS}: no task of episode {empty[0]}, of which {EPOCHS} has epochs")
    episodes = tuple(_episode(*by_episode[number], end_s) for number in sorted(by_episode))
    return Side(str(summary["policy"]), (folder,), config, (summary,), episodes)


def _refuse_rows(path: Path, rows: Any, keys: Sequence[str]) -> None:
    """Raise ResultError for what is no list of rows with these keys."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ResultError(f"{path}: expected a list of rows")
    for key in keys:
        if any(key not in row for row in rows):
            raise ResultError(f"{path}: a row without {key!r}; expected {', '.join(keys)}")


def _episode(tasks: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], end_s: float) -> Episode:
    """Return an episode; tasks that end after ``end_s`` count as in flight on both sides alike."""
    ordered = sorted(rows, key=lambda row: int(row["epoch"]))
    created_s = np.array([task["created_s"] for task in tasks], np.float64)
    # None, of a task that nobody finished, becomes NaN
    response_s = np.array([task["result_s"] for task in tasks], np.float64) - created_s
    limit_s = np.maximum(end_s - created_s, 0.0)
    epoch = np.array([task["epoch"] for task in tasks], np.int64)
    epochs = np.array([row["epoch"] for row in ordered], np.int64)
    targets = np.array([row["targets"] for row in ordered], np.int64)
    frames = np.full(targets.shape, -1)
    frames[np.searchsorted(epochs, epoch), [task["device"] for task in tasks]] = [task["n_frames"] for task in tasks]
    return Episode(
        epoch=epoch,
        response_s=np.fmin(response_s, limit_s),
        is_in_flight=~(response_s <= limit_s),
        is_late=np.array([task["is_late"] for task in tasks], np.bool_),
        cost=np.array([task["cost"] for task in tasks], np.float64),
        epochs=epochs,
        targets=targets,
        cuts=np.array([row["cuts"] for row in ordered], np.int64),
        frames=frames,
    )


def refuse_difference(folder: Path, config: Mapping[str, Any], other: Path, expected: Mapping[str, Any]) -> None:
    """Raise ResultError that names the first setting in which two scenarios differ, but for what is unsaid."""
    for key, (here, there) in differences(config, expected).items():
        if key not in UNSAID:
            raise ResultError(f"{folder} has {key} = {here} and {other} has {there}; expected the same scenario")


def differences(config: Any, expected: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> both values, wherever two trees differ."""
    if isinstance(config, Mapping) and isinstance(expected, Mapping):
        keys = [*expected, *(key for key in config if key not in expected)]
        found: dict[str, tuple[Any, Any]] = {}
        for key in keys:
            inner = f"{where}.{key}" if where else str(key)
            found |= differences(config.get(key, "missing"), expected.get(key, "missing"), inner)
        return found
    return {} if config == expected else {where: (config, expected)}
