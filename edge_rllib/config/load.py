"""Load scenarios, runs and parts by name or path, with overrides; and write them out in full.

``edge-rllib train run/quickstart --set algorithm.gamma=0.9`` loads ``run/quickstart.yaml``, the files of the parts that
it names, and puts the override on top. What ``dump`` writes can be loaded again and gives an equal object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_rllib.config.convert import build, convert, unknown_key
from edge_rllib.config.parts import import_file, load_part, part_name
from edge_rllib.config.paths import config_file, label, placed, user_file
from edge_rllib.config.schema import RunConfig
from edge_rllib.config.source import Source
from edge_rllib.config.tree import Overrides, Tree, merge, nested, read_yaml
from envs.errors import ConfigError
from envs.rng import check_seed
from envs.scenario import Scenario

_SCENARIO_KEYS = tuple(field.name for field in dataclasses.fields(Scenario) if field.name != "name")
_RUN_PARTS = ("algorithm", "model")
_REWARD = "mutual_information"  # the one part that a run may lack
NO_PART = "none"


def load_scenario(name: str, overrides: Overrides = ()) -> Scenario:
    """Return a scenario by name, or by the path of a yaml file.

    A file that begins ``base: NAME`` holds only what differs from the scenario of that name.
    """
    over = nested(overrides)
    source = Source(None)
    return _scenario({**over, "name": name}, source)


def load_run(name: str, overrides: Overrides = ()) -> RunConfig:
    """Return a run by name ("quickstart" or "run/quickstart"), or by the path of a yaml file."""
    path = config_file("run", name.removeprefix("run/"))
    tree, over = read_yaml(path), nested(overrides)
    source = Source(None).over(Source(path), over)
    return run_from_tree(merge({"name": path.stem, **tree}, over), source)


def override_run(run: RunConfig, overrides: Overrides) -> RunConfig:
    """Return a run with some settings changed."""
    over = nested(overrides)
    return run_from_tree(merge(_run_tree(run), over), Source(None).over(Source(None, "run"), over))


def load_run_part(spec: Any, source: Source) -> RunConfig:
    """Return a run that another file names: ``quickstart``, or ``{name: quickstart, key: value, ...}``."""
    values = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ConfigError(f"{source.where()}: expected the name of a run or {{name: ..., key: value}}, got {spec!r}")
    over = {key: value for key, value in values.items() if key != "name"}
    near = source.at("name").file if isinstance(spec, Mapping) else source.file
    path = config_file("run", values["name"].removeprefix("run/"), near, source.where())
    return run_from_tree(merge({"name": path.stem, **read_yaml(path)}, over), source.over(Source(path), over))


def run_from_tree(tree: Tree, source: Source) -> RunConfig:
    """Return a run from its keys and values; ``source`` is for messages."""
    known = [field.name for field in dataclasses.fields(RunConfig)]
    for key in tree:
        if key not in known:
            raise unknown_key(key, known, source)
    values = dict(tree)
    if "scenario" in tree:
        values["scenario"] = _scenario(tree["scenario"], source.at("scenario"))
    for kind in _RUN_PARTS:
        if kind in tree:
            values[kind] = load_part(kind, tree[kind], source.at(kind))
    if _REWARD in tree:
        is_off = _name_of(tree[_REWARD]) in (None, NO_PART)
        values[_REWARD] = None if is_off else load_part(_REWARD, tree[_REWARD], source.at(_REWARD))
    run = build(RunConfig, values, source)
    rules = tuple(_absolute(name, source.at("evaluation").at("rules")) for name in run.evaluation.rules)
    algorithm, start_from = run.algorithm, run.start_from
    if getattr(algorithm, "episodes", ()):
        near = source.at("algorithm").at("episodes").file
        algorithm = dataclasses.replace(algorithm, episodes=tuple(placed(path, near) for path in algorithm.episodes))
    if start_from is not None:
        start_from = placed(start_from, source.at("start_from").file)
    evaluation = dataclasses.replace(run.evaluation, rules=rules)
    return dataclasses.replace(run, evaluation=evaluation, algorithm=algorithm, start_from=start_from)


def _name_of(spec: Any) -> Any:
    """Return the name in a part's spec; that of a mapping without one is the empty text."""
    return spec.get("name", "") if isinstance(spec, Mapping) else spec


def _absolute(name: str, source: Source) -> str:
    """Return the name of a part with the full path of a user's file in it, as it will be used in other folders."""
    place, _, attribute = name.rpartition(":")
    if not place.endswith(".py"):
        return name
    path = user_file(place, source.file, source.where())
    import_file(path)  # from here on the file travels with the run
    return f"{path}:{attribute}"


def load_rule(name: str) -> Any:
    """Return a rule by its registry name, or a user's ``file.py:Class``."""
    return load_part("baseline", name, Source(None, prefix="evaluation.rules"))


def dump(config: RunConfig | Scenario) -> str:
    """Return the yaml text of a run or scenario with every value; nothing is left to the files it came from."""
    tree = _run_tree(config) if isinstance(config, RunConfig) else _scenario_tree(config)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _scenario(spec: Any, source: Source) -> Scenario:
    """Return a scenario from its name, or from a mapping: overrides of a named one, or complete in itself."""
    values = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ConfigError(
            f"{source.where()}: expected the name of a scenario or {{name: ..., key: value}}, got {spec!r}"
        )
    name, tree = values["name"], {key: value for key, value in values.items() if key != "name"}
    if not set(_SCENARIO_KEYS) <= set(tree):
        near = source.at("name").file if isinstance(spec, Mapping) else source.file
        path = config_file("scenario", name, near, "" if source.file is None else source.where())
        source = source.over(Source(path), tree)
        base, source = _with_bases(path, source)
        tree, name = merge(base, tree), path.stem
    for key in tree:
        if key not in _SCENARIO_KEYS:
            raise unknown_key(key, _SCENARIO_KEYS, source)
    for key in _SCENARIO_KEYS:
        if key not in tree:
            raise ConfigError(f"{source.bottom().where()}: key {key!r} of a scenario is missing")
    world = convert(tree["world"], str, source.at("world"))
    params = tree["params"] if tree["params"] is not None else {}
    if not isinstance(params, Mapping):
        raise ConfigError(f"{source.where('params')}: expected keys with values, got {params!r}")
    topology_seed = convert(tree["topology_seed"], int, source.at("topology_seed"))
    try:
        check_seed(topology_seed, "topology_seed")
    except ConfigError as error:
        raise ConfigError(f"{source.where('topology_seed')}: {error}") from error
    return Scenario(
        name=name,
        world=world,
        topology=load_part("topology", tree["topology"], source.at("topology")),
        topology_seed=topology_seed,
        workload=load_part("workload", tree["workload"], source.at("workload")),
        params=load_part("world_params", {"name": world, **params}, source.at("params")),
    )


def _with_bases(path: Path, source: Source) -> tuple[Tree, Source]:
    """Return the values of a scenario's file on top of those of the scenario that its key ``base`` names, and so on."""
    tree, seen = read_yaml(path), [path]
    while "base" in tree:
        over = {key: value for key, value in tree.items() if key != "base"}
        where = f"{label(seen[-1])}, key 'base'"
        if not isinstance(tree["base"], str):
            raise ConfigError(
                f"{where}: expected the name of a scenario or the path of a yaml file, got {tree['base']!r}"
            )
        below = config_file("scenario", tree["base"], seen[-1], where)
        if below in seen:
            circle = " -> ".join(file.stem for file in [*seen, below])
            raise ConfigError(f"{where}: a scenario cannot be built on itself ({circle})")
        source = source.over(Source(below), over)
        seen.append(below)
        base = read_yaml(below)
        tree = merge(base, over)
    return tree, source


def _scenario_tree(scenario: Scenario) -> Tree:
    return {
        "name": scenario.name,
        "world": scenario.world,
        "topology": part_tree("topology", scenario.topology),
        "topology_seed": scenario.topology_seed,
        "workload": part_tree("workload", scenario.workload),
        "params": _plain(scenario.params),
    }


def _run_tree(run: RunConfig) -> Tree:
    tree = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    tree["scenario"] = _scenario_tree(run.scenario)
    for kind in _RUN_PARTS:
        tree[kind] = part_tree(kind, tree[kind])
    tree[_REWARD] = NO_PART if run.mutual_information is None else part_tree(_REWARD, run.mutual_information)
    return {key: _plain(value) for key, value in tree.items()}


def part_tree(kind: str, part: Any) -> Tree:
    """Return a part as a mapping: its name and all its values."""
    return {"name": part_name(kind, part), **_plain(part)}


def _plain(value: Any) -> Any:
    """Return a value as what yaml knows: mappings, lists, texts, numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
