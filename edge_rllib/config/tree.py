"""Plain trees of settings: reading yaml, dotted overrides, and the merging of a file's values with overrides."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edge_rllib.config.paths import label
from envs.errors import ConfigError

Tree = dict[str, Any]
Overrides = Mapping[str, Any] | Sequence[str]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that is given twice instead of keeping the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; raise ConstructorError at the second of two equal keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Tree:
    """Return the keys and values of a yaml file; an empty file has none."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{label(path)}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label(path)}: cannot be read: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(f"{label(path)}: expected keys with values, got {type(tree).__name__}")
    return tree


def parse_overrides(overrides: Overrides) -> Tree:
    """Return ``{"a.b": value}`` of a mapping, or of texts ``a.b=value`` whose values are yaml."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override {text!r}: expected key=value, e.g. algorithm.gamma=0.9")
        try:
            parsed[key.strip()] = yaml.load(value, Loader=_Loader)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"override {text!r}: the value is not valid YAML: {getattr(error, 'problem', error)}"
            ) from None
    return parsed


def nested(overrides: Overrides) -> Tree:
    """Return overrides as a tree of its own: ``{"a.b": 1}`` becomes ``{"a": {"b": 1}}``."""
    result: Tree = {}
    for dotted, value in copy.deepcopy(dict(parse_overrides(overrides))).items():
        *folders, last = dotted.split(".")
        place = result
        for key in folders:
            inner = place.setdefault(key, {})
            place[key] = inner = {"name": inner} if isinstance(inner, str) else inner
            if not isinstance(inner, dict):
                raise ConfigError(f"override {dotted!r}: {key!r} has the value {inner!r} and no keys")
            place = inner
        old = place.get(last)
        place[last] = {**old, "name": value} if isinstance(old, dict) and isinstance(value, str) else value
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return ``base`` with the keys of ``over``; mappings merge, all else is replaced.

    A part may be given by its name alone; one that gets another name takes no values of the part that it replaces.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result
