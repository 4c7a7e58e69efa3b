"""Testbed scenarios by name, or by the path of a yaml file, with overrides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from edge_rllib.config.convert import build
from edge_rllib.config.paths import config_file
from edge_rllib.config.source import Source
from edge_rllib.config.tree import Overrides, Tree, merge, nested, read_yaml
from edge_rllib.testbed.params import BedScenario
from envs.errors import ConfigError

KIND = "testbed"


def load_scenario(name: str, overrides: Overrides = ()) -> BedScenario:
    """Return a testbed scenario; a file that begins ``base: NAME`` holds only what differs from that scenario."""
    path = config_file(KIND, name)
    tree, source = _with_bases(path)
    over = nested(overrides)
    return build(BedScenario, merge({"name": path.stem, **tree}, over), Source(None).over(source, over))


def _with_bases(path: Path, seen: tuple[Path, ...] = ()) -> tuple[Tree, Source]:
    """Return the values of a file and of the files it is based on, and where each came from."""
    tree, source = read_yaml(path), Source(path)
    base = tree.pop("base", None)
    if base is None:
        return tree, source
    below = config_file(KIND, str(base), path, source.where("base"))
    if below in (path, *seen):
        raise ConfigError(f"{source.where('base')}: {base} is based on this file itself")
    values, under = _with_bases(below, (path, *seen))
    return merge(values, tree), source.over(under, tree)


def dump(scenario: BedScenario) -> str:
    """Return the yaml text of a scenario with every value."""
    return yaml.safe_dump(_plain(dataclasses.asdict(scenario)), sort_keys=False, default_flow_style=None, width=120)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value
