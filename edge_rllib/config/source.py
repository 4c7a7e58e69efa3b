"""Where a setting comes from, so that a message can name the file and the key that the user must change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.config.paths import label


@dataclass(frozen=True)
class Source:
    """A layer of settings over others: a file, or the overrides of a caller."""

    file: Path | None  # None: overrides
    prefix: str = ""  # dotted key of the part that is looked at
    given: Mapping[str, Any] | None = None  # what this layer gives of the part; None: everything
    under: Source | None = None  # where the rest comes from

    def at(self, key: str) -> Source:
        """Return the source of a key of this part."""
        child = dataclasses.replace(self, prefix=f"{self.prefix}.{key}" if self.prefix else key, given=None, under=None)
        if self.given is None:
            return child
        if key not in self.given:
            return self.under.at(key) if self.under else child
        inner = self.given[key]
        if not isinstance(inner, Mapping):
            return child
        return dataclasses.replace(child, given=inner, under=self.under.at(key) if self.under else None)

    def over(self, base: Source, given: Mapping[str, Any]) -> Source:
        """Return this source with another below it, from which comes what is not in ``given``."""
        if self.under is not None:
            return dataclasses.replace(self, under=self.under.over(base, given))
        return dataclasses.replace(self, given=given, under=base)

    def bottom(self) -> Source:
        """Return the lowest layer: where a missing key ought to stand."""
        return self.under.bottom() if self.under else self

    def where(self, key: str = "") -> str:
        """Return what to tell the user: the file and the key, or the override."""
        source = self.at(key) if key else self
        if source.file is None:
            return f"override {source.prefix!r}" if source.prefix else "overrides"
        return f"{label(source.file)}, key {source.prefix!r}" if source.prefix else label(source.file)
