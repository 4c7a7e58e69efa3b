"""Recorded transitions and single tasks of ExplabOff's released environment, replayed by the kernel of our MEC world.

Every recorded slot is loaded into a world of its own and stepped with the recorded raw action. A second batch, whose
episodes never end, shows what the servers remember after the slot; a third one, loaded with the slot's old tasks and
its new backlogs, shows what the released code stores as the next observation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_rllib.reference.explaboff_settings import GIGA, scenario_for
from edge_rllib.reference.rows import Report, Row, largest_row, unknown_row
from envs.arrays import F8
from envs.errors import ConfigError
from envs.mec.start import MecStart
from envs.mec.world import MecWorld
from envs.scenario import Scenario

TOLERANCE = 1e-12
_KEYS = ("slot", "perm", "sizes", "deadlines", "queue_before_s", "startup_paid_before", "raw_action")
_CASE_KEYS = ("size", "ratio", "tx_s", "startup_s", "server_cap")
_MISS_COLUMN = re.compile(r"miss_at_(\d+)p(\d+)")
_LONG_S = 1e6  # a deadline that no task misses

Columns = dict[str, npt.NDArray[Any]]


def is_transitions(contents: Any) -> bool:
    """Return whether a file's contents are recorded slots."""
    return (
        isinstance(contents, list)
        and bool(contents)
        and all(isinstance(each, Mapping) and {"raw_action", "queue_before_s"} <= set(each) for each in contents)
    )


def is_unit_cases(header: Sequence[str]) -> bool:
    """Return whether a table's first line is that of single tasks."""
    return set(_CASE_KEYS) <= set(header)


def check_transitions(contents: Sequence[Mapping[str, Any]], file: str, beside: Mapping[str, Any] | None) -> Report:
    """Return the comparison of all recorded slots; ``beside`` has the settings, if there is such a file."""
    by_size: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for number, each in enumerate(contents):
        for key in _KEYS:
            if key not in each:
                raise ConfigError(f"{file}, transition {number}: {key!r} is missing")
        by_size.setdefault((len(each["queue_before_s"]), len(each["sizes"])), []).append(each)
    rows: list[Row] = []
    for (n_servers, n_devices), recorded in by_size.items():
        scenario = scenario_for(n_servers, n_devices, beside, file)
        rows += _Replay(file, scenario, recorded, n_servers).compare()
    return Report(tuple(rows), ())


class _Replay:
    """The recorded slots of one size, and what our worlds make of them."""

    def __init__(self, file: str, scenario: Scenario, recorded: Sequence[Mapping[str, Any]], n_servers: int) -> None:
        """Replay the slots in the released world and in one whose episodes do not end."""
        self.file, self.scenario, self.recorded = file, scenario, recorded
        self.name = f"{n_servers}ES-{len(recorded[0]['sizes'])}MD"
        self.horizon = int(scenario.params.horizon_slots)
        self.slot = self._column("slot").astype(np.int64)
        self.before = [_before(recorded, i) for i in range(len(recorded))]
        self.last_server = np.array(
            [row[-1]["server"] if row else _as_seen(each) for row, each in zip(self.before, recorded, strict=True)],
            np.int64,
        )
        self.raw = np.clip(self._column("raw_action"), -1.0, 1.0)
        self.ended = _step(scenario, self._start(), self.raw)
        self.endless = _step(_endless(scenario), self._start(), self.raw)

    def compare(self) -> list[Row]:
        """Return a row for each recorded quantity."""
        figures, world = self.endless.figures, self.endless
        is_last, misses = self.slot == self.horizon - 1, figures.is_missed
        ours: Columns = {
            "server": world.state.agent["server"],
            "ratio": world.state.agent["share"],
            "local_s": figures.local_s,
            "offload_s": figures.offload_s,
            "delay_s": figures.delay_s,
            "queue_after_s": figures.backlog_after_s,
            "startup_paid_after": world.state.pair["has_started"] == 1,
            "miss": misses,
            "done_flags": misses | is_last[:, None],
            # the shaped reward of a slot is a share of an episode's
            "per_device_shaped_reward": figures.reward * (self.horizon + 1),
        }
        rows = [self._row(key, values) for key, values in ours.items() if key in self.recorded[0]]
        workload: Any = self.scenario.workload
        rows.append(self._row("deadlines", np.array(workload.deadline_s)[self._column("perm").astype(np.int64)]))
        rows += self._compare_episodes(is_last)
        if "obs" in self.recorded[0]:
            rows.append(self._row("obs", _observed(self.scenario, self._start())))
        if "next_obs_as_stored" in self.recorded[0]:
            stale = self._start(figures.backlog_after_s, world.state.agent["last_server"])
            rows.append(self._row("next_obs_as_stored", _observed(self.scenario, stale)))
        return rows

    def _compare_episodes(self, is_last: npt.NDArray[np.bool_]) -> list[Row]:
        """Return rows for what depends on the slots before, where those are recorded, too."""
        delay_s, has_missed = self.endless.figures.delay_s, self.endless.figures.is_missed.any(axis=1)
        is_known = np.array([len(row) for row in self.before]) == self.slot
        means_s = np.array([_mean_s(row, own) for row, own in zip(self.before, delay_s, strict=True)])
        mean_s, largest_s, first_s = means_s.mean(axis=1), delay_s.max(axis=1), delay_s[:, 0]
        # as the released code logs them: the first device's delay while the episode runs, at a miss the largest, in
        # the last slot the mean of the episode; the second one is multiplied twice
        states = [is_last, has_missed]
        ours = {
            "team_reward": self.ended.figures.reward[:, 0],
            "reported_cost": np.select(states, [mean_s, largest_s], first_s),
            "reported_cost_max": np.select(states, [mean_s * means_s.max(axis=1), largest_s**2], first_s),
        }
        is_usable = is_known | ~is_last
        rows = [self._row(key, values, is_usable) for key, values in ours.items() if key in self.recorded[0]]
        if not is_usable.all():
            why = f"{(~is_usable).sum()} last slots of episodes whose first slots are not recorded: nothing to compare"
            rows.append(unknown_row(self.file, self.name, "-", "team_reward", None, why))
        follows = [i for i, row in enumerate(self.before) if row and row[-1]["slot"] == self.slot[i] - 1]
        if follows:
            rows += self._compare_successors(follows)
        return rows

    def _compare_successors(self, follows: Sequence[int]) -> list[Row]:
        """Return rows for the recorded states after a slot, which the next slot of the episode begins with."""
        places = {id(each): i for i, each in enumerate(self.recorded)}
        origins = [places[id(self.before[i][-1])] for i in follows]
        ours = {
            "queue_before_s": self.endless.figures.backlog_after_s,
            "startup_paid_before": self.endless.state.pair["has_started"] == 1,
        }
        return [
            largest_row(
                self.file,
                self.name,
                f"{key} of the next slot",
                self._column(key)[list(follows)].astype(np.float64),
                values[origins].astype(np.float64),
                0.0 if values.dtype == np.bool_ else TOLERANCE,
            )
            for key, values in ours.items()
        ]

    def _start(self, backlog_s: F8 | None = None, last_server: npt.NDArray[np.int64] | None = None) -> MecStart:
        """Return the recorded states before the slots, or with other backlogs and last servers."""
        delays = [_mean_s(row, None).mean() if row else 0.0 for row in self.before]
        return MecStart(
            work_cycles=self._column("sizes") * GIGA,
            profile=self._column("perm").astype(np.int64),
            deadline_s=self._column("deadlines"),
            slot=self.slot,
            mean_cost=np.array(delays),
            server_backlog_s=self._column("queue_before_s") if backlog_s is None else backlog_s,
            has_started=self._column("startup_paid_before").astype(np.bool_),
            last_server=self.last_server if last_server is None else last_server,
        )

    def _column(self, key: str) -> F8:
        """Return what all slots recorded under a key, as numbers."""
        try:
            return np.array([each[key] for each in self.recorded], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.file}: {key!r} is not the same table of numbers in each: {error}") from None

    def _row(self, key: str, ours: npt.NDArray[Any], is_usable: npt.NDArray[np.bool_] | None = None) -> Row:
        theirs, values = self._column(key), ours.astype(np.float64)
        if theirs.shape != values.shape:
            return unknown_row(self.file, self.name, "-", key, None, f"ours is of shape {values.shape[1:]}")
        if is_usable is not None:
            theirs, values = theirs[is_usable], values[is_usable]
        tolerance = 0.0 if ours.dtype.kind in "bi" else TOLERANCE
        return largest_row(self.file, self.name, key, theirs, values, tolerance, is_relative=True)


def _before(recorded: Sequence[Mapping[str, Any]], i: int) -> list[Mapping[str, Any]]:
    """Return the recorded earlier slots of an episode, in order; they stand before it in the file."""
    found: list[Mapping[str, Any]] = []
    for each in reversed(recorded[:i]):
        is_of_episode = each.get("episode") == recorded[i].get("episode")
        if not is_of_episode or each["slot"] != recorded[i]["slot"] - len(found) - 1:
            break
        found.insert(0, each)
    return found


def _as_seen(each: Mapping[str, Any]) -> list[int]:
    """Return the last servers of a slot without a recorded predecessor: as its observation ends."""
    if each["slot"] == 0 or "obs" not in each:
        return [-1] * len(each["sizes"])
    return [round(row[-1]) for row in each["obs"]]


def _mean_s(before: Sequence[Mapping[str, Any]], own: F8 | None) -> F8:
    """Return each device's mean delay (N,) over earlier slots and, if given, the own one."""
    rows = [np.array(each["delay_s"], np.float64) for each in before] + ([] if own is None else [own])
    return np.asarray(np.mean(rows, axis=0), np.float64)


def _endless(scenario: Scenario) -> Scenario:
    """Return the scenario with episodes that no recorded slot ends, and with each slot's own reward for each device."""
    params = scenario.params
    reward = dataclasses.replace(params.reward, form="shaped", team=False)
    return dataclasses.replace(
        scenario,
        params=dataclasses.replace(params, on_miss="go_on", horizon_slots=params.horizon_slots + 1, reward=reward),
    )


def _loaded(scenario: Scenario, start: MecStart) -> tuple[MecWorld, Any]:
    world = MecWorld(scenario, len(start.work_cycles), 0, 0)
    out = world.outcome()
    world.reset(None, out)
    world.load(start, out)
    return world, out


def _step(scenario: Scenario, start: MecStart, raw: F8) -> MecWorld:
    """Return a world for each state after a step with these box decisions (B, N, 2)."""
    world, out = _loaded(scenario, start)
    world.step(np.zeros(raw.shape[:2], np.int64), out, np.ascontiguousarray(raw))
    return world


def _observed(scenario: Scenario, start: MecStart) -> F8:
    return _loaded(scenario, start)[0].exact_observation()


def check_unit_cases(table: Sequence[Mapping[str, str]], file: str) -> Report:
    """Return the comparison of single tasks, each alone with one server."""
    columns: dict[str, F8] = {}
    for key in table[0]:
        columns[key] = np.array([_number(row.get(key), f"{file}, case {i}, {key}") for i, row in enumerate(table)])
    ours = {key: np.full(len(table), np.nan) for key in ("local_s", "offload_s", "cost_s", "queue_after_s")}
    constants = np.stack([columns[key] for key in ("tx_s", "startup_s", "server_cap")], axis=1)
    for constant in np.unique(constants, axis=0):
        cases = np.flatnonzero((constants == constant).all(axis=1))
        for key, values in _alone(constant, columns["size"][cases], columns["ratio"][cases]).items():
            ours[key][cases] = values
    name = "1ES-1MD"
    rows = [
        largest_row(file, name, key, columns[key], values, TOLERANCE) for key, values in ours.items() if key in columns
    ]
    for key in columns:
        deadline = _MISS_COLUMN.fullmatch(key)
        if deadline:
            misses = ours["cost_s"] > float(".".join(deadline.groups()))
            rows.append(largest_row(file, name, key, columns[key], misses.astype(np.float64), 0.0))
    return Report(tuple(rows), ())


def _alone(constant: F8, size: F8, ratio: F8) -> Columns:
    """Return what a task of each size and ratio meets at an idle server with these times and this speed."""
    transfer_s, startup_s, server_hz = constant
    model = scenario_for(2, 3, None, "single tasks")
    cell: Any = model.topology
    profiles: Any = model.workload
    scenario = dataclasses.replace(
        model,
        topology=dataclasses.replace(
            cell,
            device_hz=(GIGA,),
            server_hz=(float(server_hz) * GIGA,),
            transfer_s=((float(transfer_s),),),
            startup_s=((float(startup_s),),),
            server_position_m=((0.0, 0.0),),
        ),
        workload=dataclasses.replace(
            profiles, mean_work_cycles=(GIGA,), work_sd_cycles=0.0, deadline_s=(_LONG_S,), permute=False
        ),
        params=dataclasses.replace(
            model.params,
            decision=dataclasses.replace(model.params.decision, kind="hybrid"),
            observation=dataclasses.replace(model.params.observation, layout="targets", scope="local"),
        ),
    )
    profile = np.zeros((len(size), 1), np.int64)
    world, out = _loaded(scenario, MecStart(work_cycles=size[:, None] * GIGA, profile=profile))
    world.step(profile, out, ratio[:, None, None].copy())
    figures = world.figures
    return {
        "local_s": figures.local_s[:, 0],
        "offload_s": figures.offload_s[:, 0],
        "cost_s": figures.cost[:, 0],
        "queue_after_s": figures.backlog_after_s[:, 0],
    }


def _number(text: str | None, where: str) -> float:
    if text in ("True", "False"):
        return float(text == "True")
    try:
        return float(text or "")
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no number") from None
