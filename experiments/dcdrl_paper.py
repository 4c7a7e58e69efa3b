"""Question: which learner masters many users of one edge server, and does it pay that sites learn together?

Command: python experiments/dcdrl_paper.py [--part learners n_step users collective] [--only LABEL ...]
             [--seeds 1 2 3 4 5] [--processes 2] [--out DIR] [--quick]
Cost: a run of ten users by policy gradients takes 20 to 40 s of a core, four sites a minute and a half, others with a
replay minutes; the whole was not run yet. --quick shows the same on short runs of one seed.
Expected picture: policy gradients with a decision for each user pass the best rotation within 50,000 steps and end near
the bound; with 30 users and more they need longer. Sites that share explore no cheaper than sites alone; by the
released rules it costs 40 % more. What DDPG, SAC and n-step returns do is open.

The published comparison (DC-DRL: Qiu et al., TPDS 2021) has PPO and other baselines on 10 to 60 users, by exploration
cost, which is what all sites together pay while they learn, and by final cost.

Parts.
  learners    ten users: five learners, rules and the bound; returns after 50,000 steps.
  n_step      DDPG on the released box, corrected physics: one step, five, adaptive up to ten, Retrace over five.
  users       IPPO for 10 to 60 users: exploration cost and final cost, beside rules and the bound.
  collective  four sites of their own geometry and traffic, the same steps in all: each alone, or with a population,
              with and without a master that learns from what all have seen.

Method. Settings are those of tune_configs/run/multiuser_10.yaml and of the tables below, chosen on training seeds from
101 on. A policy is judged as it ends, greedy, in 128 held-out worlds of its site. Values are means over seeds;
intervals are 95 % percentile bootstraps over seeds. Written to --out: dcdrl_paper.json, .md and .png.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dcdrl_picture
import numpy as np
from dcdrl_cells import Cell, Played, bound_returns, play_all, rule_returns
from rich.console import Console

from edge_rllib.config.load import load_scenario
from edge_rllib.results import files

USERS = (10, 20, 30, 40, 50, 60)
RULES = ("local", "edge_only", "random", "round_robin_k", "top_backlog", "greedy_slot")
JUDGING_SEED = 7_001
EPISODE_STEPS = 50
BOX = {"scenario.params.agents": "central", "scenario.params.decision.kind": "box"}
REPLAY: dict[str, Any] = {"algorithm.gamma": 0.9, "n_worlds": 8, "algorithm.updates_per_step": 0.2}
POLICY_GRADIENT = {  # of run/multiuser_10
    "fragment_steps": 50,
    "learning_rate": 0.002,
    "final_learning_rate": 0.0002,
    "gamma": 0.9,
    "entropy_coeff": 0.01,
    "minibatch_rows": 1000,
    "epochs": 8,
}
LEARNERS: dict[str, dict[str, Any]] = {
    "ippo": {},
    "mappo": {"algorithm": {"name": "mappo", **POLICY_GRADIENT}},
    "sac": {"algorithm": {"name": "sac"}, **REPLAY, "scenario.params.reward.team": False},
    "ddpg": {"algorithm": {"name": "ddpg"}, **REPLAY, "scenario.params.reward.team": False},
    "ddpg, box": {"algorithm": {"name": "ddpg"}, **REPLAY, **BOX},
}
N_STEP: dict[str, dict[str, Any]] = {
    "one step": {},
    "five steps": {"algorithm.n_step": 5},
    "adaptive, up to ten": {"algorithm.n_step": 10, "algorithm.n_step_rule": "adaptive"},
    "Retrace over five": {"algorithm.n_step": 5, "algorithm.n_step_rule": "retrace"},
}
N_SITES = 4
COLLECTIVE: dict[str, dict[str, Any]] = {
    "alone": {"algorithm.pull": "never", "algorithm.mutation": "none", "algorithm.experience.share": False},
    "population": {"algorithm.experience.share": False},
    "population and master": {},
    "released rules": {
        "algorithm.joining": "released",
        "algorithm.mutation": "released(std=0.01, prob=0.2)",
        "algorithm.pull": "below_mean(prob=0.8)",
        "algorithm.experience.share": False,
    },
}


def cell(name: str, seed: int, overrides: Mapping[str, Any], steps: int) -> Cell:
    """Return a run with a seed."""
    over = {**overrides, "seed": seed, "total_env_steps": steps}
    return Cell(f"{name}_{seed}".replace(" ", "_").replace(",", ""), tuple(over.items()))


def cells_of(part: str, seeds: Sequence[int], steps: int) -> dict[str, list[Cell]]:
    """Return the runs of a part, by label."""
    if part == "learners":
        variants = LEARNERS
    elif part == "n_step":
        variants = {label: {**LEARNERS["ddpg, box"], **over} for label, over in N_STEP.items()}
    elif part == "users":
        variants = {str(n): {"scenario": f"multiuser_{n}"} for n in USERS}
    else:
        common = {
            "scenario": "multiuser_sites_10",
            "scenario.params.reward.team": False,
            "algorithm": {
                "name": "collective",
                "learner": {"name": "sac", "gamma": 0.9, "minibatch_steps": 128, "updates_per_step": 0.1},
            },
            "algorithm.n_sites": N_SITES,
            "algorithm.topology_seeds": "own",
            "algorithm.fitness_rule": "local",
        }
        variants = {label: {**common, **over} for label, over in COLLECTIVE.items()}
    return {label: [cell(f"{part}_{label}", seed, over, steps) for seed in seeds] for label, over in variants.items()}


def interval(values: Sequence[float]) -> list[float]:
    """Return a mean with its 95 % percentile bootstrap over seeds."""
    given = np.asarray(values, float)
    draws = np.random.default_rng(0).choice(given, (2000, len(given))).mean(1)
    return [float(given.mean()), *(float(each) for each in np.quantile(draws, (0.025, 0.975)))]


def figures(runs: Sequence[Played], steps: int) -> dict[str, Any]:
    """Return what runs of several seeds ended at and paid: return of the policies, and exploration cost."""
    found: dict[str, Any] = {
        "seeds": len(runs),
        "return": interval([float(run.judged.mean()) for run in runs]),
        "returns": [float(run.judged.mean()) for run in runs],
        "master": interval([float(run.master.mean()) for run in runs]),
        "exploration_cost": interval([run.cost_at(steps) for run in runs]),
    }
    places = np.linspace(0.0, steps, 41)
    paid = np.array([np.diff(np.interp(places, run.curve[:, 0], run.curve[:, 1])) for run in runs])
    of_an_episode = paid.mean(0) / (steps / 40) * EPISODE_STEPS
    found["curve"] = {"env_steps": places[1:].tolist(), "cost_of_an_episode": of_an_episode.tolist()}
    return found


def references(scenario: Any) -> dict[str, float]:
    """Return what rules and the bound earn in the held-out worlds of a scenario."""
    found = {rule: float(rule_returns(scenario, rule, JUDGING_SEED).mean()) for rule in RULES}
    return {**found, "bound": bound_returns(scenario, JUDGING_SEED)}


def main() -> None:
    """Play, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("learners", "n_step", "users", "collective")
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=50_000, help="env steps of a run, over all its sites")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/dcdrl_paper"))
    parser.add_argument("--only", nargs="+", metavar="LABEL", help="rows of the tables that are played now")
    parser.add_argument("--quick", action="store_true", help="2,000 steps, one seed")
    given = parser.parse_args()
    seeds, steps = (given.seeds[:1], 2_000) if given.quick else (given.seeds, given.steps)
    out = given.out.with_name(given.out.name + "_quick") if given.quick else given.out
    console = Console()
    plan = {part: cells_of(part, seeds, steps) for part in given.part}
    rows_of = [(label, each) for labels in plan.values() for label, cells in labels.items() for each in cells]
    now = [each for label, each in rows_of if given.only is None or label in given.only]
    play_all(now, out / "runs", given.processes, console)
    played = play_all([each for _, each in rows_of], out / "runs", 0, console)
    found: dict[str, Any] = {"seeds": seeds, "steps": steps, "sites": N_SITES}
    for part, labels in plan.items():
        rows = {}
        for label, cells in labels.items():
            runs = [played[each.name] for each in cells if each.name in played]
            if runs:
                rows[label] = figures(runs, steps)
        found[part] = rows
    found["references"] = {str(n): references(load_scenario(f"multiuser_{n}")) for n in USERS}
    files.write_json(out / "dcdrl_paper.json", found)
    for path in dcdrl_picture.write(found, out):
        console.print(f"written: {path}")
    print(dcdrl_picture.table(found))


if __name__ == "__main__":
    main()
