"""What is recorded of a world is what happened in it: queues at every step, and the times of every task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import Player, look
from envs.constants import LOCAL
from envs.errors import ConfigError
from envs.fog import state as s
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make
from envs.viewer.glimpse import watchable
from envs.viewer.recorder import new_recorder, record
from envs.viewer.recording import FIRST_DROP, IN_TIME, LATE, RESULT, SERVING, UPLOAD, WAITING, Recording

HOLD = {"undecided": "hold"}
WORLD_ID = 2**31


class Watched:
    """A recording, and what the world itself said after each step."""

    def __init__(self, params: dict[str, object], rule: str = "random", n_steps: int = 150) -> None:
        scenario = watchable(load_scenario("ether_19_v1", {"params": params}))
        self.world: Any = make(scenario, 1, 0, WORLD_ID)
        out = self.world.outcome()
        self.world.reset([WORLD_ID], out)
        player = Player(load_rule(rule), self.world.spec, [WORLD_ID], 0)
        self.nodes: list[Any] = []
        self.sums: list[Any] = []

        def play_step() -> Any:
            decision = player.decide(look(self.world)).copy()
            self.world.step(decision, out)
            self.nodes.append(self.world.state.node[0].copy())
            self.sums.append(self.world.state.sums[0].copy())
            return decision

        self.recording = record(self.world, play_step, n_steps, policy=rule)


OPTIONS: dict[str, dict[str, object]] = {
    "as it is": {},
    "sharing, fair channels": {**HOLD, "discipline": "sharing", "contention": "fair"},
    "shortest way home, hard deadlines": {"results": "shortest", "deadlines": "hard"},
    "three decisions, last in first out": {"decisions_per_step": 3, "discipline": "lifo", "deadlines": "waiting"},
    "no room": {"max_alive_tasks": 40, "contention": "none"},
}


@pytest.fixture(scope="module")
def watched() -> Callable[[str], Watched]:
    kept: dict[str, Watched] = {}
    return lambda name: kept.setdefault(name, Watched(OPTIONS[name]))


@pytest.mark.parametrize("name", OPTIONS)
def test_queues_and_services_at_every_step_are_those_of_the_world(watched: Callable[[str], Watched], name: str) -> None:
    played = watched(name)
    n_checked = 0
    for time_s, nodes in zip(played.recording.step_s[1:], played.nodes, strict=True):
        frame = played.recording.at(float(time_s), 0.1, 0.1)
        np.testing.assert_array_equal(frame.waiting, nodes["n_waiting"])
        np.testing.assert_array_equal(frame.serving, nodes["n_busy"])
        n_checked += 1
    assert n_checked == 150
    assert sum(nodes["n_waiting"].sum() for nodes in played.nodes) > 100


@pytest.mark.parametrize("name", OPTIONS)
def test_figures_at_every_step_are_those_of_the_world(watched: Callable[[str], Watched], name: str) -> None:
    played = watched(name)
    for time_s, sums in zip(played.recording.step_s[1:], played.sums, strict=True):
        figures = played.recording.figures(float(time_s))
        assert figures.created == sums[s.CREATED]
        assert figures.in_time == sums[s.IN_TIME]
        assert figures.in_time + figures.late == sums[s.COMPLETED]
        assert list(figures.dropped) == sums[s.DROPPED : s.DROPPED + len(s.DROP_REASONS)].tolist()
        if sums[s.COMPLETED]:
            assert figures.response_s_mean == pytest.approx(sums[s.RESPONSE_S] / sums[s.COMPLETED])
    assert figures.left > 100


def parts_of_finished(recording: Recording) -> tuple[dict[int, float], int]:
    """Return the seconds that finished tasks spent in each kind of stretch, and how many tasks these were."""
    stretches, endings = recording.stretches, recording.endings
    finished_s = set(endings.time_s[endings.outcome < FIRST_DROP].tolist())
    of_task: dict[int, list[int]] = {}
    for row, task in enumerate(stretches.task.tolist()):
        of_task.setdefault(task, []).append(row)
    ended = [rows for rows in of_task.values() if max(stretches.end_s[rows]) in finished_s]
    rows = [row for rows in ended for row in rows]
    duration_s, kind = stretches.end_s[rows] - stretches.start_s[rows], stretches.kind[rows]
    return {each: float(duration_s[kind == each].sum()) for each in (WAITING, SERVING, UPLOAD, RESULT)}, len(ended)


@pytest.mark.parametrize("params", [{}, {**HOLD, "decide_on": "events"}], ids=["slots", "events"])
def test_stretches_add_up_to_the_worlds_parts_of_the_response_time(params: dict[str, object]) -> None:
    played = Watched(params)
    parts, n_finished = parts_of_finished(played.recording)
    sums = played.sums[-1]
    assert n_finished == sums[s.COMPLETED] > 30
    assert parts[WAITING] == pytest.approx(sums[s.WAIT_S])
    assert parts[SERVING] == pytest.approx(sums[s.SERVICE_S])
    assert parts[UPLOAD] == pytest.approx(sums[s.UPLOAD_S])
    assert parts[RESULT] == pytest.approx(sums[s.RETURN_S])


def test_a_task_is_never_at_two_places_and_never_nowhere(watched: Callable[[str], Watched]) -> None:
    stretches = watched("as it is").recording.stretches
    n_joints = 0
    for task in np.unique(stretches.task):
        rows = np.flatnonzero(stretches.task == task)
        rows = rows[np.argsort(stretches.start_s[rows], kind="stable")]
        np.testing.assert_array_equal(stretches.start_s[rows][1:], stretches.end_s[rows][:-1])
        n_joints += len(rows) - 1
        assert (stretches.move_s[rows] >= stretches.start_s[rows]).all()
    assert n_joints > 300


def test_motion_is_the_transmission_and_what_is_before_it_waits_for_the_channel() -> None:
    # every task goes over one link, which takes about as long for a task as the time between two
    slow = {"topology": {"rate_bps": 2e6, "delay_s": 0.01}, "params": {"horizon_slots": 300}}
    world: Any = make(watchable(load_scenario("pair_best_known", slow)), 1, 0, 0)
    out = world.outcome()
    world.reset([0], out)

    def play_step() -> Any:
        decision = np.ones((1, 1), np.int64)
        world.step(decision, out)
        return decision

    recording = record(world, play_step, 250)
    stretches = recording.stretches
    up = (stretches.kind == UPLOAD) & (stretches.end_s < recording.step_s[-1])
    order = np.argsort(stretches.start_s[up], kind="stable")
    start_s, move_s, end_s = (part[up][order] for part in (stretches.start_s, stretches.move_s, stretches.end_s))
    # a transmission begins at once, or when the one before it has left the channel, 0.01 s before it arrives
    np.testing.assert_allclose(move_s[1:], np.maximum(start_s[1:], end_s[:-1] - 0.01), atol=1e-9)
    assert (move_s > start_s + 0.01).sum() > 5
    waiting = int(np.flatnonzero(move_s > start_s + 0.01)[0])
    before, during = 0.5 * (start_s + move_s)[waiting], (0.25 * move_s + 0.75 * end_s)[waiting]
    assert 0.0 in recording.at(before, 0.0, 0.0).moving.progress
    assert recording.at(during, 0.0, 0.0).moving.progress.max() == pytest.approx(0.75)


def test_decisions_are_those_of_agents_that_had_a_task() -> None:
    played = Watched({}, "local", 60)
    decisions = played.recording.decisions
    assert len(decisions.node) == played.sums[-1][s.DECISIONS] > 10
    np.testing.assert_array_equal(decisions.node, decisions.target)
    assert set(decisions.node.tolist()) <= set(played.world.spec.target_node[:, LOCAL].tolist())


def test_outcomes_are_told_apart(watched: Callable[[str], Watched]) -> None:
    endings = watched("shortest way home, hard deadlines").recording.endings
    assert not (endings.outcome == LATE).any()  # hard deadlines leave nothing late
    assert (endings.outcome == IN_TIME).any()
    assert (endings.outcome == FIRST_DROP + s.EXPIRED).any()
    assert np.isnan(endings.response_s[endings.outcome >= FIRST_DROP]).all()


def test_what_is_forgotten_still_counts() -> None:
    scenario = watchable(load_scenario("ether_19_v1"))
    world = make(scenario, 1, 0, 0)
    out = world.outcome()
    world.reset([0], out)
    whole, brief = new_recorder(world), new_recorder(world, keep_steps=4)
    n_compared = 0
    for step in range(80):
        decision = np.zeros((1, world.spec.n_agents), np.int64)
        world.step(decision, out)
        assert whole.see(decision)
        assert brief.see(decision)
        if step % 8 == 7:
            one, two = whole.recording(), brief.recording()
            now_s = float(one.step_s[-1])
            assert two.n_steps == 4
            assert one.figures(now_s).created == two.figures(now_s).created > 0
            frames = one.at(now_s, 0.2, 0.2), two.at(now_s, 0.2, 0.2)
            assert frames[0].step == frames[1].step == step + 1
            np.testing.assert_array_equal(frames[0].waiting, frames[1].waiting)
            np.testing.assert_array_equal(frames[0].endings.node, frames[1].endings.node)
            assert frames[0].figures.in_time == frames[1].figures.in_time
            n_compared += 1
    assert n_compared == 10
    np.testing.assert_allclose(one.figures(now_s).response_s_mean, two.figures(now_s).response_s_mean)


def test_a_recording_ends_before_the_last_step_of_the_episode() -> None:
    played = Watched({"horizon_slots": 30}, n_steps=1000)
    assert played.recording.n_steps == 29
    assert played.recording.duration_s == pytest.approx(2.9)
    assert len(played.recording.instants(3)) == 29 * 3 + 1


def test_world_without_nodes_is_refused() -> None:
    matching = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, 0, 0))
    assert watchable(matching) is matching
    with pytest.raises(ConfigError, match="matching: a MatchingWorld has no nodes, links and tasks"):
        new_recorder(make(matching, 1))
