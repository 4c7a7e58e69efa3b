"""``edge-rllib bench``: measure, print a table, write it as JSON."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

_N_PROCESSES = 6  # the largest measurement: main, two env runners, two learners, one to spare
_MODULES = {
    "world": "world",
    "simulators": "simulators",
    "sample": "sampling",
    "train": "training",
    "joint_update": "joint_update",
    "explaboff": "explaboff",
    "federated": "federated",
    "collective": "collective",
}
_WITHOUT_RAY = ("world", "simulators", "joint_update", "federated")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured and where the figures go."""
    parser.add_argument(
        "what",
        choices=list(_MODULES),
        help="worlds alone or beside other simulators, sampling, training, one joint update, ExplabOff's training, "
        "clients of federated training, the population of collective training",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for bench/WHAT.json")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; nothing else should run on the machine meanwhile."""
    from edge_rllib.experiment.bench import table

    if arguments.what not in _WITHOUT_RAY:
        from edge_rllib.experiment.build import start_ray

        start_ray(_N_PROCESSES)
    measured = importlib.import_module(f"edge_rllib.experiment.bench.{_MODULES[arguments.what]}").rows()
    path = arguments.results / "bench" / f"{arguments.what}.json"
    table.save(measured, path)
    print(table.text(measured))
    print(f"written to {path}")
    return 0
