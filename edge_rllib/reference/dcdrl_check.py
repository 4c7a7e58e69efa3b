"""Recorded transitions of DC-DRL's released step function, replayed by the kernel of our multi-user world.

Every recorded slot is loaded into a world of its own, of the recorded places, radio and rule of interference, and
stepped with the recorded raw action. Frequencies, prices, the slot's length and the penalty are the released defaults.
Rates are compared for those who send: for the others they are what nobody meets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_rllib.config.load import load_scenario
from edge_rllib.reference.rows import Report, Row, largest_row, refused_row
from envs.arrays import F8
from envs.errors import ConfigError, EdgeError
from envs.multiuser.start import MultiuserStart
from envs.multiuser.world import MultiuserWorld
from envs.scenario import Scenario

SCENARIO = "multiuser_released_10"
TOLERANCE = 1e-9
GIGA = 1e9
BITS_PER_KB = 8.0 * 1024.0  # as the released code counts them
_INTERFERENCE = {"none": "none", "corrected": "others", "released": "released"}
_RADIO = ("bandwidth_hz", "noise_w", "path_loss_exponent", "power_w", "positions_m")
_BEFORE = ("work_gcycles", "deadline_s", "data_kb", "backlog_s_before", "edge_backlog_s_before", "raw_action", "slot")
_AFTER = ("channel", "offload", "rate_kb_s", "reward", "backlog_s_after", "edge_backlog_s_after")

Columns = dict[str, npt.NDArray[Any]]


def is_dcdrl(contents: Any) -> bool:
    """Return whether a file's contents are recorded slots of DC-DRL."""
    return (
        isinstance(contents, list)
        and bool(contents)
        and all(isinstance(each, Mapping) and {"interference", "raw_action"} <= set(each) for each in contents)
    )


def check_dcdrl(contents: Sequence[Mapping[str, Any]], file: str) -> Report:
    """Return the comparison of all recorded slots, a row for each rule of interference and quantity."""
    by_rule: dict[tuple[str, int], dict[str, list[Columns]]] = {}
    try:
        for recorded in _alike(contents, file):
            theirs = {key: np.array([each[key] for each in recorded]) for key in _AFTER}
            kind = (str(recorded[0]["interference"]), len(recorded[0]["positions_m"]))
            both = by_rule.setdefault(kind, {"theirs": [], "ours": []})
            both["theirs"].append(theirs)
            both["ours"].append(_replay(recorded, file))
        rows = [row for kind, both in by_rule.items() for row in _compare(file, *kind, both)]
    except EdgeError as error:
        return Report((refused_row(file, "-", "-", str(error)),), ())
    return Report(tuple(rows), ())


def _alike(contents: Sequence[Mapping[str, Any]], file: str) -> list[list[Mapping[str, Any]]]:
    """Return the recorded slots that one scenario fits, together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for number, each in enumerate(contents):
        for key in (*_RADIO, *_BEFORE, *_AFTER):
            if key not in each:
                raise ConfigError(f"{file}, transition {number}: {key!r} is missing")
        if each["interference"] not in _INTERFERENCE:
            known = ", ".join(_INTERFERENCE)
            raise ConfigError(f"{file}, transition {number}: interference {each['interference']!r}; known: {known}")
        groups.setdefault(repr([each["interference"], *(each[key] for key in _RADIO)]), []).append(each)
    return list(groups.values())


def scenario_of(each: Mapping[str, Any]) -> Scenario:
    """Return the scenario that a recorded slot belongs to."""
    released = load_scenario(SCENARIO)
    cell: Any = released.topology
    cell = dataclasses.replace(
        cell,
        n_users=len(each["positions_m"]),
        bandwidth_hz=float(each["bandwidth_hz"]),
        noise_w=float(each["noise_w"]),
        path_loss_exponent=float(each["path_loss_exponent"]),
        transmit_w=float(each["power_w"]),
        position_m=tuple((float(x), float(y)) for x, y in each["positions_m"]),
    )
    semantics = dataclasses.replace(released.params.semantics, interference=_INTERFERENCE[str(each["interference"])])
    return dataclasses.replace(
        released, topology=cell, params=dataclasses.replace(released.params, semantics=semantics)
    )


def _replay(recorded: Sequence[Mapping[str, Any]], file: str) -> Columns:
    """Return what our world makes of slots of one scenario."""
    before = {key: _numbers(recorded, key, file) for key in _BEFORE}
    world = MultiuserWorld(scenario_of(recorded[0]), len(recorded), 0, 0)
    out = world.outcome()
    start = MultiuserStart(
        work_cycles=before["work_gcycles"] * GIGA,
        size_bits=before["data_kb"] * BITS_PER_KB,
        deadline_s=before["deadline_s"],
        user_backlog_s=before["backlog_s_before"],
        edge_backlog_s=before["edge_backlog_s_before"],
        slot=before["slot"].astype(np.int64),
    )
    world.load(start, out)
    # the next slot begins with new tasks, and an episode may end: what the step did is read from a world that goes on
    world.state.world["slot"][...] = 0
    world.step(np.zeros((len(recorded), 1), np.int64), out, before["raw_action"][:, None, :])
    user = world.state.user
    return {
        "channel": user["channel"].copy(),
        "offload": user["offloads"] == 1,
        "rate_kb_s": world.figures.rate_bps / BITS_PER_KB,
        "reward": world.figures.reward[:, 0],
        "backlog_s_after": user["backlog_s"].copy(),
        "edge_backlog_s_after": world.state.world["edge_backlog_s"].copy(),
    }


def _compare(file: str, rule: str, n_users: int, both: Mapping[str, Sequence[Columns]]) -> list[Row]:
    theirs, ours = ({key: np.concatenate([each[key] for each in both[who]]) for key in _AFTER} for who in both)
    for key in _AFTER:
        if theirs[key].shape != ours[key].shape:
            raise ConfigError(f"{file}: {key!r} has shape {theirs[key].shape}; expected {ours[key].shape}")
    sends = np.asarray(theirs["offload"], np.bool_)
    name = f"{n_users} users, {len(sends)} slots, interference {rule}"
    rows = []
    for key in _AFTER:
        tolerance = 0.0 if key in ("channel", "offload") else TOLERANCE
        of_whom = sends if key == "rate_kb_s" else np.ones(theirs[key].shape, np.bool_)
        own = np.asarray(ours[key][of_whom], np.float64)
        given = np.asarray(theirs[key][of_whom], np.float64)
        rows.append(largest_row(file, name, key, given, own, tolerance, is_relative=True))
    return rows


def _numbers(recorded: Sequence[Mapping[str, Any]], key: str, file: str) -> F8:
    try:
        return np.array([each[key] for each in recorded], np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{file}: {key!r} is not the same table of numbers in every transition") from None
