"""What a run was worth: response times and their parts, missed deadlines, cost, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_rllib.testbed.controller import Played
from edge_rllib.testbed.meter import LOCAL, TaskRecord
from edge_rllib.testbed.params import BedScenario, CostParams
from edge_rllib.testbed.vision.boxes import Matches

TOO_SLOW_FRAC = 0.85  # of the speed that was asked for, below which a run is no good measurement
PARTS = ("upload_s", "wait_s", "service_s", "return_s")


def task_cost(task: TaskRecord, prices: CostParams) -> float:
    """Return DC-DRL's system cost of a task, from what was measured.

    Work has the price of the place where it was done, by CPU seconds; uploading has that of its energy, transmitter's
    power times measured upload time; a task that is late, or not done, costs the penalty.
    """
    gcycles = {"device": 0.0, "server": 0.0}
    for stage in task.stages:
        gcycles[stage.place] += stage.cpu_s * prices.core_hz / 1e9
    upload_s = 0.0
    if task.upload_start_s is not None and task.upload_end_s is not None:
        upload_s = task.upload_end_s - task.upload_start_s
    return (
        gcycles["device"] * prices.local_per_gcycle
        + gcycles["server"] * prices.edge_per_gcycle
        + prices.transmit_w * upload_s * prices.per_joule
        + prices.late * task.is_late
    )


def summary(scenario: BedScenario, played: Played) -> dict[str, Any]:
    """Return the figures of a run; means are over finished tasks, shares over all."""
    tasks = played.tasks
    finished = [task for task in tasks if task.result_s is not None]
    response_s = np.array([task.response_s for task in finished], np.float64)
    counts = Matches(*np.sum([[t.hits, t.misses, t.false_alarms] for t in finished] or [[0, 0, 0]], 0).tolist())
    n_tasks = max(len(tasks), 1)
    return {
        "tasks": len(tasks),
        "finished": len(finished),
        "in_flight": len(tasks) - len(finished),
        "response_time_s_mean": _mean(response_s),
        "response_time_s_p50": _quantile(response_s, 0.5),
        "response_time_s_p95": _quantile(response_s, 0.95),
        **{f"{part}_mean": _mean([getattr(task, part) for task in finished]) for part in PARTS},
        "late_frac": sum(task.is_late for task in tasks) / n_tasks,
        "offloaded_frac": sum(task.target != LOCAL for task in tasks) / n_tasks,
        "done_by_server_frac": sum(task.done_by == "server" for task in tasks) / n_tasks,
        "fallback_frac": sum(bool(task.fallback) for task in tasks) / n_tasks,
        "cost_per_task": _mean([task_cost(task, scenario.cost) for task in tasks]),
        "cost_per_epoch": sum(task_cost(task, scenario.cost) for task in tasks) / max(len(played.epochs), 1),
        "sent_bytes_per_task": sum(task.sent_bytes for task in tasks) / n_tasks,
        "cpu_s_per_frame": _cpu_s_per_frame(finished),
        "device_speed_frac": _device_speed_frac(scenario, finished),
        "server_speed_frac": server_speed_frac(scenario, finished),
        "precision": counts.precision,
        "recall": counts.recall,
        "refused_targets": played.n_refused,
        "lost_processes": len(played.lost),
        "by_device": [_of_device(n, tasks, scenario) for n in range(scenario.n_devices)],
        "lane_cpu_s": played.lane_cpu_s,
        "group_cpu_s": played.group_cpu_s,
        "frame_cpu_s": played.frame_cpu_s,
    }


def epoch_table(played: Played, scenario: BedScenario) -> list[dict[str, Any]]:
    """Return the epochs, each with what came of its tasks."""
    table = []
    for row in played.epochs:
        tasks = [task for task in played.tasks if task.epoch == row["epoch"]]
        finished = [task.response_s for task in tasks if task.response_s is not None]
        table.append(
            {
                **row,
                "response_time_s_mean": _mean(finished),
                "late": sum(task.is_late for task in tasks),
                "fallbacks": sum(bool(task.fallback) for task in tasks),
                "cost": sum(task_cost(task, scenario.cost) for task in tasks),
            }
        )
    return table


def text(figures: Mapping[str, Any]) -> str:
    """Return a summary for people."""
    parts = " + ".join(f"{part.removesuffix('_s')} {figures[f'{part}_mean']:.3f}" for part in PARTS)
    lines = [
        f"{figures['tasks']} tasks, {figures['finished']} finished, {figures['in_flight']} in flight; "
        f"{100 * figures['offloaded_frac']:.0f} % sent to servers, {100 * figures['fallback_frac']:.0f} % fell back",
        f"response time {figures['response_time_s_mean']:.3f} s = {parts}; "
        f"p50 {figures['response_time_s_p50']:.3f}, p95 {figures['response_time_s_p95']:.3f}",
        f"late {100 * figures['late_frac']:.1f} %, cost a task {figures['cost_per_task']:.4f}",
    ]
    if "precision" in figures:  # else no picture was looked at: a simulation
        lines[-1] += f", precision {figures['precision']:.2f}, recall {figures['recall']:.2f}"
    for place in ("device", "server"):
        had_frac = figures.get(f"{place}_speed_frac", 1.0)
        if had_frac < TOO_SLOW_FRAC:
            lines.append(
                f"{place}s had {100 * had_frac:.0f} % of the speed that was asked for: the machine was too busy for "
                "these figures to mean much; try again, or a larger --scale"
            )
    if figures.get("lost_processes"):
        lines.append(f"{figures['lost_processes']} processes were lost on the way; see the log of the run")
    return "\n".join(lines)


def _of_device(device: int, tasks: Sequence[TaskRecord], scenario: BedScenario) -> dict[str, Any]:
    own = [task for task in tasks if task.device == device]
    return {
        "tasks": len(own),
        "response_time_s_mean": _mean([task.response_s for task in own if task.response_s is not None]),
        "late_frac": sum(task.is_late for task in own) / max(len(own), 1),
        "cost_per_task": _mean([task_cost(task, scenario.cost) for task in own]),
    }


def _cpu_s_per_frame(tasks: Sequence[TaskRecord]) -> float:
    frames = sum(task.n_frames for task in tasks)
    return sum(stage.cpu_s for task in tasks for stage in task.stages) / frames if frames else float("nan")


def _device_speed_frac(scenario: BedScenario, tasks: Sequence[TaskRecord]) -> float:
    """Return how fast devices were beside what was asked for; well below 1, the machine had too much else to do."""
    used_s = allowed_s = 0.0
    for task in tasks:
        for stage in task.stages:
            if stage.place == "device":
                used_s += stage.cpu_s
                allowed_s += (stage.end_s - stage.start_s) * scenario.cores_of(task.device)
    return used_s / allowed_s if allowed_s else float("nan")


def server_speed_frac(scenario: BedScenario, tasks: Sequence[TaskRecord]) -> float:
    """Return the same for servers, whose lanes share cores or have an equal part each while they work."""
    used_s = allowed_s = 0.0
    for number, server in enumerate(scenario.servers):
        stages = [s for task in tasks if task.target == number + 1 for s in task.stages if s.place == "server"]
        used_s += sum(stage.cpu_s for stage in stages)
        edges = sorted([(stage.start_s, 1) for stage in stages] + [(stage.end_s, -1) for stage in stages])
        busy, last_s = 0, 0.0
        for at_s, change in edges:
            is_shared = server.discipline == "processor_sharing"
            cores = min(server.cores, busy) if is_shared else busy * server.cores / server.n_lanes
            allowed_s += cores * (at_s - last_s)
            busy, last_s = busy + change, at_s
    return used_s / allowed_s if allowed_s else float("nan")


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _quantile(values: Any, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")
