"""``edge-rllib export``: the policy of a result as a folder that needs neither torch nor Ray."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("result", type=Path, metavar="RESULT_DIR", help="folder that `edge-rllib train` made")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to write it; default RESULT_DIR/policy")
    parser.add_argument(
        "--format",
        choices=("onnx", "numpy", "both"),
        help="an ONNX graph, arrays for NumPy alone, or both; default both where onnx is installed, else numpy",
    )
    parser.add_argument("--checkpoint", metavar="NAME", help="best (default), latest or an iteration")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what was written and how near to torch it is."""
    from edge_rllib.results.files import result_folder

    logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)  # RLlib calls what it has deprecated
    folder = result_folder(arguments.result)
    from edge_rllib.experiment.evaluation import checkpoint_named
    from edge_rllib.export.parity import TOLERANCE
    from edge_rllib.export.writing import DEFAULT_FOLDER, default_formats, export_result

    formats, note = (arguments.format, "") if arguments.format else default_formats()
    if note:
        print(note)
    target = arguments.to or folder / DEFAULT_FOLDER
    manifest = export_result(folder, target, checkpoint_named(folder, arguments.checkpoint), formats)
    print(
        f"{manifest.algorithm} for {manifest.scenario}, checkpoint {manifest.checkpoint}: {len(manifest.agents)} "
        f"agents in {len(manifest.groups)} groups, {manifest.n_features} features, {manifest.n_targets} targets, "
        f"{manifest.n_amounts} amounts"
    )
    for runtime, difference in manifest.parity.items():
        print(f"by {runtime}: at most {difference:.2g} from torch (allowed {TOLERANCE:g})")
    for name in manifest.files:
        print(f"{name}: {(target / name).stat().st_size} bytes")
    print(f"written: {target}")
    return 0
