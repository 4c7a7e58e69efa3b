"""The testbed's twin does what queues, links and lanes do: times by hand, and what holds whatever is decided."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.arrays import F8, I8
from envs.scenario import Scenario, make
from envs.testbed import state as s
from envs.testbed.world import BedWorld

FRAMES, DELAY_S = 4, 0.01
HAND: dict[str, Any] = {  # decode takes 0.1 s of a core and detect 0.9 s a clip; crop and encode next to nothing
    "topology.n_devices": 2,
    "topology.device_cores": [0.5],
    "topology.servers": [{"cores": 1.0, "n_lanes": 1, "discipline": "fifo"}],
    "topology.core_hz": 1e9,
    "topology.up_bps": [[1e7]],
    "topology.down_bps": [[1e6]],
    "topology.delay_s": DELAY_S,
    "topology.goodput_frac": 0.8,
    "workload.period_s": 10.0,
    "workload.frames": [FRAMES, FRAMES],
    "workload.stage_cycles": [0.025e9, 0.225e9, 1.0, 1.0],
    "workload.overhead_s": 0.0,
    "workload.cut_bytes": [250_000.0, 25_000.0, 20_000.0, 10_000.0],
    "workload.result_bytes": 1_000.0,
    "workload.work_spread_frac": 0.0,
    "workload.bytes_spread_frac": 0.0,
    "workload.deadline_s": 5.0,
    "params.horizon_slots": 3,
    "params.patience_frac": 20.0,
    "params.decision_delay_s": 0.0,
}
UPLOAD_S = 8 * 250_000 * FRAMES / 0.8e7 + DELAY_S  # raw: 1.01 s
RETURN_S = 8 * 1_000 * FRAMES / 0.8e6 + DELAY_S


def world_of(n_worlds: int = 1, seed: int = 0, **overrides: Any) -> BedWorld:
    changed = {key.replace("__", "."): value for key, value in overrides.items()}
    made = make(load_scenario("twin_5", {**HAND, **changed}), n_worlds, seed)
    assert isinstance(made, BedWorld)
    return made


def played(world: BedWorld, targets: list[list[int]]) -> tuple[Any, dict[str, float], F8]:
    """Return the tasks (N, T) of the first world, the figures, and the rewards (T, N); a row of targets an epoch."""
    out = world.outcome()
    world.reset(None, out)
    rewards = []
    for row in targets:
        world.step(np.array([row], np.int64), out)
        rewards.append(out.reward[0].copy())
    assert out.terminated[0]
    return world.ended[0], world.summarise(out.final_sums[0]), np.array(rewards)


def test_a_task_at_home_takes_its_cycles_at_the_share_of_a_core():
    tasks, figures, _ = played(world_of(), [[0, 0]] * 3)
    np.testing.assert_allclose(tasks["done_s"] - tasks["created_s"], 2.0, rtol=1e-6)  # 1 s of CPU at half a core
    assert figures["late_frac"] == 0.0
    assert figures["local_cost_mean"] == pytest.approx(0.025, rel=1e-6)  # 1e9 cycles


def test_a_whole_task_is_uploaded_waits_is_served_and_returns():
    tasks, figures, _ = played(world_of(), [[1, 0], [0, 0], [0, 0]])
    task = tasks[0, 0]
    assert task["upload_end_s"] == pytest.approx(UPLOAD_S)
    assert task["serve_start_s"] == pytest.approx(UPLOAD_S)
    assert task["serve_end_s"] == pytest.approx(UPLOAD_S + 1.0, rel=1e-6)
    assert task["done_s"] == pytest.approx(UPLOAD_S + 1.0 + RETURN_S, rel=1e-6)
    # sent by a transmitter of 0.1 W at 0.1 a joule, served at 0.05 a gigacycle
    assert task["cost"] == pytest.approx(UPLOAD_S * 0.1 * 0.1 + 0.05, rel=1e-6)
    assert figures["offloaded_frac"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("cut", "own_s", "n_bytes", "rest_s"), [(1, 0.2, 25_000, 0.9), (2, 2.0, 20_000, 0.0)])
def test_a_divided_task_is_begun_at_home_and_ended_at_the_server(cut, own_s, n_bytes, rest_s):
    tasks, _, _ = played(world_of(), [[1 + cut, 0], [0, 0], [0, 0]])
    upload_s = 8 * n_bytes * FRAMES / 0.8e7 + DELAY_S
    assert tasks[0, 0]["own_s"] == pytest.approx(own_s, rel=1e-6)
    assert tasks[0, 0]["done_s"] == pytest.approx(own_s + upload_s + rest_s + RETURN_S, rel=1e-6)
    assert tasks[0, 0]["by"] == s.BY_SERVER


def test_tasks_of_two_devices_wait_for_one_lane_in_the_order_of_their_arrival():
    world = world_of(topology__up_bps=[[1e7], [0.5e7]])
    tasks, _, _ = played(world, [[1, 1], [0, 0], [0, 0]])
    first, second = tasks[0, 0], tasks[1, 0]
    assert second["upload_end_s"] == pytest.approx(2 * UPLOAD_S - DELAY_S)  # 2.01 s
    assert second["serve_start_s"] == pytest.approx(max(first["serve_end_s"], second["upload_end_s"]))
    same = world_of()
    tasks, _, _ = played(same, [[1, 1], [0, 0], [0, 0]])
    assert sorted(tasks["serve_end_s"][:, 0] - UPLOAD_S) == pytest.approx([1.0, 2.0], rel=1e-6)


@pytest.mark.parametrize(
    ("cores", "crowding", "took_s"), [(1.0, 1.0, 2.0), (1.0, 0.0, 1.0), (1.0, 0.5, 1.5), (2.0, 1.0, 1.0)]
)
def test_lanes_share_the_cores_of_their_server(cores, crowding, took_s):
    server = {"cores": cores, "n_lanes": 2, "discipline": "processor_sharing"}
    world = world_of(topology__servers=[server], topology__crowding=crowding)
    tasks, _, _ = played(world, [[1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(tasks["serve_end_s"][:, 0] - tasks["serve_start_s"][:, 0], took_s, rtol=1e-6)


def test_who_comes_later_to_shared_cores_slows_who_is_there_from_then_on():
    server = {"cores": 1.0, "n_lanes": 2, "discipline": "processor_sharing"}
    world = world_of(topology__servers=[server], topology__crowding=1.0, topology__up_bps=[[2e7], [1e7]])
    tasks, _, _ = played(world, [[1, 1], [0, 0], [0, 0]])
    early, late = tasks["upload_end_s"][:, 0]  # 0.51 and 1.01 s
    alone_s = late - early
    ends = tasks["serve_end_s"][:, 0]
    assert ends[0] == pytest.approx(late + 2 * (1.0 - alone_s), rel=1e-6)
    assert ends[1] == pytest.approx(ends[0] + (1.0 - (ends[0] - late) / 2), rel=1e-6)


def test_the_air_of_a_server_is_shared_by_those_who_send():
    tasks, _, _ = played(world_of(topology__sharing="shared"), [[1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(tasks["upload_end_s"][:, 0], 2 * (UPLOAD_S - DELAY_S) + DELAY_S)
    tasks, _, _ = played(world_of(topology__sharing="own"), [[1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(tasks["upload_end_s"][:, 0], UPLOAD_S)


def test_uploads_of_a_link_follow_each_other_a_confirmation_apart():
    world = world_of(workload__period_s=0.5, params__drain_s=60.0)
    tasks, _, _ = played(world, [[1, 0]] * 3)
    starts, ends = tasks["upload_start_s"][0], tasks["upload_end_s"][0]
    np.testing.assert_allclose(starts[1:], ends[:-1] + DELAY_S)


def test_a_device_whose_patience_ends_does_the_rest_and_the_first_result_counts():
    slow = {"cores": 0.01, "n_lanes": 1, "discipline": "fifo"}
    world = world_of(topology__servers=[slow], params__patience_frac=0.5)  # 2.5 s
    tasks, figures, _ = played(world, [[1, 2], [0, 0], [0, 0]])
    whole, divided = tasks[0, 0], tasks[1, 0]
    assert (whole["by"], divided["by"]) == (s.BY_DEVICE, s.BY_DEVICE)
    assert whole["done_s"] == pytest.approx(2.5 + 2.0, rel=1e-6)  # all of it
    assert divided["done_s"] == pytest.approx(2.5 + 1.8, rel=1e-6)  # decoded before
    assert figures["fallback_frac"] == pytest.approx(2 / 6)
    assert whole["cost"] == pytest.approx(0.025 + UPLOAD_S * 0.01, rel=1e-6)  # the upload was made all the same


def test_a_result_that_comes_after_patience_still_counts_if_it_is_first():
    world = world_of(params__patience_frac=0.3)  # 1.5 s: the server has begun, and ends before the device
    tasks, figures, _ = played(world, [[1, 0], [0, 0], [0, 0]])
    assert tasks[0, 0]["has_fallback"] == 1
    assert tasks[0, 0]["by"] == s.BY_SERVER
    assert tasks[0, 0]["done_s"] == pytest.approx(UPLOAD_S + 1.0 + RETURN_S, rel=1e-6)
    assert tasks[0, 1]["done_s"] == pytest.approx(10.0 + 2.0, rel=1e-6)  # the lane was free again
    assert figures["fallback_frac"] == pytest.approx(1 / 6)


def test_a_late_task_pays_when_its_deadline_passes_and_what_is_in_flight_at_the_end_pays_too():
    world = world_of(topology__device_cores=[0.05], params__drain_s=0.0, workload__period_s=4.0)  # 20 s a task
    tasks, figures, rewards = played(world, [[0, 0]] * 3)
    assert figures["in_flight_frac"] == 1.0
    assert figures["late_frac"] == 1.0
    np.testing.assert_allclose(rewards[:, 0], [0.0, -1.0, -2.0])  # deadlines at 5, 9 and 13 s; the run ends at 12 s
    assert np.isnan(tasks["done_s"]).all()


KINDS = ("cuts", "shares", "whole")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", ["own", "shared"])
def test_what_holds_whatever_is_decided(kind, sharing):
    servers = [
        {"cores": 1.0, "n_lanes": 3, "discipline": "processor_sharing"},
        {"cores": 0.4, "n_lanes": 2, "discipline": "fifo"},
    ]
    noise = dict.fromkeys(("device_speed_frac", "server_speed_frac", "rate_frac", "work_frac", "bytes_frac"), 0.3)
    changed = {
        "topology.servers": servers,
        "topology.sharing": sharing,
        "params.decision.kind": kind,
        "params.randomise": {**noise, "delay_frac": 0.3},
        "params.patience_frac": 0.7,
        "params.drain_s": 3.0,
        "params.horizon_slots": 15,
    }
    world = make(load_scenario("twin_5", changed), 6, 3)
    out, spec, rng = world.outcome(), world.spec, np.random.default_rng(1)
    world.reset(None, out)
    rewards = np.zeros((6, 5))
    for _ in range(15):
        amounts = rng.uniform(size=(6, 5, 1)) if spec.n_amounts else None
        decision: I8 = rng.integers(0, spec.n_targets, (6, 5))
        world.step(decision, out, amounts)
        rewards += out.reward
    tasks, sums = world.ended, out.final_sums
    is_done = tasks["by"] != s.BY_NOBODY
    assert sums[:, s.TASKS].tolist() == [75.0] * 6
    np.testing.assert_array_equal(is_done.sum((1, 2)), sums[:, s.FINISHED])
    np.testing.assert_array_equal(np.isnan(tasks["done_s"]), ~is_done)
    parts = sums[:, [s.UPLOAD_S, s.WAIT_S, s.SERVICE_S, s.RETURN_S]]
    assert (parts >= -1e-9).all()
    np.testing.assert_allclose(parts.sum(1), sums[:, s.RESPONSE_S])
    costs = sums[:, [s.LOCAL_COST, s.EDGE_COST, s.TRANSMIT_COST, s.LATE_COST]].sum(1)
    np.testing.assert_allclose(costs, sums[:, s.COST])
    np.testing.assert_allclose(tasks["cost"].sum((1, 2)), sums[:, s.COST])
    np.testing.assert_allclose(-rewards.sum(1), sums[:, s.COST], rtol=1e-5)
    assert (tasks["done_s"][is_done] > tasks["created_s"][is_done]).all()
    assert_one_at_a_time(tasks)
    assert is_done.mean() > 0
    assert sums[:, s.FALLBACKS].sum() > 0


def assert_one_at_a_time(tasks: Any) -> None:
    """A lane works on one job, a link sends one payload at a time."""
    for spans in (("own_start_s", "own_s"), ("rest_start_s", "rest_s")):
        assert (tasks[spans[1]] >= 0.0).all()
    for b in range(tasks.shape[0]):
        for n in range(tasks.shape[1]):
            row = tasks[b, n]
            jobs = [(t["own_start_s"], t["own_s"]) for t in row] + [(t["rest_start_s"], t["rest_s"]) for t in row]
            jobs = sorted((start, start + took) for start, took in jobs if not np.isnan(start))
            assert all(one[1] <= two[0] + 1e-9 for one, two in itertools.pairwise(jobs))
            for server in np.unique(row["target"][row["target"] > 0]):
                sent = [(t["upload_start_s"], t["upload_end_s"]) for t in row if t["target"] == server]
                sent = sorted(span for span in sent if not np.isnan(span).any())
                assert all(one[1] <= two[0] + 1e-9 for one, two in itertools.pairwise(sent))


def test_factors_are_drawn_anew_for_each_episode_and_stay_within_their_widths():
    world = world_of(n_worlds=50, params__randomise__device_speed_frac=0.2, params__randomise__rate_frac=0.5)
    out = world.outcome()
    world.reset(None, out)
    first = world.state.device["hz"] / 0.5e9
    assert first.min() >= 0.8
    assert first.max() <= 1.2
    assert first.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.15)
    rates = world.state.link["bps"] / 0.8e7
    assert (rates.min() < 0.6, rates.max() > 1.4) == (True, True)
    for _ in range(3):
        world.step(np.zeros((50, 2), np.int64), out)
    assert not np.array_equal(world.state.device["hz"] / 0.5e9, first)
    assert (world.state.world["work_factor"] == 1.0).all()


def test_given_frames_are_those_of_the_tasks():
    listed = [[4, 2, 3], [1, 5, 2]]
    tasks, _, _ = played(world_of(workload__listed_frames=listed), [[0, 0]] * 3)
    assert tasks["frames"].tolist() == listed


def test_spreads_have_the_mean_one_and_the_deviation_that_is_set():
    overrides: dict[str, Any] = {"workload__work_spread_frac": 0.3, "workload__bytes_spread_frac": 0.1}
    world = world_of(n_worlds=2000, **overrides)
    world.reset(None, world.outcome())
    for name, spread in (("work_factor", 0.3), ("bytes_factor", 0.1)):
        drawn = world.state.task[name][:, :, 0]
        assert drawn.mean() == pytest.approx(1.0, abs=4 * spread / np.sqrt(drawn.size))
        assert drawn.std() == pytest.approx(spread, rel=0.1)


def scenario_of(**overrides: Any) -> Scenario:
    return load_scenario("twin_5", {key.replace("__", "."): value for key, value in overrides.items()})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"topology": "ring"}, "world 'testbed' expects the topology 'edge_lan'"),
        ({"workload": "poisson"}, "world 'testbed' expects the workload 'camera_clips'"),
        ({"params__decision_delay_s": 2.0}, "decision_delay_s = 2.0: expected less than workload.period_s = 1.2"),
        ({"params__randomise__rate_frac": 1.0}, r"rate_frac = 1.0: expected a number in \[0, 1\)"),
        ({"params__cost__late": -1.0}, "late = -1.0: expected a finite number of at least 0"),
        ({"workload__listed_frames": [[1, 2]]}, "listed_frames"),
        ({"workload__frames": [3, 2]}, "least <= most"),
        ({"topology__device_cores": [1.5]}, "shares of a core"),
        ({"topology__servers": []}, "at least one"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(Exception, match=message) as refused:
        make(scenario_of(**overrides), 1)
    assert type(refused.value).__module__ == "envs.errors"


def test_a_target_that_is_none_is_refused():
    world = world_of()
    out = world.outcome()
    world.reset(None, out)
    with pytest.raises(Exception, match=r"agent 'device_1': target 5 does not exist; expected 0 .. 4"):
        world.step(np.array([[0, 5]]), out)
