"""Mutual-information rewards that cannot work, and what is said about each, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from edge_rllib.config.load import load_run
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.build import algorithm_config
from envs.errors import ConfigError, UnknownName


def params(**changes: Any) -> Any:
    return load_part("mutual_information", {"name": "explaboff", **changes}, Source(None))


def bound(**changes: Any) -> dict[str, Any]:
    return {"estimator": "jsd", "variables": "state_joint", "data": "superior", "weight": 1.0, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lower": bound(estimator="club")}, "lower.estimator = 'club' estimates mutual information from the other"),
        ({"upper": bound(estimator="jsd")}, "expected one of club, leave_one_out"),
        ({"lower": bound(weight=-1.0)}, "lower.weight = -1.0: expected 0 or more"),
        ({"lower": bound(variables="joint")}, "lower.variables': expected one of 'state_joint'"),
        ({"batch_rows": 600}, "batch_rows = 600 is more than start_rows = 512"),
        ({"start_rows": 5000}, "start_rows = 5000: a buffer holds 4096 rows at most"),
        ({"buffers": {"capacity": 10, "unit": "episodes"}}, "a buffer holds 320 rows at most"),
        ({"lower": None, "upper": None, "entropies": None}, "nothing to measure"),
        ({"buffers": {"thresholds": []}}, "thresholds = \\[\\]"),
        ({"buffers": {"quantile": 1.0}}, "quantile = 1.0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"share_of_reward": -0.1}, "share_of_reward = -0.1"),
        ({"estimator": {"n_negatives": 0}}, "n_negatives = 0"),
    ],
)
def test_values_that_cannot_work_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        params(**changes)

    assert "\n" not in str(caught.value)


def test_an_unknown_estimator_is_named_with_the_nearest() -> None:
    with pytest.raises((ConfigError, UnknownName), match="did you mean 'infonce'"):
        params(lower=bound(estimator="info_nce"))


def run_with(spec: Any, **overrides: Any) -> Any:
    return load_run("tiny_exact", {"mutual_information": spec, **overrides})


def test_variables_that_the_scenario_has_not_are_refused_before_anything_runs() -> None:
    overrides = {"scenario": "pair_best_known", "mutual_information.lower.variables": "own_others"}

    with pytest.raises(ConfigError, match="the world has one agent, so there are no others"):
        algorithm_config(run_with("explaboff", **overrides))


def test_the_global_state_needs_an_algorithm_that_has_it() -> None:
    with pytest.raises(ConfigError, match="no global state; use state: observations"):
        algorithm_config(run_with("explaboff", algorithm="ippo", **{"mutual_information.state": "global"}))
