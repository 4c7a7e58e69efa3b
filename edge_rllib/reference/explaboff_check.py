"""Files of ExplabOff's reference data: which layout one has, and its reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_rllib.reference.explaboff_figures import is_curve, is_figures, show_curve, show_figures
from edge_rllib.reference.explaboff_policies import check_policies, is_policies
from edge_rllib.reference.explaboff_settings import check_parameters, is_parameters
from edge_rllib.reference.explaboff_transitions import (
    check_transitions,
    check_unit_cases,
    is_transitions,
    is_unit_cases,
)
from edge_rllib.reference.rows import Report, refused_row
from envs.errors import EdgeError


def check_json(
    contents: Any, file: str, beside: Callable[[], Mapping[str, Any] | None], n_worlds: int
) -> Report | None:
    """Return the comparison of a JSON file's contents, or None where they are of no such layout.

    ``beside`` reads the settings of the file with parameters in the same folder, if there is one.
    """
    if is_parameters(contents):
        return _reported(file, lambda: check_parameters(contents, file))
    if is_transitions(contents):
        return _reported(file, lambda: check_transitions(contents, file, beside()))
    if is_policies(contents):
        return _reported(file, lambda: check_policies(contents, file, beside(), n_worlds))
    if is_figures(contents):
        return _reported(file, lambda: show_figures(contents, file))
    return None


def check_table(table: Sequence[Mapping[str, str]], file: str) -> Report | None:
    """Return the comparison of a CSV file's rows, or None where they are of no such layout."""
    header = list(table[0]) if table else []
    if is_unit_cases(header):
        return _reported(file, lambda: check_unit_cases(table, file))
    if is_curve(header):
        return _reported(file, lambda: show_curve(table, file))
    return None


def check_arrays(path: Path, file: str) -> Report | None:
    """Return the comparison of an NPZ file's arrays, or None where they are of no such layout."""
    from edge_rllib.reference.explaboff_update import check_update, is_update, read_arrays  # torch, only where needed

    arrays = read_arrays(path)
    return _reported(file, lambda: check_update(arrays, file)) if is_update(arrays) else None


def _reported(file: str, read: Callable[[], Report]) -> Report:
    """Return a report, of a refusal where a file of a known layout cannot be used."""
    try:
        return read()
    except EdgeError as error:
        return Report((refused_row(file, "-", "-", str(error)),), ())
