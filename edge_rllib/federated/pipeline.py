"""Pipelines of aggregation from text, such as ``clip(arc) > nnm > geometric_median``."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from torch import Tensor

from edge_rllib.config import convert
from edge_rllib.config.registry import names, resolve
from edge_rllib.config.source import Source
from edge_rllib.ops.aggregation.base import PreRule, Received, Rule
from envs.errors import ConfigError, UnknownName

RULE, PRE_RULE = "aggregator", "pre_aggregator"  # kinds of the registry
TRUTH = {"true": True, "false": False}  # other values are converted from their text by the declared type
_PART = re.compile(r"(?P<name>\w+)\s*(?:\((?P<values>[^()]*)\))?")


class Pipeline:
    """Pre-rules and the rule behind them, used as one rule."""

    def __init__(self, pre_rules: list[PreRule], rule: Rule) -> None:
        self.pre_rules, self.rule = pre_rules, rule

    def __call__(self, received: Received) -> Tensor:
        """Return the aggregate, (..., d), of the type of the vectors, whatever that of the weights."""
        dtype = received.vectors.dtype
        for pre_rule in self.pre_rules:
            received = pre_rule(received)
        return self.rule(received).to(dtype)

    def check(self, n: int, n_faulty: int) -> None:
        """Refuse numbers of clients that a part cannot make up for, with ConfigError."""
        for pre_rule in self.pre_rules:
            pre_rule.check(n, n_faulty)
            n = pre_rule.n_behind(n)
        self.rule.check(n, n_faulty)


def pipeline(text: str, where: str = "aggregator") -> Pipeline:
    """Return the pipeline that a text describes: parts from left to right, the last one a rule.

    A part is a name, or a name with values: the first field's alone, ``clip(arc)``, or by name,
    ``centred_clipping(radius=2.0, n_steps=3)``. What cannot be read raises ConfigError, an unknown name UnknownName.
    """
    *before, last = (part.strip() for part in text.split(">"))
    example = "clip(arc) > nnm > trimmed_mean"
    pre_rules = [named_part(part, PRE_RULE, where, example, text) for part in before]
    return Pipeline(pre_rules, named_part(last, RULE, where, example, text))


def named_part(part: str, kind: str, where: str, example: str, whole: str | None = None) -> Any:
    """Return what a text such as ``sign_flip(factor=2.5)`` describes: a name of a kind of the registry, and values.

    ``where`` is the setting, ``whole`` its text where the part is not all of it: for messages. What cannot be read
    raises ConfigError, an unknown name UnknownName.
    """
    setting = f"{where} = {(part if whole is None else whole)!r}"
    found = _PART.fullmatch(part)
    if not found:
        raise ConfigError(f"{setting}: {part!r} is no name(values); example: {example}")
    name = found["name"]
    if name not in names(kind):
        _refuse_misplaced(name, kind, setting)
        raise UnknownName(kind, name, names(kind), setting)
    rule: Any = resolve(kind, name, where)
    values = _values(rule, found["values"] or "", f"{setting}: {name}")
    return convert.build(rule, values, Source(None, f"{where}.{name}")) if values else rule()


def _refuse_misplaced(name: str, kind: str, setting: str) -> None:
    """Raise ConfigError if a rule stands where a pre-rule must, or a pre-rule where a rule must."""
    other, place = {RULE: (PRE_RULE, "in front of '>'"), PRE_RULE: (RULE, "behind all '>'")}.get(kind, ("", ""))
    if name in names(other):
        raise ConfigError(f"{setting}: {name} is a {other}; expected it {place}")


def _values(rule: Any, text: str, where: str) -> dict[str, str | bool]:
    """Return the values in a part's parentheses by the names of the rule's fields."""
    known = [entry.name for entry in dataclasses.fields(rule)] if dataclasses.is_dataclass(rule) else []
    values: dict[str, str | bool] = {}
    for given in filter(None, (entry.strip() for entry in text.split(","))):
        key, equals, value = (part.strip() for part in given.partition("="))
        if not equals and not values and known:
            key, value = known[0], key
        if key not in known or not value:
            expected = f"values of {', '.join(known)}" if known else "no values"
            raise ConfigError(f"{where}({text}): {given!r}; expected {expected}")
        if key in values:
            raise ConfigError(f"{where}({text}): {key} is given twice")
        values[key] = TRUTH.get(value, value)
    return values
