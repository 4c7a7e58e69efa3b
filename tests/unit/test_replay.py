"""Transitions worked by hand, over cuts, truncations and terminations; and draws in proportion to priority."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.runners.replay import Replay
from edge_rllib.runners.rollout import Rollout
from edge_rllib.runners.sum_tree import SumTree
from envs.errors import ConfigError

GAMMA = 0.5


def replay_of(n_places=100, n_step=1, is_every_step=True, alpha=0.0):
    return Replay(n_places, (1, 2), n_step, GAMMA, is_every_step, alpha)


def rollout_of(rewards, first=0, choices=None, terminated=(), truncated=(), world_ids=(0,)):
    """One agent, one world unless told otherwise; the observation at step t is first + t, the decision its parity."""
    rewards = np.asarray(rewards, np.float32)
    n_steps, n_worlds = len(rewards), len(world_ids)
    observation = (first + np.arange(n_steps + 1, dtype=np.float32))[:, None, None, None]
    mask = np.ones((n_steps + 1, n_worlds, 1, 2), np.bool_)
    if choices is not None:
        mask[:, :, :, 1] = np.asarray(choices, np.bool_)[:, None, None]
    endings = np.zeros((2, n_steps, n_worlds), np.bool_)
    endings[0, list(terminated)], endings[1, list(truncated)] = True, True
    columns = {
        "obs": np.broadcast_to(observation, (n_steps + 1, n_worlds, 1, 1)).copy(),
        "action_mask": mask,
        "actions": np.broadcast_to(np.arange(n_steps)[:, None, None] % 2, (n_steps, n_worlds, 1)).copy(),
        "rewards": np.broadcast_to(rewards[:, None, None], (n_steps, n_worlds, 1)).copy(),
    }
    return Rollout({"m": columns}, {"m": np.array([0])}, *endings, None, None, np.asarray(world_ids), 0)


def transitions(replay):
    """Return {observation: (returns, discount, next observation)} of the rows that can be drawn."""
    ring, ready = replay.ring, np.flatnonzero(replay.tree.priorities)
    assert len(ready) == replay.n_ready
    return {
        float(ring.observation[p, 0]): (
            float(ring.returns[p]),
            float(ring.discount[p]),
            float(ring.observation[ring.following[p], 0]) if ring.discount[p] else None,
        )
        for p in ready
    }


def test_one_step_transitions_lead_to_the_next_observation_and_the_last_waits_for_it():
    replay = replay_of()
    assert replay.add(rollout_of([1, 2, 3]), "m") == 2
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2)}


def test_transitions_go_on_over_a_cut():
    replay = replay_of(n_step=2)
    replay.add(rollout_of([1, 2, 4]), "m")
    assert transitions(replay) == {0: (1 + 0.5 * 2, 0.25, 2)}
    replay.add(rollout_of([8], first=3), "m")
    # step 1: rewards 2 and 4; the row of step 2 still waits for step 4
    assert transitions(replay) == {0: (2, 0.25, 2), 1: (2 + 0.5 * 4, 0.25, 3)}


def test_a_termination_closes_all_transitions_with_nothing_behind_them():
    replay = replay_of(n_step=3)
    replay.add(rollout_of([1, 2, 4, 8], terminated=[2]), "m")
    assert transitions(replay) == {0: (1 + 1 + 1, 0, None), 1: (2 + 2, 0, None), 2: (4, 0, None)}


def test_a_truncation_closes_transitions_at_the_last_row_whose_mask_is_known():
    replay = replay_of(n_step=3)
    replay.add(rollout_of([1, 2, 4, 8], truncated=[2]), "m")
    # steps 0 and 1 lead to the row of step 2; that row leads to a final observation without a mask and is left out
    assert transitions(replay) == {0: (1 + 0.5 * 2, 0.25, 2), 1: (2, 0.5, 2)}


def test_between_decisions_rewards_add_up_and_the_discount_counts_steps():
    replay = replay_of(is_every_step=False)
    # choices at steps 0, 3 and 4
    replay.add(rollout_of([1, 2, 4, 8, 16], choices=[1, 0, 0, 1, 1, 0]), "m")
    assert transitions(replay) == {0: (1 + 1 + 1, 0.125, 3), 3: (8, 0.5, 4)}


def test_two_decisions_ahead_spans_all_steps_between():
    replay = replay_of(n_step=2, is_every_step=False)
    replay.add(rollout_of([1, 2, 4, 8, 16], choices=[1, 0, 1, 0, 1, 0]), "m")
    assert transitions(replay) == {0: (1 + 1 + 1 + 1, 0.0625, 4)}


def test_a_truncation_between_decisions_leaves_out_what_came_after_the_last_one():
    replay = replay_of(n_step=3, is_every_step=False)
    replay.add(rollout_of([1, 2, 4, 8], choices=[1, 0, 1, 0, 0], truncated=[3]), "m")
    assert transitions(replay) == {0: (1 + 1, 0.25, 2)}


def test_rewards_before_the_first_decision_belong_to_no_transition():
    replay = replay_of(is_every_step=False)
    replay.add(rollout_of([9, 1, 2], choices=[0, 1, 1, 0]), "m")
    assert transitions(replay) == {1: (1, 0.5, 2)}


def test_a_fragment_that_does_not_follow_the_last_one_closes_nothing():
    replay = replay_of()
    replay.add(rollout_of([1, 2]), "m")
    replay.add(rollout_of([4, 8], first=50), "m")
    assert transitions(replay) == {0: (1, 0.5, 1), 50: (4, 0.5, 51)}


def test_worlds_of_two_runners_do_not_mix():
    replay = replay_of()
    replay.add(rollout_of([1, 2], world_ids=[0]), "m")
    replay.add(rollout_of([4, 8], first=10, world_ids=[1]), "m")
    replay.add(rollout_of([16], first=2, world_ids=[0]), "m")
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2), 10: (4, 0.5, 11)}


def test_the_oldest_rows_are_overwritten_and_never_completed_afterwards():
    replay = replay_of(n_places=4, n_step=2)
    for first in (0, 3, 6):
        replay.add(rollout_of([1, 1, 1], first=first), "m")
    # rows of steps 5 .. 8 are kept; 7 and 8 wait
    assert transitions(replay) == {5: (1.5, 0.25, 7), 6: (1.5, 0.25, 8)}


@pytest.mark.parametrize("is_every_step", [True, False])
@pytest.mark.parametrize("n_step", [1, 2, 4])
def test_random_episodes_give_the_transitions_of_a_plain_reckoning(n_step, is_every_step):
    rng = np.random.default_rng(n_step)
    n_steps, found = 60, 0
    rewards = rng.integers(0, 9, n_steps).astype(np.float32)
    choices = rng.random(n_steps + 1) < 0.4
    endings = sorted(rng.choice(n_steps, 8, replace=False).tolist())
    terminated, truncated = endings[::2], endings[1::2]
    replay = replay_of(n_step=n_step, is_every_step=is_every_step)
    for begin in range(0, n_steps, 12):
        part = slice(begin, begin + 12)
        chosen = choices[begin : begin + 13]
        ends = [[t - begin for t in kind if begin <= t < begin + 12] for kind in (terminated, truncated)]
        replay.add(rollout_of(rewards[part], begin, chosen, *ends), "m")
    expected = {}
    for begin in range(n_steps):
        if not (is_every_step or choices[begin]):
            continue
        end = next((t for t in endings if t >= begin), n_steps)
        rows = [t for t in range(begin + 1, min(end, n_steps - 1) + 1) if is_every_step or choices[t]]
        if len(rows) >= n_step:
            last, discount = rows[n_step - 1], None
        elif end in terminated:
            last, discount = end + 1, 0.0
        elif end in truncated and rows:
            last, discount = rows[-1], None
        else:
            continue
        total = sum(GAMMA ** (t - begin) * rewards[t] for t in range(begin, last))
        is_over = discount == 0.0
        expected[begin] = (total, 0.0 if is_over else GAMMA ** (last - begin), None if is_over else last)
        found += 1
    actual = transitions(replay)
    assert found > 5
    assert actual.keys() == expected.keys()
    for begin, (total, discount, last) in expected.items():
        assert actual[begin] == (pytest.approx(total, rel=1e-6), pytest.approx(discount), last)


def test_sum_tree_finds_what_a_plain_cumulative_sum_finds():
    rng = np.random.default_rng(0)
    tree, priorities = SumTree(37), np.zeros(37)
    for _ in range(20):
        places = rng.choice(37, 9, replace=False)
        values = rng.random(9) * (rng.random(9) < 0.7)
        tree.assign(places, values)
        priorities[places] = values
        np.testing.assert_array_equal(tree.priorities, priorities)
        assert tree.total == pytest.approx(priorities.sum())
    drawn = tree.draw(1000, np.random.default_rng(1))
    heights = (np.arange(1000) + np.random.default_rng(1).random(1000)) * (tree.total / 1000)
    np.testing.assert_array_equal(drawn, np.searchsorted(np.cumsum(priorities), heights, side="right"))


def test_rows_are_drawn_in_proportion_to_priority_and_weights_make_up_for_it():
    replay = replay_of(alpha=0.5)
    replay.add(rollout_of([0.0] * 5), "m")
    replay.prioritise(np.arange(4), np.array([1.0, 4.0, 9.0, 16.0]))
    rows = replay.draw(1000, 1.0, np.random.default_rng(0))
    # square roots 1, 2, 3, 4 of 10; one draw from each thousandth leaves an error of one row at each border
    np.testing.assert_allclose(np.bincount(rows.place), [100, 200, 300, 400], atol=2)
    np.testing.assert_allclose(rows.weight, 1 / (1 + rows.place), rtol=1e-6)
    even = replay.draw(1000, 0.0, np.random.default_rng(0))
    assert (even.weight == 1.0).all()


def test_new_rows_have_the_largest_priority_seen():
    replay = replay_of(alpha=1.0)
    replay.add(rollout_of([0.0] * 3), "m")
    replay.prioritise(np.array([0]), np.array([7.0]))
    replay.add(rollout_of([0.0] * 2, first=3), "m")
    assert replay.tree.priorities[:4].tolist() == [7.0, 1.0, 7.0, 7.0]


def test_a_draw_holds_what_belongs_together():
    replay = replay_of()
    replay.add(rollout_of([1, 2, 4, 8, 16], choices=[1, 0, 1, 1, 0, 1]), "m")
    rows = replay.draw(200, 0.4, np.random.default_rng(0))
    np.testing.assert_array_equal(rows.next_observation, rows.observation + 1)
    np.testing.assert_array_equal(rows.returns, 2.0 ** rows.observation[:, 0])
    np.testing.assert_array_equal(rows.decision, rows.observation[:, 0] % 2)
    np.testing.assert_array_equal(rows.next_mask[:, 1], np.isin(rows.next_observation[:, 0], [2, 3, 5]))
    assert len(set(rows.place.tolist())) == 4


def test_a_restored_replay_goes_on_as_the_saved_one():
    first, second = replay_of(n_step=2, alpha=0.6), replay_of(n_step=2, alpha=0.6)
    first.add(rollout_of([1, 2, 3, 4]), "m")
    first.prioritise(np.array([1]), np.array([3.0]))
    second.set_state(first.get_state())
    for replay in (first, second):
        replay.add(rollout_of([5, 6], first=4), "m")
    assert transitions(first) == transitions(second)
    one, two = (replay.draw(50, 0.5, np.random.default_rng(3)) for replay in (first, second))
    for name in one._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_fragment_larger_than_the_replay_is_refused():
    with pytest.raises(ConfigError, match="replay_rows: module 'm' has 4 places, but a fragment up to 5 rows"):
        replay_of(n_places=4).add(rollout_of([0.0] * 5), "m")


def test_arrays_of_the_object_store_are_taken_as_they_are():
    rollout = rollout_of([1, 2, 3])
    for array in rollout.columns["m"].values():
        array.setflags(write=False)
    replay = replay_of()
    replay.add(rollout, "m")
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2)}
