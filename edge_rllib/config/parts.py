"""Parts: a topology, a workload, a rule, an algorithm, a model or a world's parameters, by name or from a user's file.

A part is written ``ring`` or ``{name: ring, n_nodes: 5}``: the values of ``topology/ring.yaml``, with overrides. A name
``my_file.py:MyRing`` or ``my_module:MyRing`` is a class of the user's own; its values stand beside the name, in
``my_file.yaml``, or are the class's defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_rllib.config import registry
from edge_rllib.config.convert import build
from edge_rllib.config.paths import config_root, user_file
from edge_rllib.config.source import Source
from edge_rllib.config.tree import Tree, merge, read_yaml
from envs.errors import ConfigError, EdgeError

_USER_MODULE = "edge_rllib_user_"  # prefix of the names under which users' files are imported
_FOLDER = {"world_params": "world"}  # kinds whose yaml files lie in the folder of another kind


def load_part(kind: str, spec: Any, source: Source) -> Any:
    """Return the part that a name, or a mapping with a name and overrides, stands for."""
    if isinstance(spec, str):
        name, values = spec, {}
    elif isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        name, values = spec["name"], {key: value for key, value in spec.items() if key != "name"}
    else:
        raise ConfigError(f"{source.where()}: expected the name of a {kind} or {{name: ..., key: value}}, got {spec!r}")
    near = (source.at("name") if isinstance(spec, Mapping) else source).file
    cls, file = _class_and_file(kind, name, source, near)
    base: Tree = {}
    if file is not None:
        base = read_yaml(file)
        source = source.over(Source(file), values)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ConfigError(f"{source.where()}: {kind} {name!r} is not a dataclass, so it has no keys to set")
    return build(cls, merge(base, values), source)


def part_name(kind: str, part: Any) -> str:
    """Return the name under which ``load_part`` finds the class of a part."""
    cls = type(part)
    for name in registry.names(kind):
        target = registry.lookup(kind, name)
        if target is cls or target == f"{cls.__module__}:{cls.__qualname__}":
            return name
    if cls.__module__.startswith(_USER_MODULE):
        return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"
    return f"{cls.__module__}:{cls.__qualname__}"


def user_modules() -> list[Any]:
    """Return the modules that were imported from users' files; other processes must be sent their contents."""
    return [module for name, module in sys.modules.items() if name.startswith(_USER_MODULE)]


def _class_and_file(kind: str, name: str, source: Source, near: Path | None) -> tuple[Any, Path | None]:
    """Return the class of a part and the yaml file of its values, if there is one."""
    if ":" not in name:
        cls = registry.resolve(kind, name, source.where())
        default = config_root() / _FOLDER.get(kind, kind) / f"{name}.yaml"
        return cls, default if default.is_file() else None
    file: Path | None = None
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        path = user_file(place, near, source.where())
        module = import_file(path)
        beside = path.with_suffix(".yaml")
        file = beside if beside.is_file() else None
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise ConfigError(f"{source.where()}: module {place!r} cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if dataclasses.is_dataclass(value)]
        raise ConfigError(f"{source.where()}: {place} has no class {attribute!r}; it has: {', '.join(known) or 'none'}")
    return getattr(module, attribute), file


def import_file(path: Path) -> Any:
    """Return the module of a user's python file, imported once for each state of its contents."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    name = f"{_USER_MODULE}{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, EdgeError):
            raise
        raise ConfigError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
