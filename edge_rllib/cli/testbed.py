"""``edge-rllib testbed``: real processes, shaped links, real work."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_rllib.testbed.params import BedScenario

DEFAULT_RESULTS = Path("results")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands of the testbed and their options."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="play a policy on processes of this machine, or on other machines"))
    commands.add_parser("probe", help="tell which tiers this machine has, and why not the others")
    calibrate = commands.add_parser("calibrate", help="measure service times, goodput and crowding on this machine")
    calibrate.add_argument("scenario", metavar="SCENARIO", help="name of a testbed scenario, or path of a yaml file")
    calibrate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    calibrate.add_argument("--tier", default="auto", help="auto, 0, 1 or 2; default auto")
    calibrate.add_argument("--repeats", type=int, default=10, help="measurements of each figure; default 10")
    calibrate.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="take the figures from these runs of the testbed, such as of the policy random, and measure nothing",
    )
    _add_results(calibrate)
    simulate = commands.add_parser("simulate", help="play a policy in the testbed's simulated twin")
    _add_policy(simulate)
    simulate.add_argument("--fitted", type=Path, metavar="FILE", help="fitted.yaml of `testbed calibrate`")
    simulate.add_argument("--episodes", type=int, default=32, metavar="N", help="episodes to play; default 32")
    simulate.add_argument("--seed", type=int, default=0, help="of what varies from episode to episode; default 0")
    _add_results(simulate)
    compare = commands.add_parser("compare", help="tell how far simulated runs are from real ones, by policy")
    for option, what in (("--simulated", "of `testbed simulate`"), ("--real", "of `testbed run`; repeats are pooled")):
        compare.add_argument(option, type=Path, nargs="+", required=True, metavar="DIR", help=f"result folders {what}")
    _add_results(compare)
    node = commands.add_parser(
        "node", help="make this machine a device, or with --listen an edge server, of a run elsewhere"
    )
    node.add_argument("--connect", required=True, metavar="HOST:PORT", help="where the run's controller listens")
    node.add_argument("--listen", metavar="HOST:PORT", help="where devices reach this edge server")
    node.add_argument("--token-file", type=Path, metavar="FILE", help="shared secret, the same on all machines")
    node.add_argument("--once", action="store_true", help="end after one run")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; a request to end (SIGTERM) is taken as Ctrl-C, so that nothing is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _COMMANDS[arguments.what](arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", help="name of a testbed scenario, or path of a yaml file")
    parser.add_argument(
        "--policy",
        default="least_response_time",
        help="local, edge, random, round_robin, least_response_time, file.py:Class, a result's folder of "
        "`edge-rllib train`, or one of `edge-rllib export`",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="number of devices; default that of the scenario")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_policy(parser)
    parser.add_argument("--tier", default="auto", help="auto, 0, 1 or 2; default auto, the highest there is")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="seconds that a second of the scenario takes; default 1"
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="wait for other machines, which run `testbed node`, here")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="shared secret, the same on all machines")
    _add_results(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=DEFAULT_RESULTS, help="folder for the result's own folder")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="the result's own folder")


def _run(arguments: argparse.Namespace) -> int:
    from edge_rllib.results.files import fresh_folder
    from edge_rllib.testbed import judge
    from edge_rllib.testbed import run as testbed
    from edge_rllib.testbed.listening import address_of
    from edge_rllib.testbed.node import read_token
    from edge_rllib.testbed.policies import load_policy

    scenario = _scenario_of(arguments)
    policy = load_policy(arguments.policy, scenario)
    if arguments.listen is None:
        where = testbed.place(scenario, arguments.tier, arguments.scale)
    else:
        host, port = address_of(arguments.listen, "--listen")
        where = testbed.place_on_machines(host, port, read_token(arguments.token_file, host))
    folder = arguments.into or fresh_folder(arguments.results, f"{scenario.name}-{Path(arguments.policy).stem}")
    if where.note:
        print(where.note, file=sys.stderr)
    if arguments.listen is not None:
        print(f"waiting at {arguments.listen} for {scenario.n_servers} servers and {scenario.n_devices} devices")
    figures = testbed.run(scenario, policy, arguments.policy, where, folder)
    print(f"{scenario.name}, policy {arguments.policy}, tier {figures['tier']}, time x {where.scale:g}")
    print(judge.text(figures))
    print(f"written to {folder}")
    return 0


def _scenario_of(arguments: argparse.Namespace) -> BedScenario:
    from edge_rllib.testbed.scenarios import load_scenario

    overrides = list(arguments.overrides)
    if arguments.devices is not None:
        overrides.append(f"n_devices={arguments.devices}")
    return load_scenario(arguments.scenario, overrides)


def _simulate(arguments: argparse.Namespace) -> int:
    from edge_rllib.results.files import fresh_folder
    from edge_rllib.testbed import judge
    from edge_rllib.testbed.simulate import simulate
    from edge_rllib.testbed.twin import read_fitted
    from envs.errors import ConfigError

    if arguments.episodes < 1:
        raise ConfigError(f"--episodes {arguments.episodes}: expected at least 1")
    scenario = _scenario_of(arguments)
    fitted = None if arguments.fitted is None else read_fitted(arguments.fitted)
    name = f"{scenario.name}-{Path(arguments.policy).stem}-simulated"
    folder = arguments.into or fresh_folder(arguments.results, name)
    figures = simulate(scenario, fitted, arguments.policy, arguments.episodes, arguments.seed, folder)
    print(f"{scenario.name}, policy {arguments.policy}, simulated, {arguments.episodes} episodes")
    print(judge.text(figures))
    print(f"written to {folder}")
    return 0


def _probe(_: argparse.Namespace) -> int:
    from edge_rllib.testbed.shaping.probe import probe

    for state in probe():
        print(state.line())
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    import yaml

    from edge_rllib.results.files import fresh_folder
    from edge_rllib.testbed.calibrate import calibrate, text, write_fitted
    from edge_rllib.testbed.identify import identify
    from edge_rllib.testbed.scenarios import load_scenario

    scenario = load_scenario(arguments.scenario, arguments.overrides)
    folder = arguments.into or fresh_folder(arguments.results, f"{scenario.name}-calibration")
    if arguments.runs:
        fitted = write_fitted(folder, scenario, identify(scenario, arguments.runs))
        print(yaml.safe_dump(fitted, sort_keys=False, default_flow_style=None, width=120), end="")
        print(f"written to {folder}")
        return 0
    found = calibrate(scenario, arguments.tier, arguments.repeats, folder)
    print(text(found))
    print(f"written to {folder}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from edge_rllib.results.files import fresh_folder
    from edge_rllib.testbed.gap import compare
    from edge_rllib.testbed.gap_text import text

    folder = arguments.into or fresh_folder(arguments.results, "gap")
    print(text(compare(arguments.simulated, arguments.real, folder)))
    print(f"written to {folder}")
    return 0


def _node(arguments: argparse.Namespace) -> int:
    for name in _ONE_THREAD:  # before numpy is loaded: a lane is one thread
        os.environ.setdefault(name, "1")
    from edge_rllib.testbed.listening import address_of
    from edge_rllib.testbed.node import read_token, serve

    connect = address_of(arguments.connect, "--connect")
    listen = None if arguments.listen is None else address_of(arguments.listen, "--listen")
    token = read_token(arguments.token_file, connect[0], *([listen[0]] if listen else []))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    serve(connect, listen, token, arguments.once)
    return 0


_COMMANDS = {
    "run": _run,
    "probe": _probe,
    "calibrate": _calibrate,
    "simulate": _simulate,
    "compare": _compare,
    "node": _node,
}
