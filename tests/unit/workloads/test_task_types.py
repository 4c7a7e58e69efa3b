"""Task types: exact rates by piece and by node type, exact shares, deadlines within their bounds."""

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.rng import Draws
from envs.topologies.topology import Topology
from envs.workloads.task_types import NodeSchedule, RatePattern, TaskType, TaskTypes

SHORT = TaskType("short", 3.0, 10.0, 1.0, 100.0, 2.0, 4.0, 0)
LONG = TaskType("long", 1.0, 20.0, 2.0, 500.0, 0.0, 0.0, 2)
STEPS = NodeSchedule("", ((10.0, 1.0), (5.0, 4.0), (10.0, 0.5)))
WORK = TaskTypes((SHORT, LONG), (STEPS,), None)
LINEAR = RatePattern("linear", 1.0, 3.0, 1.0, 100.0)


@pytest.fixture
def topology():
    """Return two phones, nodes 0 and 2, a server, node 1, and a camera, node 3; all linked with the server."""
    ends = [(0, 1), (1, 0), (2, 1), (1, 2), (3, 1), (1, 3)]
    return Topology(
        name="four",
        node_name=("a", "b", "c", "d"),
        node_type=("phone", "server", "phone", "camera"),
        tier=np.array([0, 1, 0, 0]),
        is_device=np.array([True, False, True, True]),
        n_cores=np.ones(4, np.int64),
        core_hz=np.full(4, 1e9),
        queue_places=np.full(4, 10),
        queue_bits=np.full(4, np.inf),
        idle_w=np.zeros(4),
        busy_w=np.zeros(4),
        transmit_w=np.zeros(4),
        position_m=np.zeros((4, 2)),
        link_source=np.array([a for a, _ in ends]),
        link_target=np.array([b for _, b in ends]),
        link_rate_bps=np.full(6, 1e6),
        link_delay_s=np.zeros(6),
        link_channel=np.arange(6),
    )


def tables(workload, topology, horizon_s, n_worlds):
    return [workload.tasks(Draws(5, world, 0), topology, horizon_s) for world in range(n_worlds)]


def test_counts_of_each_piece_and_device_are_poisson_at_the_piece_rate(topology):
    drawn = tables(WORK, topology, 40.0, 200)
    for device in (0, 2, 3):
        for low, high, mean in ((0.0, 10.0, 10.0), (10.0, 15.0, 20.0), (15.0, 40.0, 12.5)):  # last piece for ever
            counts = np.array([((t.node == device) & (t.created_s >= low) & (t.created_s < high)).sum() for t in drawn])
            assert counts.mean() == pytest.approx(mean, abs=4.0 * np.sqrt(mean / len(drawn)))
            assert counts.var() == pytest.approx(mean, rel=0.4)  # 4 sd of a variance of 200 counts


def test_a_schedule_of_a_node_type_goes_before_the_one_for_all(topology):
    own = NodeSchedule("camera", ((1.0, 7.0),))
    node = np.concatenate([t.node for t in tables(replace(WORK, schedules=(STEPS, own)), topology, 10.0, 100)])
    counts = np.bincount(node, minlength=4) / 100
    assert counts.tolist() == pytest.approx([10.0, 0.0, 10.0, 70.0], abs=4.0 * np.sqrt(0.7))
    assert counts[1] == 0.0


def test_mean_rate_is_the_average_over_the_pieces(topology):
    # (10 * 1 + 5 * 4 + 10 * 0.5) / 25 = 1.4 for each of three devices
    assert WORK.mean_rate_hz(topology) == pytest.approx(4.2)


def test_types_come_by_their_shares_with_their_sizes_and_deadlines(topology):
    table = tables(WORK, topology, 4000.0, 1)[0]
    is_long = table.priority == 2
    n = len(is_long)
    assert n > 5000
    assert is_long.mean() == pytest.approx(0.25, abs=4.0 * np.sqrt(0.25 * 0.75 / n))
    for column, short, long in ((table.size_bits, 10.0, 20.0), (table.result_bits, 1.0, 2.0)):
        assert set(column[is_long]) == {long}
        assert set(column[~is_long]) == {short}
    assert set(table.work_cycles[is_long]) == {500.0}
    assert np.isinf(table.due_s[is_long]).all()
    given_s = (table.due_s - table.created_s)[~is_long]
    assert 2.0 <= given_s.min() < 2.01
    assert 3.99 < given_s.max() <= 4.0 + 1e-9
    assert given_s.mean() == pytest.approx(3.0, abs=4.0 * np.sqrt(4.0 / 12.0 / len(given_s)))


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("linear", [1.0, 2.0, 3.0, 3.0, 3.0, 3.0]),
        ("zigzag", [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 1.0, 2.0]),
    ],
)
def test_steps_of_a_pattern(name, rates):
    pieces = replace(LINEAR, name=name).pieces(Draws(1, 0, 0), 0, 100.0 * len(rates))
    assert pieces == tuple((100.0, rate) for rate in rates)


@pytest.mark.parametrize("name", ["uniform", "hetero_uniform", "hetero_zigzag"])
def test_drawn_patterns_stay_within_bounds_and_differ_by_world_and_only_hetero_by_schedule(name):
    pattern = replace(LINEAR, name=name)
    one, other_world, other_schedule = (
        pattern.pieces(Draws(1, world, 0), schedule, 1000.0) for world, schedule in ((0, 0), (1, 0), (0, 1))
    )
    assert all(1.0 <= rate <= 3.0 for _, rate in one)
    assert len(one) == 10
    assert one != other_world
    assert (one != other_schedule) is name.startswith("hetero_")


def test_a_pattern_gives_the_rates_of_schedules_without_pieces(topology):
    workload = TaskTypes((SHORT,), (NodeSchedule("", ()),), LINEAR)
    end_s, rate_hz = workload.rates(Draws(1, 0, 0), topology, 250.0)
    assert end_s.tolist() == [100.0, 200.0, 250.0]
    assert rate_hz.tolist() == [[1.0, 2.0, 3.0]] * 3
    assert workload.mean_rate_hz(topology) == 6.0


def test_a_device_without_a_schedule_and_a_schedule_without_a_device_are_refused(topology):
    phones = replace(WORK, schedules=(NodeSchedule("phone", STEPS.pieces),))
    with pytest.raises(ConfigError, match=r"four has devices of type 'camera', but TaskTypes.schedules has 'phone'$"):
        phones.tasks(Draws(1, 0, 0), topology, 10.0)
    phonse = replace(WORK, schedules=(STEPS, NodeSchedule("phonse", STEPS.pieces)))
    with pytest.raises(
        ConfigError, match=r"node_type 'phonse', but four has 'camera', 'phone'; did you mean 'phone'\?"
    ):
        phonse.mean_rate_hz(topology)
