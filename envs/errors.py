"""Errors of the worlds: each says what was given, what was expected, where it stands and what is near."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeError(Exception):
    """Base of every error that a user's input causes; the command line prints it in one line and exits with 2."""


class UnknownName(EdgeError, LookupError):
    """A name is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        options = sorted(known)
        close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options) or 'none'}"
        super().__init__(f"no {kind} named {name!r}; {hint}" + (f" ({where})" if where else ""))


class ConfigError(EdgeError, ValueError):
    """A configured value is missing, unknown, of the wrong type or out of range."""


class TopologyError(EdgeError, ValueError):
    """A network cannot be used: disconnected, or a node or link with an impossible value."""


class WorkloadError(EdgeError, ValueError):
    """A workload produced tasks that cannot exist, or its file cannot be read."""


class DecisionError(EdgeError, ValueError):
    """A caller chose a masked or impossible target, or gave an array of the wrong shape."""
