"""Short federated runs in a few processes, each kept in a file of its own, for the federated experiments.

A cell is a run's settings with a budget of episodes for each client. A finished cell is never played again; who stops
an experiment loses the cells that were being played.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from edge_rllib.config.load import dump, load_run
from edge_rllib.results import files
from envs.arrays import F8
from envs.errors import ConfigError

COLUMNS = ("episodes", "env_steps", "seconds", "return", "distance", "refused")  # of a round; episodes of a client
N_JUDGED = 128  # held-out worlds


@dataclass(frozen=True)
class Cell:
    """One run; its name is that of its file."""

    name: str
    run: str  # such as run/federated_cartpole
    overrides: tuple[tuple[str, Any], ...]
    n_episodes: int  # of each client, at least

    def settings(self) -> Any:
        """Return the run's settings."""
        return load_run(self.run, dict(self.overrides))


class Played(NamedTuple):
    """What a cell left behind."""

    rows: F8  # (rounds, columns)
    judged: F8  # (W,) returns of the last policy, greedy, in held-out worlds

    def column(self, name: str) -> F8:
        """Return a column."""
        found: F8 = self.rows[:, COLUMNS.index(name)]
        return found

    def episodes_to(self, wanted: float, n_episodes: int) -> float:
        """Return after how many episodes of a client the mean of its last ``n_episodes`` is as high; NaN: never."""
        episodes, returns = self.column("episodes"), self.column("return")
        batch = np.diff(episodes, prepend=0.0)
        for last in range(len(episodes)):
            recent = episodes[: last + 1] > episodes[last] - n_episodes
            mean = np.average(returns[: last + 1][recent], weights=batch[: last + 1][recent])
            if episodes[last] >= n_episodes and mean >= wanted:
                return float(episodes[last])
        return float("nan")


def play_all(cells: Sequence[Cell], out: Path, processes: int, console: Console) -> dict[str, Played]:
    """Play what is missing and return all that is there, by name; with 0 processes nothing is played."""
    out.mkdir(parents=True, exist_ok=True)
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        raise ConfigError("two cells have one name")
    for cell in cells:
        _check(cell, out)
    todo = [cell for cell in cells if not _path(cell, out).is_file()]
    console.print(f"{len(cells)} runs, {len(cells) - len(todo)} of them finished before; results: {out}")
    if processes and todo:
        os.environ["OMP_NUM_THREADS"] = "1"  # each process has one thread
        with ProcessPoolExecutor(min(processes, len(todo)), get_context("spawn")) as pool:
            futures = [pool.submit(_play, cell, out) for cell in todo]
            try:
                for future in track(as_completed(futures), "runs", len(futures), console=console):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return {cell.name: _read(_path(cell, out)) for cell in cells if _path(cell, out).is_file()}


def _path(cell: Cell, out: Path) -> Path:
    return out / f"{cell.name}.npz"


def _check(cell: Cell, out: Path) -> None:
    """Refuse to add to runs that were made with other settings."""
    path = out / f"{cell.name}.yaml"
    if _path(cell, out).is_file() and path.is_file() and path.read_text(encoding="utf-8") != dump(cell.settings()):
        raise ConfigError(f"{path}: made with other settings; move it away or use --out")


def _read(path: Path) -> Played:
    with np.load(path) as arrays:
        return Played(arrays["rows"], arrays["judged"])


def _play(cell: Cell, out: Path) -> str:
    """Play a cell in this process."""
    import torch

    from edge_rllib.experiment.build import algorithm_config
    from edge_rllib.federated.build import without_ray

    torch.set_num_threads(1)
    settings = cell.settings()
    config = algorithm_config(settings)
    without_ray(config).play()  # kernels are compiled, or loaded, before time is taken
    federation = without_ray(config)
    rows = np.array(list(_rounds(federation, cell.n_episodes)))
    judged = _judge(federation)
    files.write_text(out / f"{cell.name}.yaml", dump(settings))
    with files.new_file(_path(cell, out)) as part, part.open("wb") as file:
        np.savez_compressed(file, rows=rows, judged=judged)
    return cell.name


def _rounds(federation: Any, n_episodes: int) -> Iterator[tuple[float, ...]]:
    begin_s, played, env_steps = time.perf_counter(), 0, 0
    while played < n_episodes:
        report = federation.play()
        played += report.n_episodes
        env_steps += report.n_steps
        seconds = time.perf_counter() - begin_s
        yield played, env_steps, seconds, report.honest_return, report.distance, report.n_refused


def _judge(federation: Any) -> F8:
    """Return the greedy returns of a federation's policy in worlds that nobody learnt from."""
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID
    from edge_rllib.federated.episodes import EpisodePlayer
    from edge_rllib.federated.vectors import load_vectors

    client = federation.clients[0]
    modules = client.networks.now
    load_vectors(modules, federation.policy())
    player = EpisodePlayer(client.scenario, N_JUDGED, client.seed, modules, client.groups)
    played = player.play(JUDGED_WORLD_ID + np.arange(N_JUDGED, dtype=np.int64), explore=False)
    returns: F8 = played.returns
    return returns
