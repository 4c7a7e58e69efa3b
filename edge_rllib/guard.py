"""Refuses to start beside a foreign package called ``envs``; an unrelated distribution installs that name too."""

from __future__ import annotations

import importlib

MARKER = "__edge_rllib_envs__"


def check_envs() -> None:
    """Raise ImportError unless the package ``envs`` that Python finds is the one that belongs to edge_rllib."""
    try:
        found = importlib.import_module("envs")
    except ModuleNotFoundError as error:
        if error.name != "envs":
            raise
        raise ImportError(
            "edge_rllib: its package 'envs' is not installed; reinstall with: pip install --force-reinstall edge-rllib"
        ) from error
    if getattr(found, MARKER, None) is not True:
        place = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ["an unknown place"])))
        raise ImportError(
            f"edge_rllib: the package 'envs' at {place} belongs to another distribution. Remove it "
            "(pip uninstall envs), then: pip install --force-reinstall --no-deps edge-rllib"
        )
