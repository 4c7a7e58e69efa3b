"""Every registered topology builds from its yaml into a network that can be simulated."""

import dataclasses
import types
import typing
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import yaml

from envs import registry
from envs.arrays import declared_arrays
from envs.topologies.topology import Topology

FOLDER = Path(__file__).parents[2] / "tune_configs" / "topology"
NAMES = registry.names("topology")


def convert(value, hint):
    """Return a yaml value as its field's type says; a mapping becomes the dataclass of the field."""
    if typing.get_origin(hint) is typing.Literal:
        assert value in typing.get_args(hint)
        return value
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = [option for option in (typing.get_args(hint) if is_union else (hint,)) if option is not type(None)]
    if isinstance(value, list):
        inner = typing.get_args(options[0])
        hints = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(convert(entry, kind) for entry, kind in zip(value, hints, strict=True))
    if isinstance(value, dict):
        return build_record(options[0], value)
    assert value is None or type(value) in options, f"{value!r} is not of {hint}"
    return value


def build_record(record_type, values):
    """Return a dataclass from a mapping whose keys are exactly its fields."""
    hints = typing.get_type_hints(record_type)
    assert list(values) == [field.name for field in dataclasses.fields(record_type)]
    return record_type(**{name: convert(value, hints[name]) for name, value in values.items()})


def builder(name):
    return build_record(registry.resolve("topology", name), yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


def test_there_are_topologies_and_each_has_its_yaml():
    assert len(NAMES) >= 12
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_topology_builds_from_its_yaml_and_is_connected(name):
    topology = builder(name).build(np.random.default_rng(1))
    assert topology.name == name
    assert nx.is_strongly_connected(topology.graph())
    assert topology.graph().number_of_edges() == topology.n_links
    assert len(set(topology.node_name)) == len(topology.node_type) == topology.n_nodes
    assert (topology.is_device == (topology.tier == 0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_topology_is_a_function_of_the_generator(name):
    one, two = (builder(name).build(np.random.default_rng(7)) for _ in range(2))
    assert (one.node_name, one.node_type) == (two.node_name, two.node_type)
    for field, *_ in declared_arrays(Topology):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


@pytest.mark.parametrize("name", NAMES)
def test_topology_leaves_the_global_generator_alone(name):
    before = repr(np.random.get_state())  # noqa: NPY002
    builder(name).build(np.random.default_rng(1))
    assert repr(np.random.get_state()) == before  # noqa: NPY002


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_frozen_and_have_no_defaults(name):
    part = registry.resolve("topology", name)
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(part))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(builder(name), dataclasses.fields(part)[0].name, None)
