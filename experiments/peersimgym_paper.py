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
import contextlib
import dataclasses
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before anything imports torch: each run has one thread, several runs share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import peersimgym_picture
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from edge_rllib.config.load import dump, load_run
from edge_rllib.config.schema import RunConfig
from edge_rllib.experiment.versions import versions
from edge_rllib.results import files, plots
from edge_rllib.results.estimates import LEVEL, N_RESAMPLES, crossed_bootstrap, crossed_draws, iqm
from envs.arrays import F8
from envs.bounds.base import Bound
from envs.errors import ConfigError, EdgeError

NAME = "peersimgym_paper"  # of the files that are written
JUDGED = "judged.npz"  # metric sums (W, G) of the judged worlds; the last file that a run writes
NETWORKS = {12: "ether_12_v1", 19: "ether_19_v1", 28: "ether_28_v1", 31: "ether_31_v1"}  # nodes -> scenario
ALGORITHMS = ("ippo", "mappo", "ddqn", "a2c")
FIGURES = ("response_time_s_mean", "response_time_s_p95", "in_time_frac", "drop_frac", "full_frac")
LEAD = "response_time_s_mean"
BOUND = "zero_queue"
JUDGING_SEED = 7_001  # of the worlds that all policies are judged on; no run trains with it
BOOTSTRAP_SEED = 20_260_301
EXIT_INTERRUPTED, EXIT_LOCKED = 130, 75
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

    def cells(self) -> list[tuple[int, str, int]]:
        """Return (network, algorithm, seed) of all runs; every network has its first seed before any has its second."""
        return [
            (network, algorithm, seed)
            for seed, network, algorithm in itertools.product(self.seeds, self.networks, self.algorithms)
        ]

    def folder(self, network: int, algorithm: str, seed: int) -> Path:
        """Return the result folder of a run."""
        return self.out / "runs" / f"{NETWORKS[network]}-{algorithm}-{seed}"

    def settings(self, network: int, algorithm: str, seed: int) -> RunConfig:
        """Return the settings of a run."""
        over: dict[str, Any] = {"scenario": NETWORKS[network], "seed": seed}
        if self.is_quick:
            over = {**over, **QUICK, **QUICK_ALGORITHM.get(algorithm, {}), "total_env_steps": QUICK_STEPS}
        if self.steps is not None:
            over["total_env_steps"] = self.steps
        # The end of a training judges on worlds of its own seed; here all seeds are judged on the same ones.
        over |= {"evaluation.worlds": 4, "evaluation.rules": ["least_response_time"], "evaluation.bound": "none"}
        return load_run(f"run/peersimgym_{algorithm}", over)


# ------------------------------------------------------------------------------------------- one run, in its process


def run_one(plan: Plan, network: int, algorithm: str, seed: int) -> int:
    """Train or go on with one run and judge it; return an exit status. Everything that exists already is kept."""
    import torch

    from edge_rllib.experiment import checkpoints
    from edge_rllib.experiment.run import resume, train

    torch.set_num_threads(1)
    folder, run = plan.folder(network, algorithm, seed), plan.settings(network, algorithm, seed)
    with _locked(folder) as is_mine:
        if not is_mine:
            return EXIT_LOCKED
        if (folder / JUDGED).is_file():
            return 0
        console = Console(file=sys.stdout, width=160)
        if (folder / files.CONFIG).is_file() and any((folder / files.CHECKPOINTS).glob("[0-9]*")):
            finished = resume(folder, console=console)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            finished = train(run, folder, console)
        if finished.is_interrupted:
            return EXIT_INTERRUPTED
        sums = play_learned(run, checkpoints.best(folder), plan.worlds)
        _save_sums(folder / JUDGED, {"learned": sums})
    return 0


def play_learned(run: RunConfig, checkpoint: Path, n_worlds: int) -> F8:
    """Return the metric sums (W, G) of the weights of a checkpoint on the judged worlds."""
    from edge_rllib.experiment.build import algorithm_config
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer

    is_sampled = run.evaluation.decisions == "sampled"
    player = PolicyPlayer(algorithm_config(run), n_worlds, JUDGING_SEED, JUDGED_WORLD_ID, is_sampled)
    player.load_weights(checkpoint)
    return player.play().sums


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run while the block lasts; yield False if another process holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _save_sums(path: Path, sums: Mapping[str, F8]) -> None:
    with files.new_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **dict(sums))


# ------------------------------------------------------------------------------------------------------ all the runs


def check_settings(plan: Plan) -> None:
    """Refuse to add to runs that were made with other settings: they would be averaged as if they were alike."""
    for cell in plan.cells():
        path = plan.folder(*cell) / files.CONFIG
        if path.is_file():
            there, here = path.read_text(encoding="utf-8"), dump(plan.settings(*cell))
            if there != here:
                pairs = itertools.zip_longest(there.splitlines(), here.splitlines())
                old, new = next((a, b) for a, b in pairs if a != b)
                raise ConfigError(f"{path}: made with other settings ({old!r}, now {new!r}); move it away or use --out")


class Runner:
    """Runs in processes of their own, a few at once; a context manager that lets them save when it is left."""

    def __init__(self, plan: Plan, processes: int, arguments: Sequence[str]) -> None:
        self._plan, self._arguments, self._places = plan, list(arguments), processes
        self.todo = [cell for cell in plan.cells() if not (plan.folder(*cell) / JUDGED).is_file()]
        self.n_before = len(plan.cells()) - len(self.todo)
        self.running: dict[tuple[int, str, int], subprocess.Popen[bytes]] = {}
        self.failed: list[tuple[tuple[int, str, int], int]] = []
        self.n_done = 0

    def step(self) -> list[tuple[int, str, int]]:
        """Start what has a place and return what has ended well since the last step."""
        while self.todo and len(self.running) < self._places:
            self._start(self.todo.pop(0))
        ended = []
        for cell, process in list(self.running.items()):
            if process.poll() is not None:
                del self.running[cell]
                self.n_done += process.returncode == 0
                ended += [cell] if process.returncode == 0 else []
                if process.returncode:
                    self.failed.append((cell, process.returncode))
        return ended

    def _start(self, cell: tuple[int, str, int]) -> None:
        log = self._plan.folder(*cell).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(Path(__file__).resolve()), *self._arguments, "--one", *map(str, cell)]
        with log.open("ab") as file:  # a session of its own: Ctrl-C reaches this process alone, which passes it on
            self.running[cell] = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def progress_frac(self, cell: tuple[int, str, int]) -> float:
        """Return how far the training of a run is."""
        rows = files.read_progress(self._plan.folder(*cell))
        return rows[-1]["env_steps"] / self._plan.settings(*cell).total_env_steps if rows else 0.0

    def stop(self) -> None:
        """Let the running ones save and end."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait()


def run_all(plan: Plan, processes: int, arguments: Sequence[str], console: Console) -> bool:
    """Run what is missing and show how far it is; return whether all is there. Ctrl-C or SIGTERM saves and raises."""
    runner = Runner(plan, processes, arguments)
    console.print(f"{len(plan.cells())} runs, {runner.n_before} of them finished before; results: {plan.out}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin, n_cells, bars = time.monotonic(), len(plan.cells()), {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        whole = progress.add_task("all runs", total=n_cells, completed=runner.n_before)
        try:
            while runner.todo or runner.running:
                for cell in runner.step():
                    spent_s = time.monotonic() - begin
                    left_s = spent_s / runner.n_done * (n_cells - runner.n_before - runner.n_done)
                    n_done = runner.n_before + runner.n_done
                    console.print(f"{n_done}/{n_cells} {_label(cell)} {spent_s:.0f} s, left about {left_s:.0f} s")
                for cell in set(bars) - set(runner.running):
                    progress.remove_task(bars.pop(cell))
                for cell in runner.running:
                    if cell not in bars:
                        bars[cell] = progress.add_task(_label(cell), total=1.0)
                    progress.update(bars[cell], completed=runner.progress_frac(cell))
                progress.update(whole, completed=runner.n_before + runner.n_done)
                time.sleep(1.0)
        except KeyboardInterrupt:
            console.print("stopping: runs save themselves; the same command goes on from there")
            raise
        finally:
            runner.stop()
            signal.signal(signal.SIGTERM, previous)
    for cell, status in runner.failed:
        why = "is run by another process" if status == EXIT_LOCKED else f"ended with status {status}"
        console.print(f"{_label(cell)} {why}; see {plan.folder(*cell).with_suffix('.log')}")
    return not runner.failed


def _label(cell: tuple[int, str, int]) -> str:
    return f"{cell[0]} nodes, {cell[1]}, seed {cell[2]}"


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
    run = plan.settings(network, plan.algorithms[0], plan.seeds[0])
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
    found = {}
    for seed in plan.seeds:
        folder = plan.folder(network, algorithm, seed)
        if not (folder / JUDGED).is_file():
            continue
        with np.load(folder / JUDGED) as arrays:
            sums = arrays["learned"]
        if len(sums) != plan.worlds:
            raise ConfigError(f"{folder / JUDGED}: {len(sums)} worlds, expected {plan.worlds}; delete it to judge anew")
        found[seed] = (sums, float(files.read_json(folder / files.STATUS)["best"] or np.nan))
    return found


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
    parser.add_argument("--one", nargs=3, metavar=("NODES", "NAME", "SEED"), help="one run, in this process")
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
    if arguments.one:
        return run_one(plan, int(arguments.one[0]), arguments.one[1], int(arguments.one[2]))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    check_settings(plan)
    try:
        is_whole = run_all(plan, arguments.processes, sys.argv[1:], console) if arguments.processes else True
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
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
