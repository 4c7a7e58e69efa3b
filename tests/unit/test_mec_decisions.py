"""Decisions of the MEC world: the three kinds, what a rule's choice becomes, and what is seen."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.baselines.base import Choice
from envs.mec.decode import placement
from envs.mec.start import MecStart
from envs.scenario import make

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def begun(*overrides, name="mec_2es_3md_v1", n_worlds=1):
    world = make(load_scenario(name, ["params.on_miss=go_on", *overrides]), n_worlds)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def carried_out(world, out, decision, amounts):
    world.step(np.asarray(decision, np.int64), out, None if amounts is None else np.asarray(amounts, np.float64))
    agent = world.state.agent
    return agent["server"][0].tolist(), agent["share"][0].tolist()


def test_hybrid_is_a_server_and_a_share():
    world, out = begun()
    spec = world.spec
    assert (spec.n_targets, spec.n_amounts, spec.has_local, spec.amount_names) == (2, 1, False, ("share",))
    assert spec.target_node.tolist() == [[3, 4]] * 3
    assert carried_out(world, out, [[0, 1, 1]], [[[0.0], [0.5], [1.0]]]) == ([0, 1, 1], [0.0, 0.5, 1.0])


def test_an_explicit_local_target_sends_nothing_whatever_the_share():
    world, out = begun("params.decision.explicit_local=true")
    assert (world.spec.n_targets, world.spec.has_local) == (3, True)
    assert world.spec.target_node[1].tolist() == [1, 3, 4]
    assert carried_out(world, out, [[0, 1, 2]], [[[0.7], [0.5], [1.0]]]) == ([-1, 0, 1], [0.0, 0.5, 1.0])
    assert world.figures.transfer_s[0, 0] == 0.0


@pytest.mark.parametrize("n_servers", [2, 3])
def test_box_maps_equal_parts_of_its_first_number_to_servers_and_never_reaches_a_share_of_0_or_1(n_servers):
    world, out = begun("params.decision.kind=box", name="mec_2es_3md_v1" if n_servers == 2 else "mec_3es_7md_v1")
    spec = world.spec
    assert (spec.n_targets, spec.n_amounts, spec.amount_low, spec.amount_high) == (1, 2, -1.0, 1.0)
    x = np.linspace(-1.0, 1.0, spec.n_agents)
    amounts = np.stack((x, np.where(x > 0.0, 1.0, -1.0)), -1)[None]
    servers, shares = carried_out(world, out, np.zeros((1, spec.n_agents)), amounts)
    assert servers == [min(int((value + 1.0) * n_servers / 2.0), n_servers - 1) for value in x]
    # clipped at +-0.9999: (1 - 0.9999) / 2 and (1 + 0.9999) / 2
    assert shares == pytest.approx([0.99995 if value > 0.0 else 5e-5 for value in x], abs=1e-12)


def test_discrete_has_a_target_for_each_server_and_level():
    world, out = begun("params.decision.kind=discrete", "params.decision.explicit_local=true")
    assert (world.spec.n_targets, world.spec.n_amounts) == (1 + 2 * len(LEVELS), 0)
    assert world.spec.target_node[0].tolist() == [0] + [3] * 5 + [4] * 5
    # target 1 + 5 e + level: 0 local, 4 server 0 at 0.75, 6 server 1 at 0
    assert carried_out(world, out, [[0, 4, 6]], None) == ([-1, 0, 1], [0.0, 0.75, 0.0])


@pytest.mark.parametrize("kind", ["hybrid", "box", "discrete"])
@pytest.mark.parametrize("explicit_local", [False, True])
def test_a_choice_of_a_rule_is_carried_out(kind, explicit_local):
    if kind == "box" and explicit_local:
        return
    world, out = begun(f"params.decision.kind={kind}", f"params.decision.explicit_local={str(explicit_local).lower()}")
    choice = Choice(np.array([[0, 1, 2]]), np.array([[0.9, 0.75, 1.0]]))
    servers, shares = carried_out(world, out, *world.encode(choice))
    assert servers[1:] == [0, 1]
    nearly = 5e-5 if kind == "box" else 1e-12
    assert shares == pytest.approx([0.0, 0.75, 1.0], abs=nearly)
    assert servers[0] == (-1 if explicit_local else 0)
    whole = world.encode(Choice(np.array([[2, 1, 2]]), None))
    assert carried_out(world, out, *whole)[1] == pytest.approx([1.0, 1.0, 1.0], abs=nearly)


def test_released_observation_has_the_released_order_and_divisors():
    world, out = begun("params.observation.layout=released")
    start = MecStart(
        work_cycles=np.array([[6e9, 7e9, 3e9]]),
        profile=np.array([[1, 0, 2]]),
        server_backlog_s=np.array([[0.25, 1.5]]),
        last_server=np.array([[1, 0, -1]]),
    )
    world.load(start, out)
    # 6/25, 12/25 | 1/3, 6/20, 1.806/5 | sizes by profile 7, 6, 3 over 20 | holds profile 1 | u over 0.5 | backlog, last
    expected = [0.24, 0.48, 1 / 3, 0.3, 0.3612, 0.35, 0.3, 0.15, 0.0, 1.0, 0.0, 0.6022, 0.606, 0.25, 1.5, 1.0]
    np.testing.assert_allclose(world.exact_observation()[0, 0], expected, rtol=1e-15)
    np.testing.assert_allclose(out.observation[0, 0], expected, rtol=1e-6)
    assert len(world.spec.feature_names) == 16


@pytest.mark.parametrize("name", ["mec_2es_5md_v1", "mec_3es_7md_v1"])
def test_released_observation_of_other_sizes_has_every_feature_at_its_place(name):
    world, out = begun("params.observation.layout=released", name=name)
    n_agents, n_servers = world.spec.n_agents, len(world.scenario.topology.server_hz)
    assert world.spec.n_features == 3 * n_servers + 2 * n_agents + 4
    seen = dict(zip(world.spec.feature_names, world.exact_observation()[0, 1].tolist(), strict=True))
    view = world.view()
    profile = world.state.agent["profile"][0]
    assert seen["own_work"] == view.work_cycles[0, 1] / 20e9
    assert [seen[f"holds_profile_{p}"] for p in range(n_agents)] == (np.arange(n_agents) == profile[1]).tolist()
    for n in range(n_agents):
        assert seen[f"work_of_profile_{profile[n]}"] == view.work_cycles[0, n] / 20e9
    assert seen["transfer_to_server_1"] == world.scenario.topology.transfer_s[1][1] / 0.5
    assert seen["last_server"] == -1.0
    assert out.observation.shape == (1, n_agents, world.spec.n_features)


def test_progress_is_seen_where_it_is_asked_for():
    world, out = begun("params.observation.slot_index=true", "params.observation.running_cost=true")
    world.step(np.ones((1, 3), np.int64), out, np.ones((1, 3, 1)))
    seen = dict(zip(world.spec.feature_names, out.observation[0, 0], strict=True))
    mean = world.figures.cost[0].mean()
    assert seen["slot_frac"] == pytest.approx(0.1)
    assert seen["mean_cost"] == pytest.approx(mean / (mean + 1.0), rel=1e-6)


def test_scopes_contain_each_other():
    names = {}
    for scope in ("local", "near_global", "full"):
        world, _ = begun(f"params.observation.scope={scope}")
        names[scope] = set(world.spec.feature_names)
    assert names["local"] < names["near_global"] < names["full"]
    assert not any(name.startswith("profile_") for name in names["local"])
    assert "state/server_0/backlog" in names["full"]


def test_state_holds_what_the_next_slot_depends_on():
    world, out = begun()
    world.step(np.ones((1, 3), np.int64), out, np.ones((1, 3, 1)))
    assert out.state.shape == (1, 2 + 2 + 3 * (6 + 2))
    backlog_s = world.figures.backlog_after_s[0, 1]
    assert out.state[0, 3] == pytest.approx(backlog_s / (backlog_s + 1.0), rel=1e-6)
    assert out.state[0, 4 + 6 : 4 + 8].tolist() == [0.0, 1.0]  # device 0 has started server 1 and not server 0
    assert out.state[0, 0] == pytest.approx(0.1)


def test_view_shows_tasks_nodes_and_what_is_still_to_be_paid():
    world, out = begun()
    world.step(np.array([[1, 1, 1]]), out, np.array([[[1.0], [0.0], [1.0]]]))
    view = world.view()
    assert view.target_mask.shape == (1, 3, 3)
    assert view.target_mask.all()
    assert view.has_task.all()
    np.testing.assert_array_equal(view.startup_s[0], [[0.101, 0.0], [0.103, 0.104], [0.105, 0.0]])
    np.testing.assert_array_equal(view.transfer_s[0], np.array(world.scenario.topology.transfer_s))
    np.testing.assert_array_equal(view.server_backlog_s, world.figures.backlog_after_s)
    np.testing.assert_array_equal(view.size_bits, view.work_cycles / 900.0)
    assert (view.is_transfer_of_share, view.overlaps, view.slot_s, view.miss_weight) == (False, False, 1.0, 10.0)
    assert np.isinf(view.energy_j).all()


@pytest.mark.parametrize(
    ("kind", "explicit_local"),
    [("hybrid", False), ("hybrid", True), ("discrete", False), ("discrete", True), ("box", False)],
)
def test_placement_says_what_the_world_makes_of_a_decision(kind, explicit_local):
    changed = {"params.decision.kind": kind, "params.decision.explicit_local": explicit_local}
    world = make(load_scenario("mec_2es_3md_v1", changed), 40)
    out, spec, rng = world.outcome(), world.spec, np.random.default_rng(0)
    world.reset(None, out)
    decision = rng.integers(0, spec.n_targets, (40, 3))
    amounts = rng.uniform(spec.amount_low, spec.amount_high, (40, 3, spec.n_amounts))
    target, share = placement(world.scenario.params.decision, 2, decision, amounts)
    world.step(decision, out, amounts if spec.n_amounts else None)
    np.testing.assert_array_equal(target - 1, world.state.agent["server"])
    np.testing.assert_allclose(share, world.state.agent["share"])
