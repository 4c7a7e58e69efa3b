"""What agents see and get in a PeersimGym world: features, rewards, decisions that cannot be carried out."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest


def column(hand, name):
    return hand.out.observation[0, :, hand.world.spec.feature_names.index(name)].tolist()


@pytest.mark.parametrize(
    ("info", "n_own"), [("none", 4), ("next", 9), ("queue", 54), ("queue_next", 59), ("qaggr", 6), ("qaggr_next", 11)]
)
def test_state_info_adds_features_of_tasks(lab, info, n_own):
    spec = lab.crowd(0.5, 9.0, state_info=info).world.spec
    assert spec.own_features == n_own
    assert spec.n_features == n_own + 2 * spec.n_targets


def test_neighbours_are_listed_with_their_places_and_padded_with_minus_one(lab):
    hand = lab.crowd(0.5, 9.0)
    # node 0 holds 3 of 10 places; Q is halved; the server of list 0 is unseen; node 1 has three entries, the server two
    assert column(hand, "own/fill_frac") == pytest.approx([0.3, 0.0, 0.0, 0.0])
    assert column(hand, "target_0/queue") == pytest.approx([0.15, 0.0, 0.0, 0.0])
    assert column(hand, "target_0/free_frac") == pytest.approx([0.7, 1.0, 1.0, 1.0])
    assert column(hand, "target_3/queue") == [0.0, -1.0, -1.0, -1.0]
    assert column(hand, "target_2/free_frac") == [1.0, 1.0, 1.0, -1.0]
    assert hand.out.target_mask[0].sum(axis=1).tolist() == [4, 3, 3, 2]
    # the report of slot 1 reached the neighbours in slot 2, after the look
    assert column(hand.to(3), "target_1/queue") == pytest.approx([0.0, 0.15, 0.15, 0.15])


@pytest.mark.parametrize(("offers", "n_offered"), [(True, [4, 3, 3, 2]), (False, [4, 1, 1, 1])])
def test_targets_are_offered_with_or_without_a_task(lab, offers, n_offered):
    assert lab.crowd(0.5, 9.0, offers_without_task=offers).out.target_mask[0].sum(axis=1).tolist() == n_offered


@pytest.mark.parametrize(("repeats", "is_local"), [(True, [0.0, 0.0, 0.0, 0.0]), (False, [1.0, 0.0, 0.0, 0.0])])
def test_listed_queue_repeats_the_next_task_or_shows_each(lab, repeats, is_local):
    hand = lab.crowd(0.5, 9.0, state_info="queue", queue_repeats_next=repeats).to(3)  # the top is marked
    shown = [column(hand, f"own/task_{place}_is_local")[0] for place in range(4)]
    works = [column(hand, f"own/task_{place}_work")[0] > 0.0 for place in range(4)]
    assert (shown, works) == (is_local, [True, True, True, False])


def test_totals_add_up_the_queue_and_what_stays_of_it(lab):
    # mean node: (3 x 0.5 + 4) / 4 = 1.375 Hz; three tasks of 11 cycles: 24 s, one marked: 8 s; scale 8 s
    hand = lab.crowd(0.5, 11.0, state_info="qaggr", params={"time_scale_s": 8.0}).to(3)
    assert column(hand, "own/total_work")[0] == pytest.approx(24.0 / 32.0)
    assert column(hand, "own/total_local_work")[0] == pytest.approx(0.5)


def test_cloud_shows_no_tasks_and_all_places_free(lab):
    layers = [lab.layer(1, 0.5, reaches_cloud=True)]
    hand = lab.hand(layers, [lab.task_type(9.0)], behind=lab.cloud(1, 0.1)).to(5, {0: [0]}, {2: [1]})
    assert (hand.seen_queue(0, 1), len(hand.queue(1))) == (0.0, 0)
    assert int(hand.world.state.machine[0, 0]) >= 0
    assert (column(hand, "target_1/queue"), column(hand, "target_1/free_frac")) == ([0.0], [1.0])


class TestDense:
    """Node 0 at 2 Hz with three tasks of 8 cycles, a server of 4 Hz as target 3; 10 places each, utility 10."""

    reward: ClassVar = {"form": "dense", "utility": 10.0, "overload_weight": 1.0, "tasks_per_s": 0.5}

    def earned(self, lab, target, seen=0, size_mb=0.0, **reward):
        hand = lab.crowd(
            2.0,
            8.0,
            types=[lab.task_type(8.0, size_mb)],
            reward={**self.reward, **reward},
            params={"horizon_slots": 99},
        )
        hand.world.state.entry["seen_tasks"][0, 3] = seen
        hand.to(3, None, {2: [target, 0, 0, 0]})
        return hand.earned[2]

    def test_local_waits_for_the_tasks_before_it(self, lab):
        # wait 2 x 8 / 2 = 8; load 3 + 0.5 x 3 clients - 2 / 8 = 4.25 of 10 places
        overload = -math.log10(0.575)
        rewards = self.earned(lab, 0)
        assert rewards[0] == pytest.approx(10.0 - 8.0 - overload, rel=1e-5)
        assert rewards[1:] == [0.0, 0.0, 0.0]  # nothing there: no_op_reward
        published = self.earned(lab, 0, formula="as_published")[0]
        assert published == pytest.approx(10.0 - 8.0 - overload / 3.0, rel=1e-5)

    def test_weights_of_delays_are_caps_as_implemented_and_factors_as_published(self, lab):
        overload = -math.log10(0.575)
        assert self.earned(lab, 0, wait_weight=0.5)[0] == pytest.approx(10.0 - 5.0 - overload, rel=1e-5)
        published = self.earned(lab, 0, wait_weight=0.5, formula="as_published")[0]
        assert published == pytest.approx(10.0 - 4.0 - overload / 3.0, rel=1e-5)

    def test_offload_waits_at_the_target_without_the_work_of_its_tasks_as_implemented(self, lab):
        # wait 8 + 4 / 4 or 8 + 4 x 8 / 4; service 8 / 4 - 8 / 2 = -2; load 5 - 4 / 8 = 4.5: no client sends to a server
        overload = -math.log10(0.55)
        weights = {"wait_weight": 2.0}
        implemented = self.earned(lab, 3, seen=4, **weights)[0]
        assert implemented == pytest.approx(10.0 - (9.0 - 2.0) - overload, rel=1e-5)
        published = self.earned(lab, 3, seen=4, formula="as_published", **weights)[0]
        assert published == pytest.approx(10.0 - (2.0 * 16.0 - 2.0) - overload / 3.0, rel=1e-5)

    def test_transfer_has_the_noise_of_the_channel(self, lab):
        # 30 m: Friis at 2.4 GHz 69.59 dB, noise -174 + 63.01 dBm, so an SNR of 61.4 dB and 40.8 Mbit/s; 10 MB
        snr_db = 20.0 - 20.0 * math.log10(4.0 * math.pi * 30.0 / 0.125) + 174.0 - 10.0 * math.log10(2e6)
        transfer_s = 8e7 / (2e6 * math.log2(1.0 + 10.0 ** (snr_db / 10.0)))
        assert transfer_s == pytest.approx(1.96, abs=0.01)
        overload = -math.log10(0.95)
        # the neighbours' tasks are still on their way: nothing waits; service is 2 s shorter
        got = self.earned(lab, 3, size_mb=10.0)[0]
        assert got == pytest.approx(10.0 - (transfer_s - 2.0) - overload, abs=1e-3)

    @pytest.mark.parametrize(("formula", "cycles"), [("as_implemented", 24.0), ("as_published", 12.0)])
    def test_all_types_count_as_the_last_one_as_implemented(self, lab, formula, cycles):
        types = [lab.task_type(8.0, share=3.0), lab.task_type(24.0)]
        hand = lab.crowd(0.5, 8.0, types=types, reward={**self.reward, "formula": formula})
        hand.to(3)
        # wait 2 x cycles / 0.5, capped or not; load 3 + 1.5 - 0.5 / cycles
        wait = 2.0 * cycles / 0.5
        overload = -math.log10(1.0 - (4.5 - 0.5 / cycles) / 10.0)
        delay = min(wait, 10.0) if formula == "as_implemented" else wait
        expected = 10.0 - delay - (overload if formula == "as_implemented" else overload / 3.0)
        assert hand.earned[2][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("formula", "earned"), [("as_implemented", [0.0, 0.0, 7.0]), ("as_published", [0.0, 7.0, 0.0])]
)
def test_sparse_credit_comes_a_decision_late_as_implemented(lab, formula, earned):
    # the task is finished in the turn of slot 1, between the looks 1 and 2
    reward = {"form": "sparse", "formula": formula, "utility": 7.0}
    hand = lab.hand([lab.layer()], [lab.task_type(1.0)], reward=reward).to(3, {0: [0]})
    assert [step[0] for step in hand.earned] == earned


def test_sparse_reward_charges_drops_to_the_node_at_once(lab):
    # one place: the task of slot 1 arrives in slot 2 and is dropped
    reward = {"form": "sparse", "utility": 7.0}
    layers = [lab.layer(1, 0.5, queue_places=1)]
    hand = lab.hand(layers, [lab.task_type(1.0)], reward=reward).to(4, {0: [0], 1: [0]})
    assert [step[0] for step in hand.earned] == [0.0, 0.0, -7.0, 0.0]


@pytest.mark.parametrize(("rule", "reward", "marked"), [("local", 0.0, 1), ("penalty", -10.0, 0)])
def test_target_that_does_not_exist_counts_as_local_or_costs_the_utility(lab, rule, reward, marked):
    hand = lab.crowd(0.5, 9.0, invalid_target=rule, reward={"utility": 10.0})
    hand.to(3, None, {2: [4, 0, 3, 0]})  # beyond K, and padding of node 2's list
    tasks = hand.world.state.task[0]
    assert hand.earned[2] == [reward, 0.0, reward, 0.0]
    assert hand.sums()["refused"] == 2.0
    assert tasks["is_marked"][tasks["stage"] == 3].sum() == marked


def test_rules_see_the_queues_and_times_of_their_next_task(lab):
    view = lab.crowd(2.0, 8.0, state_info="next").world.view()
    assert view.has_task[0].tolist() == [True, False, False, False]
    assert view.queue_tasks[0, 0].tolist() == [3.0, 0.0, 0.0, 0.0]
    # 3 tasks of 8 cycles at 2 Hz; the server needs 2 s and is a slot away, and so is its result
    assert (view.wait_s[0, 0, 0], view.service_s[0, 0].tolist()) == (12.0, [4.0, 4.0, 4.0, 2.0])
    assert (view.upload_s[0, 0].tolist(), view.return_s[0, 0].tolist()) == ([0.0, 1.0, 1.0, 1.0],) * 2
    assert np.isinf(view.queue_tasks[0, 1, 3]) and view.target_tier[1, 3] == -1
