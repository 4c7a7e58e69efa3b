"""``edge-rllib show``: the curves and tables of a result, or the network and the load of a scenario."""

from __future__ import annotations

import argparse
from pathlib import Path

from envs.errors import ConfigError

SCENARIO = "scenario"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s RESULT_DIR\n       %(prog)s scenario NAME [--set KEY=VALUE ...] [--out FILE.png]"
    parser.add_argument("what", metavar="RESULT_DIR", help="folder that `edge-rllib train` made, or the word scenario")
    parser.add_argument("name", nargs="?", metavar="NAME", help="scenario: its name, or the path of a yaml file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="scenario: change a setting"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="scenario: the picture; default NAME.png here")


def run(arguments: argparse.Namespace) -> int:
    """Draw and print."""
    if arguments.what == SCENARIO:
        return _scenario(arguments)
    if arguments.name is not None or arguments.overrides or arguments.out is not None:
        raise ConfigError(
            f"show {arguments.what} {arguments.name or ''}: a result takes no name, --set or --out; "
            "expected `show RESULT_DIR` or `show scenario NAME`".replace(" :", ":")
        )
    from edge_rllib.results import report

    folder = Path(arguments.what)
    print(report.text(folder))
    for path in report.draw(folder):
        print(f"picture: {path}")
    return 0


def _scenario(arguments: argparse.Namespace) -> int:
    from edge_rllib.config.load import load_scenario
    from edge_rllib.config.paths import config_names
    from edge_rllib.results import load_report
    from edge_rllib.results.network_plot import draw_network
    from edge_rllib.results.plots import save
    from envs.fog.load import scenario_load

    if arguments.name is None:
        raise ConfigError(f"show scenario: expected a name: {', '.join(config_names('scenario'))}")
    path = arguments.out or Path(f"{Path(arguments.name).stem}.png")
    if path.suffix != ".png":
        raise ConfigError(f"--out {path}: expected a file that ends with .png")
    load = scenario_load(load_scenario(arguments.name, arguments.overrides))
    print(load_report.text(load))
    print(f"picture: {save(draw_network(load), path)}")
    return 0
