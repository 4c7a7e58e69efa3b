"""The normalised score: chance is 0, the bound 1, each policy against its own bound; and where there is none, why."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.results import plots
from edge_rllib.results.comparison import Played, compare, table
from edge_rllib.results.score import Bounding
from envs.bounds.base import Limit
from envs.metrics import Metric

METRICS = (Metric("delay_s_mean", "s", "tasks", "delay", "low"), Metric("done_frac", "1", "tasks", "done", "high"))
ABOUT = {"scenario": "toy", "seed": 1, "algorithm": "ippo"}
NOISE = np.random.default_rng(5).normal(0.0, 0.3, 200)


def summarise(sums: np.ndarray) -> dict[str, float]:
    """Sums are (seconds, tasks, done)."""
    return {"delay_s_mean": sums[0] / sums[1], "done_frac": sums[2] / sums[1]}


def played(delay_s: np.ndarray, done: float = 0.9) -> Played:
    tasks = np.full(len(delay_s), 10.0)
    return Played(np.column_stack([delay_s * tasks, tasks, done * tasks]), np.zeros((len(delay_s), 2)))


def limit(delay_s: np.ndarray) -> Limit:
    return Limit(delay_s * 10.0, np.full(len(delay_s), 10.0))


POLICIES = {"learned": played(2.0 + NOISE), "random": played(5.0 + NOISE), "best": played(1.0 + NOISE)}
BOUNDING = Bounding("zero_queue", "empty network", dict.fromkeys(POLICIES, limit(1.0 + NOISE)), 0.9)


def test_score_is_the_share_of_the_gain_and_its_interval_is_paired() -> None:
    rows = compare(POLICIES, METRICS, summarise, "delay_s_mean", ABOUT, BOUNDING)["policies"]

    # (5 - 2) / (5 - 1): the noise of a world is in all three, so it is in none of the differences
    assert rows["learned"]["score"] == pytest.approx({"value": 0.75, "low": 0.75, "high": 0.75})
    assert rows["random"]["score"]["value"] == 0.0
    assert rows["best"]["score"]["value"] == pytest.approx(1.0)
    assert rows["learned"]["bound"] == pytest.approx(1.0 + NOISE.mean())


def test_policy_that_leaves_tasks_unfinished_is_measured_against_a_lower_bound() -> None:
    limits = {**BOUNDING.limits, "learned": limit(0.0 * NOISE)}
    rows = compare(POLICIES, METRICS, summarise, "delay_s_mean", ABOUT, Bounding("b", "t", limits))["policies"]

    assert rows["learned"]["score"]["value"] == pytest.approx(3.0 / (5.0 + NOISE.mean()))
    assert rows["best"]["score"]["value"] == pytest.approx(1.0)


def test_figure_that_should_be_high_has_a_score_too() -> None:
    policies = {"a": played(NOISE, done=0.7), "random": played(NOISE, done=0.5)}
    full = dict.fromkeys(policies, Limit(np.full(200, 9.0), np.full(200, 10.0)))
    rows = compare(policies, METRICS, summarise, "done_frac", ABOUT, Bounding("b", "t", full))["policies"]

    assert rows["a"]["score"]["value"] == pytest.approx((0.5 - 0.7) / (0.5 - 0.9))


def test_table_shows_score_and_bound_and_says_which() -> None:
    text = table(compare(POLICIES, METRICS, summarise, "delay_s_mean", ABOUT, BOUNDING))
    lines = text.splitlines()

    assert lines[0].split()[:4] == ["policy", "score", "[1]", "bound"]
    assert lines[3].split()[:2] == ["learned", "0.75"]
    assert "bound: zero_queue, on delay_s_mean: empty network; 0.9 for who finishes every task." in lines


def test_without_random_there_is_a_bound_but_no_score() -> None:
    policies = {name: each for name, each in POLICIES.items() if name != "random"}
    comparison = compare(policies, METRICS, summarise, "delay_s_mean", ABOUT, BOUNDING)

    assert all(each["score"] is None and each["bound"] is not None for each in comparison["policies"].values())
    assert "no score, as the rule random was not played" in table(comparison)


def test_without_a_bound_the_table_says_why() -> None:
    comparison = compare(POLICIES, METRICS, summarise, "delay_s_mean", ABOUT, Bounding("none", "nobody knows one"))

    assert "no score: nobody knows one." in table(comparison).splitlines()
    assert "score [1]" not in table(comparison)


def test_nothing_to_win_has_no_score() -> None:
    exact = {"random": played(np.full(4, 5.0)), "a": played(np.full(4, 5.0))}
    level = dict.fromkeys(exact, limit(np.full(4, 5.0)))
    rows = compare(exact, METRICS, summarise, "delay_s_mean", ABOUT, Bounding("b", "t", level))["policies"]

    assert rows["a"]["score"] is None
    assert rows["a"]["bound"] == 5.0


def test_chart_shows_the_bound_of_each_policy_as_a_dashed_line() -> None:
    comparison = compare(POLICIES, METRICS, summarise, "delay_s_mean", ABOUT, BOUNDING)
    left, right = plots.comparison_chart(comparison, ["delay_s_mean", "done_frac"]).axes
    dashed = [line for line in left.get_lines() if line.get_linestyle() == "--"]

    assert len(dashed) == 1
    assert dashed[0].get_label() == "bound: zero_queue"
    assert np.asarray(dashed[0].get_xdata()) == pytest.approx(np.full(6, 1.0 + NOISE.mean()))
    assert not [line for line in right.get_lines() if line.get_linestyle() == "--"]
