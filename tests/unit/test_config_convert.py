"""Values of yaml become what the dataclass declares, or are refused by file and key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from edge_rllib.config.convert import build
from edge_rllib.config.source import Source
from edge_rllib.config.tree import merge, nested, read_yaml
from envs.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate_hz: float
    law: Literal["fixed", "no"]


@dataclass(frozen=True)
class Part:
    count: int
    rate: float
    label: str
    is_on: bool
    widths: tuple[int, ...]
    span: tuple[float, float] | None
    inner: Inner
    by_name: dict[str, float]


VALUES = {
    "count": 3,
    "rate": 1.0,
    "label": "a",
    "is_on": True,
    "widths": [1, 2],
    "span": None,
    "inner": {"rate_hz": 2, "law": "fixed"},
    "by_name": {"x": 1},
}
SOURCE = Source(Path("my.yaml"))


def made(**changes: object) -> Part:
    return build(Part, {**VALUES, **changes}, SOURCE)


def test_numbers_that_yaml_reads_as_text_become_numbers(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("count: 1e6\nrate: 2.5e9\n")
    values = read_yaml(file)

    assert values == {"count": "1e6", "rate": "2.5e9"}  # what PyYAML makes of them
    assert made(**values).count == 1_000_000
    assert made(**values).rate == 2.5e9


def test_integers_become_floats_and_whole_floats_integers() -> None:
    part = made(rate=2, count=4.0)

    assert (type(part.rate), type(part.count)) == (float, int)


def test_infinity_is_a_number() -> None:
    assert made(rate=math.inf).rate == math.inf


def test_lists_become_tuples_and_mappings_dataclasses() -> None:
    part = made(span=[0, 1])

    assert part.widths == (1, 2)
    assert part.span == (0.0, 1.0)
    assert part.inner == Inner(2.0, "fixed")
    assert part.by_name == {"x": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": 1.5}, ["key 'count'", "whole number", "1.5"]),
        ({"count": True}, ["key 'count'", "whole number"]),
        ({"rate": "fast"}, ["key 'rate'", "a number", "'fast'"]),
        ({"rate": float("nan")}, ["key 'rate'", "a number"]),
        ({"label": False}, ["key 'label'", "a text", "yes, no"]),
        ({"label": 7}, ["key 'label'", "a text", "7"]),
        ({"is_on": 1}, ["key 'is_on'", "true or false"]),
        ({"widths": 3}, ["key 'widths'", "a list"]),
        ({"widths": [1, "x"]}, ["key 'widths.1'", "whole number"]),
        ({"span": [1.0]}, ["key 'span'", "list of 2"]),
        ({"inner": {"rate_hz": 1.0, "law": False}}, ["key 'inner.law'", "'no'", "yes, no"]),
        ({"inner": {"rate_hz": 1.0, "law": "fixd"}}, ["key 'inner.law'", "did you mean 'fixed'?"]),
        ({"inner": {"rate": 1.0, "law": "fixed"}}, ["key 'inner.rate'", "unknown key", "did you mean 'rate_hz'?"]),
        ({"inner": {"rate_hz": 1.0}}, ["key 'inner'", "'law'", "missing"]),
        ({"inner": 3}, ["key 'inner'", "keys with values"]),
        ({"zebra": 3}, ["key 'zebra'", "unknown key", "known:"]),
    ],
)
def test_wrong_value_is_refused_by_file_and_key(changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**changes)

    assert str(caught.value).startswith("my.yaml")
    assert all(word in str(caught.value) for word in words)


def test_error_names_the_layer_that_gave_the_value() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}
    source = Source(None).over(Source(Path("base.yaml")), over)

    assert merge(base, over) == {"a": {"b": 1, "c": 3}}
    assert source.at("a").where("c") == "override 'a.c'"
    assert source.at("a").where("b") == "base.yaml, key 'a.b'"


def test_part_with_another_name_takes_no_values_of_the_part_it_replaces() -> None:
    base = {"topology": {"name": "ring", "n_nodes": 5}, "workload": "poisson"}

    assert merge(base, {"topology": {"n_nodes": 6}})["topology"] == {"name": "ring", "n_nodes": 6}
    assert merge(base, {"topology": {"name": "grid", "rows": 2}})["topology"] == {"name": "grid", "rows": 2}
    assert merge(base, {"topology": "grid"})["topology"] == "grid"
    assert merge(base, {"workload": {"rate": 2}})["workload"] == {"name": "poisson", "rate": 2}


def test_overrides_as_texts_and_as_mapping_are_the_same() -> None:
    assert nested(["a.b=1", "a.c=[1, 2]", "d=x"]) == nested({"a.b": 1, "a.c": [1, 2], "d": "x"})
    assert nested(["a=ring", "a.n=3"]) == nested(["a.n=3", "a=ring"]) == {"a": {"name": "ring", "n": 3}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", ["line 2", "'a' is given twice"]),
        ("a: [1\n", ["not valid YAML"]),
        ("- 1\n", ["expected keys with values"]),
    ],
)
def test_malformed_yaml_is_refused_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_yaml(file)

    assert all(word in str(caught.value) for word in ["broken.yaml", *words])
