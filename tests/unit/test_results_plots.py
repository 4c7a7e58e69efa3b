"""Figures say what they show: axes with units, every policy, captions; a policy keeps its colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from edge_rllib.results import plots
from edge_rllib.results.comparison import Played, compare
from edge_rllib.results.estimates import N_RESAMPLES
from envs.fog import state as s
from envs.fog.figures import METRICS, summarise
from envs.metrics import N_BINS

ABOUT = {"scenario": "toy", "seed": 7, "algorithm": "ippo"}
N_WORLDS = 4


def played(response_s: float) -> Played:
    """Ten finished tasks a world, all with one response time."""
    sums = np.zeros((N_WORLDS, len(s.SUM_NAMES)))
    sums[:, s.COMPLETED], sums[:, s.RESPONSE_S], sums[:, s.IN_TIME] = 10.0, 10.0 * response_s, 9.0
    sums[:, s.HISTOGRAM + round(np.log10(response_s / 1e-3) * 32)] = 10.0
    return Played(sums, np.full((N_WORLDS, 2), -response_s))


@pytest.fixture(scope="module")
def comparison() -> dict[str, object]:
    policies = {"learned": played(0.5), "local": played(8.0), "theirs": played(2.0)}
    result = compare(policies, METRICS, summarise, "response_time_s_mean", ABOUT)
    for policy, each in policies.items():
        result["policies"][policy]["response_bins"] = each.sums.sum(0)[s.HISTOGRAM : s.HISTOGRAM + N_BINS].tolist()
    return result


def test_chart_has_a_row_a_policy_best_first_and_units(comparison: dict[str, object]) -> None:
    figure = plots.comparison_chart(comparison, ["response_time_s_mean", "in_time_frac"])
    left, right = figure.axes

    assert [label.get_text() for label in left.get_yticklabels()] == ["learned", "theirs", "local"]
    assert left.get_xlabel() == "mean response time [s]\nlower is better"
    assert right.get_xlabel() == "share of tasks finished in time [1]\nhigher is better"
    assert left.get_xscale() == "log"  # 8 s is more than five times 0.5 s
    assert right.get_xscale() == "linear"


def test_caption_names_worlds_seed_and_interval(comparison: dict[str, object]) -> None:
    caption = plots.caption(comparison)

    assert all(word in caption for word in ("toy", "4 held-out worlds", "seed 7", "95%", str(N_RESAMPLES)))


def test_tail_falls_where_the_tasks_are(comparison: dict[str, object]) -> None:
    figure = plots.response_times(comparison)
    assert figure is not None
    lines = {line.get_label(): line.get_data() for line in figure.axes[0].get_lines()}

    assert set(lines) == {"learned", "local", "theirs"}
    for policy, response_s in {"learned": 0.5, "local": 8.0, "theirs": 2.0}.items():
        times_s, slower = lines[policy]
        assert (np.asarray(slower) == 1.0).all()
        assert times_s[-1] == pytest.approx(response_s, rel=0.08)  # one bin is 7.5 %


def test_comparison_without_histograms_has_no_tail(comparison: dict[str, object]) -> None:
    bare = {**comparison, "policies": {"learned": {"figures": comparison["policies"]["learned"]["figures"]}}}

    assert plots.response_times(bare) is None


def test_learning_curve_has_the_rules_as_lines() -> None:
    rows = [
        {"iteration": 0, "env_steps": 0, "held_out": {"return": 1.0}},
        {"iteration": 1, "env_steps": 50, "return/mean": 9.0},
        {"iteration": 2, "env_steps": 100, "held_out": {"return": None}},
    ]
    figure = plots.learning_curves(rows, {"local": {"return": 2.0}}, ["return"], "toy, seed 7")
    learned, rule = figure.axes[0].get_lines()

    assert learned.get_xdata().tolist() == [0, 100]
    assert rule.get_label() == "local"
    assert figure.axes[0].get_ylabel() == "return, sum over agents [1]"
    assert figure.axes[0].get_xlabel() == "environment steps [steps of single worlds]"


def test_network_is_drawn_with_every_node_and_link(tmp_path: Path) -> None:
    topology = load_scenario("fog_ring_8").network()
    figure = plots.network(topology, np.linspace(0.0, 1.0, topology.n_nodes))
    axes = figure.axes[0]

    assert sum(len(group.get_offsets()) for group in axes.collections) == topology.n_nodes
    assert len(axes.get_lines()) == topology.n_links // 2
    assert plots.pixels(figure).shape[2] == 3
    assert plots.save(figure, tmp_path / "a.png").stat().st_size > 5000


def test_a_policy_keeps_its_colour() -> None:
    assert plots.colour("learned") != plots.colour("least_response_time")
    assert plots.colour("theirs") == plots.colour("theirs")
