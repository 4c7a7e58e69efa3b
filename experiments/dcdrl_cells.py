"""Runs on multi-user worlds, each kept in a file of its own: what they paid while they explored, and what they became.

A cell is a run's settings. A finished cell is never played again; who stops the experiment loses the cells that were
being played. Exploration cost is minus the sum of all rewards that were paid in training, over all sites.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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

N_JUDGED = 128  # held-out worlds of each site


@dataclass(frozen=True)
class Cell:
    """One run; its name is that of its file."""

    name: str
    overrides: tuple[tuple[str, Any], ...]
    run: str = "run/multiuser_10"

    def settings(self) -> Any:
        """Return the run's settings."""
        return load_run(self.run, dict(self.overrides))


class Played(NamedTuple):
    """What a cell left behind."""

    curve: F8  # (iterations, 2) env steps and exploration cost so far, of all sites
    judged: F8  # (S, W) greedy returns of each site's last policy in its own held-out worlds; S = 1 without sites
    master: F8  # (S, W) those of the policy that a collective run stands for, in the same worlds

    def cost_at(self, n_steps: float) -> float:
        """Return the exploration cost of the first env steps."""
        return float(np.interp(n_steps, self.curve[:, 0], self.curve[:, 1]))


class _Meter:
    """Adds up what rollouts cost; a copy of a config copies no sum."""

    def __init__(self) -> None:
        self.cost = 0.0

    def __call__(self, *, samples: Sequence[Any], **told: Any) -> None:
        self.cost -= sum(float(c["rewards"].sum()) for rollout in samples for c in rollout.columns.values())

    def __deepcopy__(self, memo: Any) -> _Meter:
        return self


def play_all(cells: Sequence[Cell], out: Path, processes: int, console: Console) -> dict[str, Played]:
    """Play what is missing and return all that is there, by name; with 0 processes nothing is played."""
    out.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        path = out / f"{cell.name}.yaml"
        if _path(cell, out).is_file() and path.is_file() and path.read_text(encoding="utf-8") != dump(cell.settings()):
            raise ConfigError(f"{path}: made with other settings; move it away or use --out")
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
    found = {}
    for cell in cells:
        if _path(cell, out).is_file():
            with np.load(_path(cell, out)) as arrays:
                found[cell.name] = Played(arrays["curve"], arrays["judged"], arrays["master"])
    return found


def _path(cell: Cell, out: Path) -> Path:
    return out / f"{cell.name}.npz"


def _play(cell: Cell, out: Path) -> str:
    """Play a cell in this process."""
    import torch

    from edge_rllib.experiment.build import algorithm_config, start_ray

    torch.set_num_threads(1)
    start_ray(1)
    settings = cell.settings()
    config = algorithm_config(settings)
    meter = _Meter()
    config.callbacks(on_sample_end=meter)
    algorithm = config.build_algo()
    curve, steps = [(0.0, 0.0)], 0
    while steps < settings.total_env_steps:
        result = algorithm.train()
        steps = int(result["num_env_steps_sampled_lifetime"])
        sites = result["learners"].get("__all_modules__", {}).get("collective")
        curve.append((steps, meter.cost if sites is None else float(sites["exploration_cost"])))
    judged, master = _judge(algorithm, settings)
    algorithm.stop()
    files.write_text(out / f"{cell.name}.yaml", dump(settings))
    with files.new_file(_path(cell, out)) as part, part.open("wb") as file:
        np.savez_compressed(file, curve=np.array(curve), judged=judged, master=master)
    return cell.name


def _judge(algorithm: Any, settings: Any) -> tuple[F8, F8]:
    """Return the returns (S, W) of each site's own policy and of the run's, in the held-out worlds of each site."""
    from edge_rllib.collective.site import load, policy_of

    team = getattr(algorithm, "team", None)
    if team is None:
        found = _returns(algorithm, settings.scenario, settings.seed)[None]
        return found, found
    own, master = [], policy_of(algorithm)
    scenarios = settings.algorithm.site_scenarios(settings.scenario)
    n_sites = settings.algorithm.n_sites
    for index in range(n_sites):
        load(algorithm, team.sites[f"site_{index}"]._sent)
        own.append(_returns(algorithm, scenarios(index), settings.seed))
    load(algorithm, master)
    of_master = [_returns(algorithm, scenarios(index), settings.seed) for index in range(n_sites)]
    return np.stack(own), np.stack(of_master)


def _returns(algorithm: Any, scenario: Any, seed: int) -> F8:
    """Return an Algorithm's greedy returns (W,), summed over agents, in held-out worlds of a scenario."""
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer

    config = algorithm.config.copy(copy_frozen=False)
    config.environment(env_config={**config.env_config, "scenario": scenario})
    player = PolicyPlayer(config, N_JUDGED, seed, JUDGED_WORLD_ID, explore=False)
    player.take_weights(algorithm)
    returns: F8 = player.play().returns.sum(1)
    return returns


def rule_returns(scenario: Any, rule: str, seed: int) -> F8:
    """Return a rule's returns (W,) in the same worlds."""
    from edge_rllib.config.load import load_rule
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID
    from envs.baselines.base import play
    from envs.scenario import make

    ids = JUDGED_WORLD_ID + np.arange(N_JUDGED, dtype=np.int64)
    returns: F8 = play(make(scenario, N_JUDGED, seed), load_rule(rule), ids, seed).returns.sum(1)
    return returns


def bound_returns(scenario: Any, seed: int) -> float:
    """Return the most that any policy earns in the same worlds, on average."""
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID
    from envs.bounds.choose import bound_for
    from envs.scenario import make

    bound = bound_for("auto", scenario, "return", N_JUDGED, seed, JUDGED_WORLD_ID)
    sums = np.zeros((N_JUDGED, len(make(scenario, 1, seed).spec.sum_names)))
    limit = bound.limit("return", sums)
    return float((limit.top / limit.bottom).mean())
