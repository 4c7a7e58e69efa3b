"""``edge-rllib check``: what this project does beside what others measured."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

DEFAULT_WORLDS = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=["reference"], help="reference: files of reference data, replayed")
    parser.add_argument("path", type=Path, metavar="PATH", help="a file, or a folder of files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--seeds", type=int, default=DEFAULT_WORLDS, metavar="N", help=f"episodes of ours; default {DEFAULT_WORLDS}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table; 1 where a row is outside its tolerance, 2 where there was nothing to show."""
    from edge_rllib.reference.check import check_path
    from envs.errors import ConfigError

    if arguments.seeds < 2:
        raise ConfigError(f"--seeds {arguments.seeds}: expected at least 2, for a standard error")
    report = check_path(arguments.path, arguments.seeds)
    print(json.dumps(report.as_json(), indent=1) if arguments.json else report.as_text())
    if not report.is_ok:
        return 1
    return 0 if report.rows else 2
