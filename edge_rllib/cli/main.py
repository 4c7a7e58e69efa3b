"""Entry point of ``edge-rllib``: finds the command's file, and turns errors into one line and an exit code.

Only the file of the command that is asked for is imported, so that ``list`` loads neither Ray nor torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from edge_rllib import __version__
from envs.errors import EdgeError

COMMANDS = {  # name -> what it does; edge_rllib/cli/NAME.py has add_arguments(parser) and run(arguments) -> exit code
    "list": "show what can be chosen by name",
    "train": "train a run, or search with many trials",
    "evaluate": "play a trained policy beside all rules on worlds it was never trained on",
    "export": "write a trained policy as ONNX and as arrays for NumPy, for devices without torch and Ray",
    "play": "watch a policy at work: in the terminal, as a GIF, as a page for browsers",
    "show": "draw the curves and tables of a result, or the network and load of a scenario",
    "submit": "run a training on a Ray cluster, follow its logs, fetch the result",
    "bench": "measure worlds, sampling and training",
    "check": "replay reference data of others and tell what differs",
    "testbed": "play a policy on real processes with shaped links, or measure what this machine can do",
    "import": "turn a scenario of another project into one of ours",
}
FILES = {"import": "import_command"}  # commands whose name cannot be that of a python file
EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 after a user's mistake, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in COMMANDS:
        _top_parser().parse_args(given or ["--help"])
        return EXIT_ERROR
    name = given[0]
    try:
        module = importlib.import_module(f"edge_rllib.cli.{FILES.get(name, name)}")
        parser = argparse.ArgumentParser(prog=f"edge-rllib {name}", description=COMMANDS[name])
        module.add_arguments(parser)
        code: int = module.run(parser.parse_args(given[1:]))
        sys.stdout.flush()
        return code
    except EdgeError as error:
        print(f"edge-rllib: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"edge-rllib: {name} was interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _top_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="edge-rllib",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Multi-agent reinforcement learning for task offloading at the edge.",
        epilog=f"commands:\n{lines}\n\n'edge-rllib COMMAND --help' tells the options of one.",
    )
    parser.add_argument("--version", action="version", version=f"edge-rllib {__version__}")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="what to do")
    return parser


if __name__ == "__main__":
    sys.exit(main())
