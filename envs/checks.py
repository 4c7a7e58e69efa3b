"""Checks of named values; each error says what was given and what was expected."""

from __future__ import annotations

import math
from collections.abc import Collection

from envs.errors import ConfigError


def refuse(name: str, value: object, expected: str) -> ConfigError:
    """Return the error for a value."""
    return ConfigError(f"{name} = {value!r}; expected {expected}")


def check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ConfigError unless the value is a finite number in [low, high]."""
    if math.isfinite(value) and low <= value <= high:
        return
    limits = f" in [{low:g}, {high:g}]"
    if math.isinf(high):
        limits = "" if math.isinf(low) else f" of at least {low:g}"
    raise refuse(name, value, "a finite number" + limits)


def check_positive(name: str, value: float) -> None:
    """Raise ConfigError unless the value is a finite number above 0."""
    if not (math.isfinite(value) and value > 0.0):
        raise refuse(name, value, "a finite number > 0")


def check_choice(name: str, value: str, options: Collection[str]) -> None:
    """Raise ConfigError unless the value is one of the options."""
    if value not in options:
        raise refuse(name, value, f"one of {', '.join(options)}")
