"""The slots of the multi-user world: values worked by hand, a slow reference for every option, and conservation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rllib.config.load import load_scenario
from envs.multiuser.start import MultiuserStart
from envs.multiuser.state import SUM_NAMES
from envs.scenario import make

SUM = {name: place for place, name in enumerate(SUM_NAMES)}
RELEASED, CORRECTED = "multiuser_released_10", "multiuser_10"
KB = 8.0 * 1024.0
PLACES = "[[30.0, 40.0], [-60.0, 0.0], [0.0, 20.0], [45.0, 60.0]]"


def begun(name, overrides=(), n_worlds=1, seed=0):
    """Return a world after reset, and its outcome."""
    world = make(load_scenario(name, list(overrides)), n_worlds, seed)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def four(interference, users="sequential", service="k_fold"):
    """Return the released world of four users at given places, with other switches."""
    switches = f"interference: {interference}, phantom_channel: true, users: {users}, service: {service}"
    semantics = f"{{{switches}, late_uploads: run}}"
    places = ["topology.n_users=4", f"topology.position_m={PLACES}", f"params.semantics={semantics}"]
    return begun(RELEASED, places)


def start_golden(world, out):
    gigacycles, kilobytes = [0.70, 0.65, 0.80, 0.75], [6000.0, 7000.0, 5000.0, 8000.0]
    start = MultiuserStart(
        np.array([gigacycles]) * 1e9,
        np.array([kilobytes]) * KB,
        np.full((1, 4), 2.0),
        np.array([[0.0, 1.3, 0.4, 0.2]]),
        np.array([0.3]),
    )
    world.load(start, out)


def boxed(offload, channel, n_channels=5):
    """Return the amounts (1, 1, 2 Us) of a central box for these decisions, in the middle of each channel."""
    numbers = np.stack((np.where(offload, 0.5, -0.5), (2.0 * np.array(channel) + 1.0) / n_channels - 1.0), axis=-1)
    return numbers.reshape(1, 1, -1)


NOBODY = np.zeros((1, 1), np.int64)


# The step function of the released code, and two changes of its interference, on these numbers.
@pytest.mark.parametrize(
    ("interference", "rates_kb_s", "reward"),
    [
        ("released", [21.710, 599.293, 610.338], -7.107011),
        ("others", [22.258, 3249.617, 9123.479], -5.848517),
        ("none", [10551.588, 13778.946, 9123.479], -1.146834),
    ],
)
def test_golden_slot_of_the_released_code_under_each_rule_of_interference(interference, rates_kb_s, reward):
    world, out = four(interference)
    start_golden(world, out)
    np.testing.assert_allclose(world.view().received_w, [1.6e-8, 7.71605e-9, 6.25e-7, 3.16049e-9], rtol=1e-5)
    world.step(NOBODY, out, boxed([True, False, True, True], [0, 1, 0, 3]))
    np.testing.assert_allclose(world.figures.rate_bps[0, [0, 2, 3]] / KB, rates_kb_s, atol=1e-3)
    assert world.figures.reward[0, 0] == pytest.approx(reward, abs=1e-6)
    np.testing.assert_allclose(world.state.user["backlog_s"][0], [0.0, 1.5125, 0.0, 0.0], atol=1e-12)
    assert world.state.world["edge_backlog_s"][0] == pytest.approx(0.15, abs=1e-12)


def test_released_interference_counts_the_users_that_stay_on_the_channel():
    world, out = four("released")
    start_golden(world, out)
    world.step(NOBODY, out, boxed([True, False, False, False], [1, 1, 2, 3]))
    # user 0 hears itself, and user 1 who does not send: 1.6e-8 / (1.6e-8 + 7.716e-9 + 1e-13)
    snr = 1.6e-8 / (1.6e-8 + 0.1 * 60.0**-4 + 1e-13)
    assert world.figures.rate_bps[0, 0] == pytest.approx(5e6 * np.log2(1.0 + snr), rel=1e-12)


@pytest.mark.parametrize(("phantom", "channel"), [(True, 5), (False, 4)])
def test_the_number_one_names_a_channel_that_there_is_not_unless_it_is_cut_off(phantom, channel):
    world, out = begun(RELEASED, [f"params.semantics.phantom_channel={str(phantom).lower()}"])
    world.step(NOBODY, out, np.ones((1, 1, 20)))
    assert world.state.user["channel"].tolist() == [[channel] * 10]
    sums = world.state.sums[0]
    assert sums[SUM["phantom_tasks"]] == (10.0 if phantom else 0.0)
    assert sums[SUM["shared_tasks"]] == sums[SUM["sent_tasks"]] == 10.0


def test_sequential_users_wait_for_lower_numbers_and_share_the_server_all_the_same():
    # c / f_e = 0.14, 0.16, 0.15 s of users 0, 2, 3; three tasks: each takes three times as long, behind 0.3 s
    world, out = four("none")
    start_golden(world, out)
    world.step(NOBODY, out, boxed([True, False, True, True], [0, 1, 0, 3]))
    expected = [0.3 + 3 * 0.14, 0.3 + 0.14 + 3 * 0.16, 0.3 + 0.14 + 0.16 + 3 * 0.15]
    np.testing.assert_allclose(world.figures.edge_s[0, [0, 2, 3]], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("users", "service", "expected"),
    [
        ("simultaneous", "k_fold", [0.3 + 3 * 0.14, 0.3 + 3 * 0.16, 0.3 + 3 * 0.15]),
        ("sequential", "whole", [0.44, 0.60, 0.75]),
    ],
)
def test_order_and_service_are_switches_of_their_own(users, service, expected):
    world, out = four("none", users, service)
    start_golden(world, out)
    world.step(NOBODY, out, boxed([True, False, True, True], [0, 1, 0, 3]))
    np.testing.assert_allclose(world.figures.edge_s[0, [0, 2, 3]], expected, rtol=1e-12)


def sharing(upload_s, work_s, backlog_s=0.0):
    """Return when tasks with these upload times and works are done, and the backlog and busy time of the slot."""
    n = len(upload_s)
    places = str([[50.0, 0.0]] * n)
    switches = "{interference: none, phantom_channel: false, users: simultaneous, service: sharing, late_uploads: run}"
    world, out = begun(
        RELEASED, [f"topology.n_users={n}", f"topology.position_m={places}", f"params.semantics={switches}"]
    )
    bps = 5e6 * np.log2(1.0 + 0.1 * 50.0**-4 / 1e-13)
    start = MultiuserStart(
        np.array([work_s]) * 5e9, np.array([upload_s]) * bps, np.full((1, n), 2.0), None, np.array([backlog_s])
    )
    world.load(start, out)
    world.step(NOBODY, out, boxed([True] * n, [0] * n))
    np.testing.assert_allclose(world.figures.upload_s[0], upload_s, rtol=1e-12)
    return world.figures.delay_s[0], world.state.world["edge_backlog_s"][0], world.figures.edge_busy_s[0]


def test_tasks_that_are_there_share_the_server_equally():
    # A (0.2 s) from 0.1; B (0.1 s) from 0.2, when 0.1 of A is left: both at half speed until both are done at 0.4;
    # C (0.1 s) from 0.35, when 0.025 of A and of B are left: a third each, A and B done at 0.425, C has 0.075 then
    done_s, backlog_s, busy_s = sharing([0.1, 0.2, 0.35], [0.2, 0.1, 0.1])
    np.testing.assert_allclose(done_s, [0.425, 0.425, 0.5], rtol=1e-12)
    assert backlog_s == pytest.approx(0.0, abs=1e-12)
    assert busy_s == pytest.approx(0.4)


def test_a_shared_server_serves_what_earlier_slots_left_first():
    done_s, backlog_s, busy_s = sharing([0.1, 0.1], [0.3, 0.1], backlog_s=0.4)
    # from 0.4 on: half each, the second done at 0.6, the first has 0.2 left then and is done at 0.8
    np.testing.assert_allclose(done_s, [0.8, 0.6], rtol=1e-12)
    assert backlog_s == pytest.approx(0.2, abs=1e-12)
    assert busy_s == pytest.approx(0.6)


def test_a_shared_server_waits_for_uploads_and_the_work_stays():
    done_s, backlog_s, busy_s = sharing([0.2, 0.7], [0.1, 0.1])
    np.testing.assert_allclose(done_s, [0.3, 0.8], rtol=1e-12)
    assert busy_s == pytest.approx(0.1)  # from 0.2 to 0.3
    assert backlog_s == pytest.approx(0.1)  # of the task that is still on its way


def slow_slot(world, rules, tables, decided):
    """Return (delay, cost, backlogs after, work that arrives) of a slot, from the definitions, for a single world."""
    user, edge_s = world.state.user[0], float(world.state.world["edge_backlog_s"][0])
    offload, channel = decided
    n = len(offload)
    delay, cost, own, wait, sent_s = np.zeros(n), np.zeros(n), np.zeros(n), edge_s, 0.0
    upload = np.zeros(n)
    for u in range(n):
        heard = 0.0
        for v in range(n):
            alike = channel[v] == channel[u]
            if rules.interference == 2 and alike:
                heard += tables.received_w[v]
            if rules.interference == 1 and alike and offload[v] and v != u:
                heard += tables.received_w[v]
        rate = rules.bandwidth_hz * np.log1p(tables.received_w[u] / (heard + rules.noise_w)) / np.log(2.0)
        upload[u] = user["size_bits"][u] / rate
    is_lost = offload & (upload > user["deadline_s"]) & rules.stops_late
    arrives, k = offload & ~is_lost, int((offload & ~is_lost).sum())
    upload[is_lost] = user["deadline_s"][is_lost]
    for u in range(n):
        work_s = user["work_cycles"][u] / rules.edge_hz
        if is_lost[u]:
            delay[u], own[u] = np.inf, max(0.0, user["backlog_s"][u] - rules.slot_s)
            cost[u] = rules.transmit_w * upload[u] * rules.transmit_per_j
        elif offload[u]:
            delay[u] = upload[u] + wait + work_s * (k if rules.service == 1 else 1)
            wait += work_s if rules.is_sequential else 0.0
            sent_s += work_s
            cost[u] = (
                rules.transmit_w * upload[u] * rules.transmit_per_j + user["work_cycles"][u] * rules.edge_per_cycle
            )
            own[u] = max(0.0, user["backlog_s"][u] - rules.slot_s)
        else:
            local_s = user["work_cycles"][u] / tables.user_hz[u]
            delay[u] = local_s + user["backlog_s"][u]
            cost[u] = user["work_cycles"][u] * rules.local_per_cycle
            own[u] = max(0.0, user["backlog_s"][u] + local_s - rules.slot_s)
    edge_after = max(0.0, edge_s + sent_s - rules.slot_s)
    if rules.service == 2:
        work = user["work_cycles"] / rules.edge_hz
        done, busy = shared_server(upload, work, arrives, edge_s, rules.slot_s)
        delay[arrives] = done[arrives]
        edge_after = edge_s + sent_s - busy
    cost += rules.miss_cost * (delay > user["deadline_s"])
    return np.where(is_lost, user["deadline_s"], delay), cost, own, edge_after, sent_s


def shared_server(upload, work, offload, backlog, slot_s):
    """Return when each task is done, and the busy time of the slot, by going from event to event."""
    left, done, now, busy = np.where(offload, work, 0.0), np.zeros(len(work)), 0.0, 0.0
    while (left > 0.0).any():
        present = (left > 0.0) & (upload <= now) & (backlog <= 0.0)
        coming = upload[(left > 0.0) & (upload > now)]
        until = coming.min() - now if len(coming) else np.inf
        if backlog > 0.0:
            step = min(backlog, until)
            backlog -= step
            backlog = 0.0 if backlog < 1e-15 else backlog
            worked = step
        elif present.any():
            step = min(left[present].min() * present.sum(), until)
            left[present] -= step / present.sum()
            left[np.abs(left) < 1e-14] = 0.0
            done[present & (left == 0.0)] = now + step
            worked = step
        else:
            step, worked = until, 0.0
        busy += max(0.0, min(now + step, slot_s) - now) if worked else 0.0
        now += step
    if backlog > 0.0:
        busy += max(0.0, min(now + backlog, slot_s) - now)
    return done, busy


SERVICES = [("sequential", "whole"), ("sequential", "k_fold"), ("simultaneous", "k_fold"), ("simultaneous", "sharing")]


@settings(max_examples=40, deadline=None)
@given(
    order=st.sampled_from(SERVICES),
    interference=st.sampled_from(["none", "others", "released"]),
    late=st.sampled_from(["run", "stop"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_switch_does_what_its_definition_says_and_conserves_work(order, interference, late, seed):
    rng = np.random.default_rng(seed)
    n_users, n_channels = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    users, service = order
    world, out = begun(
        RELEASED,
        [
            f"params.semantics={{interference: {interference}, phantom_channel: false, users: {users}, "
            f"service: {service}, late_uploads: {late}}}",
            f"topology.n_users={n_users}",
            f"topology.n_channels={n_channels}",
            f"topology.position_m={(10.0 ** rng.uniform(0.0, 1.9, (n_users, 2))).tolist()}",
            f"topology.edge_hz={10.0 ** rng.uniform(8.5, 10.5)}",
            f"params.horizon_slots={int(rng.integers(3, 30))}",
        ],
        seed=seed % 1000,
    )
    for _ in range(8):
        amounts = rng.uniform(-1.0, 1.0, (1, 1, 2 * n_users))
        offload = amounts[0, 0, ::2] >= 0.0
        channel = np.floor((amounts[0, 0, 1::2] + 1.0) * n_channels / 2.0).astype(int)
        edge_s = float(world.state.world["edge_backlog_s"][0])
        delay, cost, own, edge_after, sent_s = slow_slot(world, world._rules, world._tables, (offload, channel))
        slot = int(world.state.world["slot"][0])
        world.step(NOBODY, out, amounts)
        figures = world.figures
        np.testing.assert_allclose(figures.delay_s[0], delay, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(figures.cost[0], cost, rtol=1e-9)
        assert figures.reward[0, 0] == pytest.approx(-cost.sum(), rel=1e-9)
        # what was there and what came is served or left
        left_s = edge_s + sent_s - figures.edge_busy_s[0]
        assert left_s == pytest.approx(edge_after, rel=1e-9, abs=1e-9)
        assert 0.0 <= figures.edge_busy_s[0] <= world._rules.slot_s + 1e-12
        if slot + 1 < world.spec.horizon_steps:
            np.testing.assert_allclose(world.state.user["backlog_s"][0], own, rtol=1e-9, atol=1e-12)
            assert world.state.world["edge_backlog_s"][0] == pytest.approx(edge_after, rel=1e-9, abs=1e-9)
        assert all(np.isfinite(array).all() and (array >= 0.0).all() for array in figures[:8])


def test_sums_are_those_of_the_slots():
    world, out = begun(CORRECTED, n_worlds=3)
    rng, total, missed, sent = np.random.default_rng(1), np.zeros(3), np.zeros(3), np.zeros(3)
    for _ in range(50):
        target = rng.integers(0, 6, (3, 10))
        world.step(target, out)
        total += world.figures.cost.sum(axis=1)
        missed += world.figures.is_missed.sum(axis=1)
        sent += (target > 0).sum(axis=1)
    assert out.truncated.all()
    assert not out.terminated.any()
    sums = dict(zip(SUM_NAMES, out.final_sums.T, strict=True))
    np.testing.assert_allclose(sums["cost"], total, rtol=1e-12)
    parts = sums["local_cost"] + sums["edge_cost"] + sums["transmit_cost"] + sums["miss_cost"]
    np.testing.assert_allclose(parts, total, rtol=1e-12)
    np.testing.assert_array_equal(sums["missed_tasks"], missed)
    np.testing.assert_array_equal(sums["sent_tasks"], sent)
    assert sums["tasks"].tolist() == [500.0] * 3
    np.testing.assert_allclose(world.summarise(out.final_sums[0])["episode_cost"], total[0], rtol=1e-12)
