"""Importing what PeersimGym reads: a configuration, a text file of its simulator, a network of Ether."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_rllib.config.load import dump
from edge_rllib.reference.ether_json import EtherOptions, is_ether, peersim_values, read_ether, write_files
from edge_rllib.reference.peersim_config import Semantics, understand
from edge_rllib.reference.peersim_file import RawConfig, raw_from_mapping, raw_from_text, read_json
from edge_rllib.reference.peersim_scenario import Names, to_scenario
from envs.errors import ConfigError
from envs.scenario import Scenario

_COMMENT_WIDTH = 118


@dataclass(frozen=True)
class ImportOptions:
    """What the user chooses about an import."""

    name: str  # of the scenario
    semantics: Semantics
    overrides: Mapping[str, Any]  # keys of the configuration that replace the file's
    scenario: str | None  # of a file with several
    links: Literal[
        "shannon", "ether"
    ]  # of an Ether network: PeersimGym's radio, or the bandwidths and times of the file
    ether: EtherOptions
    folder: Path | None  # where the files of nodes and links go, with links: ether


def import_peersim(path: Path, options: ImportOptions) -> tuple[Scenario, list[str]]:
    """Return the scenario of a file and what the user should know; raise ConfigError with file, key and reason."""
    if path.suffix.lower() != ".json":
        return _from_raw(_with_overrides(_read_text(path), options.overrides), options)
    contents = read_json(path)
    if is_ether(contents):
        return _from_ether(contents, str(path), options)
    if not isinstance(contents, Mapping):
        raise ConfigError(f"{path}: expected keys with values, got {type(contents).__name__}")
    values, label = _chosen(contents, str(path), options.scenario)
    return _from_raw(raw_from_mapping({**values, **options.overrides}, label), options)


def scenario_of(values: Mapping[str, Any], label: str, name: str) -> Scenario:
    """Return the scenario of a configuration under PeersimGym's own semantics."""
    return to_scenario(understand(raw_from_mapping(values, label), "peersim"), name, "peersim")[0]


def as_yaml(scenario: Scenario, notes: list[str], origin: Path) -> str:
    """Return the scenario's yaml with every value, and on top its origin and what was left out."""
    comments = [
        f"{scenario.name}, imported from {origin.name}",
        *(note.replace(str(origin), origin.name) for note in notes),
    ]
    lines = [f"# {line}" for comment in comments for line in textwrap.wrap(comment, _COMMENT_WIDTH)]
    body = dump(scenario).split("\n", 1)
    assert body[0].startswith("name:")  # a scenario's file is named by its stem
    return "\n".join([*lines, body[1]])


def _read_text(path: Path) -> RawConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return raw_from_text(text, str(path))


def _with_overrides(raw: RawConfig, overrides: Mapping[str, Any]) -> RawConfig:
    over = raw_from_mapping(overrides, "--set")
    values = {**raw.values, **{key: over.values[key] for key in over.given}}
    return dataclasses.replace(raw, values=values, given=raw.given | over.given, notes=raw.notes + over.notes)


def _chosen(contents: Mapping[str, Any], label: str, scenario: str | None) -> tuple[Mapping[str, Any], str]:
    """Return the configuration of a file: all of it, its entry config, or that of one of its scenarios."""
    if "scenarios" in contents:
        scenarios = contents["scenarios"]
        if scenario not in scenarios:
            raise ConfigError(f"{label}: has the scenarios {', '.join(scenarios)}; choose one with --scenario")
        return scenarios[scenario]["config"], f"{label}, scenario {scenario}"
    if scenario is not None:
        raise ConfigError(f"{label}: has no list of scenarios to choose {scenario!r} from")
    if isinstance(contents.get("config"), Mapping):
        return contents["config"], label
    return contents, label


def _from_raw(raw: RawConfig, options: ImportOptions) -> tuple[Scenario, list[str]]:
    if options.links == "ether":
        raise ConfigError(f"{raw.label}: --links ether is for networks of Ether; a configuration has no such links")
    return to_scenario(understand(raw, options.semantics), options.name, options.semantics)


def _from_ether(contents: Mapping[str, Any], label: str, options: ImportOptions) -> tuple[Scenario, list[str]]:
    network = read_ether(contents, label, options.ether)
    raw = raw_from_mapping(peersim_values(network, options.ether, label, options.overrides), label)
    config = understand(raw, options.semantics)
    names = Names([each.name for each in network.machines], [each.type for each in network.machines])
    topology = None
    if options.links == "ether":
        if options.folder is None:
            raise ConfigError(f"{label}: --links ether writes files of nodes and links beside the scenario; give --out")
        nodes, links = (options.folder / f"{options.name}_{kind}.csv" for kind in ("nodes", "links"))
        write_files(network, options.ether, label, nodes, links)
        paths = {"nodes_path": str(nodes), "links_path": str(links)}
        topology = {"name": "edge_list", **paths, "both_ways": False}
    return to_scenario(config, options.name, options.semantics, names, topology)
