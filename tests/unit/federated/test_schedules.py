"""Rates that go down from round to round, worked by hand, and what a checkpoint keeps of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge_rllib.federated.rounds import StepParams
from envs.errors import ConfigError

LINEAR = StepParams("sgd", 0.02, 0.0, "linear", 0.1, 4)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.02] * 6),
        ("linear", [0.02, 0.0155, 0.011, 0.0065, 0.002, 0.002]),  # a quarter of 0.018 a round, and no further
        # the share of 0.018 that is lost is (1 - cos(i pi / 4)) / 2: 0, 0.146447, 0.5, 0.853553, 1
        ("cosine", [0.02, 0.01736396, 0.011, 0.00463604, 0.002, 0.002]),
    ],
)
def test_rates_of_six_rounds(schedule, expected):
    assert [replace(LINEAR, schedule=schedule).rate(i) for i in range(6)] == pytest.approx(expected, rel=1e-6)


def with_schedule(built, step=LINEAR):
    """Let a federation that has not begun step by a schedule."""
    built.step, built.optimizers = step, {name: step.build(vector) for name, vector in built.vectors.items()}
    return built


@pytest.mark.parametrize("graph", ["", "complete"])
def test_the_step_of_a_round_is_its_rate_times_the_aggregate(server, graph):
    built = with_schedule(server(graph=graph, n_agreement_rounds=0, correction="none"))
    for round_ in range(6):
        before = {name: vector.clone() for name, vector in built.vectors.items()}
        built.play()
        for name, vector in built.vectors.items():
            assert torch.allclose(vector - before[name], LINEAR.rate(round_) * built._last[name], atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_saved_schedule_goes_on_where_it_was(server, optimizer):
    step = replace(LINEAR, optimizer=optimizer)
    whole = with_schedule(server(), step)
    whole.play()
    whole.play()
    state = whole.get_state()
    again = with_schedule(server(), step)
    again.set_state(state)
    for _ in range(3):
        assert again.play() == whole.play()
    for name, vector in whole.vectors.items():
        assert torch.equal(again.vectors[name], vector)


def test_schedules_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"final_frac = 1\.5, decay_rounds = 4: expected a share in \[0, 1\]"):
        replace(LINEAR, final_frac=1.5)
    with pytest.raises(ConfigError, match="decay_rounds = 0: expected a share"):
        replace(LINEAR, decay_rounds=0)
