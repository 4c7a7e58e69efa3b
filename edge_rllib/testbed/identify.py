"""The parameters of the twin from what runs of the testbed recorded, all processes at work and in each other's way.

A calibration measures one thing at a time, on an otherwise idle machine; where caches and memory are shared, the same
frame costs more while others work. Tasks, uploads and stages of runs tell what it costs then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from edge_rllib.results.files import ResultError, read_json, result_folder
from edge_rllib.testbed.judge import server_speed_frac
from edge_rllib.testbed.meter import record_of
from edge_rllib.testbed.params import BedScenario, lane_share
from edge_rllib.testbed.run import SUMMARY, TASKS
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.vision.stages import N_STAGES, STAGE_NAMES

_LEAST_TASKS = 10  # that devices and servers must have done in all, each
_LARGE_BYTES = 1e5  # an upload of that size tells a rate, a smaller one the delay
Task = Mapping[str, Any]


def identify(scenario: BedScenario, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the parameters of the twin; raises ResultError where runs do not show what is asked.

    Devices and servers must have done whole tasks, and raw clips been uploaded: runs of ``random`` have it all.
    """
    by_run = [_tasks(scenario, folder) for folder in folders]
    tasks = [task for run in by_run for task in run]
    local = [task for task in tasks if _places(task) == {"device"} and task["done_by"] == "device"]
    served = [task for task in tasks if task["done_by"] == "server" and task["cut"] <= 1]
    for label, some in (("done by devices", local), ("served from their first or second stage on", served)):
        if len(some) < _LEAST_TASKS:
            raise ResultError(
                f"{', '.join(map(str, folders))}: {len(some)} tasks {label}; expected at least {_LEAST_TASKS}: take "
                "runs of the policy random, or longer ones"
            )
    stage_cpu_s = _stage_cpu_s(served, "server")
    lane_cores = float(np.mean([lane_share(server) for server in scenario.servers]))
    speeds = [server_speed_frac(scenario, [record_of(dict(task)) for task in run]) for run in by_run]
    speed_frac = float(np.nanmean(speeds))  # a run in which nothing was sent has none
    return {
        "device_frame_s": _frame_s(local),
        "device_frame_cpu_s": _frame_cpu_s(local, "device"),
        "server_frame_s": sum(stage_cpu_s.values()) / (lane_cores * speed_frac),
        "server_frame_cpu_s": sum(stage_cpu_s.values()),
        "stage_cpu_s": stage_cpu_s,
        "crowding": 1.0,  # quotas are shared to the last: ``speed_frac`` tells how much of them lanes got
        **_links(scenario, tasks),
        "decision_delay_s": float(np.median([task["decided_s"] - task["created_s"] for task in tasks])),
        "frame_bytes": _frame_bytes(tasks),
        "work_spread_frac": _spread([_cpu_s(task) / task["n_frames"] for task in local]),
        "bytes_spread_frac": _spread([s["n_bytes"] / t["n_frames"] for t in tasks for s in _named(t, "decode")]),
    }


def _tasks(scenario: BedScenario, folder: Path) -> list[Task]:
    """Return the finished tasks of a run of the same machines and work; raise ResultError for another."""
    folder = result_folder(folder)
    if read_json(folder / SUMMARY)["tier"] == "simulated":
        raise ResultError(f"{folder} is a simulation; expected a run of the testbed")
    its = load_scenario(str(folder / "config.yaml"))
    for name in ("device_cores", "servers", "link", "work"):
        if getattr(its, name) != getattr(scenario, name):
            raise ResultError(f"{folder}: its {name} differ from those of testbed scenario {scenario.name}")
    tasks: list[Task] = read_json(folder / TASKS)
    derived = ("response_s", "is_late", "cost", "episode")
    tasks = [{key: value for key, value in task.items() if key not in derived} for task in tasks]
    return [task for task in tasks if task["result_s"] is not None and task["stages"] and not task["fallback"]]


def _places(task: Task) -> set[str]:
    return {stage["place"] for stage in task["stages"]}


def _named(task: Task, name: str) -> list[Mapping[str, Any]]:
    return [stage for stage in task["stages"] if stage["name"] == name]


def _cpu_s(task: Task) -> float:
    return float(sum(stage["cpu_s"] for stage in task["stages"]))


def _frame_s(tasks: Sequence[Task]) -> float:
    took_s = sum(stage["end_s"] - stage["start_s"] for task in tasks for stage in task["stages"])
    return float(took_s / sum(task["n_frames"] for task in tasks))


def _frame_cpu_s(tasks: Sequence[Task], place: str) -> float:
    cpu_s = sum(stage["cpu_s"] for task in tasks for stage in task["stages"] if stage["place"] == place)
    return float(cpu_s / sum(task["n_frames"] for task in tasks))


def _stage_cpu_s(tasks: Sequence[Task], place: str) -> dict[str, float]:
    """Return the CPU time of a frame in each stage."""
    found = {}
    for name in STAGE_NAMES:
        some = [(stage["cpu_s"], task["n_frames"]) for task in tasks for stage in _named(task, name)]
        here = [(s["cpu_s"], t["n_frames"]) for t in tasks for s in _named(t, name) if s["place"] == place] or some
        cpu_s, frames = np.sum(here, 0)
        found[name] = float(cpu_s / frames)
    return found


def _links(scenario: BedScenario, tasks: Sequence[Task]) -> dict[str, float]:
    """Return the delay of an upload and the share of the rate that it gets beyond it: the line of Theil and Sen."""
    uploads = [task for task in tasks if task["upload_end_s"] is not None and task["sent_bytes"]]
    ideal_s = [8.0 * up["sent_bytes"] / scenario.up_bps(up["device"], up["target"] - 1) for up in uploads]
    took_s = [up["upload_end_s"] - up["upload_start_s"] for up in uploads]
    if sum(up["sent_bytes"] >= _LARGE_BYTES for up in uploads) < _LEAST_TASKS:
        raise ResultError(f"too few uploads of {_LARGE_BYTES:g} bytes or more; expected at least {_LEAST_TASKS}")
    slope, intercept, *_ = stats.theilslopes(took_s, ideal_s)
    return {"delay_s": max(float(intercept), 0.0), "goodput_share": min(1.0 / float(slope), 1.0)}


def _frame_bytes(tasks: Sequence[Task]) -> dict[str, float]:
    """Return the bytes of a frame, raw and after each stage."""
    whole = [task for task in tasks if len(task["stages"]) == N_STAGES]
    frames = sum(task["n_frames"] for task in whole)
    found = {"raw": float(sum(task["raw_bytes"] for task in whole) / frames)}
    for name in STAGE_NAMES:
        found[name] = float(sum(stage["n_bytes"] for task in whole for stage in _named(task, name)) / frames)
    return found


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation of some values over their mean."""
    return float(np.std(values, ddof=1) / np.mean(values))
