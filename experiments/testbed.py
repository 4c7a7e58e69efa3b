"""Question: is a policy that divides tasks better than local-only and edge-only on real processes, as in simulation?

Command: python experiments/testbed.py [--devices 3 5 8] [--policies local edge round_robin NAME=RESULT_DIR ...]
             [--tier auto] [--scale 1] [--epochs N] [--repeats 3] [--episodes 16] [--fitted FILE] [--simulate-only]
             [--out DIR] [--quick]
Cost: a real run takes its epochs of 1.2 s, times --scale, and some seconds to start and to drain; one comes after the
other, since they would disturb each other. A simulation of 16 episodes takes some seconds. The whole was not run yet.
--quick: small tasks, tier 0, a few epochs.
Expected picture: devices alone fall behind at any number; sending everything is good for three devices and bad for
eight, as DC-DRL published; `least_response_time`, which divides tasks, is quickest with three and five. In simulation
`round_robin` costs a little less, since devices compute at half the price, and is as quick with eight. Open is how near
the simulation comes; "near" is a rank correlation of costs of 0.8 and a mean gap of 15 %.

Stop it with Ctrl-C or SIGTERM: the same command goes on where it stopped, and a finished run is never repeated. A run
that fails is told, and the others go on; one on a machine that was too busy is told, too: remove its folder under runs/
and give the command again. NAME=SPEC gives a policy a name; SPEC is whatever `edge-rllib testbed run
--policy` takes, and {devices} in it becomes the number of devices. A policy that cannot play that number is left out.

Method. testbed_3 to testbed_8: devices on one edge server, the tasks of all runs of a scenario are the same. Each
policy is simulated in --episodes episodes, with the figures of --fitted (`edge-rllib testbed calibrate`) if given, and
played on real processes --repeats times; first every policy once, then every policy again, so that what else the
machine does meets all alike. Values are over all tasks; those in flight at the end count as late, with the time that
they had waited. Intervals are 95 % percentile bootstraps: whole episodes of the simulation; real runs, and within them
blocks of consecutive epochs, too narrow for a single run with long queues. Written to --out: testbed.json, .md and
.png, gap_N/ with the comparison of N devices in detail, and runs/ with all result folders.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import testbed_picture
import yaml
from rich.console import Console

from edge_rllib.export.manifest import MANIFEST
from edge_rllib.results import files
from edge_rllib.results.estimates import N_RESAMPLES
from edge_rllib.testbed import gap, gap_measures, gap_runs
from edge_rllib.testbed import run as testbed
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.policies import RULES, load_policy
from edge_rllib.testbed.scenarios import dump, load_scenario
from edge_rllib.testbed.simulate import simulate
from edge_rllib.testbed.twin import read_fitted
from envs.errors import ConfigError, EdgeError, UnknownName

SIMULATION_SEED = 0  # of what varies from episode to episode; the tasks are those of the scenario's seed
ASKED = "asked.json"  # in a run's folder: what it was made for
POLICIES = ("local", "edge", "round_robin", "least_response_time")
COLUMNS = {
    "response_time_s": gap_measures.RESPONSE,
    "late_frac": gap_measures.LATE,
    "cost_per_task": gap_measures.COST,
}
SMALL = ["work.frames=[1, 3]", "work.clips=2", "epoch_s=0.8", "deadline_s=1.6", "drain_s=5.0"]
QUICK = {"devices": [3], "policies": ["local", "edge"], "tier": "0", "epochs": 4, "repeats": 1, "episodes": 2}


class Cell(NamedTuple):
    """A run, real or simulated."""

    scenario: BedScenario
    name: str  # of the policy, in tables
    spec: str  # what loads it
    repeat: int  # of a real run, from 1; 0: the simulation

    @property
    def folder(self) -> str:
        """Return the name of the result folder."""
        kind = f"real_{self.repeat}" if self.repeat else "simulated"
        return f"{self.scenario.n_devices}-{self.name}-{kind}"


def cells_of(given: argparse.Namespace) -> list[Cell]:
    """Return all runs in their order: simulations first, then real runs, each policy once before any comes again."""
    policies: dict[str, str] = {}
    for text in given.policies:
        name, equals, spec = text.partition("=")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ConfigError(f"--policies {text}: expected a rule, or NAME=SPEC with a NAME of letters, digits, . + -")
        if name in policies:
            raise ConfigError(f"--policies: two policies have the name {name!r}")
        if not equals and name not in RULES:
            raise UnknownName("rule of the testbed", name, RULES, "--policies; others as NAME=SPEC")
        policies[name] = spec if equals else name
    overrides = [] if given.epochs is None else [f"n_epochs={given.epochs}"]
    overrides += SMALL if given.quick else []
    scenarios = [load_scenario(f"testbed_{n}", overrides) for n in sorted(set(given.devices))]
    repeats = [0] if given.simulate_only else range(given.repeats + 1)
    return [
        Cell(scenario, name, spec.replace("{devices}", str(scenario.n_devices)), repeat)
        for repeat in repeats
        for scenario in scenarios
        for name, spec in policies.items()
    ]


def asked(cell: Cell, given: argparse.Namespace, fitted: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what makes a run what it is, as plain values."""
    how: dict[str, Any] = {
        "policy": cell.spec,
        "content": content(cell.spec),
        "scenario": yaml.safe_load(dump(cell.scenario)),
    }
    if cell.repeat:
        return {**how, "tier": given.tier, "scale": given.scale}
    return {**how, "episodes": given.episodes, "fitted": fitted}


def content(spec: str) -> str:
    """Return a digest of the file or training that a policy comes from; empty for a rule, or where nothing is there."""
    path = Path(spec.rpartition(":")[0] if ".py:" in spec else spec)
    sources = [path] if path.is_file() else [path / files.PROGRESS, path / MANIFEST]
    found = b"".join(source.read_bytes() for source in sources if source.is_file())
    return hashlib.sha256(found).hexdigest()[:16] if found else ""


def is_finished(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Return whether a run is there; raise ConfigError for one that was made for something else."""
    if not (folder / testbed.SUMMARY).is_file():
        return False
    for key, (had, now) in gap_runs.differences(files.read_json(folder / ASKED), wanted).items():
        raise ConfigError(f"{folder} was made with {key} = {had}, and {now} is asked for; give another --out")
    return True


def play(cell: Cell, given: argparse.Namespace, fitted: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Play a run into a folder and return its summary."""
    if (folder / ASKED).is_file():  # begun and not finished
        shutil.rmtree(folder)
    files.write_json(folder / ASKED, asked(cell, given, fitted))
    if cell.repeat:
        where = testbed.place(cell.scenario, given.tier, given.scale)
        return testbed.run(cell.scenario, load_policy(cell.spec, cell.scenario), cell.spec, where, folder)
    return simulate(cell.scenario, fitted, cell.spec, given.episodes, SIMULATION_SEED, folder)


def play_all(
    cells: Sequence[Cell], given: argparse.Namespace, fitted: Mapping[str, Any] | None, runs: Path, console: Console
) -> list[str]:
    """Play what is not there, one after the other; return a line for each run that failed."""
    waiting = [cell for cell in cells if not is_finished(runs / cell.folder, asked(cell, given, fitted))]
    console.print(f"{len(cells)} runs, {len(cells) - len(waiting)} of them finished before")
    failed = []
    for place, cell in enumerate(waiting, start=1):
        began_s = time.monotonic()
        try:
            summary = play(cell, given, fitted, runs / cell.folder)
        except EdgeError as error:
            failed.append(f"{cell.folder}: {type(error).__name__}: {error}")
            console.print(f"{place}/{len(waiting)} {failed[-1]}", markup=False)
            continue
        console.print(
            f"{place}/{len(waiting)} {cell.folder}: cost a task {summary['cost_per_task']:.4g}, "
            f"{time.monotonic() - began_s:.0f} s",
            markup=False,
        )
    return failed


def sides_of(cells: Sequence[Cell], runs: Path) -> dict[int, dict[str, dict[str, gap_runs.Side]]]:
    """Return by number of devices, policy and kind what was played, each policy by its name in tables."""
    found: dict[int, dict[str, dict[str, list[gap_runs.Side]]]] = {}
    for cell in cells:
        folder = runs / cell.folder
        if (folder / testbed.SUMMARY).is_file():
            kind = "real" if cell.repeat else "simulated"
            by_kind = found.setdefault(cell.scenario.n_devices, {}).setdefault(cell.name, {})
            by_kind.setdefault(kind, []).append(dataclasses.replace(gap_runs.read(folder), policy=cell.name))
    return {
        n: {
            name: {kind: gap_runs.together(several) for kind, several in kinds.items()} for name, kinds in named.items()
        }
        for n, named in found.items()
    }


def figures(sides: Mapping[str, gap_runs.Side], rng: np.random.Generator) -> dict[str, Any]:
    """Return the figures of a policy on each side that it was played on, with their resamples (R, 4) as "drawn"."""
    found: dict[str, Any] = {}
    for kind, side in sides.items():
        sums = gap_measures.added_sums(side)
        drawn = gap_measures.resampled_sums(side, kind == "simulated", N_RESAMPLES, rng)
        found[kind] = {
            **{
                name: gap_measures.estimate(gap_measures.per_task(sums, column), gap_measures.per_task(drawn, column))
                for name, column in COLUMNS.items()
            },
            **gap_measures.in_flight(side),
            "drawn": drawn,
        }
    return found


def all_ranks(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the rank correlations of cost over all numbers of devices and policies that were played on both sides."""
    both = [row for row in rows if len(row) == 2]
    if not both:
        return None
    values, drawn = [], []
    for kind in ("simulated", "real"):
        values.append(np.array([row[kind]["cost_per_task"]["value"] for row in both]))
        drawn.append(np.stack([gap_measures.per_task(row[kind]["drawn"], gap_measures.COST) for row in both], 1))
    return {"cells": len(both), **gap_measures.ranks(values[0], values[1], (drawn[0], drawn[1]))}


def report(cells: Sequence[Cell], given: argparse.Namespace, failed: Sequence[str], out: Path) -> dict[str, Any]:
    """Return all figures of what was played, and write the comparison of each number of devices."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {
        "asked": {key: getattr(given, key) for key in ("tier", "scale", "repeats", "episodes", "simulate_only")},
        "failed": list(failed),
        "devices": {},
    }
    rows = []
    for n, named in sides_of(cells, out / "runs").items():
        policies = {name: figures(sides, rng) for name, sides in named.items()}
        rows += [dict(each) for each in policies.values()]
        paired = [
            gap_runs.Pair(name, sides["simulated"], sides["real"]) for name, sides in named.items() if len(sides) == 2
        ]
        compared = gap.report(paired, [], out / f"gap_{n}") if paired else None
        side = next(iter(next(iter(named.values())).values()))
        found["devices"][str(n)] = {
            "scenario": side.config["name"],
            "epochs": side.config["n_epochs"],
            "seed": side.config["seed"],
            "policies": {
                name: {kind: {k: v for k, v in each.items() if k != "drawn"} for kind, each in kinds.items()}
                for name, kinds in policies.items()
            },
            "over_policies": None if compared is None else compared["over_policies"],
            "notes": [] if compared is None else compared["notes"],
        }
    found["all_ranks"] = all_ranks(rows)
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; those of --quick stand in for what is not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", type=int, default=[3, 4, 5, 6, 7, 8], metavar="N")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), metavar="RULE|NAME=SPEC")
    parser.add_argument("--tier", default="auto", help="auto, 0, 1 or 2; default auto, the highest there is")
    parser.add_argument("--scale", type=float, default=1.0, help="seconds that a second of the scenario takes")
    parser.add_argument("--epochs", type=int, help="decisions of a run; default those of the scenario")
    parser.add_argument("--repeats", type=int, default=3, help="real runs of a policy; default 3")
    parser.add_argument("--episodes", type=int, default=16, help="simulated episodes of a policy; default 16")
    parser.add_argument("--fitted", type=Path, help="fitted.yaml of `edge-rllib testbed calibrate`")
    parser.add_argument("--simulate-only", action="store_true", help="no real runs")
    parser.add_argument("--out", type=Path, default=Path("results/testbed"))
    parser.add_argument("--quick", action="store_true", help=f"small tasks, and what is not given as in {QUICK}")
    given = parser.parse_args(arguments)
    if given.quick:
        parser.set_defaults(**QUICK)
        given = parser.parse_args(arguments)
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what is missing, write and draw; return 2 after a mistake or where a run failed, 130 when interrupted."""
    given = parse(arguments)
    out = given.out.with_name(given.out.name + "_quick") if given.quick else given.out
    console = Console(width=200)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for option in ("repeats", "episodes"):
            if getattr(given, option) < 1:
                raise ConfigError(f"--{option} {getattr(given, option)}: expected at least 1")
        fitted = None if given.fitted is None else read_fitted(given.fitted)
        cells = cells_of(given)
        failed = play_all(cells, given, fitted, out / "runs", console)
        found = report(cells, given, failed, out)
        files.write_json(out / "testbed.json", found)
        for path in testbed_picture.write(found, out):
            console.print(f"written: {path}")
        print(testbed_picture.table(found))
    except EdgeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
