"""``edge-rllib list``: kinds, names and one line about each, read from the sources without importing them."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
from pathlib import Path
from typing import Any

from edge_rllib.config import registry
from edge_rllib.config.paths import config_names, config_root
from envs.errors import UnknownName

KINDS = (
    "scenario",
    "run",
    "search",
    "testbed",
    "algorithm",
    "model",
    "mutual_information",
    "mi_estimator",
    "aggregator",
    "pre_aggregator",
    "attack",
    "graph",
    "scheduler",
    "speed_profile",
    "joining_rule",
    "mutator",
    "pull_rule",
    "topology",
    "workload",
    "baseline",
    "world",
    "metric",
)
_ONLY_FILES = ("scenario", "run", "search", "testbed")  # kinds whose names are those of their yaml files
_BY_COMMENT = ("algorithm", "model", "mutual_information", "world")  # kinds whose class is a record of settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of {', '.join(KINDS)}; default all")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    kind = arguments.kind
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    for each in (kind,) if kind else KINDS:
        rows = entries(each)
        if kind is None:
            print(f"{each}:")
        width = max((len(name) for name, _ in rows), default=0)
        for name, summary in rows:
            print(f"  {name:<{width}}  {summary}".rstrip())
    return 0


def entries(kind: str) -> list[tuple[str, str]]:
    """Return the names of a kind, each with its summary."""
    if kind == "metric":
        return _metrics()
    if kind in _ONLY_FILES:
        return [(name, _comment(config_root() / kind / f"{name}.yaml")) for name in config_names(kind)]
    return [(name, _summary(kind, name)) for name in registry.names(kind)]


def _summary(kind: str, name: str) -> str:
    """Return the first line of the class's docstring; of the yaml file where that speaks of the choice, not of keys."""
    file = config_root() / kind / f"{name}.yaml"
    comment = _comment(file) if kind in _BY_COMMENT and file.is_file() else ""
    return comment or _docstring(registry.lookup(kind, name))


def _comment(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        first = next(lines, "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _docstring(target: Any) -> str:
    if not isinstance(target, str):
        return (inspect.getdoc(target) or "").partition("\n")[0]
    module, _, attribute = target.partition(":")
    for node in ast.walk(_syntax(module)):
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _syntax(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)  # imports the packages above, which hold no heavy imports
    if spec is None or spec.origin is None:
        return ast.Module([], [])
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _metrics() -> list[tuple[str, str]]:
    from envs.fog.figures import METRICS
    from envs.mec.figures import metrics
    from envs.multiuser.figures import METRICS as MULTIUSER
    from envs.testbed.figures import METRICS as TESTBED

    better = {"low": "; lower is better", "high": "; higher is better", "": ""}
    # of the servers of a MEC cell, the first stands for all
    of_world = {"fog": METRICS, "mec": metrics(1), "multiuser": MULTIUSER, "testbed": TESTBED}
    return [
        (m.name, f"{world}: [{m.unit}] over {m.over}: {m.doc}{better[m.better]}")
        for world, figures in of_world.items()
        for m in figures
    ]
