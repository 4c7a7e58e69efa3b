"""Names in TensorBoard: every figure of the fog world has a group, and nothing without a value is written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_rllib.callbacks.progress import ProgressReport
from edge_rllib.callbacks.scalars import scalars, world_tag
from edge_rllib.callbacks.tensorboard import TensorBoard
from envs.fog.figures import METRICS

RESULT = {
    "time_this_iter_s": 2.0,
    "timers": {"env_runner_sampling_timer": 0.5, "learner_update_timer": 1.0},
    "env_runners": {
        "episode_return_mean": 3.0,
        "world": {"response_time_s_p95": 0.7, "drop_queue_full_frac": 0.1, "in_time_frac": math.nan},
    },
    "learners": {"shared": {"policy_loss": 0.1, "num_module_steps_trained": 5.0}, "__all_modules__": {"x": 1.0}},
    "fault_tolerance": {"num_healthy_workers": 2},
}


def test_every_figure_of_the_fog_world_has_a_group_of_its_subject() -> None:
    tags = [world_tag(metric.name) for metric in METRICS]

    assert len(set(tags)) == len(METRICS)
    assert not [tag for tag in tags if tag.startswith("world/")]
    assert world_tag("pays_frac") == "world/pays_frac"


def test_result_becomes_flat_tags_without_gaps() -> None:
    assert scalars(RESULT) == {
        "return/mean": 3.0,
        "response_time_s/p95": 0.7,
        "drops/queue_full_frac": 0.1,
        "learning/shared/loss_policy": 0.1,
        "time_share/sampling": 0.25,
        "time_share/learning": 0.5,
        "time_share/other": 0.25,
        "faults/healthy_workers": 2.0,
    }


def test_figures_of_a_reward_term_have_a_group_of_its_name() -> None:
    learners = {
        "__all_modules__": {
            "x": 1.0,
            "timers_of_rllib": {"y": 1.0},
            "reward_terms": {"mutual_information": {"share_of_reward": 0.1, "lower_gap_nats": math.nan}},
        }
    }

    assert scalars({"learners": learners}) == {"mutual_information/share_of_reward": 0.1}


def test_figures_of_federated_rounds_are_grouped_by_what_they_tell() -> None:
    figures = {"idle_frac": 0.02, "round_stolen_frac": 0.3, "round_s": 1.5, "ledger_crashed": 2.0, "static_s": math.nan}

    assert scalars({"learners": {"__all_modules__": {"federated": figures}}}) == {
        "federated/idle_frac": 0.02,
        "federated/round_s": 1.5,
        "round_time/stolen_frac": 0.3,
        "ledger/crashed": 2.0,
    }


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        board.scalars({"return/mean": 3.0}, 100)
        board.histogram("queues/tasks", np.array([0, 1, 1, 5]), 100)
        board.image("network/load", np.zeros((4, 5, 3), np.uint8), 100)
        board.text("run/config", "a: 1")
        board.hparams({"seed": 1, "hidden": (64, 64)}, {"judged/return": 2.0})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()

    assert [(event.step, event.value) for event in events.Scalars("return/mean")] == [(100, 3.0)]
    assert events.Histograms("queues/tasks")[0].histogram_value.num == 4
    assert tags["images"] == ["network/load"]
    assert "judged/return" in tags["scalars"]


def test_progress_without_a_terminal_is_lines() -> None:
    console = Console(record=True, force_terminal=False, width=200)
    with ProgressReport("toy", 100, console=console) as report:
        report.note("results: here")
        report.update(50, {"return/mean": 1.5})
        report.update(100, {"return/mean": 2.5, "speed/agent_steps_per_s": 12_345.0})

    text = console.export_text()
    assert "results: here" in text
    assert "toy: 100%  12,345 agent-steps/s  return 2.5  left 0 s" in text
