"""What the bench of federated training measures is what it says."""

from __future__ import annotations

import numpy as np
import torch

from edge_rllib.config.load import load_scenario
from edge_rllib.experiment.bench import federated as bench
from edge_rllib.federated.episodes import EpisodePlayer
from edge_rllib.federated.vectors import vector_of


def lengths(is_able: bool, n_worlds: int) -> np.ndarray:
    scenario = load_scenario(bench.SCENARIO)
    modules = {bench.MODULE: bench.policy(scenario, is_able)}
    return EpisodePlayer(scenario, n_worlds, 0, modules, bench._GROUPS).play(np.arange(n_worlds)).n_steps


def test_the_able_policy_balances_whole_episodes_and_an_untrained_one_does_not():
    assert lengths(is_able=True, n_worlds=10).tolist() == [500] * 10
    assert 15.0 < lengths(is_able=False, n_worlds=100).mean() < 35.0


def test_the_loop_plays_poles_like_those_of_a_client():
    scenario = load_scenario(bench.SCENARIO)
    play = bench.loop_of_single_poles(scenario, bench.policy(scenario))

    mean = np.mean([play() for _ in range(60)])

    # other random numbers, the same law: 60 episodes of about 22 steps that deviate by 12, 1.6 in the mean
    assert abs(mean - lengths(is_able=False, n_worlds=400).mean()) < 6.5


def test_rounds_of_the_bench_are_one_large_and_then_small_ones():
    server = bench.federation(load_scenario(bench.SCENARIO), 3)

    reports = [server.play() for _ in range(4)]

    assert [report.is_large for report in reports] == [True, False, False, False]
    assert [report.n_episodes for report in reports] == [50, 4, 4, 4]
    assert len(vector_of(bench.policy(load_scenario(bench.SCENARIO)))) == 386


def test_agreement_is_measured_among_liars():
    torch.manual_seed(0)
    row = bench._agreement("nnm > trimmed_mean")

    assert row.unit == "CPU-ms"
    assert row.what == "agreement, K = 13, f = 3, d = 386, 3 rounds of nnm > trimmed_mean"
    assert row.value > 0.0
