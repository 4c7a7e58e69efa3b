"""``edge-rllib train search/NAME``: many trials through Tune, and a table of them."""

from __future__ import annotations

import argparse


def run_search(arguments: argparse.Namespace) -> int:
    """Search, print the table of trials and where the best one is."""
    from edge_rllib.experiment.tuning import search, trial_table

    found = search(arguments.what, arguments.overrides, arguments.into)
    print(trial_table(found.rows))
    print(f"best trial: {found.best}")
    print(f"results: {found.folder}")
    print(f"curves: tensorboard --logdir {found.folder}")
    return 0
