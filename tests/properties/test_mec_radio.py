"""Channels and streets of the MEC world: rates and path loss by hand, and the statistics of fading and shadowing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import j0

from edge_rllib.config.load import load_scenario
from envs.scenario import make

PAPER = "mec_paper_2es_3md_v1"
FREE = ["params.on_miss=go_on", "params.energy.budget_j=.inf"]  # episodes of full length
CALM = ["params.radio.shadowing_sd_db=0.0", "params.radio.speed_m_per_s=0.0", "params.radio.doppler_hz=0.0"]


def begun(overrides=(), n_worlds=1, seed=0):
    world = make(load_scenario(PAPER, [*FREE, *overrides]), n_worlds, seed)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def track(world, out, n_slots, read):
    """Return what ``read(state)`` gives in each slot, (T, ...); everybody sends all to server 0."""
    shape = (world.spec.n_worlds, world.spec.n_agents)
    values = [read(world.state).copy()]
    for _ in range(n_slots - 1):
        world.step(np.zeros(shape, np.int64), out, np.ones((*shape, 1)))
        values.append(read(world.state).copy())
    return np.array(values)


def put(world, x_m, y_m, fading=1.0):
    """Place all devices and set their fading; gains follow by hand."""
    world.state.agent["x_m"], world.state.agent["y_m"] = x_m, y_m
    world.state.pair["fading_re"], world.state.pair["fading_im"] = fading, 0.0


def gain_by_hand(x_m, y_m, server=(125.0, 250.0)):
    distance_km = math.sqrt((x_m - server[0]) ** 2 + (y_m - server[1]) ** 2 + 20.0**2) / 1000.0
    return 10.0 ** ((-148.1 - 37.6 * math.log10(distance_km)) / 10.0)


def test_gain_is_the_path_loss_by_hand():
    # devices that stay, memory 1 (J0(0)) and no shadowing: the channel of the next slot is that which was put
    world, out = begun(CALM)
    put(world, 225.0, 250.0)
    track(world, out, 2, lambda state: state.pair["gain"])
    # 100 m on the ground, 20 m up: 101.98 m; -148.1 - 37.6 * lg 0.10198 = -110.82 dB
    gain = world.state.pair["gain"][0, 0, 0]
    assert 10.0 * math.log10(gain) == pytest.approx(-110.82, abs=0.005)
    assert gain == pytest.approx(gain_by_hand(225.0, 250.0), rel=1e-12)


def test_rate_and_transfer_time_by_hand_with_and_without_another_sender():
    world, out = begun(CALM)
    put(world, np.array([[225.0, 125.0, 25.0]]), np.array([[250.0, 400.0, 250.0]]))
    track(world, out, 2, lambda state: state.pair["gain"])
    gains = [gain_by_hand(*place) for place in ((225.0, 250.0), (125.0, 400.0), (25.0, 250.0))]
    noise_w = 100e6 * 10.0 ** (-17.4 - 3.0)  # -174 dBm/Hz in 100 MHz
    bits = world.view().size_bits[0].copy()
    np.testing.assert_allclose(bits, world.view().work_cycles[0] / 900.0)
    alone_s = bits[0] / (100e6 * math.log2(1.0 + 0.2 * gains[0] / noise_w))
    assert world.view().transfer_s[0, 0, 0] == pytest.approx(alone_s, rel=1e-12)
    # devices 0 and 1 send, half and all of their tasks; device 2 works locally and disturbs nobody
    world.step(np.array([[0, 0, 0]]), out, np.array([[[0.5], [1.0], [0.0]]]))
    sinr = [0.2 * gains[0] / (0.2 * gains[1] + noise_w), 0.2 * gains[1] / (0.2 * gains[0] + noise_w)]
    expected_s = [share * bits[n] / (100e6 * math.log2(1.0 + sinr[n])) for n, share in enumerate((0.5, 1.0))]
    np.testing.assert_allclose(world.figures.transfer_s[0], [*expected_s, 0.0], rtol=1e-12)
    np.testing.assert_allclose(world.figures.transmit_j[0], [0.2 * time_s for time_s in [*expected_s, 0.0]])


def test_senders_to_another_server_disturb_too_and_orthogonal_channels_do_not():
    together_s = {}
    for interference in (0.0, 1.0):
        world, out = begun([*CALM, f"params.radio.interference={interference}"])
        alone_s = world.view().transfer_s[0, 0, 0]
        world.step(np.array([[0, 1, 1]]), out, np.ones((1, 3, 1)))
        together_s[interference] = world.figures.transfer_s[0, 0] / alone_s
    assert together_s[0.0] == pytest.approx(1.0, rel=1e-12)
    assert together_s[1.0] > 1.0


def test_energy_is_power_times_transfer_and_cycles_of_local_work():
    world, out = begun()
    work = world.view().work_cycles[0].copy()
    world.step(np.array([[0, 1, 0]]), out, np.array([[[0.25], [0.5], [0.0]]]))
    figures = world.figures
    # 1e-27 * (1e9)^2 = 1e-9 J a cycle
    np.testing.assert_allclose(figures.local_j[0], 1e-9 * work * [0.75, 0.5, 1.0], rtol=1e-12)
    np.testing.assert_allclose(figures.transmit_j[0], 0.2 * figures.transfer_s[0], rtol=1e-12)
    np.testing.assert_allclose(
        figures.cost[0], 0.5 * figures.delay_s[0] + 0.5 * (figures.local_j + figures.transmit_j)[0]
    )


def test_a_transfer_that_takes_too_long_is_given_up_and_its_task_is_missed():
    world, out = begun(CALM)
    put(world, np.array([[225.0, 125.0, 25.0]]), 250.0, fading=np.array([[[1e-3, 1e-3], [1.0, 1.0], [1.0, 1.0]]]))
    track(world, out, 2, lambda state: state.pair["gain"])
    before_s = world.view().server_backlog_s[0, 0]
    assert world.view().transfer_s[0, 0, 0] > 10.0
    world.step(np.array([[0, 1, 1]]), out, np.array([[[1.0], [0.0], [0.0]]]))
    figures = world.figures
    assert figures.transfer_s[0, 0] == figures.offload_s[0, 0] == figures.delay_s[0, 0] == 10.0
    assert figures.transmit_j[0, 0] == 0.2 * 10.0
    assert figures.is_missed[0, 0]
    assert figures.service_s[0, 0] == 0.0
    assert figures.backlog_after_s[0, 0] == max(0.0, before_s - 1.0)  # it never got there
    assert world.state.sums[0, world.spec.sum_names.index("outage_tasks")] == 1.0


def test_spending_more_than_the_budget_is_a_miss_that_ends_the_episode():
    world, out = begun(["params.on_miss=end", "params.energy.budget_j=12.0", "workload.deadline_s=[9.0, 9.0, 9.0]"])
    names = world.spec.sum_names
    spent, n_slots = np.zeros(3), 0
    while not out.terminated[0]:
        spent += 1e-9 * world.view().work_cycles[0]
        left = world.view().energy_j[0]
        world.step(np.zeros((1, 3), np.int64), out, np.zeros((1, 3, 1)))
        n_slots += 1
        np.testing.assert_allclose(12.0 - spent, left - world.figures.local_j[0])
    # 6.3 J a slot for one of the three: 12.6 J after the second slot
    assert n_slots == 2
    assert out.final_sums[0, names.index("over_budget_tasks")] == 1.0
    assert out.final_sums[0, names.index("missed_tasks")] == 1.0


@pytest.mark.parametrize("doppler_hz", [0.05, 0.2, 0.38, 10.0])
def test_fading_has_rayleigh_amplitudes_and_the_autocorrelation_of_jakes_at_a_slot(doppler_hz):
    world, out = begun([f"params.radio.doppler_hz={doppler_hz}"], n_worlds=4000)
    h = track(world, out, 4, lambda state: state.pair["fading_re"] + 1j * state.pair["fading_im"])
    h = h.reshape(4, -1)
    n, rho = h.shape[1], float(j0(2.0 * math.pi * doppler_hz))
    for lag in (1, 2, 3):  # first order: J0 at one slot, its powers beyond
        measured = (h[lag] * h[0].conj()).mean()
        assert abs(measured - rho**lag) < 5.0 / math.sqrt(n)
    for slot in h:
        power = np.abs(slot) ** 2  # exponential of mean 1
        assert abs(power.mean() - 1.0) < 5.0 / math.sqrt(n)
        for level in (0.1, 1.0, 3.0):
            expected = 1.0 - math.exp(-level)
            assert abs((power < level).mean() - expected) < 5.0 * math.sqrt(expected * (1.0 - expected) / n)


def test_shadowing_is_stationary_and_forgets_with_the_way():
    world, out = begun(["params.radio.speed_m_per_s=25.0", "params.radio.shadowing_sd_db=8.0"], n_worlds=4000)
    shade = track(world, out, 6, lambda state: state.pair["shadowing_db"]).reshape(6, -1)
    n = shade.shape[1]
    for lag in range(6):
        assert abs(shade[lag].mean()) < 5.0 * 8.0 / math.sqrt(n)
        assert abs(shade[lag].std() - 8.0) < 5.0 * 8.0 / math.sqrt(2.0 * n)
        # 25 m a slot at 50 m: exp(-lag / 2)
        assert abs(np.corrcoef(shade[0], shade[lag])[0, 1] - math.exp(-lag / 2.0)) < 5.0 / math.sqrt(n)


@pytest.mark.parametrize("speed_m_per_s", [1.5, 50.0, 130.0])
def test_devices_stay_on_the_streets_of_the_square_and_go_at_their_speed(speed_m_per_s):
    overrides = [f"params.radio.speed_m_per_s={speed_m_per_s}", "params.horizon_slots=200"]
    world, out = begun(overrides, n_worlds=64)
    place = track(world, out, 200, lambda state: np.stack((state.agent["x_m"], state.agent["y_m"]), -1))
    assert place.min() >= 0.0
    assert place.max() <= 500.0
    off_street = np.abs(place - 50.0 * np.round(place / 50.0)).min(axis=-1)
    assert off_street.max() < 1e-6
    way_m = np.abs(np.diff(place, axis=0)).sum(axis=-1)
    assert way_m.max() <= speed_m_per_s + 1e-6  # less where it turned back within a slot
    assert np.median(way_m) == pytest.approx(speed_m_per_s, rel=1e-9)
    assert place.reshape(-1, 2).std(axis=0).min() > 100.0  # a uniform place in 500 m has 144 m


def test_turns_come_as_often_as_their_chance():
    # 50 m a slot: a crossing at each; away from the border 0.3 turn, half of them left
    world, out = begun(
        ["params.radio.speed_m_per_s=50.0", "params.radio.turn_prob=0.3", "params.horizon_slots=300"], n_worlds=100
    )

    def read(state):
        return np.stack([state.agent[name] for name in ("heading", "x_m", "y_m")], -1)

    rows = track(world, out, 300, read).reshape(300, -1, 3)
    inside = ((rows[1:, :, 1:] > 60.0) & (rows[1:, :, 1:] < 440.0)).all(axis=-1)
    turned = (rows[1:, :, 0] - rows[:-1, :, 0]).astype(int)[inside] % 4
    n = len(turned)
    assert n > 20_000
    for quarter_turns, chance in ((0, 0.7), (1, 0.15), (2, 0.0), (3, 0.15)):
        assert abs((turned == quarter_turns).mean() - chance) <= 5.0 * math.sqrt(chance * (1.0 - chance) / n)


def test_devices_know_servers_as_of_their_last_result():
    world, out = begun()
    column = [world.spec.feature_names.index(f"target_{k}/backlog") for k in range(2)]
    age = world.spec.feature_names.index("target_0/backlog_age")
    world.step(np.array([[0, 0, 1]]), out, np.ones((1, 3, 1)))
    known_s = world.figures.backlog_after_s[0]
    assert known_s[0] > 0.0
    seen = out.observation[0][:, column]
    expected = known_s / (known_s + 1.0)
    np.testing.assert_allclose(seen[:2, 0], expected[0], rtol=1e-6)
    assert seen[2, 0] == 0.0  # it was not there
    assert out.observation[0, 2, age] == 0.5  # news of slot 0, one slot old: 1 / (1 + 1)
    assert out.observation[0, 0, age] == 0.0
