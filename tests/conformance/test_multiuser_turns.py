"""Users that are decided for one after another: the same slots as with all at once, and what each of them sees."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import play
from envs.bounds.choose import bound_for
from envs.multiuser.decode import users_in_turn
from envs.multiuser.start import MultiuserStart
from envs.scenario import make
from envs.testing import check_world

NAME = "multiuser_10_autoregressive"
AT_ONCE = "params.decision.kind=discrete"  # the same agent, with a decision for each user in a step
ORDERS = ("index", "urgency")
RULES = ("edge_only", "greedy_slot", "local", "random", "round_robin_k", "top_backlog")


def begun(*overrides, n_worlds=1, seed=0):
    world = make(load_scenario(NAME, list(overrides)), n_worlds, seed)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def take_turn(world, target, out):
    """Let the user whose turn it is in each world do its part of a slot's targets (B, Us)."""
    turn = users_in_turn(world.state, world.scenario.params.decision.order == "urgency")
    world.step(np.take_along_axis(target, turn[:, None], 1), out)


# Seven slots of ten users: the snapshot is taken in the middle of a slot.
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["params.semantics={interference: released, users: sequential, service: k_fold, late_uploads: run}"],
        ["params.observation={gains: false, ranks: false, bounded: true}"],
        ["topology.n_channels=1", "workload.deadline_s=[0.5, 3.0]"],
        ["topology.n_users=1"],
    ],
    ids=["plain", "released", "blind", "one_channel", "one_user"],
)
def test_turns_keep_the_contract(order, overrides):
    n_users = 1 if "topology.n_users=1" in overrides else 10
    report = check_world(load_scenario(NAME, ["params.horizon_slots=7", f"params.decision.order={order}", *overrides]))
    assert (report.n_steps, report.n_episodes) == (2 * 7 * n_users, 6)


@pytest.mark.parametrize("order", ORDERS)
def test_the_same_decisions_cost_the_same_to_the_last_bit(order):
    short = "params.horizon_slots=8"
    turns, seen = begun(short, f"params.decision.order={order}", n_worlds=3, seed=4)
    whole, expected = begun(short, AT_ONCE, n_worlds=3, seed=4)
    rng = np.random.default_rng(0)
    n_slots, returns = 0, np.zeros((2, 3))
    for _ in range(20):
        target = rng.integers(0, 6, (3, 10))
        for turn in range(10):
            take_turn(turns, target, seen)
            assert (seen.reward == 0.0).all() == (turn < 9)
            assert not (seen.truncated.any() and turn < 9)
            returns[0] += seen.reward[:, 0]
        whole.step(target[:, None, :], expected)
        returns[1] += expected.reward[:, 0]
        for name, figure in whole.figures._asdict().items():
            np.testing.assert_array_equal(getattr(turns.figures, name), figure, err_msg=name)
        for name in ("reward", "truncated", "terminated", "final_sums"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(expected, name), err_msg=name)
        np.testing.assert_array_equal(turns.state.sums, whole.state.sums)
        n_slots += 1
    assert n_slots == 20
    np.testing.assert_array_equal(*returns)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", RULES)
def test_rules_decide_for_a_slot_and_earn_what_they_earn_at_once(order, name):
    short = "params.horizon_slots=12"
    turns, _ = begun(short, f"params.decision.order={order}", n_worlds=4)
    whole = make(load_scenario("multiuser_10", [short]), 4)
    played, expected = (play(world, load_rule(name), range(4), seed=3) for world in (turns, whole))
    np.testing.assert_array_equal(played.sums, expected.sums)
    np.testing.assert_allclose(played.returns.sum(1), expected.returns.sum(1), rtol=1e-5)  # float32


def test_the_bound_is_that_of_all_at_once():
    bounds = [bound_for("auto", load_scenario(name), "return", 2, 0, 0) for name in (NAME, "multiuser_10")]
    np.testing.assert_array_equal(bounds[0].cost, bounds[1].cost)


def test_an_episode_has_a_step_for_each_user_and_slot():
    spec = begun()[0].spec
    assert (spec.n_agents, spec.n_targets, spec.n_decisions, spec.n_amounts) == (1, 6, 1, 0)
    assert (spec.horizon_steps, spec.n_turns) == (500, 10)
    assert spec.step_s * spec.horizon_steps == pytest.approx(50 * 0.6)


def four(order):
    """Return a world of four users and two channels, and what is seen when two have decided; urgency 0.5, 2, 0.8, 0.5.

    All have 0.6 Gcycles; the edge server has 1 s of work already.
    """
    settings = ("topology.n_users=4", "topology.n_channels=2", "topology.user_hz=[1e9]", "topology.edge_hz=5e9")
    world, out = begun(*settings, f"params.decision.order={order}")
    tasks = (np.full((1, 4), 0.6e9), np.full((1, 4), 5e7), np.full((1, 4), 2.0))
    backlog_s = np.array([[0.4, 3.4, 1.0, 0.4]])
    world.load(MultiuserStart(*tasks, user_backlog_s=backlog_s, edge_backlog_s=np.array([1.0])), out)
    for target in (2, 0):
        world.step(np.array([[target]]), out)
    return world, dict(zip(world.spec.feature_names, out.observation[0, 0].tolist(), strict=True)), out.state[0]


@pytest.mark.parametrize(
    ("order", "first", "current", "rank"),
    [("index", 0, 2, 0.25), ("urgency", 1, 0, 0.5)],  # by urgency 1, 2, 0, 3: of equals the lower number
)
def test_a_user_sees_its_own_figures_and_what_those_before_it_decided(order, first, current, rank):
    world, seen, _ = four(order)
    backlog_s = [0.4, 3.4, 1.0, 0.4][current]
    assert seen["own/backlog"] == pytest.approx(backlog_s / (backlog_s + 2.0))
    assert seen["own/rank"] == rank
    assert seen["own/gain"] == pytest.approx(world._tables.gain_frac[current])
    assert seen["turn"] == 0.5
    assert seen["edge/backlog"] == pytest.approx(0.5)  # 1 / (1 + 1)
    assert seen["edge/sent"] == pytest.approx(0.12 / 1.12)  # one task of 0.6 Gcycles at 5 GHz
    alone_s = 1.0 + 0.12 + 0.12 + world._tables.upload_s_per_bit[current] * 5e7
    assert seen["edge/urgency"] == pytest.approx(alone_s / (alone_s + 2.0))
    assert [seen[f"target_{k}/decided"] for k in range(3)] == [0.25, 0.0, 0.25]
    # power as the rate that its sender would have alone, of 40 bits per second and hertz
    shown = np.log2(1.0 + world._tables.received_w[first] / world._rules.noise_w) / 40.0
    assert [seen[f"target_{k}/power"] for k in range(3)] == pytest.approx([0.0, 0.0, shown])


@pytest.mark.parametrize(("order", "decided"), [("index", [1, 1, 0, 0]), ("urgency", [0, 1, 1, 0])])
def test_the_global_state_holds_what_was_decided_in_the_slot(order, decided):
    _, _, state = four(order)
    sender = 0 if order == "index" else 1
    # the second of two channels: (1 + 1) / 2; staying is 0
    np.testing.assert_array_equal(state[-8::2], decided)
    np.testing.assert_array_equal(state[-7::2], [float(u == sender) for u in range(4)])


def test_a_slot_that_is_half_decided_is_restored_and_one_that_is_loaded_begins_anew():
    world, out = begun(n_worlds=2)
    for _ in range(3):
        world.step(np.array([[1], [2]]), out)
    other, other_out = begun(n_worlds=2, seed=9)
    other.restore(pickle.loads(pickle.dumps(world.snapshot())))
    for _ in range(8):
        for each, seen in ((world, out), (other, other_out)):
            each.step(np.array([[3], [0]]), seen)
        np.testing.assert_array_equal(out.observation, other_out.observation)
        np.testing.assert_array_equal(out.state, other_out.state)
        np.testing.assert_array_equal(out.reward, other_out.reward)
    tasks = (np.full((2, 10), 0.6e9), np.full((2, 10), 5e7), np.full((2, 10), 2.0))
    world.load(MultiuserStart(*tasks), out)
    seen = dict(zip(world.spec.feature_names, out.observation[0, 0].tolist(), strict=True))
    assert (seen["turn"], seen["edge/sent"], sum(seen[f"target_{k}/decided"] for k in range(6))) == (0.0, 0.0, 0.0)
