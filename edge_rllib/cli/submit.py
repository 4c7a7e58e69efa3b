"""``edge-rllib submit``: a run on a Ray cluster, its log followed and its result fetched."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from envs.errors import ConfigError, EdgeError

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="?", metavar="RUN", help="run/NAME, search/NAME or the path of a yaml file")
    parser.add_argument("--address", required=True, metavar="URL", help="job server, e.g. http://127.0.0.1:8265")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting; repeatable",
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="folder here for the result; default RESULTS/NAME-TIME"
    )
    parser.add_argument("--remote-into", metavar="DIR", help="folder there; default ~/edge_rllib_results/job-ID-TIME")
    parser.add_argument(
        "--python", default="python", help="interpreter there that has the dependencies; default python"
    )
    parser.add_argument("--follow", metavar="JOB", help="follow a job that was submitted before, and fetch its result")
    parser.add_argument("--fetch", metavar="JOB", help="fetch the result of a job that has ended")
    parser.add_argument("--stop", metavar="JOB", help="stop a job")


def run(arguments: argparse.Namespace) -> int:
    """Submit, or do what is asked about an earlier job."""
    given = [name for name in ("what", "follow", "fetch", "stop") if getattr(arguments, name)]
    if len(given) != 1:
        raise ConfigError("submit: expected one of RUN, --follow JOB, --fetch JOB and --stop JOB")
    from edge_rllib.experiment import cluster

    if arguments.what:
        name, results, text = _settings(arguments)
        target = _target(arguments, results, name)
        client = cluster.connect(arguments.address)
        job = cluster.submit(client, text, name, arguments.python, arguments.remote_into)
        print(f"job: {job}")
        return _follow(client, job, target, arguments.address)
    client = cluster.connect(arguments.address)
    job = arguments.follow or arguments.fetch or arguments.stop
    if arguments.stop:
        cluster.stop(client, job)
        print(f"asked {job} to stop")
        return 0
    target = _target(arguments, Path("results"), job)
    if arguments.follow:
        return _follow(client, job, target, arguments.address)
    cluster.gather(client, job).unpack(target)
    print(f"fetched: {target}")
    return 0


def _settings(arguments: argparse.Namespace) -> tuple[str, Path, str]:
    """Return the name, the folder of results and the resolved settings of a run or search."""
    from edge_rllib.cli.train import is_search
    from edge_rllib.config.load import dump, load_run
    from edge_rllib.config.search import dump_search, load_search

    if is_search(arguments.what):
        search = load_search(arguments.what, arguments.overrides)
        return search.name, Path(search.run.results), dump_search(search)
    run = load_run(arguments.what, arguments.overrides)
    return run.name, Path(run.results), dump(run)


def _target(arguments: argparse.Namespace, results: Path, name: str) -> Path:
    from edge_rllib.results.files import fresh_folder

    target: Path = arguments.into or fresh_folder(results, name)
    if target.exists():
        raise ConfigError(f"--into {target}: exists already; results are never overwritten")
    return target


def _follow(client: Any, job: str, target: Path, address: str) -> int:
    """Show the log and fetch the result; Ctrl-C leaves the job running unless the user says otherwise."""
    from edge_rllib.experiment import cluster

    try:
        status, gathered = cluster.follow(client, job, print)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and input(f"\nstop {job} on the cluster? [y/N] ").strip().lower() in ("y", "yes"):
            cluster.stop(client, job)
            print(f"asked {job} to stop")
        else:
            print(f"\n{job} goes on. Follow it: edge-rllib submit --address {address} --follow {job}")
            print(f"Stop it: edge-rllib submit --address {address} --stop {job}")
        return EXIT_INTERRUPTED
    if gathered.is_complete:
        gathered.unpack(target)
        print(f"fetched: {target}")
    if status.name != "SUCCEEDED":
        info = client.get_job_info(job)
        print(f"edge-rllib: {job} ended as {status.name}: {info.message}", file=sys.stderr)
        return EXIT_FAILED
    if not gathered.is_complete:
        raise EdgeError(f"{job} succeeded but sent no result; on the cluster it is in {gathered.folder}")
    return 0
