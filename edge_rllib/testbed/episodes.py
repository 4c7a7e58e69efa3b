"""What was seen, decided and paid on a testbed, or in its twin, as episodes that a policy can learn from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edge_rllib.runners.stored_episodes import EpisodeWriter
from edge_rllib.testbed.controller import Played
from edge_rllib.testbed.judge import task_cost
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.seeing import Seeing
from edge_rllib.testbed.sight import sight_of_row
from edge_rllib.testbed.twin import like_defaults, twin
from envs.arrays import F8
from envs.scenario import make
from envs.testbed.decode import decision_of


def store(path: Path, scenario: BedScenario, source: str, runs: Iterable[Played], kind: str = "cuts") -> None:
    """Write runs as a file of episodes of the scenario's twin; ``kind`` is that of the decisions.

    An episode has a step for each epoch; it ends of itself, for its tasks were followed to their end. A run without an
    epoch is left out; a file without an episode is not written.
    """
    kind = kind if scenario.is_partial else "whole"
    played = [one for one in runs if one.epochs]
    if not played:
        return
    made = twin(like_defaults(scenario), None, kind)
    spec, scale, is_team = make(made, 1).spec, made.params.reward.scale, made.params.reward.team
    spec = dataclasses.replace(spec, scenario=scenario.name)
    seeing = Seeing(kind, scenario.n_devices, scenario.n_servers, scenario.deadline_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    with EpisodeWriter(path, spec, source, with_state=False) as writer:
        for one in played:
            rewards = -scale * costs_by_epoch(scenario, one)
            rewards = np.broadcast_to(rewards.mean(1, keepdims=True), rewards.shape) if is_team else rewards
            seeing.look(sight_of_row(one.epochs[0], scenario.deadline_s))
            seeing.out.clear_endings()
            writer.begin(seeing.out)
            for index, row in enumerate(one.epochs):
                target, cut = np.array([row["targets"]], np.int64), np.array([row["cuts"]], np.int64)
                decision, amounts = decision_of(kind, target, cut)
                is_last = index == len(one.epochs) - 1
                following = one.epochs[index if is_last else index + 1]
                seeing.look(sight_of_row(following, scenario.deadline_s))
                out = seeing.out
                out.reward[0], out.terminated[0] = rewards[index], is_last
                out.final_observation[0], out.final_target_mask[0] = out.observation[0], out.target_mask[0]
                writer.step(decision, out, None if amounts is None else amounts[:, :, None])


def costs_by_epoch(scenario: BedScenario, played: Played) -> F8:
    """Return what each device paid in each epoch, (T, N): for work when it is done, for lateness when it is certain."""
    n_epochs = len(played.epochs)
    costs = np.zeros((n_epochs, scenario.n_devices))
    first = played.epochs[0]["epoch"]
    for task in played.tasks:
        penalty = scenario.cost.late * task.is_late
        done_s = math.inf if task.result_s is None else task.result_s
        for at_s, cost in (
            (done_s, task_cost(task, scenario.cost) - penalty),
            (task.created_s + task.deadline_s, penalty),
        ):
            epoch = n_epochs - 1
            if math.isfinite(at_s):
                epoch = min(max(math.ceil(at_s / scenario.epoch_s - 1e-9) - 1 - first, 0), n_epochs - 1)
            costs[epoch, task.device] += cost
    return costs
