"""Model updates of federated training as traffic, followed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.fog import state as s
from envs.fog.world import ArrivedUpdate
from envs.scenario import make
from envs.topologies.assemble import Link

NEVER = math.inf
WORK = ((0.5, 0, 1e6, 0, 0, NEVER),)


def start(fog, topology, rows=WORK, **params):
    world = make(fog.scenario(topology, fog.listed(rows), **params), 1)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def line(fog):
    """Return a - b - c at 1 Mbit/s, and a - c at 100 kbit/s."""
    nodes = (("a", 0, fog.node()), ("b", 1, fog.node()), ("c", 1, fog.node()))
    rates = {(0, 1): 1e6, (1, 2): 1e6, (0, 2): 1e5}
    links = [Link(*ends, rate, 0.1, ends) for (a, b), rate in rates.items() for ends in ((a, b), (b, a))]
    return fog.wired(nodes, tuple(links))


def play(world, out, n_steps, target=0):
    decision = np.full((1, world.spec.n_agents), target, np.int64)
    for _ in range(n_steps):
        world.step(decision, out)


def test_update_takes_the_quickest_way_whole_over_one_link_after_the_other(fog):
    world, out = start(fog, line(fog))
    # 2 Mbit over two links of 1 Mbit/s: 2 s + 0.1 s each, against 20 s
    assert world.post_update(0, 0, 2, 2e6) == 0
    play(world, out, 4)
    assert world.take_updates(0) == []
    play(world, out, 1)
    assert world.take_updates(0) == [ArrivedUpdate(0, 0, 2, 2e6, 0.0, pytest.approx(4.2))]
    assert world.take_updates(0) == []
    assert world.state.sums[0, [s.UPDATES_SENT, s.UPDATES_ARRIVED, s.UPDATE_S]].tolist() == pytest.approx([1, 1, 4.2])
    assert world.summarise(world.state.sums[0])["update_s_mean"] == pytest.approx(4.2)


def test_way_is_quickest_for_messages_of_route_bits(fog):
    # 10 kbit: 0.01 + 0.1 s over each of two links, 0.1 + 0.1 s over the slow one
    world, out = start(fog, line(fog), route_bits=1e4)
    world.post_update(0, 0, 2, 1e5)
    play(world, out, 2)
    assert world.take_updates(0)[0].arrived_s == pytest.approx(1.1)


@pytest.mark.parametrize("contention", ["fifo", "fair"])
def test_update_and_task_share_the_channel(fog, contention):
    world, out = start(fog, fog.pair(delay_s=0.25), undecided="hold", contention=contention, task_log_places=8)
    play(world, out, 1)
    world.post_update(0, 0, 1, 2e6)  # at 1 s, when the task of 1 Mbit is sent as well
    play(world, out, 1, target=1)
    play(world, out, 5)
    # fifo: the update to 3 s, the task to 4 s; fair: half the rate each, the task to 3 s, the update to 4 s
    update_s, task_s = (2.25, 3.25) if contention == "fifo" else (3.25, 2.25)
    assert world.take_updates(0)[0].arrived_s == pytest.approx(1.0 + update_s)
    assert world.task_log(0)[0, s.LOG_COLUMNS.index("upload_s")] == pytest.approx(task_s)


def test_updates_are_taken_in_order_of_arrival_and_make_room(fog):
    world, out = start(fog, fog.pair(delay_s=0.0), rows=((50.0, 0, 0, 0, 0, NEVER),), max_alive_tasks=3)
    assert [world.post_update(0, *ends, bits) for *ends, bits in ((0, 1, 3e6), (1, 0, 1e6), (1, 1, 5e9))] == [0, 1, 2]
    with pytest.raises(ConfigError, match="post_update: world 0 has max_alive_tasks = 3 tasks and updates already"):
        world.post_update(0, 0, 1, 1.0)
    play(world, out, 5)
    assert [update.number for update in world.take_updates(0)] == [2, 1, 0]  # at 0 s, where it was; 1 s; 3 s
    assert world.post_update(0, 0, 1, 1.0) == 3


def test_task_finds_no_room_where_updates_are_not_fetched(fog):
    world, out = start(fog, fog.pair(), max_alive_tasks=1)
    world.post_update(0, 0, 1, 1.0)
    play(world, out, 2)
    assert world.state.sums[0, s.DROPPED + s.WORLD_FULL] == 1.0


def test_energy_of_an_update_is_paid_by_its_senders(fog):
    reward = fog.params.reward
    weights = type(reward)("none", {"energy_j": -1.0}, 0.0, reward.shaping)
    world, out = start(fog, line(fog), rows=((50.0, 0, 0, 0, 0, NEVER),), agents="all", reward=weights)
    world.post_update(0, 0, 2, 2e6)
    rewards = []
    for _ in range(5):
        play(world, out, 1)
        rewards.append(out.reward[0].tolist())
    # 2 s at 0.5 W, by a when it is posted and by b when it passes on, at 2.1 s
    assert rewards == [[-1.0, 0.0, 0.0], [0.0] * 3, [0.0, -1.0, 0.0], [0.0] * 3, [0.0] * 3]
    assert world.state.sums[0, s.TRANSMIT_J] == pytest.approx(2.0)


def test_snapshot_keeps_updates_on_their_way(fog):
    world, out = start(fog, line(fog))
    world.post_update(0, 0, 2, 2e6)
    play(world, out, 1)
    snapshot = world.snapshot()
    play(world, out, 4)
    other, out = start(fog, line(fog))
    other.restore(snapshot)
    play(other, out, 4)
    assert other.take_updates(0) == world.take_updates(0) == [ArrivedUpdate(0, 0, 2, 2e6, 0.0, pytest.approx(4.2))]


def test_new_episode_begins_without_updates(fog):
    world, out = start(fog, fog.pair(), horizon_slots=2)
    world.post_update(0, 0, 1, 1.0)
    play(world, out, 2)
    assert out.truncated[0]
    assert out.final_sums[0, s.IN_FLIGHT] == 0.0  # the task is done; updates are no tasks
    assert world.take_updates(0) == []
    assert world.post_update(0, 0, 1, 1.0) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 0, 1, 1.0), r"world 1, node 0 to node 1: expected a world in 0 .. 0 and nodes in 0 .. 1"),
        ((0, 0, 2, 1.0), r"world 0, node 0 to node 2: expected a world in 0 .. 0 and nodes in 0 .. 1"),
        ((0, -1, 1, 1.0), r"world 0, node -1 to node 1"),
        ((0, 0, 1, -1.0), r"size_bits = -1.0: expected a finite number >= 0"),
        ((0, 0, 1, math.nan), r"size_bits = nan: expected a finite number >= 0"),
        ((0, 0, 1, math.inf), r"size_bits = inf: expected a finite number >= 0"),
    ],
)
def test_updates_that_cannot_be_sent_are_refused(fog, given, message):
    world, _ = start(fog, fog.pair())
    with pytest.raises(ConfigError, match=message):
        world.post_update(*given)
