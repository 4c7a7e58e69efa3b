"""The table holds together: each name has its class and its yaml, no yaml and no class is an orphan."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from edge_rllib.config.registry import PART_KINDS
from envs.baselines.base import Rule
from envs.registry import BUILT_IN, resolve
from envs.topologies.topology import TopologyBuilder
from envs.workloads.workload import Workload
from envs.world import World

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "tune_configs"
ENTRIES = [(kind, name) for kind in PART_KINDS for name in sorted(BUILT_IN[kind])]
FAMILIES: dict[str, tuple[str, type]] = {
    "topology": ("envs.topologies", TopologyBuilder),
    "workload": ("envs.workloads", Workload),
    "baseline": ("envs.baselines", Rule),
    "world": ("envs", World),
}


def folder_of(kind: str) -> str:
    return kind.removesuffix("_params")  # a world's yaml holds the values of its parameters


def fields_of(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.init]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_registered_name_resolves_to_a_documented_class(kind: str, name: str) -> None:
    target = resolve(kind, name)

    assert inspect.isclass(target)
    assert (target.__doc__ or "").strip()
    assert not inspect.isabstract(target)
    assert dataclasses.is_dataclass(target)
    assert target.__dataclass_params__.frozen


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_yaml_keys_are_the_fields_of_the_class_which_has_no_values_of_its_own(kind: str, name: str) -> None:
    target = resolve(kind, name)
    keys = yaml.safe_load((CONFIGS / folder_of(kind) / f"{name}.yaml").read_text(encoding="utf-8")) or {}

    assert_keys_are_fields(keys, target)


def assert_keys_are_fields(values: dict[str, Any], cls: Any) -> None:
    """Compare keys with fields, also in dataclasses below, where a yaml gives keys for them."""
    assert set(values) == {field.name for field in fields_of(cls)}
    assert all(field.default is dataclasses.MISSING for field in fields_of(cls))
    for name, hint in get_type_hints(cls).items():
        for option in get_args(hint) or [hint]:
            if dataclasses.is_dataclass(option) and isinstance(values[name], dict):
                assert_keys_are_fields(values[name], option)


@dataclasses.dataclass
class Inner:
    rate: float


@dataclasses.dataclass
class Outer:
    inner: Inner | None


@pytest.mark.parametrize("values", [{}, {"inner": {}}, {"inner": {"rate": 1.0, "rates": 1.0}}, {"inner": None, "x": 1}])
def test_key_check_rejects_missing_and_unknown_keys_at_every_depth(values: dict[str, Any]) -> None:
    assert_keys_are_fields({"inner": {"rate": 1.0}}, Outer)
    assert_keys_are_fields({"inner": None}, Outer)
    with pytest.raises(AssertionError):
        assert_keys_are_fields(values, Outer)


@pytest.mark.parametrize("kind", PART_KINDS)
def test_each_name_has_its_yaml_and_no_yaml_is_an_orphan(kind: str) -> None:
    assert {path.stem for path in (CONFIGS / folder_of(kind)).glob("*.yaml")} == set(BUILT_IN[kind])


def test_folders_of_yaml_are_the_known_kinds() -> None:
    folders = {path.name for path in CONFIGS.iterdir()}

    assert folders == {*map(folder_of, PART_KINDS), "scenario", "run", "search", "testbed"}
    assert all(path.suffix == ".yaml" for path in CONFIGS.glob("*/*"))


DOORS = {"envs.fog.build:fog_world": ("envs.fog.world:FogWorld", "envs.fog.peersim.world:PeersimWorld")}


def concrete_classes(package: str, base: type) -> set[str]:
    """Return "module:Class" of every class below a package that can be instantiated as ``base``."""
    root = importlib.import_module(package)
    found = set()
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_own = inspect.isclass(value) and value.__module__ == info.name and not name.startswith("_")
            if is_own and issubclass(value, base) and not inspect.isabstract(value):
                found.add(f"{info.name}:{name}")
    return found


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_part_that_a_file_holds_is_registered(kind: str) -> None:
    package, base = FAMILIES[kind]
    registered: dict[str, Any] = BUILT_IN[kind]
    behind = [part for target in registered.values() for part in DOORS.get(target, (target,))]

    assert concrete_classes(package, base) == set(behind)
