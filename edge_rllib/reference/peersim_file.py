"""Reading PeersimGym's configurations from files, JSON or PeerSim's text, into one mapping of key to value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.reference.peersim_keys import ARGUMENTS, KEYS, OLD_NAMES, ONLY_ARGUMENTS, dead_keys, is_wiring, nearest
from envs.errors import ConfigError

_CLIENT_CLASSES = {"BasicClient": "basic", "AlibabaTraceClient": "basic-workload", "DAGClient": "dag"}


@dataclass(frozen=True)
class RawConfig:
    """What a file says, before it is understood."""

    label: str  # the file, and the place in it, for messages
    values: dict[str, Any]  # of every key; defaults where the file is silent
    given: frozenset[str]  # keys that the file names
    is_rescaled: bool  # a text file: some values were divided by SCALE when it was written
    notes: tuple[str, ...]  # warnings: keys without effect, unknown keys

    def error(self, key: str, reason: str) -> ConfigError:
        """Return the error for a key's value."""
        origin = "" if key in self.given else " (default)"
        value = str(self.values.get(key))
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        return ConfigError(f"{self.label}, key {key!r} = {shown!r}{origin}: {reason}")


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file; raise ConfigError with the place of a mistake."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None


def raw_from_mapping(values: Mapping[str, Any], label: str) -> RawConfig:
    """Return the configuration of a mapping: keys of the file, arguments of the helper, or both."""
    is_helper = any(name in ONLY_ARGUMENTS for name in values) and not any(
        name in KEYS and name not in ARGUMENTS for name in values
    )
    given: dict[str, Any] = {}
    spelling: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in values.items():
        key = name if name in KEYS else ARGUMENTS.get(name, OLD_NAMES.get(name, ""))
        if not key:
            unknown.append(name)
            continue
        if key in given:
            raise ConfigError(f"{label}: {spelling[key]!r} and {name!r} are one setting; give one of them")
        given[key], spelling[key] = value, name
    return _filled(label, given, spelling, unknown, is_helper)


def raw_from_text(text: str, label: str) -> RawConfig:
    """Return the configuration of a PeerSim file: lines of a key and its value, # begins a comment."""
    given: dict[str, Any] = {}
    unknown: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        key, _, value = line.strip().partition(" ")
        key, value = key.rstrip(" ="), value.strip(" \t=")
        if key == "protocol.clt":
            given["simtype"] = _CLIENT_CLASSES.get(value.rpartition(".")[2], value)
        if key == "protocol.ctrl" and value.endswith("BatchController"):
            given["simtype"] = "batch"
        key = OLD_NAMES.get(key, key)
        if value in KEYS:  # a line that hands a setting to one of PeerSim's parts
            continue
        if key in KEYS:
            if given.get(key, value) != value:
                raise ConfigError(f"{label}, line {number}: key {key!r} is given twice, {given[key]!r} and {value!r}")
            given[key] = value
        elif not is_wiring(key):
            unknown.append(key)
    if not given:
        raise ConfigError(f"{label}: no key of a PeersimGym configuration in it; expected lines such as 'SIZE 10'")
    raw = _filled(label, given, {}, unknown, is_helper=False)
    return RawConfig(label, raw.values, raw.given, is_rescaled=True, notes=raw.notes)


def _filled(
    label: str, given: dict[str, Any], spelling: dict[str, str], unknown: list[str], is_helper: bool
) -> RawConfig:
    values: dict[str, Any] = {}
    for name, key in KEYS.items():
        default = key.argument_default if is_helper and key.argument_default is not None else key.default
        values[name] = given.get(name, default)
    for name in given:  # a helper's argument may be null, which stands for its own default
        if given[name] is None:
            values[name] = KEYS[name].argument_default or KEYS[name].default
    if is_helper or "NO_LAYERS" not in given:
        _derive(values, given, is_helper)
    notes = [
        f"{label}: unknown key {name!r}{nearest(name)}; PeersimGym ignores it, and so does this" for name in unknown
    ]
    dead = dead_keys(given)
    if dead:
        reasons = "; ".join(f"{spelling.get(name, name)} ({reason})" for name, reason in dead.items())
        notes.append(f"{label}: without effect in PeersimGym, and left out here: {reasons}")
    return RawConfig(label, values, frozenset(given), is_rescaled=False, notes=tuple(notes))


def _derive(values: dict[str, Any], given: dict[str, Any], is_helper: bool) -> None:
    """Fill in what the helper computes from its arguments."""
    if "NO_NODES_PER_LAYERS" in given and "NO_LAYERS" not in given:
        values["NO_LAYERS"] = _length(values["NO_NODES_PER_LAYERS"])
    if not is_helper:
        return
    values["NO_LAYERS"] = _length(values["NO_NODES_PER_LAYERS"])
    values["protocol.clt.numberOfTasks"] = _length(values["protocol.clt.weight"])
    if not values["schedules"]:
        rate, n_layers = values["protocol.clt.taskArrivalRate"], _length(values["layersThatGetTasks"])
        values["schedules"] = rate if _is_pattern(rate) else ";".join([f"{rate}-{values['CYCLES']}"] * n_layers)


def _is_pattern(rate: Any) -> bool:
    return isinstance(rate, str) and rate[:1].isalpha()


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else len(str(value).split(","))
