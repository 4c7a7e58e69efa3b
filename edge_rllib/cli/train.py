"""``edge-rllib train``: a run, a search with many trials, or the rest of an interrupted run."""

from __future__ import annotations

import argparse
from pathlib import Path

from envs.errors import ConfigError

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="?", metavar="RUN", help="run/NAME, search/NAME or the path of a yaml file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting; repeatable",
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="continue the run in this result folder")
    parser.add_argument("--into", type=Path, metavar="DIR", help="result folder to make; default RESULTS/NAME-TIME")


def run(arguments: argparse.Namespace) -> int:
    """Train, draw the figures, print the table and where everything is."""
    if (arguments.what is None) == (arguments.resume is None):
        raise ConfigError("train: expected either a RUN, e.g. run/quickstart, or --resume DIR")
    if arguments.what and is_search(arguments.what):
        from edge_rllib.cli.search import run_search

        return run_search(arguments)
    if arguments.into is not None and arguments.into.exists():
        raise ConfigError(f"--into {arguments.into}: exists already; results are never overwritten")
    from edge_rllib.config.load import load_run

    settings = load_run(arguments.what, arguments.overrides) if arguments.what else None
    from edge_rllib.experiment.run import resume, train
    from edge_rllib.results import report

    if settings is None:
        finished = resume(arguments.resume, arguments.overrides)
    else:
        finished = train(settings, arguments.into)
    if finished.is_interrupted:
        print(f"interrupted and saved; continue with: edge-rllib train --resume {finished.folder}")
        return EXIT_INTERRUPTED
    pictures = report.draw(finished.folder)
    print(report.text(finished.folder))
    for path in pictures:
        print(f"picture: {path}")
    print(f"curves: tensorboard --logdir {finished.folder.parent}")
    return 0


def is_search(what: str) -> bool:
    """Return whether a name, or a user's yaml file, is that of a search."""
    from edge_rllib.config.paths import config_file, is_path
    from edge_rllib.config.tree import read_yaml

    return what.startswith("search/") or (is_path(what) and "space" in read_yaml(config_file("run", what)))
