"""What runs on the cluster for ``edge-rllib submit``: trains, then sends the result through the log."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge_rllib.cli.main import main as edge_rllib_main
from edge_rllib.results.files import fresh_folder

RESULTS = "~/edge_rllib_results"  # on the head, where the run's own folder is relative and its job's folder is removed


def main() -> int:
    """Train the settings given as the first argument and print the packed result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings")
    parser.add_argument("--into", type=Path, help="result folder to make on the cluster")
    arguments = parser.parse_args()
    from edge_rllib.experiment.cluster import FOLDER_MARK, packed_lines

    job = os.environ.get("RAY_JOB_ID", "job").removeprefix("raysubmit_")
    folder = (arguments.into or fresh_folder(Path(RESULTS).expanduser(), f"job-{job}")).resolve()
    print(f"{FOLDER_MARK} {folder}", flush=True)
    code = edge_rllib_main(["train", arguments.settings, "--into", str(folder)])
    if folder.is_dir():
        for line in packed_lines(folder):
            print(line, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
