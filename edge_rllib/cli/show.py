"""``edge-rllib show``: the curves and tables of a result as PNG and text."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("result", type=Path, metavar="RESULT_DIR", help="folder that `edge-rllib train` made")


def run(arguments: argparse.Namespace) -> int:
    """Draw and print."""
    from edge_rllib.results import report

    print(report.text(arguments.result))
    for path in report.draw(arguments.result):
        print(f"picture: {path}")
    return 0
