"""Parts add up to the response time, cost follows prices, and a summary counts what it says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.testbed import timeline
from edge_rllib.testbed.controller import Played
from edge_rllib.testbed.judge import PARTS, epoch_table, summary, task_cost, text
from edge_rllib.testbed.lanes import StageTime
from edge_rllib.testbed.meter import StageRecord, TaskRecord, parts, record_of, stage_records
from edge_rllib.testbed.params import CostParams
from edge_rllib.testbed.scenarios import load_scenario

PRICES = CostParams(local_per_gcycle=0.025, edge_per_gcycle=0.05, per_joule=0.1, late=1.0, transmit_w=0.1, core_hz=2e9)


def stage(name: str, place: Any, start_s: float, end_s: float, cpu_s: float = 0.1) -> StageRecord:
    return StageRecord(name, place, start_s, end_s, cpu_s, n_bytes=100)


def task(**changes: Any) -> TaskRecord:
    """Return a task that was divided: one stage on the device, an upload, three on server 0."""
    fields: dict[str, Any] = {
        "device": 0,
        "epoch": 0,
        "target": 1,
        "cut": 1,
        "n_frames": 4,
        "raw_bytes": 1000,
        "sent_bytes": 100,
        "created_s": 1.0,
        "decided_s": 1.1,
        "upload_start_s": 1.5,
        "upload_end_s": 2.0,
        "result_s": 3.0,
        "deadline_s": 2.5,
        "done_by": "server",
        "fallback": "",
        "stages": (stage("decode", "device", 1.2, 1.4, cpu_s=0.05), stage("detect", "server", 2.3, 2.8, cpu_s=0.4)),
        "upload_s": 0.5,
        "wait_s": 0.6,
        "service_s": 0.7,
        "return_s": 0.2,
        "hits": 3,
        "misses": 1,
        "false_alarms": 0,
    }
    return TaskRecord(**{**fields, **changes})


def test_parts_of_a_divided_task_by_hand() -> None:
    # created 1.0, device 1.2-1.4, upload 1.5-2.0, server 2.3-2.8, result 3.0
    found = parts(1.0, 3.0, (1.5, 2.0), task().stages)

    # waits: 0.2 before the lane, 0.1 before the link, 0.3 at the server
    assert found == pytest.approx((0.5, 0.6, 0.7, 0.2))
    assert sum(found) == pytest.approx(3.0 - 1.0)


def test_parts_of_local_work_are_waiting_and_service() -> None:
    assert parts(1.0, 3.0, None, [stage("detect", "device", 1.5, 2.9)]) == pytest.approx((0.0, 0.6, 1.4, 0.0))


def test_times_of_another_clock_are_moved_to_the_devices() -> None:
    # the server's clock is 100 s ahead; the run began at 10 s of the device's; time runs at half speed
    (record,) = stage_records([StageTime("detect", 112.0, 113.0, 0.25, 10)], "server", 10.0, 100.0, scale=2.0)

    assert (record.start_s, record.end_s, record.cpu_s) == (1.0, 1.5, 0.25)


def test_record_survives_the_wire() -> None:
    assert record_of(asdict(task())) == task()


def test_cost_of_a_divided_task_by_hand() -> None:
    # 0.05 s at 2 GHz is 0.1 Gcycles for 0.025 each; 0.4 s is 0.8 for 0.05 each; 0.1 W for 0.5 s is 0.05 J for 0.1 each
    assert task_cost(task(), PRICES) == pytest.approx(0.1 * 0.025 + 0.8 * 0.05 + 0.05 * 0.1)


@pytest.mark.parametrize("changes", [{"deadline_s": 1.9}, {"result_s": None, "done_by": "nobody"}])
def test_late_or_lost_task_costs_the_penalty(changes: dict[str, Any]) -> None:
    assert task(**changes).is_late
    assert task_cost(task(**changes), PRICES) == pytest.approx(task_cost(task(), PRICES) + 1.0)


def test_task_at_its_deadline_is_not_late() -> None:
    assert not task(deadline_s=2.0).is_late


def played() -> Played:
    tasks = [
        task(),
        task(device=1, deadline_s=1.0, fallback="server 0: gone", done_by="device", hits=1, false_alarms=2),
        task(device=2, result_s=None, done_by="nobody"),
    ]
    return Played(tasks=tasks, epochs=[{"epoch": 0, "targets": [1, 1, 1]}])


def test_summary_by_hand() -> None:
    scenario = load_scenario("testbed_3")

    figures = summary(scenario, played())

    assert (figures["tasks"], figures["finished"], figures["in_flight"]) == (3, 2, 1)
    assert figures["response_time_s_mean"] == pytest.approx(2.0)
    assert sum(figures[f"{part}_mean"] for part in PARTS) == pytest.approx(figures["response_time_s_mean"])
    assert figures["late_frac"] == pytest.approx(2 / 3)
    assert figures["fallback_frac"] == pytest.approx(1 / 3)
    assert figures["precision"] == pytest.approx(4 / 6)  # hits 3 + 1, false alarms 0 + 2
    assert figures["recall"] == pytest.approx(4 / 6)  # misses 1 + 1
    assert figures["cpu_s_per_frame"] == pytest.approx(0.9 / 8)
    assert figures["by_device"][2]["late_frac"] == 1.0
    # the first stage of both: 0.05 s of CPU in 0.2 s, where 0.12 of a core allows 0.024 s
    assert figures["device_speed_frac"] == pytest.approx(0.05 / 0.024)
    # both tasks are at the server from 2.3 to 2.8 s and share its one core, of which they use 0.8 s
    assert figures["server_speed_frac"] == pytest.approx(0.8 / 0.5)
    assert "3 tasks, 2 finished, 1 in flight" in text(figures)


def test_run_on_a_machine_that_was_too_busy_says_so() -> None:
    figures = summary(load_scenario("testbed_3"), played())

    assert "too busy" not in text(figures)
    assert "devices had 50 % of the speed that was asked for" in text({**figures, "device_speed_frac": 0.5})
    assert "servers had 50 % of the speed that was asked for" in text({**figures, "server_speed_frac": 0.5})


def test_epochs_tell_what_came_of_their_tasks() -> None:
    scenario = load_scenario("testbed_3")
    (row,) = epoch_table(played(), scenario)

    assert (row["late"], row["fallbacks"]) == (2, 1)
    assert row["cost"] == pytest.approx(sum(task_cost(each, scenario.cost) for each in played().tasks))


def test_run_without_a_task_has_no_figures_but_no_error() -> None:
    figures = summary(load_scenario("testbed_3"), Played())

    assert figures["tasks"] == 0
    assert np.isnan(figures["response_time_s_mean"])


def test_timeline_shows_every_node_and_every_late_task(tmp_path: Path) -> None:
    from edge_rllib.results.plots import save

    figure = timeline.draw(load_scenario("testbed_3"), played().tasks, "made up")
    axes = figure.axes[0]

    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["device 0", "device 1", "device 2", "server 0"]
    assert len(axes.lines) == 1  # of two late tasks, one has an end to mark
    assert save(figure, tmp_path / "timeline.png").stat().st_size > 1000
