"""Turn plain yaml values into the types that a dataclass declares, or refuse, naming the file and the key.

PyYAML reads ``2.5e9`` as a string, ``no`` as False and ``12:30`` as 750; the declared type decides what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edge_rllib.config.source import Source
from envs.errors import ConfigError, EdgeError

Record = TypeVar("Record")


def build(cls: type[Record], values: Mapping[str, Any], source: Source) -> Record:
    """Return the dataclass made of a mapping; unknown keys, missing keys and wrong types raise ConfigError."""
    hints = _hints(cls)
    fields = {entry.name: entry for entry in dataclasses.fields(cls) if entry.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise unknown_key(str(key), fields, source)
    arguments = {}
    for name, entry in fields.items():
        if name in values:
            arguments[name] = convert(values[name], hints[name], source.at(name))
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            near = [key for key in values if key not in fields]
            raise ConfigError(
                f"{source.bottom().where()}: key {name!r} of {cls.__name__} is missing" + _hint(name, near)
            )
    try:
        return cls(**arguments)
    except EdgeError as error:
        raise ConfigError(f"{source.where()}: {error}") from error


def unknown_key(key: str, known: Iterable[str], source: Source) -> ConfigError:
    """Return the error for a key that nothing reads, with the nearest known key."""
    options = sorted(known)
    hint = _hint(key, options) or f"; known: {', '.join(options)}"
    return ConfigError(f"{source.where(key)}: unknown key {key!r}{hint}")


def convert(value: Any, hint: Any, source: Source) -> Any:
    """Return a yaml value as the declared type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return convert(value, arguments[0], source)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, source)
    if origin is Literal:
        return _convert_literal(value, arguments, source)
    if origin in (tuple, list):
        return _convert_sequence(value, origin, arguments, source)
    if origin is dict:
        mapping = _expect_mapping(value, source)
        return {str(key): convert(entry, arguments[1], source.at(str(key))) for key, entry in mapping.items()}
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        return build(hint, _expect_mapping(value, source), source)  # type: ignore[arg-type]
    return _convert_scalar(value, hint, source)


def _convert_union(value: Any, options: tuple[Any, ...], source: Source) -> Any:
    if value is None and type(None) in options:
        return None
    failures = []
    for option in options:
        if option is not type(None):
            try:
                return convert(value, option, source)
            except ConfigError as error:
                failures.append(error)
    raise failures[0]


def _convert_literal(value: Any, options: tuple[Any, ...], source: Source) -> Any:
    for option in options:
        if type(value) is type(option) and value == option:
            return option
    hint = _hint(str(value), [str(option) for option in options])
    expected = ", ".join(map(repr, options))
    raise ConfigError(f"{source.where()}: expected one of {expected}, got {value!r}{_yaml_note(value)}{hint}")


def _convert_sequence(value: Any, origin: type, arguments: tuple[Any, ...], source: Source) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, "a list", source)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise _wrong(value, f"a list of {len(arguments)}", source)
        hints: Iterable[Any] = arguments
    else:
        hints = [arguments[0]] * len(value)
    return origin(
        convert(entry, hint, source.at(str(i))) for i, (entry, hint) in enumerate(zip(value, hints, strict=True))
    )


def _convert_scalar(value: Any, hint: Any, source: Source) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint in (int, float):
        number = _number(value)
        if number is not None and hint is float:
            return float(number)
        if number is not None and math.isfinite(number) and number == int(number):
            return int(number)
    if hint not in (bool, str, int, float, Path):
        if isinstance(hint, type) and isinstance(value, hint):
            return value
        raise TypeError(f"{source.where()}: no conversion to {hint}")
    names = {bool: "true or false", str: "a text", int: "a whole number", float: "a number", Path: "a path"}
    raise _wrong(value, names[hint], source)


def _number(value: Any) -> int | float | None:
    """Return a number, also one that YAML reads as a string such as 2.5e9; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return None if isinstance(value, float) and math.isnan(value) else value


def _expect_mapping(value: Any, source: Source) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, "keys with values", source)
    return value


def _wrong(value: Any, expected: str, source: Source) -> ConfigError:
    return ConfigError(f"{source.where()}: expected {expected}, got {value!r}{_yaml_note(value)}")


def _yaml_note(value: Any) -> str:
    return (
        " (YAML reads yes, no, on, off as true and false; put quotes around a text)" if isinstance(value, bool) else ""
    )


def _hint(name: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [str(option) for option in options], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _hints(cls: type) -> dict[str, Any]:
    """Return the evaluated type hints of a dataclass, of its bases too."""
    return get_type_hints(cls, include_extras=True)
