"""The multi-user world under every option: the contract of a world, the shapes of decisions, and what is seen."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
import torch

from edge_rllib.config.load import load_scenario
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.ops.traces import Agreement, same_amounts
from envs.adapters.joint_env import JointWorld
from envs.adapters.parallel_env import ParallelWorld
from envs.multiuser.start import MultiuserStart
from envs.scenario import make
from envs.testing import check_world

NAME = "multiuser_10"
SHORT = ["params.horizon_slots=12"]


def begun(*overrides, n_worlds=1, name=NAME):
    world = make(load_scenario(name, list(overrides)), n_worlds)
    out = world.outcome()
    world.reset(None, out)
    return world, out


@pytest.mark.parametrize(
    "overrides",
    [
        *[
            [f"params.agents={agents}", f"params.decision.kind={kind}"]
            for agents, kind in product(("users", "central"), ("discrete", "box"))
        ],
        ["topology.n_users=1"],
        ["topology.n_users=1", "params.agents=central"],
        ["topology.n_channels=1"],
        ["params.semantics.service=k_fold"],
        ["params.semantics.service=whole", "params.semantics.users=sequential"],
        ["params.semantics.interference=none", "params.semantics.late_uploads=run"],
        ["params.semantics.interference=released", "params.decision.kind=box"],
        ["params.observation.gains=false", "params.observation.ranks=false"],
        ["params.reward.team=false"],
        ["workload.deadline_s=[0.5, 3.0]"],
        ["workload=vision_clips"],
        ["params.site={work_spread_frac: 0.3, size_spread_frac: 0.3, noise_spread_db: 6.0}"],
        ["topology.user_hz=[1e9, 2e9, 3e9]", "topology.n_users=3"],
    ],
    ids=lambda overrides: " ".join(overrides).replace("params.", ""),
)
def test_world_with_every_option_keeps_the_contract(overrides):
    report = check_world(load_scenario(NAME, [*SHORT, *overrides]))
    assert (report.n_steps, report.n_episodes) == (24, 6)


def test_agents_and_kind_give_the_shape_of_decisions():
    shapes = {}
    for agents, kind in product(("users", "central"), ("discrete", "box")):
        spec = begun(f"params.agents={agents}", f"params.decision.kind={kind}")[0].spec
        shapes[agents, kind] = (spec.n_agents, spec.n_targets, spec.n_decisions, spec.n_amounts)
    assert shapes == {
        ("users", "discrete"): (10, 6, 1, 0),
        ("users", "box"): (10, 1, 1, 2),
        ("central", "discrete"): (1, 6, 10, 0),
        ("central", "box"): (1, 1, 1, 20),
    }


@pytest.mark.parametrize("phantom", ["true", "false"])
@pytest.mark.parametrize(("agents", "n_agents", "n_amounts"), [("central", 1, 8), ("users", 4, 2)])
@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_boxes_agree_where_their_users_do_the_same_on_the_same_channel(
    agents, n_agents, n_amounts, n_channels, phantom
):
    box = f"params.agents={agents}", "params.decision.kind=box", f"params.semantics.phantom_channel={phantom}"
    world, out = begun(*box, "topology.n_users=4", f"topology.n_channels={n_channels}", n_worlds=64)
    shape = ObservationShape.of(world.spec)
    assert len(shape.amount_edges) == n_amounts
    rng = np.random.default_rng(0)
    amounts, done = [], []
    drawn = rng.choice([-1.0, -0.3, 0.0, 0.5, 0.999, 1.0], (64, 4, 2))
    for moved_by in (0.0, rng.uniform(-0.15, 0.15, drawn.shape)):
        amounts.append(np.clip(drawn + moved_by, -1.0, 1.0).reshape(64, n_agents, n_amounts))
        world.step(np.zeros((64, n_agents), np.int64), out, amounts[-1])
        done.append(np.stack((world.state.user["offloads"], world.state.user["channel"]), -1))
    agree = (done[0] == done[1]).reshape(64, n_agents, n_amounts).all(-1)
    assert 0 < agree.sum() < agree.size
    found = same_amounts(*(torch.tensor(each) for each in amounts), Agreement(shape.amount_edges, 0.0))
    np.testing.assert_array_equal(found, agree)
    assert same_amounts(torch.tensor(amounts[0]), torch.tensor(amounts[0]), Agreement(shape.amount_edges, 0.0)).all()


def test_intervals_are_those_of_dc_drl():
    whole = begun("params.decision.kind=box")[0].spec.amount_edges
    phantom = begun("params.decision.kind=box", "params.semantics.phantom_channel=true")[0].spec.amount_edges
    assert whole == ((0.0,), (-0.6, -0.2, 0.2, 0.6))  # five channels of width 0.4
    assert phantom == ((0.0,), (-0.6, -0.2, 0.2, 0.6, 1.0))


def test_discrete_decisions_have_no_intervals():
    assert begun()[0].spec.amount_edges == ()
    assert begun("params.agents=central", "params.decision.kind=autoregressive")[0].spec.amount_edges == ()


def test_a_central_agent_sees_the_released_vector_in_the_released_order():
    unbounded = ["params.observation={gains: false, ranks: false, bounded: false}"]
    world, out = begun(*unbounded, name="multiuser_released_10")
    backlogs = np.arange(10.0)[None]
    tasks = (np.full((1, 10), 0.7e9), np.full((1, 10), 6000 * 8192.0), np.full((1, 10), 2.0))
    world.load(MultiuserStart(*tasks, user_backlog_s=backlogs, edge_backlog_s=np.array([3.0]), slot=np.array([4])), out)
    seen = out.observation[0, 0]
    assert world.spec.n_features == 73
    # user 1 at (-13, 38): 0.8 GHz, 1 s of backlog over 2, (x + 80) / 160, 0.7 Gcycles, 2 s over 5, 6,000 of 10,000 kB
    np.testing.assert_allclose(seen[7:14], [0.8, 0.5, 67 / 160, 118 / 160, 0.7, 0.4, 0.6], rtol=1e-6)
    assert seen[8 * 7 + 1] == 4.0  # beyond 1, as released
    # 5 GHz over 8, 3 s of backlog over 1, the fifth slot of 50
    np.testing.assert_allclose(seen[70:], [0.625, 3.0, 0.1], rtol=1e-6)
    assert out.state[0, 8 * 7 + 1] == pytest.approx(0.8)  # the global state stays in [-1, 1]: 4 / (4 + 1)


def test_a_user_sees_its_own_figures_the_others_together_and_who_is_most_urgent():
    world, out = begun("topology.n_users=4", "topology.n_channels=2", "topology.user_hz=[1e9]")
    tasks = (np.full((1, 4), 0.6e9), np.full((1, 4), 5e7), np.full((1, 4), 2.0))
    world.load(MultiuserStart(*tasks, user_backlog_s=np.array([[0.4, 3.4, 1.0, 0.4]])), out)
    seen = dict(zip(world.spec.feature_names, out.observation[0].T.tolist(), strict=True))
    # urgency (0.6 + q) / 2: 0.5, 2.0, 0.8, 0.5; of equals the lower number is more urgent
    np.testing.assert_allclose(seen["own/urgency"], [1 / 3, 2 / 3, 0.8 / 1.8, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(seen["own/rank"], [0.5, 0.0, 0.25, 0.75])
    np.testing.assert_allclose(seen["others/late_frac"], [1 / 3, 0.0, 1 / 3, 1 / 3], rtol=1e-6)
    others_s = np.array([4.8, 1.8, 4.2, 4.8]) / 3.0
    np.testing.assert_allclose(seen["others/backlog_mean"], others_s / (others_s + 2.0), rtol=1e-6)
    most_s = np.array([3.4, 1.0, 3.4, 3.4])
    np.testing.assert_allclose(seen["others/backlog_max"], most_s / (most_s + 2.0), rtol=1e-6)
    # two channels: the first for user 1, the second for user 2, nothing but their own processors for the others
    assert [seen[f"target_{k}/has_rank"] for k in range(3)] == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_a_teams_rewards_are_equal_and_add_up_to_the_same_as_everybodys_own():
    rewards = []
    for team in ("true", "false"):
        world, out = begun(f"params.reward.team={team}")
        world.step(np.array([[1, 1, 2, 0, 0, 0, 0, 0, 0, 3]]), out)
        rewards.append(out.reward[0].copy())
    assert len(set(rewards[0].tolist())) == 1
    assert len(set(rewards[1].tolist())) > 1
    assert rewards[0].sum() == pytest.approx(rewards[1].sum(), rel=1e-6)
    assert rewards[0].sum() == pytest.approx(-world.figures.cost.sum(), rel=1e-6)


def test_sites_differ_in_places_and_where_asked_in_traffic_and_noise():
    spread = "params.site={work_spread_frac: 0.3, size_spread_frac: 0.3, noise_spread_db: 6.0}"
    plain, spread_out = load_scenario(NAME), load_scenario(NAME, [spread])
    seen = []
    for scenario in (plain, spread_out):
        for site in range(1, 6):
            world = make(dataclasses.replace(scenario, topology_seed=site), 1)
            rules = world._rules
            seen.append((world._tables.x_frac.tobytes(), rules.work_low_cycles, rules.size_low_bits, rules.noise_w))
            assert 0.69 * 0.6e9 < rules.work_low_cycles < 1.31 * 0.6e9
    for field in range(4):
        assert len({each[field] for each in seen[5:]}) == 5
        assert len({each[field] for each in seen[:5]}) == (5 if field == 0 else 1)
    assert [each[0] for each in seen[:5]] == [each[0] for each in seen[5:]]


def test_places_are_whole_metres_in_the_square_and_never_the_servers_own():
    world, _ = begun("topology.n_users=300", "topology.reach_m=2.0")
    places = world.topology.position_m[:-1]
    assert {tuple(place) for place in places.tolist()} == {(x, y) for x in range(-2, 2) for y in range(-2, 2)} - {
        (0, 0)
    }


def test_clips_are_the_same_for_all_in_their_order_or_each_users_own():
    listed, _ = begun("workload={name: vision_clips, order: listed}", "params.horizon_slots=30")
    own, out = begun("workload={name: vision_clips, order: random}", "params.horizon_slots=30")
    works, drawn = [], set()
    for _ in range(25):
        works.append(listed.state.user["work_cycles"][0].copy())
        drawn |= set(own.state.user["work_cycles"][0].tolist())
        listed.step(np.zeros((1, 10), np.int64), listed.outcome())
        own.step(np.zeros((1, 10), np.int64), out)
    works = np.array(works)
    assert (works == works[:, :1]).all()
    assert works[:3, 0].tolist() == [434.7e9, 450.8e9, 423.0e9]
    assert works[23, 0] == works[0, 0]
    assert works[:23, 0].sum() == pytest.approx(8900.5e9)
    assert len(drawn) == 23


def test_adapters_take_each_shape_of_decision():
    parallel = ParallelWorld(load_scenario(NAME, SHORT))
    parallel.reset(seed=0)
    n_steps = 0
    while parallel.agents:
        parallel.step(dict.fromkeys(parallel.agents, 1))
        n_steps += 1
    assert n_steps == 12
    central = JointWorld(load_scenario("multiuser_released_10", SHORT))
    central.reset(seed=0)
    central.action_space.seed(0)
    for step in range(12):
        *_, truncated, _ = central.step(central.action_space.sample())
        assert truncated == (step == 11)
