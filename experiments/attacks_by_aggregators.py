"""Question: which rule of aggregation stands which attack?

Command: python experiments/attacks_by_aggregators.py [--attacks alie ...] [--rules krum "nnm > krum" ...]
             [--seeds 1] [--processes 2] [--out DIR] [--quick]
Cost: about half an hour of two cores for all pairs with one seed; --quick shows four attacks on four rules in a minute.
Expected picture: a mean is broken by everything that is large; rules by coordinate and distance stand what is large and
lose some to what hides (alie, min_max and the adaptive ones); nnm in front of a rule closes most of that.

Method. Settings of tune_configs/run/federated_cartpole.yaml, but 15 clients, the least that bulyan can serve with 3
liars, of which the first 3 attack, and a server; 250 episodes of each client. A cell shows the greedy return of the
last policy in 128 held-out worlds, as a share of that of a mean among honest clients. Rules are given f = 3. Attacks
that only clients on a graph can make are left out, and so are those on stolen chunks. Written
to --out: attacks_by_aggregators.json and .png.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import federated_picture
import numpy as np
from federated_cells import Cell, play_all
from rich.console import Console

from edge_rllib.config.registry import names
from edge_rllib.results import files

RUN = "run/federated_cartpole"
N_CLIENTS = 15
ELSEWHERE = (
    "chunk_poisoning",  # needs stealing
    "dissensus",  # need a graph
    "split",
)
OTHERS = ("centred_clipping", "monna", "self_centred_clipping")  # its radius is 1 without values; need a graph
RULES = (
    *(name for name in names("aggregator") if name not in OTHERS),
    "centred_clipping(radius=10.0, n_steps=3)",  # about as long as the gradients are
    "nnm > trimmed_mean",
    "nnm > coordinate_median",
    "nnm > geometric_median",
    "clip(arc) > nnm > krum",
)
QUICK = (("none", "large_noise", "alie", "sign_flip"), ("mean", "trimmed_mean", "krum", "nnm > trimmed_mean"))


def cells_of(attacks: Sequence[str], rules: Sequence[str], seeds: Sequence[int], n_episodes: int) -> list[Cell]:
    """Return a run for each attack, rule and seed."""
    found = []
    for attack in attacks:
        for rule in rules:
            for seed in seeds:
                over = {
                    "algorithm.attack": attack,
                    "algorithm.aggregator": rule,
                    "algorithm.n_clients": 15,
                    "seed": seed,
                }
                found.append(Cell(name_of(attack, rule, seed), RUN, tuple(over.items()), n_episodes))
    return found


def name_of(attack: str, rule: str, seed: int) -> str:
    """Return the name of a run's file."""
    return f"{attack}_{re.sub(r'[^a-z0-9_.=]+', '-', rule)}_{seed}"


def main() -> None:
    """Play, write and draw."""
    attacks = ("none", *(name for name in names("attack") if name not in ELSEWHERE))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", default=list(attacks))
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/attacks_by_aggregators"))
    parser.add_argument("--quick", action="store_true", help="four attacks, four rules, 150 episodes of a client")
    given = parser.parse_args()
    chosen, rules = QUICK if given.quick else (given.attacks, given.rules)
    cells = cells_of(chosen, rules, given.seeds, 150 if given.quick else 250)
    clean = cells_of(("none",), ("mean",), given.seeds, cells[0].n_episodes)
    unique = {cell.name: cell for cell in (*clean, *cells)}
    console = Console()
    played = play_all(list(unique.values()), given.out / "runs", given.processes, console)
    best = float(np.mean([played[cell.name].judged.mean() for cell in clean]))
    kept: dict[str, Any] = {}
    for attack in chosen:
        for rule in rules:
            runs = [played[name_of(attack, rule, seed)] for seed in given.seeds]
            kept.setdefault(attack, {})[rule] = float(np.mean([run.judged.mean() for run in runs])) / best
    found = {"attacks": list(chosen), "rules": list(rules), "seeds": given.seeds, "clean": best, "kept": kept}
    files.write_json(given.out / "attacks_by_aggregators.json", found)
    for path in federated_picture.write(found, given.out):
        console.print(f"written: {path}")


if __name__ == "__main__":
    main()
