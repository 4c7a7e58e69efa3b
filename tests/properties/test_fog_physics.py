"""Tasks followed by hand through the fog world: every instant has its derivation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.errors import ConfigError, DecisionError, WorkloadError
from envs.fog import state as s
from envs.scenario import make

NEVER = math.inf
LOG = {name: column for column, name in enumerate(s.LOG_COLUMNS)}


def log_of(world, *names):
    log = world.task_log(0)
    return [[pytest.approx(value, abs=1e-9) for value in log[:, LOG[name]]] for name in names]


def test_local_task_runs_at_its_instant_of_creation(fog):
    work = fog.listed(((0.3, 0, 0.0, 0.0, 2e9, NEVER),))
    world, _ = fog.play(fog.scenario(fog.single(), work, task_log_places=8, horizon_slots=5))
    assert log_of(world, "started_s", "left_s", "wait_s", "service_s") == [[0.3], [2.3], [0.0], [2.0]]


def test_second_task_waits_for_the_first(fog):
    work = fog.listed(((0.0, 0, 0, 0, 2e9, NEVER), (0.5, 0, 0, 0, 1e9, NEVER)))
    world, _ = fog.play(fog.scenario(fog.single(), work, task_log_places=8, horizon_slots=5))
    assert log_of(world, "left_s", "wait_s") == [[2.0, 3.0], [0.0, 1.5]]


def test_full_queue_drops_the_newest_task(fog):
    # two places, three tasks of 10 s: tasks 0 and 1 stay, task 2 is dropped at its creation
    work = fog.listed(tuple((0.1 * i, 0, 0, 0, 1e10, NEVER) for i in range(1, 4)))
    scenario = fog.scenario(fog.single(queue_places=2), work, task_log_places=8, horizon_slots=5)
    world, sums = fog.play(scenario)
    assert log_of(world, "created_s", "left_s", "drop_reason") == [[0.3], [0.3], [0.0]]
    assert sums[0, s.DROPPED + s.QUEUE_FULL] == 1.0


def test_offloaded_task_pays_upload_wait_service_and_return(fog):
    # slot 1 s, the device is busy until 4 s. Task 1 waits from 0.5 s and is sent at 1 s: 2e6 bits at 1 Mbit/s and
    # 0.25 s of delay: there at 3.25 s; 4e9 cycles at 4 GHz: until 4.25 s; 5e5 bits back: 0.5 + 0.25, home at 5 s.
    work = fog.listed(((0.0, 0, 0, 0, 4e9, NEVER), (0.5, 0, 2e6, 5e5, 4e9, NEVER)))
    scenario = fog.scenario(fog.pair(), work, task_log_places=8, horizon_slots=8)
    world, sums = fog.play(scenario, decide=lambda step, out: [[1 if step == 1 else 0]])
    parts = ("left_s", "upload_s", "wait_s", "service_s", "return_s", "last_node", "hops")
    assert log_of(world, *parts) == [[4, 5], [0, 2.25], [0, 0.5], [4, 1], [0, 0.75], [0, 1], [0, 1]]
    assert sums[0, s.OFFLOADS] == 1.0
    # the device sends for 2 s, the server for 0.5 s, at 0.5 W; cores at 3 W for 4 s and 1 s
    assert sums[0, s.TRANSMIT_J] == pytest.approx(1.25)
    assert sums[0, s.COMPUTE_J] == pytest.approx(15.0)


def test_channel_sends_first_in_first_out(fog):
    # both waiting tasks are sent, at 1 s and 2 s; the first takes 3 s on the channel, the second follows at 4 s
    work = fog.listed(((0.0, 0, 0, 0, 9e9, NEVER), (0.1, 0, 3e6, 0, 0, NEVER), (0.2, 0, 1e6, 0, 0, NEVER)))
    scenario = fog.scenario(fog.pair(delay_s=0.0), work, task_log_places=8, horizon_slots=8)
    world, _ = fog.play(scenario, decide=lambda step, out: [[int(out.target_mask[0, 0, 1])]])
    assert log_of(world, "upload_s", "left_s") == [[3.0, 3.0], [4.0, 5.0]]


def test_several_decisions_in_one_step_send_several_tasks(fog):
    work = fog.listed(tuple((0.1 * i, 0, 0.0, 0.0, 9e9, NEVER) for i in range(4)))
    scenario = fog.scenario(fog.pair(delay_s=0.0), work, decisions_per_step=3, task_log_places=8, horizon_slots=12)
    world, sums = fog.play(scenario, decide=lambda step, out: [[[1, 0, 1]]] if step == 1 else [[[0, 0, 0]]])
    # task 0 runs; tasks 1 and 3 go, task 2 stays decided
    assert sums[0, s.OFFLOADS] == 2.0
    nodes = world.task_log(0)[:, [LOG["created_s"], LOG["last_node"]]]
    assert sorted(nodes.tolist()) == [[0.0, 0.0], [pytest.approx(0.1), 1.0], [pytest.approx(0.3), 1.0]]


@pytest.mark.parametrize(
    ("drops", "left_s", "reason"), [(True, [1.5, 4.0], [1.0, -1.0]), (False, [4.0, 5.0], [-1, -1])]
)
def test_waiting_task_expires_at_its_deadline_or_is_late(fog, drops, left_s, reason):
    work = fog.listed(((0.0, 0, 0, 0, 4e9, NEVER), (0.5, 0, 0, 0, 1e9, 1.5)))
    scenario = fog.scenario(
        fog.single(), work, deadlines="waiting" if drops else "soft", task_log_places=8, horizon_slots=8
    )
    world, sums = fog.play(scenario)
    assert log_of(world, "left_s", "drop_reason") == [left_s, reason]
    assert sums[0, s.IN_TIME] == 1.0


def test_held_task_waits_for_its_decision(fog):
    work = fog.listed(((0.5, 0, 0, 0, 1e9, NEVER),))
    world, _ = fog.play(fog.scenario(fog.single(), work, undecided="hold", task_log_places=8, horizon_slots=5))
    assert log_of(world, "started_s", "wait_s", "left_s") == [[1.0], [0.5], [2.0]]


def test_neighbour_is_seen_as_last_reported(fog):
    # The server runs no task before 1.25 s. Delay 1.5 s: a report of slot 2 (task there) is seen from slot 4 on.
    work = fog.listed(((0.0, 0, 0, 0, 9e9, NEVER), (0.1, 0, 0, 0, 4e10, NEVER)))
    scenario = fog.scenario(fog.pair(delay_s=1.5), work, horizon_slots=8)
    seen = []

    def decide(step, out):
        seen.append(float(out.observation[0, 0, out.observation.shape[2] - 11 + 1]))  # target 1, fill_frac
        return [[int(out.target_mask[0, 0, 1])]]

    fog.play(scenario, decide=decide)
    # sent at 1 s, there at 2.5 s: in the report of slot 3, which arrives at 4.5 s: seen at slot 5
    assert [value > 0.0 for value in seen] == [False] * 5 + [True] * 3


def test_parts_of_every_response_time_sum_to_it(fog):
    scenario = fog.scenario(fog.pair(), fog.poisson(0.9, "exponential"), task_log_places=4000, horizon_slots=3000)
    world, _ = fog.play(scenario, decide=lambda step, out: [[(step // 7) % 2]])
    log = world.task_log(0)
    finished = log[log[:, LOG["drop_reason"]] < 0]
    parts = sum(finished[:, LOG[name]] for name in ("upload_s", "wait_s", "service_s", "return_s"))
    assert len(finished) > 2000
    np.testing.assert_allclose(parts, finished[:, LOG["left_s"]] - finished[:, LOG["created_s"]], rtol=0, atol=1e-9)


def test_queue_is_first_in_first_out(fog):
    scenario = fog.scenario(fog.single(), fog.poisson(0.9, "exponential"), task_log_places=4000, horizon_slots=3000)
    world, _ = fog.play(scenario)
    log = world.task_log(0)
    assert len(log) > 2000
    order = np.argsort(log[:, LOG["created_s"]], kind="stable")
    assert (np.diff(log[order, LOG["started_s"]]) >= 0.0).all()


def test_world_without_room_drops_and_counts(fog):
    scenario = fog.scenario(fog.single(), fog.poisson(5.0, "fixed", 9e9), max_alive_tasks=3, horizon_slots=20)
    _, sums = fog.play(scenario)
    assert sums[0, s.DROPPED + s.WORLD_FULL] > 10.0
    assert sums[0, s.CREATED] == sums[0, [s.COMPLETED, s.DROPPED, s.DROPPED + 2]].sum() + 3.0  # 3 are in flight


def test_masked_target_raises_in_debug_mode_and_counts_otherwise(fog):
    work = fog.listed(((50.0, 0, 0, 0, 1e9, NEVER),))
    with pytest.raises(DecisionError, match=r"world 0, agent 'device': target 1 is masked; allowed: \[0\]"):
        fog.play(fog.scenario(fog.pair(), work, debug=True), decide=lambda step, out: [[1]])
    _, sums = fog.play(fog.scenario(fog.pair(), work, horizon_slots=10), decide=lambda step, out: [[1]])
    assert sums[0, s.REFUSED] == 10.0


def test_too_many_targets_are_refused(fog):
    work = fog.listed(((0.5, 0, 0, 0, 1e9, NEVER),))
    with pytest.raises(ConfigError, match=r"node 0 has 1 neighbours.*max_targets = 1"):
        make(fog.scenario(fog.pair(), work, max_targets=1), 1)


def test_nan_from_a_users_workload_is_refused(fog):
    world = make(fog.scenario(fog.single(), fog.listed(((0.5, 0, math.nan, 0, 1e9, NEVER),))), 1)
    with pytest.raises(WorkloadError, match="Listed: size_bits of task 0 is nan"):
        world.reset(None, world.outcome())
