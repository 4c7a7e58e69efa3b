"""Rewards of the fog world, every term by hand, and shaping against the potentials of its states."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.fog import state as s
from envs.fog.params import PRESETS, RewardParams, ShapingParams
from envs.scenario import make
from envs.topologies.assemble import Link

NEVER = math.inf
NO_SHAPING = ShapingParams("none", 1.0, 0.99)


def rewards_of(fog, topology, work, decide=None, agent=0, preset="none", terms=None, team_frac=0.0, **params):
    """Return an agent's reward of each step."""
    reward = RewardParams(preset, terms or {}, team_frac, NO_SHAPING)
    given = []

    def watched(step, out):
        given.append(float(out.reward[0, agent]))
        return np.zeros(out.reward.shape) if decide is None else decide(step, out)

    fog.play(fog.scenario(topology, fog.listed(work), reward=reward, **params), decide=watched)
    return given[1:]  # those of all steps but the last, which no decision followed


# Task 0 runs on the device from 0 to 4 s. Task 1 is created at 0.5 s, decided on at 1 s, due at 4.5 s.
# Sent: 2 Mbit at 1 Mbit/s + 0.25 s, 1 s of service, 0.5 Mbit + 0.25 s back: home at 5 s, 0.5 s late.
WORK = ((0.0, 0, 0, 0, 4e9, NEVER), (0.5, 0, 2e6, 5e5, 4e9, 4.5))
SENT = {
    "decided": [0, 1, 0, 0, 0, 0],
    "expected_wait_s": [0, 0, 0, 0, 0, 0],
    "expected_transfer_s": [0, 3.0, 0, 0, 0, 0],
    "expected_service_s": [0, 1.0, 0, 0, 0, 0],
    "expected_overload": [0, -math.log10(399 / 400) / 3, 0, 0, 0, 0],  # one of 400 places, on its way
    "expected_late": [0, 1, 0, 0, 0, 0],
    "finished": [0, 0, 0, 0, 1, 1],
    "in_time": [0, 0, 0, 0, 1, 0],
    "late": [0, 0, 0, 0, 0, 1],
    "lateness_s": [0, 0, 0, 0, 0, 0.5],
    "dropped": [0, 0, 0, 0, 0, 0],
    "alive_s": [1.5, 2, 2, 2, 1, 0],
    "energy_j": [0, 1.0, 0, 0, 12.0, 0],  # 2 s at 0.5 W, when it is sent; 4 s at 3 W, when task 0 is done
}
# Kept: it waits for task 0 from 1 to 4 s, runs until 8 s and is 3.5 s late. Two of 400 places are taken.
KEPT = {
    "expected_wait_s": [0, 3.0, 0, 0, 0, 0, 0, 0, 0],
    "expected_transfer_s": [0, 0, 0, 0, 0, 0, 0, 0, 0],
    "expected_service_s": [0, 4.0, 0, 0, 0, 0, 0, 0, 0],
    "expected_overload": [0, -math.log10(398 / 400) / 3, 0, 0, 0, 0, 0, 0, 0],
    "expected_late": [0, 1, 0, 0, 0, 0, 0, 0, 0],
    "lateness_s": [0, 0, 0, 0, 0, 0, 0, 0, 3.5],
    "alive_s": [1.5, 2, 2, 2, 1, 1, 1, 1, 0],
}


def send_at_1_s(step, out):
    return [[int(step == 1)]]


def test_every_term_is_worked_by_hand_here():
    assert set(SENT) == set(s.TERMS)


@pytest.mark.parametrize("term", s.TERMS)
def test_term_of_a_task_that_is_sent(fog, term):
    given = rewards_of(fog, fog.pair(), WORK, send_at_1_s, terms={term: 2.0}, horizon_slots=7)
    assert given == pytest.approx([2.0 * value for value in SENT[term]], abs=1e-6)


@pytest.mark.parametrize("term", KEPT)
def test_term_of_a_task_that_is_kept(fog, term):
    given = rewards_of(fog, fog.pair(), WORK, terms={term: -1.0}, horizon_slots=10)
    assert given == pytest.approx([-value for value in KEPT[term]], abs=1e-6)


@pytest.mark.parametrize(
    ("params", "settings", "dropped"),
    [
        ({}, {"queue_places": 1}, [1, 0, 0]),  # at 0.5 s
        ({}, {"queue_bits": 1e6}, [1, 0, 0]),
        ({"max_alive_tasks": 1}, {}, [1, 0, 0]),
        ({"deadlines": "hard"}, {}, [0, 0, 1]),  # task 1 is due at 2.5 s
    ],
)
def test_drop_of_any_reason_is_a_drop_of_its_origin(fog, params, settings, dropped):
    work = (WORK[0], (0.5, 0, 2e6, 0, 4e9, 2.5))
    given = rewards_of(fog, fog.single(**settings), work, terms={"dropped": 1.0}, horizon_slots=4, **params)
    assert given == dropped


def test_overload_of_a_full_target_is_one(fog):
    # a server with one place, taken by task 0 on its way when task 1 is sent as well: 0 of 1 places are free
    work = ((0.1, 0, 1e6, 0, 1e9, NEVER), (0.2, 0, 1e6, 0, 1e9, NEVER))
    params = {"undecided": "hold", "decisions_per_step": 2, "horizon_slots": 3}
    topology = fog.pair(queue_places=1)
    terms = {"expected_overload": 1.0}
    given = rewards_of(
        fog, topology, work, lambda step, out: [[[1, 1]]] if step == 1 else [[[0, 0]]], terms=terms, **params
    )
    assert given == pytest.approx([0.0, 2.0])


def test_wait_behind_what_is_on_its_way_to_the_same_server(fog):
    # two tasks of 8e9 cycles, 2 s at the server, of 1 Mbit each, sent together: there at 1.25 s and 2.25 s after. The
    # first sees both on their way, as all decisions of the step are known: 2 s of work of the other less its own way.
    work = tuple((0.1 * i, 0, 1e6, 0, 8e9, NEVER) for i in (1, 2))
    params = {"undecided": "hold", "decisions_per_step": 2, "horizon_slots": 3}
    terms = {"expected_wait_s": 1.0}
    given = rewards_of(
        fog, fog.pair(), work, lambda step, out: [[[1, 1]]] if step == 1 else [[[0, 0]]], terms=terms, **params
    )
    assert given == pytest.approx([0.0, (2.0 - 1.25) + max(2.0 - 2.25, 0.0)])


def test_expected_wait_of_tasks_that_share_is_what_the_others_take(fog):
    # tasks of 4 s and 1 s on one core from 1 s on: the long one loses 1 s to the short one and the short one, which is
    # done when both have had 1 s, 1 s to the long one
    work = ((0.1, 0, 0, 0, 4e9, NEVER), (0.2, 0, 0, 0, 1e9, NEVER))
    params = {"discipline": "sharing", "undecided": "hold", "decisions_per_step": 2, "horizon_slots": 3}
    given = rewards_of(fog, fog.single(), work, lambda step, out: [[[0, 0]]], terms={"expected_wait_s": 1.0}, **params)
    assert given == pytest.approx([0.0, 2.0])


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_is_the_sum_of_its_terms(fog, preset):
    given = rewards_of(fog, fog.pair(), WORK, send_at_1_s, preset=preset, horizon_slots=7)
    expected = sum((weight * np.array(SENT[term], float) for term, weight in PRESETS[preset].items()), np.zeros(6))
    assert given == pytest.approx(expected.tolist(), abs=1e-5)


def test_terms_replace_and_extend_a_preset():
    terms = {"in_time": 3.0, "dropped": 0.0, "energy_j": -0.5}
    assert RewardParams("sparse", terms, 0.0, NO_SHAPING).weights == {"in_time": 3.0, "energy_j": -0.5}


def two_devices(fog):
    links = (Link(0, 1, 1e6, 0.0, "ab"), Link(1, 0, 1e6, 0.0, "ba"))
    return fog.wired((("a", 0, fog.node()), ("b", 0, fog.node())), links)


@pytest.mark.parametrize(("team_frac", "given"), [(0.0, [1.0, 0.0]), (1.0, [0.5, 0.5]), (0.5, [0.75, 0.25])])
def test_team_share_mixes_in_the_mean_over_agents(fog, team_frac, given):
    work = ((0.0, 0, 0, 0, 5e8, NEVER), (9.0, 1, 0, 0, 0, NEVER))
    for agent in (0, 1):
        params = {"agent": agent, "terms": {"finished": 1.0}, "team_frac": team_frac, "horizon_slots": 2}
        assert rewards_of(fog, two_devices(fog), work, **params) == [given[agent]]


def test_response_reward_sums_to_the_response_times(fog):
    terms = {"alive_s": -1.0, "dropped": 0.0}
    work = tuple((0.37 * i, i % 2, 1e5, 1e5, 3e8, NEVER) for i in range(60))
    params = {"preset": "response", "terms": terms, "horizon_slots": 60, "task_log_places": 99}
    scenario = fog.scenario(two_devices(fog), fog.listed(work), reward=RewardParams("response", terms, 0.0, NO_SHAPING))
    _, sums = fog.play(scenario, decide=lambda step, out: out.target_mask[:, :, 1].astype(int))
    paid = sum(
        sum(
            rewards_of(
                fog, two_devices(fog), work, lambda step, out: out.target_mask[:, :, 1].astype(int), agent, **params
            )
        )
        for agent in (0, 1)
    )
    assert sums[0, s.COMPLETED] == 60.0
    assert paid == pytest.approx(-sums[0, s.RESPONSE_S], rel=1e-5)


# Shaping. The potentials are computed here from the tasks themselves.


def alive_tasks(world, node):
    task = world.state.task[0]
    return -float(((task.stage != s.FREE) & (task.origin == node)).sum())


def backlog(world, node):
    task, now_s, network = world.state.task[0], world.state.world[0].now_s, world.network
    waiting = (task.stage == s.WAITING) & (task.node == node)
    serving = (task.stage == s.SERVICE) & (task.node == node)
    left_s = task.work_cycles[waiting].sum() / network.core_hz[node] + (task.completed_s[serving] - now_s).sum()
    return -float(left_s) / network.n_cores[node]


def load_variance(world, node):
    """Return minus the variance of the shares of places, all known exactly."""
    agent = world.network.agent_of_node[node]
    targets = [target for target in world.network.target_node[agent] if target >= 0]
    task = world.state.task[0]
    here = [((task.stage == s.WAITING) | (task.stage == s.SERVICE)) & (task.node == target) for target in targets]
    fill = [at.sum() / places for at, places in zip(here, world.network.queue_places[targets], strict=True)]
    return -float(np.var(fill))


POTENTIALS = {"alive_tasks": alive_tasks, "backlog": backlog, "load_variance": load_variance}


def play_shaped(fog, potential, n_steps, horizon_slots, **params):
    """Return what shaping adds at each step (T, N), and the potentials (T + 1, N) of the states around the steps."""
    nodes = (("a", 0, fog.node(queue_places=9)), ("b", 0, fog.node(queue_places=7)), ("c", 1, fog.node(core_hz=2e9)))
    topology = fog.wired(nodes, tuple(Link(i, j, 4e6, 0.01, (i, j)) for i in range(3) for j in range(3) if i != j))
    workload = fog.poisson(0.8, "exponential")
    worlds = []
    for shaping in (ShapingParams(potential, 3.0, 0.9), NO_SHAPING):
        reward = RewardParams("sparse", {}, 0.0, shaping)
        scenario = fog.scenario(
            topology, workload, reward=reward, information="exact", horizon_slots=horizon_slots, **params
        )
        worlds.append(make(scenario, 1))
    outs = [world.outcome() for world in worlds]
    for world, out in zip(worlds, outs, strict=True):
        world.reset(None, out)
    added, potentials, rng = [], [], np.random.default_rng(0)
    for _ in range(n_steps):
        potentials.append([POTENTIALS[potential](worlds[0], node) for node in (0, 1)])
        decision = np.where(outs[0].target_mask.any(2), rng.integers(0, 3, (1, 2)), 0)
        for world, out in zip(worlds, outs, strict=True):
            world.step(decision, out)
        added.append(outs[0].reward[0].astype(float) - outs[1].reward[0])
    potentials.append([POTENTIALS[potential](worlds[0], node) for node in (0, 1)])
    return np.array(added), np.array(potentials), bool(outs[0].truncated[0])


@pytest.mark.parametrize("params", [{}, {"decide_on": "events", "undecided": "hold"}])
@pytest.mark.parametrize("potential", POTENTIALS)
def test_shaping_telescopes_to_the_potentials_of_the_last_and_the_first_state(fog, potential, params):
    added, potentials, is_over = play_shaped(fog, potential, 50, 200, **params)
    assert not is_over
    assert (potentials < 0.0).mean() > 0.3
    np.testing.assert_allclose(added, 3.0 * (0.9 * potentials[1:] - potentials[:-1]), atol=1e-5)
    discount = 0.9 ** np.arange(50)[:, None]
    total = (discount * added).sum(axis=0)
    np.testing.assert_allclose(total, 3.0 * (0.9**50 * potentials[-1] - potentials[0]), atol=1e-4)


@pytest.mark.parametrize("potential", POTENTIALS)
def test_shaping_at_a_truncation_has_the_potential_of_the_last_state(fog, potential):
    # 16 slots, once as a whole episode and once as the beginning of a longer one, whose state can be looked at
    inside, potentials, _ = play_shaped(fog, potential, 16, 32)
    added, again, is_over = play_shaped(fog, potential, 16, 16)
    assert is_over
    assert (potentials[-1] < 0.0).any()
    np.testing.assert_array_equal(added, inside)
    np.testing.assert_array_equal(again[-1], [0.0, 0.0])  # the next episode begins in the empty network
