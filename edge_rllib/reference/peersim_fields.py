"""The values of a PeersimGym configuration as numbers and lists, whatever way a file writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edge_rllib.reference.peersim_file import RawConfig
from envs.errors import ConfigError


class Fields:
    """Values by key; each refusal names the file, the key, what was given and what was expected."""

    def __init__(self, raw: RawConfig) -> None:
        self.raw = raw

    def error(self, key: str, reason: str) -> ConfigError:
        """Return the error for a key's value."""
        return self.raw.error(key, reason)

    def text(self, key: str) -> str:
        """Return a value as text."""
        return str(self.raw.values[key]).strip()

    def number(self, key: str, least: float = -math.inf) -> float:
        """Return a finite number of at least ``least``."""
        return self._number(key, self.raw.values[key], least)

    def whole(self, key: str, least: int) -> int:
        """Return a whole number of at least ``least``; 1e3 and 10.0 are whole."""
        return self._whole(key, self.raw.values[key], least)

    def flag(self, key: str) -> bool:
        """Return true or false; PeersimGym writes some as 1 and 0."""
        value = self.text(key).lower()
        if value not in ("true", "false", "1", "0"):
            raise self.error(key, "expected true or false")
        return value in ("true", "1")

    def items(self, key: str, separator: str = ",") -> list[Any]:
        """Return the entries of a list, written as one, or as a text with separators and perhaps brackets."""
        value = self.raw.values[key]
        if isinstance(value, list):
            return value
        text = str(value).strip().strip("[]")
        return [entry.strip() for entry in text.split(separator) if entry.strip()]

    def numbers(self, key: str, least: float = -math.inf, separator: str = ",") -> list[float]:
        """Return a list of finite numbers."""
        return [self._number(key, entry, least) for entry in self.items(key, separator)]

    def wholes(self, key: str, least: int, separator: str = ",") -> list[int]:
        """Return a list of whole numbers."""
        return [self._whole(key, entry, least) for entry in self.items(key, separator)]

    def table(self, key: str) -> list[list[str]]:
        """Return rows, ``;`` between rows and ``,`` between entries, or a list of lists or of texts."""
        value = self.raw.values[key]
        rows = value if isinstance(value, list) else [row for row in str(value).split(";") if row.strip()]
        return [
            [str(entry).strip() for entry in (row if isinstance(row, list) else str(row).split(","))] for row in rows
        ]

    def expect_length(self, key: str, values: Sequence[Any], expected: int, why: str) -> None:
        """Raise ConfigError unless a list has the expected length."""
        if len(values) != expected:
            raise self.error(key, f"{len(values)} entries; expected {expected}, {why}")

    def _number(self, key: str, value: Any, least: float) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < least:
            bound = "" if least == -math.inf else f" >= {least:g}"
            raise self.error(key, f"{value!r} is not a number{bound}")
        return number

    def _whole(self, key: str, value: Any, least: int) -> int:
        number = self._number(key, value, float(least))
        if number != int(number):
            raise self.error(key, f"{value!r} is not a whole number")
        try:
            return int(str(value))  # exact where a float is not: seeds of fifty digits
        except ValueError:
            return int(number)
