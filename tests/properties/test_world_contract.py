"""The contract of worlds over random small scenarios and random decisions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from envs.errors import DecisionError
from envs.fog import state as s
from envs.scenario import make

NEVER = np.inf


def test_snapshot_carries_the_seed_into_a_world_of_another_seed(fog):
    # the second episode is drawn after the restore; its tasks must be those of the first world's seed
    scenario = fog.scenario(fog.single(), fog.poisson(2.0, "exponential"), horizon_slots=4)
    one, other = make(scenario, 1, seed=1), make(scenario, 1, seed=2)
    outs = [world.outcome() for world in (one, other)]
    for world, out in zip((one, other), outs, strict=True):
        world.reset(None, out)
    other.restore(pickle.loads(pickle.dumps(one.snapshot())))
    for _ in range(8):
        for world, out in zip((one, other), outs, strict=True):
            world.step(np.zeros((1, 1), np.int64), out)
        np.testing.assert_array_equal(outs[0].observation, outs[1].observation)
    assert outs[0].final_sums[0, s.CREATED] > 0


def test_debug_mode_judges_by_the_restored_state(fog):
    # the device is busy from 0 s and a task waits from 0.5 s: at slot 1 it may be sent, at slot 0 nothing may
    work = fog.listed(((0.0, 0, 0.0, 0.0, 9e9, NEVER), (0.5, 0, 0.0, 0.0, 9e9, NEVER)))
    world = make(fog.scenario(fog.pair(), work, debug=True), 1)
    out = world.outcome()
    world.reset(None, out)
    at_slot_0 = world.snapshot()
    world.step(np.array([[0]]), out)
    at_slot_1 = world.snapshot()
    world.restore(at_slot_0)
    with pytest.raises(DecisionError, match="target 1 is masked"):
        world.step(np.array([[1]]), out)
    world.restore(at_slot_1)
    world.step(np.array([[1]]), out)
    assert world.snapshot()["state"]["sums"][0, s.OFFLOADS] == 1.0


def test_surplus_decisions_of_a_step_are_not_refused_targets(fog):
    # one task waits at slot 1, three decisions are taken: the mask allowed target 1, so nothing was refused
    work = fog.listed(((0.0, 0, 0.0, 0.0, 9e9, NEVER), (0.5, 0, 0.0, 0.0, 9e9, NEVER)))
    scenario = fog.scenario(fog.pair(), work, decisions_per_step=3, horizon_slots=3)
    _, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1] if step == 1 else [0, 0, 0]]])
    assert (sums[0, s.OFFLOADS], sums[0, s.DECISIONS], sums[0, s.REFUSED]) == (1.0, 1.0, 0.0)
    # in the last slot nothing waits and the mask allows target 0 alone: each of the three is refused
    _, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1] if step == 2 else [0, 0, 0]]])
    assert (sums[0, s.OFFLOADS], sums[0, s.REFUSED]) == (0.0, 3.0)
