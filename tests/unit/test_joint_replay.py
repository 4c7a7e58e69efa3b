"""Joint transitions worked by hand, over cuts, truncations and terminations; and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.runners.joint import JointRows
from edge_rllib.runners.joint_replay import JointReplay, JointSizes, join_worlds, shortened, walk
from edge_rllib.runners.rollout import Finals
from envs.errors import ConfigError

GAMMA = 0.5
SIZES = JointSizes(n_agents=2, n_features=1, n_targets=2, n_amounts=1, n_state=1)
FINAL = 1000.0  # added to the number of the step that a final observation follows
IDS = np.array([0])


def replay_of(n_places=100, n_step=1, alpha=0.0, sizes=SIZES):
    return JointReplay(n_places, sizes, n_step, GAMMA, alpha)


def rows_of(rewards, first=0, terminated=(), truncated=(), n_worlds=1):
    """Agent i of world b sees at step t the number first + t, + 0.25 i, + 0.5 b; it earns the reward times i + 1."""
    rewards = np.asarray(rewards, np.float32)
    n_steps = len(rewards)
    of_world, of_agent = 0.5 * np.arange(n_worlds)[:, None], 0.25 * np.arange(2)
    step = first + np.arange(n_steps + 1)
    observation = (step[:, None, None] + of_world + of_agent)[..., None].astype(np.float32)
    mask = np.ones((n_steps + 1, n_worlds, 2, 2), np.bool_)
    mask[:, :, :, 1] = (step % 2 == 0)[:, None, None]
    shape = n_steps, n_worlds, 2
    ends = np.zeros((2, n_steps, n_worlds), np.bool_)
    ends[0, list(terminated)], ends[1, list(truncated)] = True, True
    finals = None
    if len(truncated):
        t = np.repeat(np.asarray(truncated), n_worlds)
        b = np.tile(np.arange(n_worlds), len(truncated))
        final = (FINAL + first + t[:, None] + 0.5 * b[:, None] + of_agent)[..., None].astype(np.float32)
        finals = Finals(t, b, final, np.ones((len(t), 2, 2), np.bool_), -final[:, 0])
    target = np.broadcast_to((step[:-1] % 2)[:, None, None], shape).astype(np.int64)
    amounts = observation[:-1] / 100.0
    logp = -observation[:-1, ..., 0] / 10.0
    reward = (rewards[:, None, None] * np.array([1.0, 2.0]) * np.ones((1, n_worlds, 1))).astype(np.float32)
    return JointRows(observation, mask, -observation[:, :, 0], target, amounts, logp, reward, *ends, finals)


def transitions(replay):
    """Return {observation: (return, discount, observation behind)} of agent 0 for every row that can be drawn."""
    places = np.flatnonzero(replay.tree.priorities)
    assert len(places) == replay.n_ready
    found, ring = {}, replay.ring
    drawn = replay.draw(500, 1.0, np.random.default_rng(0))
    assert set(drawn.place) == set(places)
    for r, place in enumerate(drawn.place):
        returns = float((ring.reward[drawn.step_place[r], 0] * drawn.step_weight[r]).sum())
        behind = float(ring.observation[drawn.behind[r], 0, 0]) if drawn.discount[r] else None
        found[float(ring.observation[place, 0, 0])] = (returns, float(drawn.discount[r]), behind)
    return found


def test_a_transition_leads_to_the_next_step_and_the_last_one_waits_for_it():
    replay = replay_of()
    assert replay.add(rows_of([1, 2, 3]), IDS) == 2
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2)}


def test_chains_go_on_over_a_cut():
    replay = replay_of(n_step=2)
    replay.add(rows_of([1, 2, 4]), IDS)
    assert transitions(replay) == {0: (1 + 0.5 * 2, 0.25, 2)}
    replay.add(rows_of([8], first=3), IDS)
    assert transitions(replay) == {0: (2, 0.25, 2), 1: (2 + 0.5 * 4, 0.25, 3)}


def test_a_termination_ends_all_open_transitions_with_nothing_behind():
    replay = replay_of(n_step=3)
    replay.add(rows_of([1, 2, 4, 8], terminated=[2]), IDS)
    # rewards 1 + 0.5 * 2 + 0.25 * 4, then 2 + 0.5 * 4, then 4; step 3 belongs to the next episode and waits
    assert transitions(replay) == {0: (3, 0, None), 1: (4, 0, None), 2: (4, 0, None)}


def test_a_truncation_ends_them_at_the_final_observation():
    replay = replay_of(n_step=3)
    replay.add(rows_of([1, 2, 4, 8], truncated=[2]), IDS)
    final = FINAL + 2
    assert transitions(replay) == {0: (3, 0.125, final), 1: (4, 0.25, final), 2: (4, 0.5, final)}


def test_a_truncation_in_the_last_step_of_a_fragment_waits_for_nothing():
    replay = replay_of()
    assert replay.add(rows_of([1, 2], truncated=[1]), IDS) == 2
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, FINAL + 1)}
    replay.add(rows_of([4, 8], first=50), IDS)
    assert transitions(replay)[50] == (4, 0.5, 51)


def test_a_fragment_of_a_restarted_runner_ends_nothing_of_the_lost_one():
    replay = replay_of()
    replay.add(rows_of([1, 2]), IDS)
    replay.add(rows_of([4, 8], first=50), IDS)
    assert transitions(replay) == {0: (1, 0.5, 1), 50: (4, 0.5, 51)}


def test_worlds_of_two_runners_do_not_mix():
    replay = replay_of()
    replay.add(rows_of([1, 2]), np.array([0]))
    replay.add(rows_of([4, 8], first=10), np.array([1]))
    replay.add(rows_of([16], first=2), np.array([0]))
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2), 10: (4, 0.5, 11)}


def test_worlds_of_one_runner_do_not_mix():
    replay = replay_of()
    replay.add(rows_of([1, 2, 3], n_worlds=2), np.array([0, 1]))
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2), 0.5: (1, 0.5, 1.5), 1.5: (2, 0.5, 2.5)}


def test_the_oldest_rows_are_overwritten_and_never_completed_afterwards():
    replay = replay_of(n_places=4, n_step=2)
    for first in (0, 3, 6):
        replay.add(rows_of([1, 1, 1], first=first), IDS)
    # rows of steps 5 .. 8 are kept; 7 and 8 wait
    assert transitions(replay) == {5: (1.5, 0.25, 7), 6: (1.5, 0.25, 8)}


def test_a_row_that_was_overwritten_while_it_waited_is_not_written_into():
    replay = replay_of(n_places=3)
    replay.add(rows_of([1]), np.array([0]))
    replay.add(rows_of([2, 2, 2], first=10), np.array([1]))
    replay.add(rows_of([4], first=1), np.array([0]))  # follows a row whose place another world has taken
    assert transitions(replay) == {11: (2, 0.5, 12)}


@pytest.mark.parametrize("n_step", [1, 2, 4])
def test_random_episodes_give_the_transitions_of_a_plain_reckoning(n_step):
    rng = np.random.default_rng(n_step)
    n_steps = 60
    rewards = rng.integers(0, 9, n_steps).astype(np.float32)
    endings = sorted(rng.choice(n_steps, 8, replace=False).tolist())
    terminated, truncated = endings[::2], endings[1::2]
    replay = replay_of(n_step=n_step)
    for begin in range(0, n_steps, 12):
        ends = [[t - begin for t in kind if begin <= t < begin + 12] for kind in (terminated, truncated)]
        replay.add(rows_of(rewards[begin : begin + 12], begin, *ends), IDS)
    expected = {}
    for begin in range(n_steps):
        end = next((t for t in endings if t >= begin), n_steps)
        last = min(begin + n_step, end + 1)  # the step behind the transition
        total = sum(GAMMA ** (t - begin) * rewards[t] for t in range(begin, min(last, n_steps)))
        if last == end + 1 and end in terminated:
            expected[begin] = (pytest.approx(total), 0.0, None)
        elif last == end + 1 and end in truncated:
            expected[begin] = (pytest.approx(total), GAMMA ** (last - begin), FINAL + end)
        elif last < n_steps:
            expected[begin] = (pytest.approx(total), GAMMA ** (last - begin), last)
    assert len(expected) > n_steps - 5
    assert transitions(replay) == expected


def test_a_draw_holds_what_belongs_together():
    replay = replay_of(n_step=2)
    replay.add(rows_of([1, 2, 4, 8, 16], truncated=[3], n_worlds=2), np.array([3, 4]))
    drawn, ring = replay.draw(300, 0.4, np.random.default_rng(0)), replay.ring
    seen = ring.observation[drawn.place]
    np.testing.assert_array_equal(seen[:, 1, 0], seen[:, 0, 0] + 0.25)
    np.testing.assert_array_equal(ring.state[drawn.place], -seen[:, 0])
    np.testing.assert_array_equal(ring.amounts[drawn.place], seen / 100.0)
    step = np.floor(seen[:, 0, 0])
    np.testing.assert_array_equal(ring.target[drawn.place], np.stack([step % 2, step % 2], -1))
    np.testing.assert_array_equal(ring.mask[drawn.place, :, 1], np.stack([step % 2 == 0] * 2, -1))
    np.testing.assert_array_equal(ring.reward[drawn.place], np.stack([2**step, 2 * 2**step], -1))
    assert len(set(drawn.place.tolist())) == 8
    assert (drawn.weight == 1.0).all()


def test_rows_are_drawn_in_proportion_to_priority_and_weights_make_up_for_it():
    replay = replay_of(alpha=0.5)
    replay.add(rows_of([0.0] * 5), IDS)
    replay.prioritise(np.arange(4), np.array([1.0, 4.0, 9.0, 16.0]))
    drawn = replay.draw(1000, 1.0, np.random.default_rng(0))
    # square roots 1, 2, 3, 4 of 10; one draw from each thousandth leaves an error of one row at each border
    np.testing.assert_allclose(np.bincount(drawn.place), [100, 200, 300, 400], atol=2)
    np.testing.assert_allclose(drawn.weight, 1 / (1 + drawn.place), rtol=1e-6)
    assert (replay.draw(1000, 0.0, np.random.default_rng(0)).weight == 1.0).all()


def test_new_rows_have_the_largest_priority_seen():
    replay = replay_of(alpha=1.0)
    replay.add(rows_of([0.0] * 3), IDS)
    replay.prioritise(np.array([0]), np.array([7.0]))
    replay.add(rows_of([0.0] * 2, first=3), IDS)
    assert replay.tree.priorities[:4].tolist() == [7.0, 1.0, 7.0, 7.0]


def test_a_restored_replay_goes_on_as_the_saved_one():
    first, second = replay_of(n_step=2, alpha=0.6), replay_of(n_step=2, alpha=0.6)
    first.add(rows_of([1, 2, 3, 4]), IDS)
    first.prioritise(np.array([1]), np.array([3.0]))
    second.set_state(first.get_state())
    for replay in (first, second):
        replay.add(rows_of([5, 6], first=4, truncated=[1]), IDS)
    assert transitions(first) == transitions(second)
    assert len(transitions(first)) == 6
    one, two = (replay.draw(50, 0.5, np.random.default_rng(3)) for replay in (first, second))
    for name in one._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_worlds_without_amounts_or_state_fit():
    replay = replay_of(sizes=JointSizes(2, 1, 2, 0, 0))
    rows = rows_of([1, 2, 3], truncated=[2])
    finals = rows.finals._replace(state=None)
    rows = rows._replace(state=None, amounts=rows.amounts[..., :0], finals=finals)
    assert JointSizes.of(rows) == replay.sizes
    assert replay.add(rows, IDS) == 3
    assert transitions(replay)[2] == (3, 0.5, FINAL + 2)


def test_a_fragment_larger_than_the_replay_is_refused():
    # five steps and a final observation
    with pytest.raises(ConfigError, match="replay_steps = 4: a fragment has 6 rows"):
        replay_of(n_places=4).add(rows_of([0.0] * 5, truncated=[1]), IDS)


def test_arrays_of_the_object_store_are_taken_as_they_are():
    rows = rows_of([1, 2, 3])
    for array in rows[:-1]:
        array.setflags(write=False)
    replay = replay_of()
    replay.add(rows, IDS)
    assert transitions(replay) == {0: (1, 0.5, 1), 1: (2, 0.5, 2)}


def test_worlds_that_were_split_are_joined_again():
    whole = rows_of([1, 2, 4], truncated=[1], n_worlds=3)
    parts = []
    for worlds in ([0], [1, 2]):
        mine = np.isin(whole.finals.b, worlds)
        seen = (whole.finals.observation[mine], whole.finals.mask[mine], whole.finals.state[mine])
        finals = Finals(whole.finals.t[mine], whole.finals.b[mine] - worlds[0], *seen)
        parts.append(JointRows(*(column[:, worlds] for column in whole[:-1]), finals))
    joined = join_worlds(parts)
    for name in JointRows._fields[:-1]:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    one, two = replay_of(), replay_of()
    assert one.add(joined, IDS) == two.add(whole, IDS) == 3 * 2
    assert transitions(one) == transitions(two)
    assert join_worlds([whole]) is whole


def test_shortened_transitions_end_earlier_and_go_on_from_the_row_behind():
    replay = replay_of(n_step=3)
    replay.add(rows_of([1, 2, 4, 8, 16], terminated=[4]), IDS)
    drawn = replay._chains(np.array([0, 2, 3]))
    short = shortened(drawn, np.array([2, 5, 1]))
    # from 0 two of three steps; from 2 all of its three, as before; from 3 one of two
    np.testing.assert_array_equal(short.step_weight, [[1, 0.5, 0], [1, 0.5, 0.25], [1, 0, 0]])
    np.testing.assert_array_equal(short.behind[[0, 2]], [2, 4])
    np.testing.assert_array_equal(short.discount, [0.25, 0.0, 0.5])


def test_a_walk_tells_what_lies_behind_each_step():
    replay = replay_of(n_step=3)
    replay.add(rows_of([1, 2, 4, 8, 16], terminated=[4]), IDS)
    steps = walk(replay._chains(np.array([1, 3])))
    np.testing.assert_array_equal(steps.behind[0], [2, 3, 4])
    np.testing.assert_array_equal(steps.discount, [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]])
    np.testing.assert_array_equal(steps.is_alive, [[True, True, True], [True, True, False]])
