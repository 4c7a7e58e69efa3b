"""Episodes under a static policy are the episodes of the same decisions, one step after the other."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.fog import state as s
from envs.scenario import make
from envs.topologies.assemble import Link

EVENTS = {"decide_on": "events", "undecided": "hold", "task_log_places": 4000, "horizon_slots": 500}


def triangle(fog):
    nodes = (("a", 0, fog.node()), ("b", 0, fog.node()), ("c", 1, fog.node(core_hz=2e9)))
    links = [Link(i, j, 4e6, 0.01, (i, j)) for i in range(3) for j in range(3) if i != j]
    return fog.wired(nodes, tuple(links))


@pytest.mark.parametrize("target", [0, 1, 2])
def test_static_policy_plays_as_its_decisions_do(fog, target):
    scenario = fog.scenario(triangle(fog), fog.poisson(0.4, "exponential"), **EVENTS)
    static, stepped = make(scenario, 3), make(scenario, 3)
    out = stepped.outcome()
    static.reset(None, out)
    sums = static.play_static(np.eye(3)[[target, target]], seed=0)
    stepped.reset(None, out)
    ended, logs = np.zeros(3, bool), [None] * 3
    n_steps = 0
    while not ended.all():
        for b in np.flatnonzero(~ended):
            logs[b] = stepped.task_log(int(b))
        stepped.step(np.where(out.target_mask[:, :, target], target, 0), out)
        for b in np.flatnonzero(out.truncated & ~ended):
            np.testing.assert_array_equal(sums[b], out.final_sums[b])
            log = static.task_log(int(b))  # the last step's tasks are in this one alone
            np.testing.assert_array_equal(log[: len(logs[b])], logs[b])
            assert len(log) >= len(logs[b]) > 300
        ended |= out.truncated
        n_steps += 1
    assert n_steps > 300


def test_static_policy_chooses_targets_as_often_as_it_says_and_anew_in_each_world(fog):
    scenario = fog.scenario(triangle(fog), fog.poisson(0.4, "exponential"), **EVENTS)
    world = make(scenario, 64)
    world.reset(None, world.outcome())
    sums = world.play_static(np.array([[1.0, 2.0, 1.0], [0.5, 0.25, 0.25]]), seed=3)
    total = sums.sum(axis=0)
    assert total[s.DECISIONS] == total[s.CREATED] > 24_000
    # half of the tasks are a's, of which 3/4 leave, half are b's: 5/8, +- 4 x sqrt(0.625 x 0.375 / 25,600) = 0.012
    assert total[s.OFFLOADS] / total[s.DECISIONS] == pytest.approx(5 / 8, abs=0.012)
    assert len({*(sums[:, s.OFFLOADS] / sums[:, s.DECISIONS]).tolist()}) > 32
    world.reset(None, world.outcome())
    assert (world.play_static(np.ones((2, 3)), seed=4)[:, s.OFFLOADS] != sums[:, s.OFFLOADS]).any()


def test_share_of_padding_is_left_out(fog):
    links = [Link(i, j, 4e6, 0.0, (i, j)) for i, j in ((0, 1), (1, 0), (1, 2), (2, 1))]
    line = fog.wired((("a", 0, fog.node()), ("b", 0, fog.node()), ("c", 1, fog.node())), tuple(links))
    world = make(fog.scenario(line, fog.poisson(0.4, "exponential"), **EVENTS), 1)
    world.reset(None, world.outcome())
    assert world.spec.target_node.tolist() == [[0, 1, -1], [1, 0, 2]]
    sums = world.play_static(np.array([[1.0, 0.0, 9.0], [1.0, 0.0, 0.0]]), seed=0)[0]
    assert sums[s.DECISIONS] > 300
    assert sums[s.OFFLOADS] == sums[s.REFUSED] == 0.0


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (np.ones((2, 2)), r"share: expected finite numbers >= 0 of shape \(2, 3\), got shape \(2, 2\)"),
        (np.full((2, 3), np.nan), r"share: expected finite numbers >= 0"),
        (-np.ones((2, 3)), r"share: expected finite numbers >= 0"),
        (np.eye(3)[[0, 0]] * [[1], [0]], r"share: agent 1 has no target with a share > 0"),
    ],
)
def test_shares_that_are_none_are_refused(fog, share, message):
    world = make(fog.scenario(triangle(fog), fog.poisson(0.4, "exponential"), **EVENTS), 1)
    with pytest.raises(ConfigError, match=message):
        world.play_static(share, 0)


def test_static_policy_needs_decisions_at_events(fog):
    for params in ({"decide_on": "slots"}, {"undecided": "run"}):
        world = make(fog.scenario(triangle(fog), fog.poisson(0.4, "exponential"), **{**EVENTS, **params}), 1)
        with pytest.raises(ConfigError, match="expected a world with decide_on = 'events' and undecided = 'hold'"):
            world.play_static(np.ones((2, 3)), 0)
