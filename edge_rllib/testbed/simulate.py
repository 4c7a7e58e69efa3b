"""Play a policy of the testbed in its simulated twin, and write a result of the same files as a run on processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.experiment.versions import versions
from edge_rllib.results.files import CONFIG, VERSIONS, explained, write_json, write_text
from edge_rllib.runners.stored_episodes import SIMULATION
from edge_rllib.testbed import judge
from edge_rllib.testbed.controller import Played
from edge_rllib.testbed.episodes import store
from edge_rllib.testbed.meter import StageRecord, TaskRecord
from edge_rllib.testbed.params import BedScenario, CostParams
from edge_rllib.testbed.policies import Policy, checked, load_policy
from edge_rllib.testbed.run import EPISODES, EPOCHS, SUMMARY, TASKS
from edge_rllib.testbed.scenarios import dump
from edge_rllib.testbed.sight import Sight, observation, seen_of
from edge_rllib.testbed.twin import twin
from edge_rllib.testbed.vision.stages import N_STAGES, STAGE_NAMES
from envs.arrays import F8
from envs.scenario import make
from envs.testbed.build import parts_of
from envs.testbed.decode import decision_of
from envs.testbed.observe import BedView
from envs.testbed.state import BY_DEVICE, BY_SERVER
from envs.testbed.world import BedWorld

TIER = "simulated"  # in the place of a tier
_DONE_BY = {BY_DEVICE: "device", BY_SERVER: "server"}
# Figures of a summary that are of processes and pictures.
_NOT_MEASURED = (
    *("precision", "recall", "device_speed_frac", "server_speed_frac"),
    *("lane_cpu_s", "group_cpu_s", "frame_cpu_s", "lost_processes"),
)


def simulate(
    scenario: BedScenario,
    fitted: Mapping[str, Any] | None,
    policy_name: str,
    n_episodes: int,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Play episodes of the tasks of a testbed scenario, write the result into a folder, and return its summary.

    Tasks have as many frames as on the testbed; what varies from episode to episode is how long each takes.
    """
    decision = "cuts" if scenario.is_partial else "whole"
    world = make(twin(scenario, fitted, decision, same_tasks=True), 1, seed)
    assert isinstance(world, BedWorld)
    played, rows, table, episodes = Played(), [], [], []
    for episode in range(n_episodes):
        policy = load_policy(policy_name, scenario)
        one = play(world, scenario, policy, episode)
        episodes.append(one)
        rows += [
            {**task.as_json(), "cost": judge.task_cost(task, scenario.cost), "episode": episode} for task in one.tasks
        ]
        table += [{**row, "episode": episode} for row in judge.epoch_table(one, scenario)]
        played.tasks += one.tasks
        played.epochs += one.epochs
        played.n_refused += one.n_refused
    figures = {
        "scenario": scenario.name,
        "policy": policy_name,
        "tier": TIER,
        "tier_note": "",
        "scale": 1.0,
        "episodes": n_episodes,
        "world_seed": seed,
        "fitted": None if fitted is None else dict(fitted),
        **{name: value for name, value in judge.summary(scenario, played).items() if name not in _NOT_MEASURED},
    }
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, dump(scenario))
    write_json(folder / VERSIONS, versions())
    write_json(folder / TASKS, rows)
    write_json(folder / EPOCHS, table)
    write_json(folder / SUMMARY, figures)
    store(folder / EPISODES, scenario, SIMULATION, episodes, getattr(policy, "kind", "cuts"))
    return figures


def play(world: BedWorld, scenario: BedScenario, policy: Policy, episode: int) -> Played:
    """Play one episode of a world; ``episode`` names its random numbers."""
    out, played = world.outcome(), Played()
    world.reset(np.array([episode]), out)
    kind = "cuts" if scenario.is_partial else "whole"
    for epoch in range(scenario.n_epochs):
        frames = world.state.task["frames"][0, :, epoch].astype(np.float64)
        sight = sight_of(world.view(), frames, scenario.deadline_s)
        shown = policy.observe(sight) if hasattr(policy, "observe") else observation(sight)
        decision = policy.decide(shown, sight.target_mask)
        targets, cuts, n_refused = checked(decision, sight.target_mask, scenario.is_partial)
        played.n_refused += n_refused
        played.epochs.append(
            {
                "epoch": epoch,
                "start_s": epoch * scenario.epoch_s,
                "targets": targets.tolist(),
                "cuts": cuts.tolist(),
                **seen_of(sight),
                "observation": shown.tolist(),
            }
        )
        chosen, _ = decision_of(kind, targets, cuts)
        world.step(chosen[None], out)
    pairs = [(n, epoch) for epoch in range(scenario.n_epochs) for n in range(scenario.n_devices)]
    played.tasks = [_record(world, scenario, n, epoch) for n, epoch in pairs]
    return played


def sight_of(view: BedView, n_frames: F8, deadline_s: float) -> Sight:
    """Return what the controller of a testbed would see of the first world of a view."""
    return Sight(
        n_frames=n_frames,
        payload_bits=view.payload_bits[0].copy(),
        local_backlog_s=view.local_backlog_s[0].copy(),
        local_service_s=view.local_service_s[0].copy(),
        server_backlog_s=view.server_backlog_s[0].copy(),
        server_service_s=view.server_service_s[0].copy(),
        rate_bps=view.rate_bps[0].copy(),
        is_up=view.is_up[0].copy(),
        deadline_s=deadline_s,
    )


def _record(world: BedWorld, scenario: BedScenario, device: int, epoch: int) -> TaskRecord:
    """Return a task of the episode that has ended as a testbed records it."""
    task = world.ended[0, device, epoch]
    clips = parts_of(world.scenario)[1]
    done_s = None if math.isnan(task["done_s"]) else float(task["done_s"])
    is_served = task["by"] == BY_SERVER
    upload_s = float(task["upload_end_s"] - task["upload_start_s"]) if is_served else 0.0
    stages = _stages(world, task, scenario.cost)
    service_s = sum(stage.end_s - stage.start_s for stage in stages)
    return_s = float(task["done_s"] - task["serve_end_s"]) if is_served else 0.0
    sent = clips.cut_bytes[min(task["cut"], N_STAGES - 1)] * task["frames"]
    sent *= 1.0 if task["cut"] == 0 else task["bytes_factor"]
    response_s = 0.0 if done_s is None else done_s - float(task["created_s"])
    return TaskRecord(
        device=device,
        epoch=epoch,
        target=int(task["target"]),
        cut=int(task["cut"]),
        n_frames=int(task["frames"]),
        raw_bytes=int(clips.cut_bytes[0] * task["frames"]),
        sent_bytes=0 if math.isnan(task["upload_end_s"]) else round(sent),
        created_s=float(task["created_s"]),
        decided_s=float(task["created_s"]) + world.scenario.params.decision_delay_s,
        upload_start_s=_known(task["upload_start_s"]),
        upload_end_s=_known(task["upload_end_s"]),
        result_s=done_s,
        deadline_s=scenario.deadline_s,
        done_by=_DONE_BY.get(int(task["by"]), "nobody"),  # type: ignore[arg-type]
        fallback="the server was slower than the device's patience" if task["has_fallback"] else "",
        stages=tuple(stages),
        upload_s=upload_s,
        wait_s=0.0 if done_s is None else response_s - upload_s - service_s - return_s,
        service_s=0.0 if done_s is None else service_s,
        return_s=return_s,
        hits=0,
        misses=0,
        false_alarms=0,
    )


def _stages(world: BedWorld, task: Any, prices: CostParams) -> list[StageRecord]:
    """Return the stages that led to the result, or were done on the device; each has its share of its part's time."""
    cut = int(task["cut"])
    n_own = cut if task["by"] == BY_SERVER else int(task["done"])
    spans = [("device", 0, min(cut, n_own), task["own_start_s"], task["own_s"])]
    if n_own > cut:
        spans.append(("device", cut, n_own, task["rest_start_s"], task["rest_s"]))
    if task["by"] == BY_SERVER:
        spans.append(("server", cut, N_STAGES, task["serve_start_s"], task["serve_end_s"] - task["serve_start_s"]))
    clips = parts_of(world.scenario)[1]
    cycles = np.array(clips.stage_cycles) * task["frames"] * task["work_factor"]
    # A frame may cost a device more CPU time than a server; in the twin its cycles have another price for that.
    priced = world.scenario.params.cost.local_per_cycle * 1e9
    more = {"device": priced / prices.local_per_gcycle if prices.local_per_gcycle else 1.0, "server": 1.0}
    after = np.array([*clips.cut_bytes[1:], clips.result_bytes]) * task["frames"] * task["bytes_factor"]
    found = []
    for place, first, last, start_s, took_s in spans:
        ends = float(start_s) + float(took_s) * np.cumsum(cycles[first:last]) / max(cycles[first:last].sum(), 1e-300)
        starts = np.concatenate([[float(start_s)], ends[:-1]]) if last > first else ends
        for index, (begin, end) in enumerate(zip(starts, ends, strict=True), start=first):
            cpu_s = float(cycles[index] / prices.core_hz) * more[place]
            record = StageRecord(STAGE_NAMES[index], place, float(begin), float(end), cpu_s, round(after[index]))  # type: ignore[arg-type]
            found.append(record)
    return found


def _known(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
