"""Range checks of configured values: each error names the field, what was given and what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite

from envs.errors import ConfigError


def refuse(owner: object, field: str, expected: str) -> ConfigError:
    """Return the error for a field's value."""
    return ConfigError(f"{type(owner).__name__}.{field} = {getattr(owner, field)!r}; expected {expected}")


def check_positive(owner: object, *fields: str) -> None:
    """Raise ConfigError unless the fields are finite numbers > 0."""
    for field in fields:
        if not (_is_number(getattr(owner, field)) and getattr(owner, field) > 0.0):
            raise refuse(owner, field, "a finite number > 0")


def check_within(owner: object, field: str, low: float, high: float = inf) -> None:
    """Raise ConfigError unless the field is a finite number in [low, high]."""
    value = getattr(owner, field)
    if not (_is_number(value) and low <= value <= high):
        upper = "" if high == inf else f" and <= {high:g}"
        raise refuse(owner, field, f"a finite number >= {low:g}{upper}")


def check_choice(owner: object, field: str, choices: Iterable[str]) -> None:
    """Raise ConfigError unless the field is one of the choices."""
    known = tuple(choices)
    if getattr(owner, field) not in known:
        raise refuse(owner, field, " or ".join(known))


def check_weights(owner: object, field: str) -> None:
    """Raise ConfigError unless the field is empty or holds finite numbers >= 0 of which one is positive."""
    weights = getattr(owner, field)
    if not all(_is_number(weight) and weight >= 0.0 for weight in weights) or (len(weights) and not any(weights)):
        raise refuse(owner, field, "no numbers, or one finite number >= 0 for each device, not all 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
