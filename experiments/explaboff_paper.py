"""Question: does ExplabOff's mutual-information reward help, against correct baselines, rules and an oracle?

Command: python experiments/explaboff_paper.py [--part tuning comparison ablation grid late] [--settings 2es_3md ...]
             [--policies explaboff mdoff ...] [--seeds 1 2 3 4 5] [--steps N] [--processes 2] [--out DIR] [--quick]
Cost: 204 runs of one thread, 12 to 160 s of a core each: five hours of a core; --quick shows the same in a minute, on
tiny runs.
Expected picture: MPOff ends between the best rule and the myopic oracle on all settings, the learners with a replay on
those with two servers; the reward adds nothing to the final cost, and harms at the paper's weights (docs/explaboff.md).

Stop it with Ctrl-C, or by a signal to the first process: runs save themselves, and the same command goes on where they
stopped; a finished run is never repeated. To report what is there: --processes 0. Each run is a result folder of its
own, which `edge-rllib show` reads. Written to --out: explaboff_choices.json, explaboff_paper.json, .md and *.png.

Parts.
  tuning      the same number of trials for each policy, drawn from tune_configs/search/explaboff_*.yaml: the first has
              the algorithm's own values. Training seed 101, worlds that nothing else is judged on, setting 2es_5md. The
              best trial has the lowest AvgCost among those with a success rate of 0.99; if none has it, the highest
              success rate. The other parts use what was chosen; without this part, the algorithms' own values. The
              released ExplabOff is not tuned: it is what it is.
  comparison  every policy on the three settings.
  ablation    on 2es_5md: ExplabOff without the reward, with one bound only, without superior and inferior episodes,
              and with the estimators and weights of the paper.
  grid        on 2es_5md, seeds 1 to 3: the paper's weights of the two bounds, in reward a nat, not scaled.
  late        on 2es_5md: one bound switched on after 45 % of the run, as in the paper.

Method. All learners get the same environment steps, the same worlds to train on, and the reward of
tune_configs/run/explaboff_*.yaml; in training an episode goes on after a miss, where they are judged it ends. The
weights of a run are those with the highest return on its watched worlds. All policies, rules and the oracle are judged
greedily in the same worlds, which no run trained on and which no setting was chosen by. A seed's figure is that of all
its worlds as one; a policy's is the interquartile mean (IQM) of its seeds. Intervals are 95 % percentile bootstraps
that redraw the worlds, the same for all policies, and whole seeds, each policy's by itself. A success is an episode in
which every task is in time.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

if __name__ == "__main__":  # before anything imports torch: each run has one thread, several runs share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import explaboff_picture
import explaboff_report
import numpy as np
from rich.console import Console

from edge_rllib.config.load import load_run
from edge_rllib.config.registry import names
from edge_rllib.config.schema import RunConfig
from edge_rllib.config.search import load_search
from edge_rllib.experiment import study
from edge_rllib.experiment.study import Cell, Study
from edge_rllib.results import files
from envs.errors import EdgeError

NAME = "explaboff_paper"  # of the files that are written
CHOICES = "explaboff_choices.json"
SETTINGS = ("2es_3md", "2es_5md", "3es_7md")
PARTS = ("tuning", "comparison", "ablation", "grid", "late")


class Learner(NamedTuple):
    """What learns: an algorithm, with a mutual-information reward or none."""

    algorithm: str
    reward: str = "none"
    over: Mapping[str, Any] = MappingProxyType({})  # settings that make it what it is
    is_tuned: bool = True


# The release's learner and observations with a steady update every 10 steps, where the release has one in 60 to 400.
RELEASED = {
    "scenario.params.decision.kind": "box",
    "scenario.params.observation.layout": "released",
    "module_sharing": "per_agent",
    "model.hidden": [64, 64],
    "algorithm.critic": "shared",
    "algorithm.others": "policy",
    "algorithm.first_weights": "uniform",
    "algorithm.policy_learning_rate": 0.0001,
    "algorithm.critic_learning_rate": 0.001,
    "algorithm.final_rate_frac": 1.0,
    "algorithm.gamma": 0.95,
    "algorithm.normalise_value": False,
    "algorithm.warm_up_steps": 1024,
    "algorithm.minibatch_steps": 1024,
    "algorithm.updates_per_step": 0.1,
    "algorithm.target_rate": 0.01,
    "algorithm.grad_clip": 0.5,
    "algorithm.target_gradient": "gumbel",
    "algorithm.epsilon": 0.0,
    "algorithm.final_epsilon": 0.0,
    "algorithm.noise_frac": 0.045,  # its process has a deviation of 0.09 on a range of 2, falling to 0
    "algorithm.final_noise_frac": 0.0,
    "algorithm.entropy_coeff": 0.0,
    "algorithm.decision_penalty": 0.000001,
    "algorithm.saturation_penalty": 0.0,
}
MASAC = {  # the values of tune_configs/algorithm/mdoff.yaml that belong to this world
    "algorithm.critic_learning_rate": 0.002,
    "algorithm.final_rate_frac": 0.02,
    "algorithm.gamma": 0.3,
    "algorithm.replay_steps": 5000,
    "algorithm.grad_clip": 10.0,
}
EXPLABOFF = "explaboff"
POLICIES = {
    EXPLABOFF: Learner("mdoff", "explaboff"),
    "mdoff": Learner("mdoff"),
    "cmoff": Learner("cmoff"),
    "mpoff": Learner("mpoff"),
    "mtoff": Learner("mtoff"),
    "masac": Learner("masac", over=MappingProxyType(MASAC)),
    "mpoff_mi": Learner("mpoff", "explaboff"),
    "explaboff_released": Learner("mdoff", "explaboff_released", MappingProxyType(RELEASED), is_tuned=False),
}
STUDIED = "2es_5md"  # setting of tuning, ablation, grid and late: the paper's
ABLATION: dict[str, dict[str, Any]] = {  # name -> what differs from ExplabOff
    "no_mi": {"mutual_information": "none"},
    "lower_only": {"mutual_information.upper": None},
    "upper_only": {"mutual_information.lower": None},
    "both": {},
    "undistinguished": {"mutual_information.lower.data": "all", "mutual_information.upper.data": "all"},
    "paper_estimators": {"mutual_information": "explaboff_paper"},
}
GRID = ((0.1, 1.0), (1.0, 10.0), (2.0, 1.0), (3.5, 1.0), (7.0, 1.0), (10.0, 5.0), (20.0, 1.0))  # the paper's (mu, nu)
GRID_SEEDS = 3  # the first so many
LATE_FRAC = 0.45  # the paper: 4.5e5 of 1e6 episodes
TUNING_SEED, TUNING_JUDGING_SEED, JUDGING_SEED = 101, 7_101, 7_001  # of training; of judged worlds: no run trains there
JUDGED = MappingProxyType({"scenario.params.on_miss": "end"})  # the released rule; in training an episode goes on
LOOK_STEPS = 800  # environment steps between two looks at the watched worlds, for all learners
# What --quick changes: some updates of tiny batches, few worlds
QUICK_STEPS, QUICK_WORLDS, QUICK_TRIALS = 640, 4, 2
QUICK: dict[str, Any] = {"n_worlds": 4, "evaluation.watched_worlds": 2}
QUICK_REPLAY = {"algorithm.warm_up_steps": 64, "algorithm.minibatch_steps": 32, "algorithm.updates_per_step": 0.02}
QUICK_REWARD = {"mutual_information.batch_rows": 16, "mutual_information.start_rows": 16}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run, and where it goes."""

    parts: tuple[str, ...]
    settings: tuple[str, ...]
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None  # of each run; None: as its settings say
    worlds: int  # judged worlds of each setting
    is_quick: bool
    out: Path

    @functools.cached_property
    def studied(self) -> str:
        """The setting of tuning, ablation, grid and late."""
        return STUDIED if STUDIED in self.settings else self.settings[0]

    @functools.cached_property
    def choices(self) -> dict[str, dict[str, Any]]:
        """What tuning chose for each policy: overrides of its settings."""
        path = self.out / CHOICES
        found = files.read_json(path)["policies"] if path.is_file() else {}
        return {policy: row["overrides"] for policy, row in found.items()}

    def cell(self, label: str, setting: str, policy: str, seed: int, over: Mapping[str, Any] | None = None) -> Cell:
        """Return a run of a policy on a setting; ``label`` names the policy and what is special about it."""
        chosen = self.choices.get(policy, {})
        if over and "mutual_information" in over:  # another reward, which has values of its own
            chosen = {key: value for key, value in chosen.items() if not key.startswith("mutual_information.")}
        over = {**self._base(policy, setting), **chosen, **(over or {}), "seed": seed}
        return self._cell(f"{setting}-{label}-{seed}", f"{setting}, {label}, seed {seed}", setting, over, JUDGING_SEED)

    def trial(self, policy: str, number: int, over: Mapping[str, Any]) -> Cell:
        """Return a trial of tuning."""
        over = {**self._base(policy, self.studied), **over, "seed": TUNING_SEED}
        return self._cell(
            f"tuning-{policy}-{number}", f"tuning, {policy}, trial {number}", self.studied, over, TUNING_JUDGING_SEED
        )

    def _base(self, policy: str, setting: str) -> dict[str, Any]:
        learner = POLICIES[policy]
        over = {"algorithm": learner.algorithm, "mutual_information": learner.reward, **learner.over}
        if learner.reward == "explaboff_released":  # the coordinates that its critics are trained in
            over["algorithm.released_servers"] = len(named_run(setting).scenario.topology.server_hz)
        return over

    def _cell(self, name: str, label: str, setting: str, over: Mapping[str, Any], judging_seed: int) -> Cell:
        run_name = f"run/explaboff_{setting}"
        # The end of a training judges on worlds of its own seed; here all seeds are judged on the same ones.
        over = {"evaluation.worlds": 4, "evaluation.rules": ["random"], **over}
        if self.steps is not None:
            over["total_env_steps"] = self.steps
        algorithm = algorithm_of(run_name, tuple((k, v) for k, v in over.items() if k.startswith("algorithm")))
        n_worlds = named_run(setting).n_worlds
        if self.is_quick:
            over = {"total_env_steps": QUICK_STEPS, **over, **QUICK}
            over |= QUICK_REPLAY if hasattr(algorithm, "replay_steps") else {}
            over |= QUICK_REWARD if over["mutual_information"] != "none" else {}
            n_worlds = QUICK["n_worlds"]
        over["evaluation.every_iterations"] = max(1, round(LOOK_STEPS / (algorithm.fragment_steps * n_worlds)))
        return Cell(name, label, run_name, over, judging_seed, self.worlds, JUDGED)

    # ------------------------------------------------------------------------------------------------- cells of parts

    def comparison(self) -> dict[tuple[str, str], list[Cell]]:
        """Return the runs of each (setting, policy)."""
        return {
            (setting, policy): [self.cell(policy, setting, policy, seed) for seed in self.seeds]
            for setting in self.settings
            for policy in self.policies
        }

    def variants(self, part: str) -> dict[str, list[Cell]]:
        """Return the runs of each variant of ExplabOff of a part."""
        seeds = self.seeds[:GRID_SEEDS] if part == "grid" else self.seeds
        return {
            name: [self.cell(name if over else EXPLABOFF, self.studied, EXPLABOFF, seed, over) for seed in seeds]
            for name, over in self._overrides(part).items()
        }

    def _overrides(self, part: str) -> dict[str, dict[str, Any]]:
        """Return what differs from ExplabOff in each variant of a part."""
        if part == "ablation":
            return ABLATION
        reward = "mutual_information."
        if part == "grid":
            unscaled = {f"{reward}share_of_reward": 0.0, f"{reward}clip": 0.0}
            return {
                f"mu_{mu:g}_nu_{nu:g}": {f"{reward}lower.weight": mu, f"{reward}upper.weight": nu, **unscaled}
                for mu, nu in GRID
            }
        steps = self.steps or named_run(self.studied).total_env_steps
        late = {f"{reward}weights.start_env_steps": round(LATE_FRAC * steps)}
        return {
            "late_lower": {f"{reward}upper": None, **late},
            "late_upper": {f"{reward}lower": None, **late},
        }

    def trials(self) -> dict[str, list[Cell]]:
        """Return the trials of each policy."""
        return {
            policy: [
                self.trial(policy, number, over) for number, over in enumerate(drawn_trials(policy, self.is_quick))
            ]
            for policy in self.policies
            if POLICIES[policy].is_tuned
        }

    def cells(self) -> list[Cell]:
        """Return the runs of all parts but tuning; every setting has its first seed before any has its second."""
        cells: list[Cell] = []
        if "comparison" in self.parts:
            cells += [each for seeds in zip(*self.comparison().values(), strict=True) for each in seeds]
        for part in ("ablation", "grid", "late"):
            if part in self.parts:
                cells += [each for seeds in zip(*self.variants(part).values(), strict=True) for each in seeds]
        return cells


@functools.cache
def algorithm_of(run_name: str, over: tuple[tuple[str, Any], ...]) -> Any:
    """Return the algorithm's values of a run with some of them changed."""
    return load_run(run_name, dict(over)).algorithm


@functools.cache
def named_run(setting: str) -> RunConfig:
    """Return the settings that all runs on a setting share."""
    return load_run(f"run/explaboff_{setting}")


# ------------------------------------------------------------------------------------------------------------- tuning


def drawn_trials(policy: str, is_quick: bool = False) -> list[dict[str, Any]]:
    """Return what each trial of a policy changes: nothing, then draws from its space."""
    search = load_search(f"search/explaboff_{policy}")
    rng = np.random.default_rng([TUNING_SEED, *policy.encode()])
    n_drawn = (QUICK_TRIALS if is_quick else search.n_trials) - 1
    return [{}, *({key: drawn(law, rng) for key, law in search.space.items()} for _ in range(n_drawn))]


def drawn(law: Mapping[str, list[Any]], rng: np.random.Generator) -> Any:
    """Return a value drawn from a law of a search."""
    name, values = next(iter(law.items()))
    if name == "uniform":
        return float(rng.uniform(*values))
    if name == "loguniform":
        return float(np.exp(rng.uniform(*np.log(values))))
    return values[rng.integers(len(values))]


def choose(plan: Plan, trials: Study) -> dict[str, Any]:
    """Return, and write, the best trial of each policy, with all that were tried."""
    rows = {policy: explaboff_report.trial_rows(trials, cells) for policy, cells in plan.trials().items()}
    found: dict[str, Any] = {
        "setting": plan.studied,
        "training_seed": TUNING_SEED,
        "worlds": plan.worlds,
        "judging_seed": TUNING_JUDGING_SEED,
        "policies": {},
    }
    for policy, tried in rows.items():
        best = min(tried, key=explaboff_report.trial_rank)
        overrides = drawn_trials(policy, plan.is_quick)[best["trial"]]
        found["policies"][policy] = {**best, "overrides": overrides, "trials": tried}
    files.write_json(plan.out / CHOICES, found)
    return found


# ------------------------------------------------------------------------------------------------------- command line


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, metavar="PART", help="default: all of them")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, metavar="NAME")
    parser.add_argument("--policies", nargs="+", choices=tuple(POLICIES), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="training seeds; default 1 2 3 4 5")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps of single worlds of each run; default: run/*.yaml"
    )
    parser.add_argument("--worlds", type=int, metavar="N", help="judged worlds of each setting; default 256")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="runs at once; 0 reports what is there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default results/explaboff_paper, or ..._quick")
    parser.add_argument("--quick", action="store_true", help="a minute: 2es_3md, two policies and seeds, tiny runs")
    parser.add_argument("--worker", type=int, metavar="N", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def planned(arguments: argparse.Namespace) -> Plan:
    """Return what the options ask for."""
    quick = arguments.quick
    known = tuple(policy for policy, learner in POLICIES.items() if learner.algorithm in names("algorithm"))
    return Plan(
        parts=tuple(arguments.part or (("tuning", "comparison") if quick else PARTS)),
        settings=tuple(arguments.settings or (("2es_3md",) if quick else SETTINGS)),
        policies=tuple(arguments.policies or ((EXPLABOFF, "mpoff") if quick else known)),
        seeds=tuple(arguments.seeds or ((1, 2) if quick else (1, 2, 3, 4, 5))),
        steps=arguments.steps,
        worlds=arguments.worlds or (QUICK_WORLDS if quick else 256),
        is_quick=quick,
        out=(arguments.out or Path("results") / f"explaboff_{'quick' if quick else 'paper'}").resolve(),
    )


def worker_command(parts: Sequence[str]) -> list[str]:
    """Return this command for a worker that plays some parts; the last of two equal options counts."""
    return [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--part", *parts, "--worker"]


def play_all(plan: Plan, processes: int, console: Console) -> bool:
    """Run what is missing, tuning first, since it says what the other parts run; return whether all is there."""
    is_whole = True
    if "tuning" in plan.parts:
        trials = Study(plan.out, [cell for cells in plan.trials().values() for cell in cells])
        is_whole = study.play(trials, processes, worker_command(["tuning"]), console)
        if trials.unfinished():
            return False
        choose(plan, trials)
        console.print(f"chosen: {plan.out / CHOICES}")
    others = [part for part in plan.parts if part != "tuning"]
    if others:
        is_whole &= study.play(Study(plan.out, plan.cells()), processes, worker_command(others), console)
    return is_whole


def work(plan: Plan, number: int) -> int:
    """Play runs in this process."""
    if plan.parts == ("tuning",):
        return study.work(Study(plan.out, [cell for cells in plan.trials().values() for cell in cells]), number)
    return study.work(Study(plan.out, plan.cells()), number)


def main() -> int:
    """Run what is missing, then report what is there."""
    arguments = parse()
    plan = planned(arguments)
    if arguments.worker is not None:
        return work(plan, arguments.worker)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    try:
        is_whole = play_all(plan, arguments.processes, console)
    except KeyboardInterrupt:
        return study.EXIT_INTERRUPTED
    found = explaboff_report.report(plan)
    if not found["settings"]:
        console.print("nothing to report yet: no run of the comparison has finished")
        return 0 if is_whole else 1
    files.write_json(plan.out / f"{NAME}.json", found)
    console.print(explaboff_picture.write(files.read_json(plan.out / f"{NAME}.json"), plan.out, NAME))
    return 0 if is_whole else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeError as error:
        sys.exit(f"error: {error}")
