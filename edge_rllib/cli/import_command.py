"""``edge-rllib import``: a scenario of another project as a scenario of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("format", choices=["peersim"], help="whose file it is: peersim is PeersimGym")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a configuration (JSON or config_PORT.txt) or a network of Ether (JSON)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.yaml", help="write the scenario there; default: print it")
    parser.add_argument(
        "--semantics",
        choices=["peersim", "correct"],
        default="peersim",
        help="peersim (default) plays what PeersimGym's simulator does, correct what it says it does",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a key of the configuration"
    )
    parser.add_argument("--scenario", metavar="NAME", help="which one of a file with several, such as reference.json")
    parser.add_argument(
        "--links",
        choices=["shannon", "ether"],
        default="shannon",
        help="of a network of Ether: PeersimGym's radio (default), or the file's own bandwidths and round-trip times",
    )
    parser.add_argument(
        "--expected-task-size", type=float, default=32e7, metavar="BYTES", help="memory of a task; default 32e7"
    )
    parser.add_argument("--project", action="store_true", help="stretch Ether's places to a square of 100 m")
    parser.add_argument("--skip-cloudlet", action="store_true", help="link Ether's server with the nucs alone")


def run(arguments: argparse.Namespace) -> int:
    """Read, warn on stderr, write."""
    from edge_rllib.config.load import load_scenario
    from edge_rllib.config.tree import parse_overrides
    from edge_rllib.reference.ether_json import EtherOptions
    from edge_rllib.reference.peersim_import import ImportOptions, as_yaml, import_peersim
    from envs.errors import ConfigError

    if not arguments.expected_task_size > 0.0:
        raise ConfigError(f"--expected-task-size {arguments.expected_task_size}: expected more than 0")
    out: Path | None = arguments.out
    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: expected a name that ends in .yaml")
    options = ImportOptions(
        name=(out or arguments.file).stem,
        semantics=arguments.semantics,
        overrides=parse_overrides(arguments.overrides),
        scenario=arguments.scenario,
        links=arguments.links,
        ether=EtherOptions(arguments.expected_task_size, arguments.project, arguments.skip_cloudlet),
        folder=out.parent if out is not None else None,
    )
    scenario, notes = import_peersim(arguments.file, options)
    for note in notes:
        print(f"edge-rllib: warning: {note}", file=sys.stderr)
    text = as_yaml(scenario, notes, arguments.file)
    if out is None:
        print(text, end="")
        return 0
    out.write_text(text, encoding="utf-8")
    load_scenario(str(out))  # what was written is what was meant
    print(f"written: {out} ({scenario.network().n_nodes} nodes)")
    return 0
