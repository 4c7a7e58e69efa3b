"""The slots of the MEC world: values worked by hand, FIFO, conservation, and a slow reference for every option."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rllib.config.load import load_scenario
from envs.mec.start import MecStart
from envs.mec.state import SUM_NAMES
from envs.scenario import make

SUM = {name: place for place, name in enumerate(SUM_NAMES)}
THREE, FIVE, SEVEN = "mec_2es_3md_v1", "mec_2es_5md_v1", "mec_3es_7md_v1"


def begun(name=THREE, overrides=(), n_worlds=1, seed=0):
    """Return a world after reset, and its outcome."""
    world = make(load_scenario(name, list(overrides)), n_worlds, seed)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def play(world, out, servers, shares):
    """Step one hybrid world and return the figures of the slot."""
    world.step(np.array([servers], np.int64), out, np.array([shares], np.float64)[..., None])
    return world.figures


def start(world, out, gigacycles, profile=(0, 1, 2), **others):
    world.load(MecStart(np.array([gigacycles]) * 1e9, np.array([profile]), **others), out)


def test_local_part_and_offloaded_part_run_at_the_same_time():
    world, out = begun()
    start(world, out, [7.0, 6.0, 3.0])
    figures = play(world, out, [1, 1, 1], [0.8, 0.0, 0.0])
    # MD1, D = 7, share 0.8 to ES2: local 0.2 * 7 = 1.4 s; offload 0.303 + 0.102 + 0.8 * 7 / 12 = 0.87167 s
    assert figures.local_s[0, 0] == pytest.approx(1.4, abs=1e-12)
    assert figures.offload_s[0, 0] == pytest.approx(0.303 + 0.102 + 0.8 * 7.0 / 12.0, abs=1e-12)
    assert figures.delay_s[0, 0] == figures.local_s[0, 0]
    assert figures.backlog_after_s[0].tolist() == [0.0, 0.0]


def test_startup_is_paid_once_and_what_does_not_fit_into_a_slot_carries_over():
    world, out = begun(overrides=["params.on_miss=go_on", "workload.permute=false", "workload.work_sd_cycles=0.0"])
    # MD2, D = 6, all to ES1: first contact 0.3021 + 0.103 + 6 / 6 = 1.4051 s, backlog 1.103 - 1 = 0.103 s
    first = play(world, out, [1, 0, 1], [0.0, 1.0, 0.0]).delay_s[0, 1]
    assert world.figures.backlog_after_s[0, 0] == pytest.approx(0.103, abs=1e-12)
    # at once again: 0.3021 + 0.103 (what was left) + 1 = 1.4051 s, and 1.103 - 1 = 0.103 s are left again
    again = play(world, out, [1, 0, 1], [0.0, 1.0, 0.0]).delay_s[0, 1]
    assert (first, again) == (pytest.approx(1.4051, abs=1e-12), pytest.approx(1.4051, abs=1e-12))
    assert world.figures.startup_s[0, 1] == 0.0
    # a slot later the backlog is gone: 0.3021 + 1 = 1.3021 s
    play(world, out, [1, 0, 1], [0.0, 0.0, 0.0])
    assert play(world, out, [1, 0, 1], [0.0, 1.0, 0.0]).delay_s[0, 1] == pytest.approx(1.3021, abs=1e-12)


def test_servers_serve_in_the_order_of_transfer_times():
    world, out = begun()
    start(world, out, [6.0, 6.0, 6.0])
    figures = play(world, out, [1, 1, 1], [1.0, 1.0, 1.0])
    # to ES2 device 2 needs 0.301 s, device 1 0.302, device 0 0.303; each is served in 0.5 s after its start-up
    offload = [0.301 + 0.606, 0.302 + 0.606 + 0.604, 0.303 + 0.606 + 0.604 + 0.602]
    np.testing.assert_allclose(figures.offload_s[0, ::-1], offload, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(figures.wait_s[0, ::-1], [0.0, 0.606, 1.21], rtol=0.0, atol=1e-12)


def test_equal_transfer_times_are_served_in_order_of_devices():
    world, out = begun(overrides=["topology.transfer_s=[[0.3, 0.3], [0.3, 0.3], [0.3, 0.3]]"])
    figures = play(world, out, [0, 0, 0], [0.5, 0.5, 0.5])
    assert figures.wait_s[0, 0] == 0.0 < figures.wait_s[0, 1] < figures.wait_s[0, 2]


def test_a_share_of_zero_touches_no_server():
    world, out = begun(overrides=["params.on_miss=go_on"])
    figures = play(world, out, [0, 0, 0], [0.0, 0.0, 0.0])
    assert not figures.offload_s.any()
    assert not world.state.pair["has_started"].any()
    np.testing.assert_allclose(figures.delay_s[0] * 1e9, figures.local_s[0] * 1e9)


def test_ten_slots_of_mean_delay_1_1_return_60_over_its_square():
    # every device the same: 0.3 + 0.8 = 1.1 s of a task of 4.8 Gcycles at its own server of 6 GHz
    rows = "[[0.3, 0.3, 0.3], [0.3, 0.3, 0.3], [0.3, 0.3, 0.3]]"
    zeros = rows.replace("0.3", "0.0")
    servers = ["topology.server_hz=[6e9, 6e9, 6e9]", f"topology.transfer_s={rows}", f"topology.startup_s={zeros}"]
    servers += ["topology.server_position_m=[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]", "workload.work_sd_cycles=0.0"]
    world, out = begun(overrides=[*servers, "workload.mean_work_cycles=[4.8e9, 4.8e9, 4.8e9]"])
    rewards = []
    for _ in range(10):
        play(world, out, [0, 1, 2], [1.0, 1.0, 1.0])
        rewards.append(world.figures.reward[0].copy())
    assert not np.any(rewards[:9])
    np.testing.assert_allclose(rewards[9], 60.0 / 1.21, rtol=1e-12)  # 49.59
    assert out.terminated[0]
    assert not out.truncated[0]
    figures = world.summarise(out.final_sums[0])
    assert (figures["success_frac"], figures["survived_frac"], figures["met_frac"]) == (1.0, 1.0, 1.0)
    assert figures["cost_mean"] == figures["cost_mean_complete"] == pytest.approx(1.1, rel=1e-12)
    assert figures["fairness"] == pytest.approx(1.0)


def test_one_device_missing_with_seven_seconds_costs_the_team_70_thirds_and_ends_the_episode():
    world, out = begun()
    start(world, out, [7.0, 6.0, 3.0])
    play(world, out, [0, 0, 1], [0.0, 1.0, 1.0])
    np.testing.assert_allclose(world.figures.reward[0], -70.0 / 3.0, rtol=1e-12)
    assert world.figures.is_missed[0].tolist() == [True, False, False]
    assert out.terminated[0]
    figures = world.summarise(out.final_sums[0])
    assert (figures["reported_cost"], figures["survived_frac"], figures["met_frac"]) == (7.0, 0.0, 0.0)
    assert np.isnan(figures["cost_mean_complete"])


@pytest.mark.parametrize("forgives", [True, False])
def test_a_miss_in_the_last_slot_is_forgiven_as_released_or_punished(forgives):
    world, out = begun(overrides=[f"params.reward.forgives_last_slot={str(forgives).lower()}"])
    start(world, out, [7.0, 6.0, 3.0], slot=np.array([9]), mean_cost=np.array([1.0]))
    play(world, out, [0, 0, 1], [0.0, 1.0, 1.0])
    delay_s = world.figures.delay_s[0]
    mean = (9 * 3 * 1.0 + delay_s.sum()) / 30.0
    expected = 60.0 / mean**2 if forgives else -10.0 * 7.0 / 3.0
    np.testing.assert_allclose(world.figures.reward[0], expected, rtol=1e-12)


def test_a_deadline_met_to_the_bit_is_met():
    world, out = begun()
    start(world, out, [1.0, 1.0, 1.0], deadline_s=np.array([[1.0, 1.0, 0.999]]))
    assert play(world, out, [0, 0, 0], [0.0, 0.0, 0.0]).is_missed[0].tolist() == [False, False, True]


def test_profiles_are_dealt_out_evenly_and_sizes_are_normal():
    world, _ = begun(n_worlds=6000)
    profile = world.state.agent["profile"]
    assert (np.sort(profile, axis=1) == np.arange(3)).all()
    orders, counts = np.unique(profile, axis=0, return_counts=True)
    assert len(orders) == 6
    assert abs(counts - 1000.0).max() < 5.0 * np.sqrt(1000.0 * 5.0 / 6.0)  # five standard deviations
    mean = np.array([7.0, 6.0, 3.0])[profile]
    normal = (world.state.agent["work_cycles"] / 1e9 - mean) / 0.1
    assert abs(normal.mean()) < 5.0 / np.sqrt(normal.size)
    assert abs(normal.std() - 1.0) < 5.0 / np.sqrt(2.0 * normal.size)
    assert abs(np.corrcoef(normal.T) - np.eye(3)).max() < 5.0 / np.sqrt(6000.0)
    deadline_s = np.array([1.808, 1.806, 1.805])[profile]
    np.testing.assert_array_equal(world.state.agent["deadline_s"], deadline_s)


OPTIONS = st.fixed_dictionaries(
    {
        "params.overlap": st.booleans(),
        "params.local_carry_over": st.booleans(),
        "params.on_miss": st.just("go_on"),
        "params.last_slot": st.sampled_from(["terminates", "truncates"]),
        "params.cost.time_weight": st.sampled_from([1.0, 0.3]),
        "params.energy.budget_j": st.sampled_from([30.0, float("inf")]),
        "params.reward.form": st.sampled_from(["terminal", "shaped", "cost"]),
        "params.reward.team": st.booleans(),
        "params.reward.forgives_last_slot": st.booleans(),
    }
)


class Slow:
    """The same world, one device after the other, with lists and sorting; transfers are constant."""

    def __init__(self, scenario):
        self.cell, self.params = scenario.topology, scenario.params
        self.slot_s = scenario.workload.period_s
        n_devices, n_servers = len(self.cell.device_hz), len(self.cell.server_hz)
        self.backlog_s, self.started = [0.0] * n_servers, set()
        self.device_busy_s = [0.0] * n_devices
        self.spent_j = [0.0] * n_devices
        self.costs = []

    def slot(self, work, deadlines, servers, shares):
        """Return (delays, missed, costs, rewards) of a slot."""
        cell, params = self.cell, self.params
        offload = [0.0] * len(work)
        for e, hz in enumerate(cell.server_hz):
            free_s = self.backlog_s[e]
            senders = [n for n, server in enumerate(servers) if server == e and shares[n] > 0.0]
            for n in sorted(senders, key=lambda n: cell.transfer_s[n][e]):
                busy_s = shares[n] * work[n] / hz + (0.0 if (n, e) in self.started else cell.startup_s[n][e])
                self.started.add((n, e))
                arrives_s = cell.transfer_s[n][e]
                free_s = max(free_s, arrives_s) + busy_s if params.overlap else free_s + busy_s
                offload[n] = free_s if params.overlap else arrives_s + free_s
            self.backlog_s[e] = max(0.0, free_s - self.slot_s)
        delays, missed, costs = [], [], []
        for n, cycles in enumerate(work):
            own_s = (1.0 - shares[n]) * cycles / cell.device_hz[n]
            local_s = self.device_busy_s[n] + own_s if own_s > 0.0 else 0.0
            if params.local_carry_over:
                self.device_busy_s[n] = max(0.0, self.device_busy_s[n] + own_s - self.slot_s)
            sending_s = cell.transfer_s[n][servers[n]] if shares[n] > 0.0 else 0.0
            joules = cell.transmit_w * sending_s + 1e-27 * cell.device_hz[n] ** 3 * own_s
            self.spent_j[n] += joules
            delays.append(max(local_s, offload[n]))
            missed.append(delays[n] > deadlines[n] or self.spent_j[n] > params.energy.budget_j)
            costs.append(params.cost.time_weight * delays[n] + (1.0 - params.cost.time_weight) * joules)
        self.costs.append(costs)
        return delays, missed, costs, self.rewards(delays, missed, costs)

    def rewards(self, delays, missed, costs):
        form, is_last = self.params.reward.form, len(self.costs) == self.params.horizon_slots
        penalties = [10.0 * delay if miss else 0.0 for delay, miss in zip(delays, missed, strict=True)]
        if form == "cost":
            each = [-cost - penalty for cost, penalty in zip(costs, penalties, strict=True)]
        elif form == "shaped":
            each = [-p / 10.0 if m else 6.0 / c**2 for p, m, c in zip(penalties, missed, costs, strict=True)]
        else:
            forgives = self.params.reward.forgives_last_slot and is_last
            each = [0.0 if forgives else -penalty for penalty in penalties]
            if is_last and (forgives or not any(missed)):
                means = np.mean(self.costs, axis=0)
                means = np.full(len(means), means.mean()) if self.params.reward.team else means
                each = [value + 60.0 / mean**2 for value, mean in zip(each, means, strict=True)]
                if self.params.reward.team:  # penalties and bonus are averaged apart: the bonus is the same for all
                    return [float(np.mean(each))] * len(each)
        return [float(np.mean(each))] * len(each) if self.params.reward.team else each


@settings(max_examples=40)
@given(OPTIONS, st.sampled_from([THREE, FIVE, SEVEN]), st.integers(0, 1000))
def test_every_option_agrees_with_the_slow_reference(options, name, seed):
    scenario = load_scenario(name, [f"{key}={value}" for key, value in options.items()])
    world = make(scenario, 1, seed)
    out, slow, rng = world.outcome(), Slow(scenario), np.random.default_rng(seed)
    world.reset(None, out)
    n_servers, n_agents = len(scenario.topology.server_hz), world.spec.n_agents
    for _ in range(10):
        servers = rng.integers(0, n_servers, n_agents)
        shares = rng.choice([0.0, 0.3, 0.9, 1.0], n_agents)
        view = world.view()
        expected = slow.slot(view.work_cycles[0].tolist(), view.deadline_s[0], servers.tolist(), shares.tolist())
        figures = play(world, out, servers, shares)
        for one, other in zip(
            expected, (figures.delay_s, figures.is_missed, figures.cost, figures.reward), strict=True
        ):
            np.testing.assert_allclose(other[0], one, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(figures.backlog_after_s[0], slow.backlog_s, atol=1e-12)
    assert bool(out.terminated[0]) == (options["params.last_slot"] == "terminates")
    assert bool(out.truncated[0]) == (options["params.last_slot"] == "truncates")


@settings(max_examples=20)
@given(OPTIONS, st.integers(0, 1000))
def test_parts_of_the_delay_and_the_books_sum_up(options, seed):
    overrides = [f"{key}={value}" for key, value in options.items()]
    world, out = begun(FIVE, overrides, n_worlds=4, seed=seed)
    rng, spec, figures = np.random.default_rng(seed), world.spec, world.figures
    total = np.zeros((4, len(spec.sum_names)))
    work_s = np.zeros((4, 2))
    for _ in range(10):
        before_s = world.view().server_backlog_s.copy()
        decision, shares = rng.integers(0, 2, (4, 5)), rng.choice([0.0, 0.5, 1.0], (4, 5))
        world.step(decision, out, shares[..., None])
        parts_s = figures.transfer_s + figures.wait_s + figures.startup_s + figures.service_s
        np.testing.assert_allclose(parts_s, figures.offload_s, atol=1e-12)
        np.testing.assert_array_equal(figures.delay_s, np.maximum(figures.local_s, figures.offload_s))
        for name in ("local_s", "transfer_s", "wait_s", "startup_s", "service_s", "transmit_j", "local_j"):
            value = getattr(figures, name)
            assert (value >= 0.0).all()
            total[:, SUM[name]] += value.sum(axis=1)
        for e in range(2):
            given_s = ((figures.startup_s + figures.service_s) * (decision == e)).sum(axis=1)
            served_s = before_s[:, e] + given_s - figures.backlog_after_s[:, e]
            assert (served_s >= -1e-12).all()
            assert (served_s <= 1.0 + 1e-12).all()  # nobody serves more than a slot in a slot
            work_s[:, e] += given_s
    sums = out.final_sums
    for name in ("local_s", "transfer_s", "wait_s", "startup_s", "service_s", "transmit_j", "local_j"):
        np.testing.assert_allclose(sums[:, SUM[name]], total[:, SUM[name]], rtol=1e-12)
    assert (sums[:, SUM["tasks"]] == 50.0).all()
    assert (sums[:, SUM["slots"]] == 10.0).all()
    np.testing.assert_array_equal(sums[:, len(SUM_NAMES) :].sum(axis=1), sums[:, SUM["sent_tasks"]])
    np.testing.assert_allclose(sums[:, SUM["startup_s"]] + sums[:, SUM["service_s"]], work_s.sum(axis=1), rtol=1e-12)
    fairness = sums[:, SUM["fairness"]]
    assert ((fairness >= 1.0 / 5.0 - 1e-12) & (fairness <= 1.0 + 1e-12)).all()


def test_sums_of_episodes_can_be_added():
    world, out = begun(n_worlds=64)
    rng = np.random.default_rng(0)
    ended = []
    for _ in range(20):
        shares = rng.choice([0.85, 1.0], (64, 3, 1))
        largest_and_smallest_to_fast = (world.view().work_cycles.argsort(axis=1).argsort(axis=1) != 1).astype(np.int64)
        world.step(largest_and_smallest_to_fast, out, shares)
        ended += list(out.final_sums[out.terminated].copy())
    ended = np.array(ended)
    figures = world.summarise(ended.sum(axis=0))
    complete = ended[:, SUM["missed_tasks"]] == 0.0
    assert complete.sum() > 0
    assert figures["success_frac"] == complete.mean()
    tasks, cost = ended[:, SUM["tasks"]], ended[:, SUM["cost"]]
    assert figures["cost_mean"] == pytest.approx(cost.sum() / tasks.sum())
    assert figures["cost_mean_complete"] == pytest.approx(cost[complete].sum() / tasks[complete].sum())
    assert figures["survived_frac"] == pytest.approx(((ended[:, SUM["slots"]] - 1.0) / 9.0).mean())
