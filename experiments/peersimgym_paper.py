"""Question: on the four networks of PeersimGym's paper, does a learned policy beat the best rule, and what is left?

Command: python experiments/peersimgym_paper.py [--networks 12 19 28 31] [--algorithms ippo mappo ddqn a2c]
             [--seeds 1 2 3 4 5] [--steps N] [--processes 2] [--out results/peersimgym_paper] [--quick]
Cost: 80 runs of one thread each, about two hours on two cores; --quick shows the same in a minute, on tiny worlds.
Expected picture: on every network the best learned policy answers sooner than the best rule, least_response_time, and
finishes more tasks in time. The rest to the bound is waiting in bursts, which the bound leaves out.

Stop it with Ctrl-C, or by a signal to the first process: runs save themselves, and the same command goes on where they
stopped; a finished run is never repeated. To draw again what is there: --processes 0. Each run is a result folder of
its own, which `edge-rllib show` reads. Written to --out: peersimgym_paper.json, .md and .png.

Method. All policies play the same worlds, which no run trained on and which no setting was chosen by. The weights of
a run are those that did best on its watched worlds, which are others again; so is the choice of the best learned
policy, while the best rule is chosen by what is reported, in its favour. Figures are taken in each world and averaged
by the interquartile mean (IQM), for a learned policy over seeds x worlds. Intervals are 95 % percentile bootstraps that
redraw the worlds, the same for all policies, and whole seeds; a seed's policy is one and is not redrawn by world.
Differences are paired: the mean over worlds of the seeds' mean less the rule's figure in the same world.

Settings are those of tune_configs/run/peersimgym_*.yaml, which say what was tried to choose them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before anything imports torch: each run has one thread, several runs share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import peersimgym_picture
from rich.console import Console

from edge_rllib.experiment import study
from edge_rllib.experiment.study import Cell, Study
from edge_rllib.experiment.versions import versions
from edge_rllib.results import files, plots
from edge_rllib.results.estimates import LEVEL, N_RESAMPLES, crossed_bootstrap, crossed_draws, iqm
from envs.arrays import F8
from envs.bounds.base import Bound
from envs.errors import EdgeError

NAME = "peersimgym_paper"  # of the files that are written
NETWORKS = {12: "ether_12_v1", 19: "ether_19_v1", 28: "ether_28_v1", 31: "ether_31_v1"}  # nodes -> scenario
ALGORITHMS = ("ippo", "mappo", "ddqn", "a2c")
FIGURES = ("response_time_s_mean", "response_time_s_p95", "in_time_frac", "drop_frac", "full_frac")
LEAD = "response_time_s_mean"
BOUND = "zero_queue"
JUDGING_SEED = 7_001  # of the worlds that all policies are judged on; no run trains with it
BOOTSTRAP_SEED = 20_260_301
# What --quick changes: episodes of 5 s, some updates of tiny batches, few judged worlds
QUICK = {"scenario.params.horizon_slots": 50, "n_worlds": 4, "evaluation.watched_worlds": 2}
QUICK_ALGORITHM = {
    "ddqn": {"algorithm.warm_up_rows": 200, "algorithm.minibatch_rows": 64, "algorithm.replay_rows": 2000}
}
QUICK_STEPS, QUICK_WORLDS = 2000, 4


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run, and where it goes."""

    networks: tuple[int, ...]
    algorithms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None  # of each run; None: as its settings say
    worlds: int  # judged worlds of each network
    is_quick: bool
    out: Path

    @functools.cached_property
    def study(self) -> Study:
        """All runs; every network has its first seed before any has its second."""
        cells = itertools.product(self.seeds, self.networks, self.algorithms)
        return Study(self.out, [self.cell(network, algorithm, seed) for seed, network, algorithm in cells])

    def cell(self, network: int, algorithm: str, seed: int) -> Cell:
        """Return a run."""
        over: dict[str, Any] = {"scenario": NETWORKS[network], "seed": seed}
        if self.is_quick:
            over = {**over, **QUICK, **QUICK_ALGORITHM.get(algorithm, {}), "total_env_steps": QUICK_STEPS}
        if self.steps is not None:
            over["total_env_steps"] = self.steps
        # The end of a training judges on worlds of its own seed; here all seeds are judged on the same ones.
        over |= {"evaluation.worlds": 4, "evaluation.rules": ["least_response_time"], "evaluation.bound": "none"}
        name, label = f"{NETWORKS[network]}-{algorithm}-{seed}", f"{network} nodes, {algorithm}, seed {seed}"
        return Cell(name, label, f"run/peersimgym_{algorithm}", over, JUDGING_SEED, self.worlds)


# ------------------------------------------------------------------------------------------------ what is reported


def report(plan: Plan) -> dict[str, Any]:
    """Return everything that is reported, as plain values, from the runs that are finished."""
    networks = {str(network): found for network in plan.networks if (found := network_report(plan, network))}
    return {
        "worlds": plan.worlds,
        "seeds": list(plan.seeds),
        "judging_seed": JUDGING_SEED,
        "lead": LEAD,
        "value": "interquartile mean over worlds, of learned policies over seeds x worlds; differences: mean",
        "interval": f"{LEVEL:.0%} percentile bootstrap over worlds and whole seeds, {N_RESAMPLES} resamples",
        "is_quick": plan.is_quick,
        "versions": versions(),
        "networks": networks,
    }


def network_report(plan: Plan, network: int) -> dict[str, Any] | None:
    """Return the figures of every policy on one network; None where no run has finished."""
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, play_rules, rule_names
    from envs.bounds.choose import bound_for
    from envs.scenario import make

    learned = {name: found for name in plan.algorithms if (found := finished(plan, network, name))}
    if not learned:
        return None
    run = plan.cell(network, plan.algorithms[0], plan.seeds[0]).settings()
    world = make(run.scenario, plan.worlds, JUDGING_SEED, JUDGED_WORLD_ID)
    played = play_rules(world, JUDGED_WORLD_ID, rule_names(["all"], run.scenario.world), JUDGING_SEED)
    rules = {name: each.sums for name, each in played.items()}
    sums = {name: np.stack([each for each, _ in found.values()]) for name, found in learned.items()}
    sums |= {name: each[None] for name, each in rules.items()}
    bound = bound_for(BOUND, run.scenario, LEAD, plan.worlds, JUDGING_SEED, JUDGED_WORLD_ID)
    judge = Judge(sums, world.summarise, bound)
    values = {name: row["figures"][LEAD]["value"] for name, row in judge.rows.items()}
    best_rule = min(rules, key=values.__getitem__)
    watched = {name: float(np.mean([best for _, best in found.values()])) for name, found in learned.items()}
    for name, found in learned.items():
        judge.rows[name] |= {"seeds": list(found), "watched": watched[name]}
        judge.rows[name]["minus_best_rule"] = {figure: judge.difference(name, best_rule, figure) for figure in FIGURES}
    for name, row in judge.rows.items():
        row["score"] = (values["random"] - values[name]) / (values["random"] - row["bound"])
    return {
        "scenario": run.scenario.name,
        "agents": world.spec.n_agents,
        "best_rule": best_rule,
        "best_learned": min(watched, key=watched.__getitem__),
        "bound": {"name": bound.name, "text": bound.meaning},
        "policies": judge.rows,
    }


def finished(plan: Plan, network: int, algorithm: str) -> dict[int, tuple[F8, float]]:
    """Return the judged sums (W, G) and the best figure on the watched worlds of each seed that is finished."""
    judged = {seed: plan.study.read(plan.cell(network, algorithm, seed)) for seed in plan.seeds}
    return {seed: (each.sums, each.best) for seed, each in judged.items() if each}


class Judge:
    """The figures of policies that played the same worlds."""

    def __init__(self, sums: Mapping[str, F8], summarise: Callable[[F8], Mapping[str, float]], bound: Bound) -> None:
        """``sums`` (S, W, G) are the metric sums of each policy's seeds in each world; a rule has S = 1."""
        n_worlds = next(iter(sums.values())).shape[1]
        _, self._worlds = crossed_draws(1, n_worlds, N_RESAMPLES, np.random.default_rng(BOOTSTRAP_SEED))
        self._scores: dict[str, dict[str, F8]] = {}  # policy -> figure -> (S, W)
        self.rows: dict[str, dict[str, Any]] = {}
        for policy, each in sums.items():
            figures = [[summarise(world) for world in seed] for seed in each]
            pooled = summarise(each.sum((0, 1)))
            scores = {name: np.array([[world[name] for world in seed] for seed in figures]) for name in FIGURES}
            limits = [bound.limit(LEAD, seed) for seed in each]
            self._scores[policy] = scores
            self.rows[policy] = {
                "figures": {name: {**self._estimate(scores[name], iqm), "pooled": pooled[name]} for name in FIGURES},
                "bound": iqm(np.array([limit.top / limit.bottom for limit in limits])),
            }

    def difference(self, policy: str, rule: str, figure: str) -> dict[str, float]:
        """Return the mean difference of a figure between a policy and a rule in the same worlds."""
        scores = self._scores[policy][figure] - self._scores[rule][figure]
        return self._estimate(scores, lambda each: float(each.mean()))

    def _estimate(self, scores: F8, statistic: Callable[[F8], float]) -> dict[str, float]:
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        seeds, _ = crossed_draws(len(scores), 1, N_RESAMPLES, rng)
        return crossed_bootstrap(scores, statistic, seeds, self._worlds)._asdict()


# ------------------------------------------------------------------------------------------------------ command line


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, nargs="+", choices=tuple(NETWORKS), metavar="NODES")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="training seeds; default 1 2 3 4 5")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps of single worlds of each run; default: run/*.yaml"
    )
    parser.add_argument("--worlds", type=int, metavar="N", help="judged worlds of each network; default 128")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="runs at once; 0 reports what is there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default results/peersimgym_paper, or ..._quick")
    parser.add_argument(
        "--quick", action="store_true", help="a minute: 12 nodes, ippo and ddqn, two seeds, tiny worlds"
    )
    parser.add_argument("--worker", type=int, metavar="N", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def planned(arguments: argparse.Namespace) -> Plan:
    """Return what the options ask for."""
    quick = arguments.quick
    return Plan(
        networks=tuple(arguments.networks or ((12,) if quick else NETWORKS)),
        algorithms=tuple(arguments.algorithms or (("ippo", "ddqn") if quick else ALGORITHMS)),
        seeds=tuple(arguments.seeds or ((1, 2) if quick else (1, 2, 3, 4, 5))),
        steps=arguments.steps,
        worlds=arguments.worlds or (QUICK_WORLDS if quick else 128),
        is_quick=quick,
        out=(arguments.out or Path("results") / f"peersimgym_{'quick' if quick else 'paper'}").resolve(),
    )


def main() -> int:
    """Run what is missing, then report what is there."""
    arguments = parse()
    plan = planned(arguments)
    if arguments.worker is not None:
        return study.work(plan.study, arguments.worker)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--worker"]
    try:
        is_whole = study.play(plan.study, arguments.processes, command, console)
    except KeyboardInterrupt:
        return study.EXIT_INTERRUPTED
    found = report(plan)
    if not found["networks"]:
        console.print("nothing to report yet: no run has finished")
        return 1
    files.write_json(plan.out / f"{NAME}.json", found)
    files.write_text(plan.out / f"{NAME}.md", peersimgym_picture.table(found))
    plots.save(peersimgym_picture.draw(found), plan.out / f"{NAME}.png")
    console.print(peersimgym_picture.verdicts(found))
    console.print(f"written: {plan.out / NAME}.json, .md, .png")
    return 0 if is_whole else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeError as error:
        sys.exit(f"error: {error}")
