"""What the comparison of ExplabOff reports is what its definitions say, on numbers worked by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.study import Judged

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import explaboff_paper

    return explaboff_paper


@pytest.fixture
def report(paper: Any) -> Any:
    return sys.modules["explaboff_report"]


def plan_of(paper: Any, out: Path, *options: str) -> Any:
    return paper.planned(paper.parse(["--out", str(out), *options]))


def look(env_steps: int, success: float, cost: float = 1.0) -> dict[str, Any]:
    figures = {"success_frac": success, "cost_mean": cost}
    return {"iteration": env_steps // 100, "env_steps": env_steps, "held_out": figures}


def trained(env_steps: int, wall_s: float, **tags: float) -> dict[str, Any]:
    return {"iteration": env_steps // 100, "env_steps": env_steps, "wall_s": wall_s, **tags}


def test_success_is_stable_from_the_first_look_after_which_none_was_below(report: Any) -> None:
    early = [look(0, 0.0), look(100, 1.0), look(200, 0.5), look(300, 0.99), look(400, 1.0)]

    assert report.stable_steps(early) == 300  # the look at 100 does not count: that at 200 was below
    assert report.stable_steps([*early, look(500, 0.98)]) is None


def test_updates_are_counted_by_the_learner_or_follow_from_epochs(report: Any) -> None:
    off = load_run("run/explaboff_2es_3md", {"algorithm": "mdoff"})
    ppo = {
        "algorithm": "mpoff",
        "algorithm.fragment_steps": 25,
        "algorithm.minibatch_rows": 150,
        "algorithm.epochs": 10,
    }
    on = load_run("run/explaboff_2es_3md", {**ppo, "n_worlds": 16})
    rows = [trained(100, 1.0), trained(200, 2.0), look(200, 1.0)]

    assert report.n_updates(off, [trained(100, 1.0, **{report.GRADIENT_STEPS: 7.0}), look(100, 1.0)]) == 7
    # two iterations, 10 epochs, three minibatches of at most 150 rows of 25 steps in 16 worlds
    assert report.n_updates(on, rows) == 2 * 10 * 3


def test_a_curve_is_the_middle_of_the_seeds_over_steps_and_over_the_time_of_a_core(report: Any) -> None:
    def judged(cost: float, core_share: float) -> Judged:
        rows = [look(0, 0.0, 3.0), trained(100, 8.0), look(100, 1.0, cost)]
        return Judged(np.zeros((1, 1)), 0.0, core_share, rows)

    found = report.curve([judged(1.0, 0.5), judged(2.0, 1.0)])

    assert found["env_steps"] == [0, 100]
    assert found["cpu_s"] == [0.0, 6.0]  # 8 s of half a core, 8 s of a whole one
    assert found["cost_mean"]["value"] == [3.0, 1.5]
    assert (found["cost_mean"]["low"][1], found["cost_mean"]["high"][1]) == (1.0, 2.0)  # one seed twice


def test_differences_redraw_worlds_together_and_seeds_apart(report: Any) -> None:
    def summarise(sums: Any) -> dict[str, float]:
        return dict.fromkeys(report.FIGURES, float(sums[0] / sums[1]))

    worlds = np.array([1.0, 5.0, 2.0, 8.0])
    judge = report.Judge(4, summarise)
    for name, more in (("rule", 0.0), ("other", 0.5)):  # the other costs half a unit more in every world
        judge.add(name, np.stack([worlds + more, np.ones(4)], -1)[None], {})

    found = judge.difference("other", "rule")["cost_mean"]
    row = judge.rows["rule"]["figures"]["cost_mean"]

    assert row["value"] == 4.0
    assert row["low"] < 3.0 < 5.0 < row["high"]  # worlds differ much
    assert found["value"] == pytest.approx(0.5)
    assert (found["low"], found["high"]) == pytest.approx((0.5, 0.5))  # but not the difference in them


def test_a_seed_without_success_has_no_cost_of_success_and_is_left_out(report: Any) -> None:
    assert report.known_iqm(np.array([np.nan, 2.0, np.nan])) == 2.0
    assert np.isnan(report.known_iqm(np.array([np.nan])))


def test_trials_are_ranked_by_cost_once_they_succeed(report: Any) -> None:
    def trial(success: float, cost: float) -> dict[str, float]:
        return {"success_frac": success, "cost_mean_complete": cost}

    good, cheap, failing, none = trial(0.995, 1.0), trial(1.0, 0.9), trial(0.8, 0.7), trial(0.0, np.nan)

    assert sorted([none, failing, good, cheap], key=report.trial_rank) == [cheap, good, failing, none]


def test_every_policy_has_as_many_trials_the_first_with_its_own_values(paper: Any, tmp_path: Path) -> None:
    trials = {policy: paper.drawn_trials(policy) for policy, each in paper.POLICIES.items() if each.is_tuned}

    assert len({len(each) for each in trials.values()}) == 1
    for policy, each in trials.items():
        assert each[0] == {}, policy
        assert all(each[1:]), policy
        assert each == paper.drawn_trials(policy), policy  # the same draws in every process
    cells = plan_of(paper, tmp_path).trials()
    assert {policy: len(each) for policy, each in cells.items()} == {
        policy: len(each) for policy, each in trials.items()
    }


def test_variants_of_other_rewards_do_not_take_over_the_values_that_were_chosen(paper: Any, tmp_path: Path) -> None:
    from edge_rllib.results import files

    chosen = {"algorithm.policy_learning_rate": 0.002, "mutual_information.share_of_reward": 0.3}
    files.write_json(tmp_path / paper.CHOICES, {"policies": {"explaboff": {"overrides": chosen}}})
    variants = plan_of(paper, tmp_path, "--seeds", "1").variants("ablation")
    runs = {name: cells[0].settings() for name, cells in variants.items()}

    assert {run.algorithm.policy_learning_rate for run in runs.values()} == {0.002}
    assert runs["no_mi"].mutual_information is None
    assert runs["both"].mutual_information.share_of_reward == 0.3
    assert runs["lower_only"].mutual_information.upper is None
    assert runs["upper_only"].mutual_information.lower is None
    assert runs["undistinguished"].mutual_information.lower.data == "all"
    assert runs["paper_estimators"].mutual_information.share_of_reward == 0.0  # the paper's term is not scaled


def test_the_released_learner_sees_and_decides_as_released_on_any_number_of_servers(paper: Any, tmp_path: Path) -> None:
    plan = plan_of(paper, tmp_path, "--seeds", "1", "--policies", "explaboff_released")
    runs = {setting: plan.comparison()[setting, "explaboff_released"][0].settings() for setting in paper.SETTINGS}

    assert [run.algorithm.released_servers for run in runs.values()] == [2, 2, 3]
    for run in runs.values():
        assert (run.scenario.params.decision.kind, run.scenario.params.observation.layout) == ("box", "released")
        assert type(run.mutual_information).__name__ == "ExplaboffReleased"
    assert plan.trials() == {}


def test_no_run_trains_or_chooses_on_the_worlds_that_are_judged(paper: Any, tmp_path: Path) -> None:
    plan = plan_of(paper, tmp_path, "--seeds", "1", "--policies", "mdoff", "mpoff")
    trials = [cell for cells in plan.trials().values() for cell in cells]

    assert {cell.judging_seed for cell in trials} == {paper.TUNING_JUDGING_SEED}
    assert {cell.judging_seed for cell in plan.cells()} == {paper.JUDGING_SEED}
    assert {cell.settings().seed for cell in trials} == {paper.TUNING_SEED}
    assert {cell.settings().seed for cell in plan.cells()} == {1}
    steps = {cell.settings().total_env_steps for cell in plan.cells()}
    assert len(steps) == 1  # equal environment steps
