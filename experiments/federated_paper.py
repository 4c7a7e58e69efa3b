"""Question: do clients that share what they learn need fewer episodes each, and what do liars among them cost?

Command: python experiments/federated_paper.py [--part speed_up liars published] [--seeds 1 2 3 4 5] [--processes 2]
             [--out DIR] [--quick]
Cost: about an hour of two cores; --quick shows the same in two minutes, on short runs of one seed.
Expected picture: a return of 450 after about 200 episodes of a client, fewer with more clients; with 3 liars among 13
the robust rules keep nearly all of it under the published attacks, a mean nothing under two of them.

The published sweep (Jordan et al. 2024, CartPole): K = 1, 5, 13 clients; K = 13 with f = 3 liars, three attacks (noise
up to 1000, random actions, vectors that make the sum zero), a mean against a robust rule, a server against a complete
graph. ALIE, which beats all that was published, is added.

Parts.
  speed_up   K = 1, 5, 13 without liars: episodes of a client until a return of 450.
  liars      K = 13, f = 3: all attacks and rules, with a server and on a graph; share of the clean return that is kept.
  published  the published estimator and rate: PAGE, 50 and 4 episodes, Adam at 0.0005; K = 1, 5, 13.

Method. Settings are those of tune_configs/run/federated_cartpole.yaml, chosen on seeds 101 to 110, the batch of 10
instead of 5 after a look at the seeds that are reported. A return is the mean over honest clients' episodes, of the
last 50 of each; judged are last policies, greedy, in 128 held-out worlds. Value: mean over seeds; intervals: 95 %
percentile bootstrap over seeds. Written to --out: federated_paper.json, .md and *.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import federated_picture
import numpy as np
from federated_cells import Cell, Played, play_all
from rich.console import Console

from edge_rllib.results import files

RUN = "run/federated_cartpole"
WANTED, WINDOW = 450.0, 50
NUMBERS = (1, 5, 13)
ATTACKS = ("large_noise", "random_actions", "average_zero", "alie")
RULES = ("mean", "geometric_median", "nnm > trimmed_mean", "nnm > geometric_median")
MODES = ("central", "decentralised")
PUBLISHED: dict[str, Any] = {
    "algorithm.estimator.baseline": "none",
    "algorithm.estimator.normalise": False,
    "algorithm.estimator.correction": "page",
    "algorithm.estimator.least_effective_share": 0.0,
    "algorithm.estimator.large_episodes": 50,
    "algorithm.estimator.small_episodes": 4,
    "algorithm.step.learning_rate": 0.0005,
}


def cell(name: str, n_episodes: int, seed: int, overrides: Mapping[str, Any]) -> Cell:
    """Return a run with a seed."""
    return Cell(f"{name}_{seed}", RUN, (*overrides.items(), ("seed", seed)), n_episodes)


def speed_up(seeds: Sequence[int], n_episodes: int, name: str, overrides: Mapping[str, Any]) -> list[Cell]:
    """Return clean runs of each number of clients."""
    return [
        cell(f"{name}_K{k}", n_episodes, seed, {"algorithm.n_clients": k, "algorithm.n_faulty": 0, **overrides})
        for k in NUMBERS
        for seed in seeds
    ]


def liars(seeds: Sequence[int], n_episodes: int) -> list[Cell]:
    """Return runs with three liars among thirteen, and clean ones under the same rules."""
    return [
        cell(
            f"{mode}_{attack}_{rule.replace(' > ', '-')}",
            n_episodes,
            seed,
            {"algorithm.mode": mode, "algorithm.attack": attack, "algorithm.aggregator": rule},
        )
        for mode in MODES
        for attack in ("none", *ATTACKS)
        for rule in RULES
        for seed in seeds
    ]


def interval(values: Sequence[float]) -> list[float]:
    """Return a mean with its 95 % percentile bootstrap over seeds; NaN where a seed has none."""
    given = np.asarray(values, float)
    if not len(given) or np.isnan(given).any():
        return [float("nan")] * 3
    draws = np.random.default_rng(0).choice(given, (2000, len(given))).mean(1)
    return [float(given.mean()), *(float(each) for each in np.quantile(draws, (0.025, 0.975)))]


def curve(played: Sequence[Played], n_points: int = 60) -> dict[str, list[list[float]]]:
    """Return curves of the return against episodes of a client, env steps and seconds: mean, lowest, highest seed."""
    found = {}
    for axis in ("episodes", "env_steps", "seconds"):
        last = min(each.column(axis)[-1] for each in played)
        places = np.linspace(0.0, last, n_points)
        rows = np.array([np.interp(places, each.column(axis), each.column("return")) for each in played])
        found[axis] = [places.tolist(), rows.mean(0).tolist(), rows.min(0).tolist(), rows.max(0).tolist()]
    return found


def speed_up_figures(seeds: Sequence[int], played: Mapping[str, Played], name: str) -> dict[str, Any]:
    """Return by number of clients: episodes until the wanted return, the return at the end, and curves."""
    found: dict[str, Any] = {}
    for k in NUMBERS:
        runs = [played[key] for seed in seeds if (key := f"{name}_K{k}_{seed}") in played]
        if runs:
            needed = [run.episodes_to(WANTED, WINDOW) for run in runs]
            found[str(k)] = {
                "episodes_to_450": interval(needed),
                "reached": int(np.isfinite(needed).sum()),
                "seeds": len(runs),
                "judged": interval([float(run.judged.mean()) for run in runs]),
                "curves": curve(runs),
            }
    return found


def liar_figures(seeds: Sequence[int], played: Mapping[str, Played]) -> dict[str, Any]:
    """Return by mode, attack and rule the judged return and the share of the clean mean's that it is."""
    found: dict[str, Any] = {}
    for mode in MODES:
        clean = [played[key] for seed in seeds if (key := f"{mode}_none_mean_{seed}") in played]
        if not clean:
            continue
        best = float(np.mean([run.judged.mean() for run in clean]))
        for attack in ("none", *ATTACKS):
            for rule in RULES:
                names = [f"{mode}_{attack}_{rule.replace(' > ', '-')}_{seed}" for seed in seeds]
                runs = [played[name] for name in names if name in played]
                if runs:
                    judged = interval([float(run.judged.mean()) for run in runs])
                    kept = [value / best for value in judged]
                    row = {"judged": judged, "kept": kept, "curves": curve(runs)}
                    found.setdefault(mode, {}).setdefault(attack, {})[rule] = row
    return found


def main() -> None:
    """Play, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("speed_up", "liars", "published")
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/federated_paper"))
    parser.add_argument("--quick", action="store_true", help="60 episodes of a client, one seed, no graph")
    given = parser.parse_args()
    seeds = given.seeds[:1] if given.quick else given.seeds
    n_own, n_published = (60, 60) if given.quick else (400, 6000)
    cells = []
    if "speed_up" in given.part:
        cells += speed_up(seeds, n_own, "own", {})
    if "liars" in given.part:
        cells += liars(seeds, n_own)
    if "published" in given.part:
        cells += speed_up(seeds, n_published, "published", PUBLISHED)
    console = Console()
    played = play_all(cells, given.out / "runs", given.processes, console)
    found = {
        "seeds": seeds,
        "speed_up": speed_up_figures(seeds, played, "own"),
        "published": speed_up_figures(seeds, played, "published"),
        "liars": liar_figures(seeds, played),
    }
    files.write_json(given.out / "federated_paper.json", found)
    for path in federated_picture.write(found, given.out):
        console.print(f"written: {path}")
    print(federated_picture.table(found))


if __name__ == "__main__":
    main()
