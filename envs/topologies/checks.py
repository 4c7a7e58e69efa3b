"""Range checks of configured values; each failure names the part, the field, what was given and what was expected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection

from envs.errors import ConfigError


def require(record: object, field: str, is_met: bool, expected: str) -> None:
    """Raise ConfigError for a field of a record unless its condition is met."""
    if not is_met:
        raise ConfigError(f"{type(record).__name__}.{field} = {getattr(record, field)!r}; expected {expected}")


def require_count(record: object, at_least: int, *fields: str) -> None:
    """Raise ConfigError unless each field is an integer of a least size."""
    for field in fields:
        value = getattr(record, field)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        require(record, field, is_integer and value >= at_least, f"an integer >= {at_least}")


def require_positive(record: object, *fields: str) -> None:
    """Raise ConfigError unless each field is a finite number above 0."""
    for field in fields:
        value = getattr(record, field)
        require(record, field, _is_number(value) and value > 0.0, "a finite number > 0")


def require_not_negative(record: object, *fields: str) -> None:
    """Raise ConfigError unless each field is a finite number of at least 0."""
    for field in fields:
        value = getattr(record, field)
        require(record, field, _is_number(value) and value >= 0.0, "a finite number >= 0")


def require_one_of(record: object, field: str, choices: Collection[str]) -> None:
    """Raise ConfigError, with the nearest choice if there is one, unless a field is one of the choices."""
    value = getattr(record, field)
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    require(record, field, value in choices, " or ".join(map(repr, choices)) + hint)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
