"""Recordings of worlds with PeersimGym's semantics: queues and counts are the world's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import Player, look
from envs.fog.peersim import state as s
from envs.scenario import make
from envs.viewer.glimpse import watchable
from envs.viewer.recorder import record
from envs.viewer.recording import FIRST_DROP, NOWHERE, RESULT, UPLOAD, Recording

PEERSIM: dict[str, object] = {
    "world": "fog",
    "topology": {"name": "layered"},
    "topology_seed": 1,
    "workload": {"name": "task_types"},
    "params": {"semantics": "peersim", "horizon_slots": 200},
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, list[Any], list[Any], Any]:
    """Return a recording, and the nodes and sums of the world after each step."""
    import yaml

    path = tmp_path_factory.mktemp("scenario") / "slots.yaml"
    path.write_text(yaml.safe_dump(PEERSIM), encoding="utf-8")
    world: Any = make(watchable(load_scenario(str(path))), 1, 0, 0)
    out = world.outcome()
    world.reset([0], out)
    player = Player(load_rule("random"), world.spec, [0], 0)
    nodes, sums = [], []

    def play_step() -> Any:
        decision = player.decide(look(world)).copy()
        world.step(decision, out)
        machines = (world.state.machine[0] >= 0).sum()
        busy = np.where(world.setup.node["is_cloud"] == 1, machines, world.state.node[0]["current"] >= 0)
        nodes.append((world.state.node[0]["n_queued"] + world.state.node[0]["n_received"], busy))
        sums.append(world.state.sums[0].copy())
        return decision

    return record(world, play_step, 150), nodes, sums, world


def test_queues_at_every_step_are_those_of_the_world(played: tuple[Recording, list[Any], list[Any], Any]) -> None:
    recording, nodes, _, _ = played
    n_on_links, n_checked = 0, 0
    for time_s, (waiting, busy) in zip(recording.step_s[1:], nodes, strict=True):
        frame = recording.at(float(time_s), 0.1, 0.1)
        np.testing.assert_array_equal(frame.serving, busy)
        # messages of a node to itself wait there, too: they are on their way for a slot at least
        assert (frame.waiting >= waiting).all()
        assert (frame.waiting <= waiting + 12).all()
        n_on_links += len(frame.moving.link)
        n_checked += 1
    assert n_checked == 150
    assert n_on_links > 300


def test_counts_at_every_step_are_those_of_the_world(played: tuple[Recording, list[Any], list[Any], Any]) -> None:
    recording, _, all_sums, _ = played
    assert recording.drop_reasons == s.DROP_REASONS
    for time_s, sums in zip(recording.step_s[1:], all_sums, strict=True):
        figures = recording.figures(float(time_s))
        assert figures.created == sums[s.CREATED]
        assert (figures.in_time, figures.in_time + figures.late) == (sums[s.IN_TIME], sums[s.COMPLETED])
        assert list(figures.dropped) == sums[s.DROPPED : s.DROPPED + len(s.DROP_REASONS)].tolist()
        if sums[s.COMPLETED]:
            assert figures.response_s_mean == pytest.approx(sums[s.RESPONSE_S] / sums[s.COMPLETED])
    assert figures.left > 100


def test_most_endings_have_a_place_and_motion_goes_along_neighbour_lists(
    played: tuple[Recording, list[Any], list[Any], Any],
) -> None:
    recording, _, _, world = played
    endings, stretches = recording.endings, recording.stretches
    assert (endings.node == NOWHERE).mean() < 0.2
    finished = endings.node[(endings.outcome < FIRST_DROP) & (endings.node != NOWHERE)]
    assert world.topology.is_device[finished].all()
    links = stretches.place[(stretches.kind == UPLOAD) | (stretches.kind == RESULT)]
    assert (recording.link_source[links] != recording.link_target[links]).all()
    assert {UPLOAD, RESULT} <= set(stretches.kind.tolist())


def test_decisions_are_counted_as_the_world_counts_them(played: tuple[Recording, list[Any], list[Any], Any]) -> None:
    recording, _, sums, _ = played
    n_seen = len(recording.decisions.node)
    n_first = recording.agent_node.size  # of the very first step nobody is known to have a task
    assert sums[-1][s.DECISIONS] - n_first <= n_seen <= sums[-1][s.DECISIONS]
