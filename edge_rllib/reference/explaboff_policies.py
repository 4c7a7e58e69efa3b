"""Statistics of simple policies in ExplabOff's released environment beside those of our rules in our worlds.

Layouts: policies of one setting, each with episodes that end at a miss and episodes that do not; and settings, each
with policies. Sizes and deals are random on both sides, so that means are compared, in standard errors of their
difference. Their searches stop at a grid of shares, ours is exact or ends later: ours may be better.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from edge_rllib.reference.explaboff_settings import scenario_for, short_name
from edge_rllib.reference.rows import Report, Row, Sample, deviation, joint_limit, refused_row, unknown_row, z_row
from envs.arrays import F8
from envs.baselines.base import Choice, Rule, play
from envs.baselines.best_assignment import BestAssignment
from envs.baselines.draws import RuleDraws
from envs.baselines.local import Local
from envs.baselines.myopic_oracle import MyopicOracle
from envs.baselines.one_server import OneServer
from envs.baselines.random import Random
from envs.baselines.size_rank import SizeRank
from envs.errors import EdgeError
from envs.mec import state as s
from envs.mec.observe import MecView
from envs.scenario import Scenario, make

_ONLY_SETTING = "2ES-3MD"  # of the layout that names none
_ENDING, _GOING_ON = "terminating", "no_termination"
_FEWEST = 10  # full episodes on either side, below which their mean cost is not compared
_TO_ONE = re.compile(r"all_offload_server(\d+)")
_SIZE = re.compile(r"(\d+)ES-(\d+)MD")


@dataclass(frozen=True)
class AnyServer(Rule):
    """Choose every server with equal chances, and send the whole task with a probability, else nothing."""

    whole_prob: float

    worlds: ClassVar[tuple[str, ...]] = ("mec",)

    def decide(self, view: MecView, step: int, draws: RuleDraws) -> Choice:
        """Return a random server for every agent."""
        server, coin = draws.uniforms(step)
        target = 1 + (server * view.server_hz.shape[1]).astype(np.int64)
        return Choice(target, (coin < self.whole_prob).astype(np.float64))


_RULES: dict[str, Rule] = {
    "all_local": Local(),
    "all_to_fastest": OneServer("fastest"),
    "uniform_random": Random(),
    "uniform_random_raw_action": Random(),
    "random_server_full": AnyServer(1.0),
    "random_server_full_offload": AnyServer(1.0),
    "random_server_random_local_or_full": AnyServer(0.5),
    "rank_split_half": SizeRank(0.5),
    "rank_split_80pct": SizeRank(0.8),
    "rank_split_full": SizeRank(1.0),
    "best_assignment_full_offload": BestAssignment(),
    "myopic_oracle": MyopicOracle(),
    "myopic_oracle_lambda0": MyopicOracle(),
}
_SEARCHES = ("best_assignment_full_offload", "myopic_oracle", "myopic_oracle_lambda0")


class _Metric(NamedTuple):
    """How a published figure is called here, and which way is better."""

    figure: str
    better: str


_METRICS = {
    "reward_mean": _Metric("return", "high"),
    "reward": _Metric("return", "high"),
    "len_mean": _Metric("length", "high"),
    "reported_cost_mean": _Metric("reported_cost", "low"),
    "reported_cost": _Metric("reported_cost", "low"),
    "cost_of_full_episodes": _Metric("cost_of_full", "low"),
    "success_frac": _Metric("survived", "high"),
    "full_episode_rate": _Metric("is_full", "high"),
    "full_rate": _Metric("is_full", "high"),
    "slot_rate": _Metric("length_frac", "high"),
    "slot_mean_delay_s": _Metric("delay_s", "low"),
    "slot_miss_ratio": _Metric("misses", "low"),
}
_RATES = ("survived", "is_full", "length_frac", "misses")  # in [0, 1]
_ABOUT = ("episodes", "reward_std", "note")


class _Cell(NamedTuple):
    """What is published of a policy in a setting."""

    setting: str
    policy: str
    ends: bool  # episodes end at a miss
    figures: Mapping[str, Any]


def is_policies(contents: Any) -> bool:
    """Return whether a file's contents are statistics of policies."""
    return isinstance(contents, Mapping) and bool(list(_cells(contents)))


def check_policies(
    contents: Mapping[str, Any], file: str, beside: Mapping[str, Any] | None, n_worlds: int, seed: int = 0
) -> Report:
    """Return the comparison of every setting, policy and figure; ``beside`` has the settings, if there is such a file.

    The limit of all rows together is as rarely exceeded by chance as that of a single one.
    """
    cells = list(_cells(contents))
    limit = joint_limit(sum(len(set(cell.figures) - set(_ABOUT)) for cell in cells))
    rows: list[Row] = []
    for cell in cells:
        rows += _check_cell(file, cell, beside, n_worlds, seed, limit)
    return Report(tuple(rows), ())


def _cells(contents: Mapping[str, Any]) -> Iterator[_Cell]:
    """Yield what is published, in either layout; nothing of another."""
    for outer, inner in contents.items():
        for name, figures in inner.items() if isinstance(inner, Mapping) else ():
            if not (
                isinstance(figures, Mapping) and "episodes" in figures and {"reward", "reward_mean"} & set(figures)
            ):
                continue
            if name in (_ENDING, _GOING_ON):
                yield _Cell(_ONLY_SETTING, outer, name == _ENDING, figures)
            elif _SIZE.match(outer):
                yield _Cell(short_name(outer), name, True, figures)


def _check_cell(
    file: str, cell: _Cell, beside: Mapping[str, Any] | None, n_worlds: int, seed: int, limit: float
) -> list[Row]:
    label = cell.policy if cell.ends else f"{cell.policy} ({_GOING_ON})"
    rule = _rule(cell.policy)
    if rule is None:
        why = "no rule of ours weighs what a slot leaves behind" if "oracle" in cell.policy else "no such rule here"
        return [unknown_row(file, cell.setting, label, "-", None, why)]
    size = _SIZE.match(cell.setting)
    assert size is not None
    try:
        scenario = scenario_for(int(size.group(1)), int(size.group(2)), beside, file)
        figures = _play(scenario if cell.ends else _going_on(scenario), rule, n_worlds, seed)
    except EdgeError as error:
        return [refused_row(file, cell.setting, label, str(error))]
    return [
        _row(file, cell, label, metric, figures, limit, int(scenario.params.horizon_slots))
        for metric in cell.figures
        if metric not in _ABOUT
    ]


def _row(
    file: str, cell: _Cell, label: str, metric: str, figures: Mapping[str, F8], limit: float, horizon_slots: int
) -> Row:
    value = cell.figures[metric]
    if metric not in _METRICS:
        return unknown_row(file, cell.setting, label, metric, None, "no such figure here")
    figure, better = _METRICS[metric]
    ours = figures[figure][np.isfinite(figures[figure])]
    n_theirs = float(cell.figures["episodes"])
    if figure == "cost_of_full":
        n_theirs *= float(cell.figures.get("full_rate", 1.0))
        if value is None or min(n_theirs, len(ours)) < _FEWEST:
            why = f"{n_theirs:.0f} full episodes of theirs, {len(ours)} of ours: too few"
            return unknown_row(file, cell.setting, label, metric, value, why)
    sd = float(cell.figures.get("reward_std", 0.0)) if figure == "return" else 0.0
    if sd == 0.0 and len(ours) and deviation(ours) == 0.0 and figure in (*_RATES, "length"):
        low, high = (1.0, float(horizon_slots)) if figure == "length" else (0.0, 1.0)
        sd = math.sqrt(max((float(value) - low) * (high - float(value)), 0.0))  # the most that such a mean allows
    theirs = Sample(float(value), sd, max(round(n_theirs), 1))
    is_search = cell.policy in _SEARCHES
    return z_row(file, cell.setting, label, metric, theirs, ours, limit, better if is_search else "")


def _rule(policy: str) -> Rule | None:
    to_one = _TO_ONE.fullmatch(policy)
    return OneServer(int(to_one.group(1))) if to_one else _RULES.get(policy)


def _going_on(scenario: Scenario) -> Scenario:
    return dataclasses.replace(scenario, params=dataclasses.replace(scenario.params, on_miss="go_on"))


def _play(scenario: Scenario, rule: Rule, n_worlds: int, seed: int) -> dict[str, F8]:
    """Return our figures of the first episode of each world, (n_worlds,); NaN where a world has none."""
    world = make(scenario, n_worlds, seed)
    played = play(world, rule, np.arange(n_worlds), seed)
    sums, horizon = played.sums, scenario.params.horizon_slots
    length, is_full = sums[:, s.SLOTS], sums[:, s.SLOTS] == horizon
    return {
        "return": played.returns[:, 0],  # the team's
        "length": length,
        "length_frac": length / horizon,
        "reported_cost": sums[:, s.REPORTED_COST],
        "cost_of_full": np.where(is_full, sums[:, s.REPORTED_COST], np.nan),
        "survived": sums[:, s.SURVIVED_FRAC],
        "is_full": is_full.astype(np.float64),
        "delay_s": _pooled(sums[:, s.DELAY_S], sums[:, s.TASKS]),
        "misses": _pooled(sums[:, s.MISSED_TASKS], sums[:, s.TASKS]),
    }


def _pooled(top: F8, bottom: F8) -> F8:
    """Return values (n_worlds,) whose mean is sum(top) / sum(bottom), and whose spread is that ratio's error."""
    ratio = top.sum() / bottom.sum()
    return np.asarray(ratio + (top - ratio * bottom) / bottom.mean(), np.float64)
