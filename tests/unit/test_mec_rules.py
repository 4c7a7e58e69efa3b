"""Rules of the MEC world on hand-made slots: numbers worked by hand, and linear programmes for the best shares."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from edge_rllib.config.load import load_scenario
from envs.baselines.base import Choice
from envs.baselines.best_assignment import BestAssignment
from envs.baselines.draws import RuleDraws
from envs.baselines.local import Local
from envs.baselines.mec_slot import slot_of
from envs.baselines.mec_solve import solve
from envs.baselines.myopic_oracle import MyopicOracle
from envs.baselines.one_server import OneServer
from envs.baselines.random import Random
from envs.baselines.size_rank import SizeRank, servers_in_turn
from envs.errors import ConfigError
from envs.mec.observe import MecView
from envs.scenario import make


def see(work, server_hz, transfer_s, startup_s=0.0, backlog_s=0.0, deadline_s=np.inf, **others):
    """Return the view of one world: work (N,), server_hz (E,), transfer_s and startup_s (N, E); devices of 1 Hz."""
    work = np.array(work, np.float64)
    n_agents, n_servers = len(work), len(server_hz)
    fields = {
        "target_mask": np.ones((n_agents, 1 + n_servers), np.bool_),
        "has_task": np.ones(n_agents, np.bool_),
        "work_cycles": work,
        "size_bits": work,
        "deadline_s": np.full(n_agents, deadline_s),
        "device_hz": np.ones(n_agents),
        "server_hz": np.array(server_hz, np.float64),
        "local_backlog_s": np.zeros(n_agents),
        "server_backlog_s": np.full(n_servers, backlog_s),
        "transfer_s": np.broadcast_to(np.array(transfer_s, np.float64), (n_agents, n_servers)).copy(),
        "startup_s": np.broadcast_to(np.array(startup_s, np.float64), (n_agents, n_servers)).copy(),
        "transmit_w": np.zeros(n_agents),
        "energy_j": np.full(n_agents, np.inf),
    }
    scalars = {
        "bandwidth_hz": 0.0,
        "interference": 0.0,
        "is_transfer_of_share": False,
        "overlaps": False,
        "slot_s": 1.0,
        "miss_weight": 10.0,
        "time_weight": 1.0,
        "switching_farad": 0.0,
    }
    for name, value in others.items():
        known = scalars if name in scalars else fields
        known[name] = value if name in scalars else np.array(value, known[name].dtype)
    return MecView(**{name: array[None] for name, array in fields.items()}, **scalars)


def decide(rule, view, step=0):
    return rule.decide(view, step, RuleDraws(0, (0,), view.has_task.shape[1]))


def targets(rule, view):
    return decide(rule, view).target.tolist()[0]


def test_local_stays_and_one_server_sends_all_to_it():
    view = see([7, 6, 3], [6, 12], 0.3)
    assert decide(Local(), view).tolist() == [[0, 0, 0]]
    choice = decide(OneServer("fastest"), view)
    assert choice.target.tolist() == [[2, 2, 2]]
    assert choice.share is None
    assert targets(OneServer(0), view) == [1, 1, 1]


def test_one_server_keeps_to_the_mask_and_refuses_a_server_that_is_not_there():
    view = see([7, 6], [6, 12], 0.3, target_mask=[[1, 1, 1], [1, 1, 0]])
    assert targets(OneServer("fastest"), view) == [2, 0]
    with pytest.raises(ConfigError, match="server = 2: this world has servers 0 to 1"):
        decide(OneServer(2), view)
    with pytest.raises(ConfigError, match="server = -1: expected fastest or a number from 0"):
        OneServer(-1)


def test_random_takes_every_server_and_share_equally_often_and_never_stays():
    view = see(np.ones(40_000), [1, 1, 1], 0.3)
    choice = decide(Random(), view)
    # a share of 1/3 of 40,000 has a standard deviation of 0.0024; the mean of the shares one of 0.0014
    np.testing.assert_allclose(np.bincount(choice.target[0], minlength=4) / 40_000, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.01)
    assert abs(choice.share.mean() - 0.5) < 0.006
    assert choice.share.min() < 0.001 < 0.999 < choice.share.max()


def test_size_rank_sends_the_largest_and_the_smallest_to_the_fast_server():
    # speeds 6 and 12 share three tasks as 1 and 2; the released settings, in two orders of the devices
    assert targets(SizeRank(1.0), see([7, 6, 3], [6, 12], 0.3)) == [2, 1, 2]
    assert targets(SizeRank(1.0), see([6, 3, 7], [6, 12], 0.3)) == [1, 2, 2]
    assert decide(SizeRank(0.8), see([6, 3, 7], [6, 12], 0.3)).share.tolist() == [[0.8, 0.8, 0.8]]


def test_size_rank_of_more_servers_takes_tasks_from_both_ends_in_order_of_speed():
    # 7 tasks over 10, 19, 26 Hz: 1.27, 2.42, 3.31 of them, so 1, 2, 3 and by the largest remainder one more to 19 Hz
    assert servers_in_turn(np.array([10.0, 19.0, 26.0]), 7).tolist() == [2, 2, 2, 1, 1, 1, 0]
    # sorted 7, 6, 5.5, 5, 4.5, 4, 3: the fastest gets 7, 3, 6; the next 4, 5.5, 4.5; the slowest 5
    assert targets(SizeRank(1.0), see([7, 6, 3, 4, 5, 4.5, 5.5], [10, 19, 26], 0.3)) == [3, 3, 3, 2, 1, 2, 2]


def test_size_rank_refuses_a_share_that_is_none():
    with pytest.raises(ConfigError, match=r"share = 1\.2: expected a value in \[0, 1\]"):
        SizeRank(1.2)


def test_oracle_gives_a_lone_task_to_the_server_where_both_ends_are_ready_at_once_earliest():
    view = see([7.0], [6, 12], [[0.3011, 0.303]], [[0.101, 0.102]])
    choice = decide(MyopicOracle(), view)
    # server 2: (1 - r) 7 = 0.303 + 0.102 + 7 r / 12 at r = 6.595 / 7.58333; server 1 would give 1.345 s
    assert choice.target.tolist() == [[2]]
    np.testing.assert_allclose(choice.share, 6.595 / (7.0 + 7.0 / 12.0), rtol=1e-14)
    np.testing.assert_allclose(solve(slot_of(view), splits=True).cost, 7.0 * (1.0 - 6.595 / (7.0 + 7.0 / 12.0)))


def test_oracle_serves_two_devices_in_order_of_their_transfer_times():
    view = see([7.0, 6.0], [12], [[0.302], [0.3]], 0.1)
    solution = solve(slot_of(view), splits=True)
    # device 1 first: r = (6 - 0.4) / 6.5, the server is busy until 0.1 + r / 2 = 0.530769;
    # then device 0: r = (7 - 0.530769 - 0.1 - 0.302) / (7 + 7 / 12)
    first = 5.6 / 6.5
    second = (7.0 - (0.1 + first / 2.0) - 0.402) / (7.0 + 7.0 / 12.0)
    np.testing.assert_allclose(solution.share, [[second, first]], rtol=1e-14)
    np.testing.assert_allclose(solution.cost, (1.0 - first) * 6.0 + (1.0 - second) * 7.0, rtol=1e-14)
    assert solution.is_optimal.all()


def test_oracle_keeps_a_small_task_at_home():
    # 0.3 s at home; a server answers after 0.3 s of transfer and 0.1 s of start-up at the earliest
    choice = decide(MyopicOracle(), see([0.3], [12], 0.3, 0.1))
    assert (choice.target.tolist(), choice.share.tolist()) == ([[0]], [[0.0]])


def test_oracle_gives_all_to_the_server_while_the_device_is_busy_longer_than_that():
    # own backlog 2 s: the whole task is back after 0.3 + 6 / 12 = 0.8 s, any rest at home after more than 2 s
    choice = decide(MyopicOracle(), see([6.0], [12], 0.3, local_backlog_s=[2.0]))
    assert choice.share.tolist() == [[1.0]]


def test_oracle_holds_back_the_first_task_where_the_second_would_miss_its_deadline():
    # One server as slow as the devices, tasks of 2 s, transfers 0.1 s, deadlines 1.5 s. The even shares 0.475 and
    # 0.2375 take 1.05 and 1.525 s. The second needs r >= 0.25 at home and 0.1 + busy + 0.5 <= 1.5, so busy <= 0.9.
    solution = solve(slot_of(see([2.0, 2.0], [1], 0.1, deadline_s=1.5)), splits=True)
    np.testing.assert_allclose(solution.share, [[0.45, 0.25]], atol=1e-7)
    np.testing.assert_allclose(solution.cost, 1.1 + 1.5, atol=1e-7)
    assert not solution.is_optimal.any()


def test_deadlines_come_before_delays():
    # whole tasks of 3 and 6 at 6 Hz: 0.5 + 1.5 s with the short one first, or 1.0 s and 3.0 s at home; only the second
    # meets the deadlines. The order of arrival is fixed by the transfer times.
    view = see([3.0, 6.0], [6], [[0.0], [0.1]], deadline_s=[3.0, 1.2])
    assert targets(BestAssignment(), view) == [0, 1]
    assert targets(BestAssignment(), view._replace(deadline_s=np.full((1, 2), 9.0))) == [1, 1]


def test_best_assignment_weighs_delay_against_energy():
    # at home 2 s and 2 J; sent 1 + 0.5 s and 1 * 1.5 J: cost 2 or 0.5 * 1.5 + 0.5 * 1.5 = 1.5; at 4 W 0.75 + 2.0
    view = see([2.0], [4], 1.0, transmit_w=[1.5], switching_farad=1.0, time_weight=0.5)
    assert targets(BestAssignment(), view) == [1]
    assert targets(BestAssignment(), view._replace(transmit_w=np.full((1, 1), 4.0))) == [0]
    # with 1 J left sending at 1.5 W is a miss, and so is working at home: the less costly of the two
    assert targets(BestAssignment(), view._replace(energy_j=np.ones((1, 1)))) == [1]
    assert targets(BestAssignment(), view._replace(energy_j=np.full((1, 1), 1.2))) == [1]


def test_oracle_splits_where_the_transfer_is_that_of_the_share():
    # (1 - r) 6 = r 0.5 + r 6 / 12 at r = 6 / 7
    view = see([6.0], [12], 0.5, is_transfer_of_share=True)
    np.testing.assert_allclose(decide(MyopicOracle(), view).share, 6.0 / 7.0, atol=1e-8)
    # two equal devices, alone at a server each: the other server would make them wait
    view = see([6.0, 6.0], [12, 12], 0.5, is_transfer_of_share=True)
    choice = decide(MyopicOracle(), view)
    assert sorted(choice.target.tolist()[0]) == [1, 2]
    np.testing.assert_allclose(choice.share, 6.0 / 7.0, atol=1e-8)


def test_oracle_uses_the_time_of_the_transfer_where_it_overlaps():
    # the server is busy for 0.3 s, the transfer takes 0.5 s: it waits for the task, (1 - r) 6 = 0.5 + r / 2
    view = see([6.0], [12], 0.5, backlog_s=0.3, overlaps=True)
    np.testing.assert_allclose(decide(MyopicOracle(), view).share, 5.5 / 6.5, atol=1e-8)
    # busy for 0.8 s: the task waits, (1 - r) 6 = 0.8 + r / 2
    view = see([6.0], [12], 0.5, backlog_s=0.8, overlaps=True)
    np.testing.assert_allclose(decide(MyopicOracle(), view).share, 5.2 / 6.5, atol=1e-8)


def test_devices_that_disturb_each_other_do_not_all_send():
    # 1 Mb in 0.1 s over 5 MHz are 2 bits/s/Hz, a signal of 3 times the noise; beside an equal one it is 3 / 4, and
    # log2(1.75) = 0.8074 bits/s/Hz take 0.24772 s. Service takes 0.003 s: both send in 0.25072 + 0.25372 s,
    # one stays at home for 0.3 s and the other needs 0.103 s.
    radio = {"size_bits": [1e6, 1e6], "bandwidth_hz": 5e6, "interference": 1.0}
    view = see([0.3, 0.3], [100], 0.1, is_transfer_of_share=True, **radio)
    solution = solve(slot_of(view), splits=False)
    assert sorted(solution.target.tolist()[0]) == [0, 1]
    np.testing.assert_allclose(solution.cost, 0.403, rtol=1e-12)
    assert not solution.is_optimal.any()
    longer = see([9.0, 9.0], [3000], 0.1, is_transfer_of_share=True, **radio)
    solution = solve(slot_of(longer), splits=False)
    assert solution.target.tolist() == [[1, 1]]
    np.testing.assert_allclose(solution.cost, 2.0 * 0.2 / np.log2(1.75) + 3.0 * 0.003, rtol=1e-12)
    assert targets(BestAssignment(), view._replace(interference=0.0)) == [1, 1]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("mec_2es_3md_v1", {}),
        ("mec_3es_7md_v1", {"local_carry_over": True}),
        ("mec_2es_3md_v1", {"overlap": True, "cost": {"time_weight": 0.5}}),
        ("mec_paper_2es_3md_v1", {}),
        ("mec_paper_2es_5md_v1", {"overlap": False}),
    ],
)
def test_what_a_solution_is_said_to_cost_is_what_the_world_charges(name, params):
    world = make(load_scenario(name, {"params": {**params, "on_miss": "go_on"}}), 3, 1)
    out = world.outcome()
    world.reset(None, out)
    for splits in (True, False, True, False):
        solution = solve(slot_of(world.view()), splits)
        decision, amounts = world.encode(Choice(solution.target, solution.share))
        world.step(decision, out, amounts)
        np.testing.assert_allclose(solution.cost, world.figures.cost.sum(axis=1), rtol=1e-10)


def test_what_moves_find_for_many_devices_is_close_to_the_best_assignment():
    # eight devices can be solved both ways: with three more that have nothing to do, moves take over
    rng = np.random.default_rng(5)
    excess = []
    for _ in range(20):
        work, server_hz = rng.uniform(3.0, 8.0, 8), rng.uniform(8.0, 26.0, 3)
        transfer_s = rng.uniform(0.2, 0.4, (8, 3))
        padded = np.vstack([transfer_s, np.full((3, 3), 1.0)])
        for splits in (False, True):
            exact = solve(slot_of(see(work, server_hz, transfer_s, 0.1)), splits)
            moved = solve(slot_of(see([*work, 1e-9, 1e-9, 1e-9], server_hz, padded, 0.1)), splits)
            assert exact.is_optimal.all()
            assert not moved.is_optimal.any()
            excess.append(float((moved.cost / exact.cost)[0]) - 1.0)
    assert len(excess) == 40
    assert min(excess) > -1e-8
    assert np.mean(excess) < 0.01


def least_delay(order, local_s, service_s, transfer_s, startup_s, backlog_s, deadline_s):
    """Return the least sum of delays of devices that send to a server in this order, as a linear programme."""
    n = len(order)
    rows, limits = [], []
    for place, device in enumerate(order):
        at_home, sent = np.zeros(2 * n), np.zeros(2 * n)  # shares, then delays
        at_home[place], at_home[n + place] = -local_s[device], -1.0
        sent[: place + 1], sent[n + place] = service_s[order[: place + 1]], -1.0
        rows += [at_home, sent]
        limits += [-local_s[device], -(transfer_s[device] + backlog_s + startup_s[order[: place + 1]].sum())]
    bounds = [(0.0, 1.0)] * n + [(None, limit) for limit in deadline_s[order]]
    solved = linprog(np.repeat([0.0, 1.0], n), rows, limits, bounds=bounds)
    return solved.fun if solved.status == 0 else np.inf


def least_of_all(work, server_hz, transfer_s, startup_s, backlog_s, deadline_s):
    """Return the least sum of delays in time over all assignments; infinite where there is none."""
    n_agents, n_servers = transfer_s.shape
    best = np.inf
    for chosen in itertools.product(range(1 + n_servers), repeat=n_agents):
        at_home = np.array(chosen) == 0
        cost = work[at_home].sum() if (work <= deadline_s)[at_home].all() else np.inf
        for e in range(n_servers):
            order = [n for n in np.argsort(transfer_s[:, e], kind="stable") if chosen[n] == 1 + e]
            if order and cost < best:
                columns = (work / server_hz[e], transfer_s[:, e], startup_s[:, e], backlog_s[e])
                cost += least_delay(np.array(order), work, *columns, deadline_s)
        best = min(best, cost)
    return best


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("has_deadlines", [False, True])
def test_oracle_finds_what_linear_programmes_over_all_assignments_find(is_slow, has_deadlines):
    rng = np.random.default_rng(1 + 2 * is_slow + has_deadlines)
    n_optimal = n_checked = 0
    for _ in range(5):
        work = rng.uniform(1.0, 8.0, 3)
        server_hz = rng.uniform(0.5, 3.0, 2) if is_slow else rng.uniform(3.0, 15.0, 2)
        transfer_s, startup_s = rng.uniform(0.1, 0.5, (3, 2)), rng.uniform(0.0, 0.2, (3, 2))
        backlog_s = rng.uniform(0.0, 0.6, 2)
        deadline_s = rng.uniform(1.0, 2.5, 3) * (3.0 if is_slow else 1.0) if has_deadlines else np.full(3, np.inf)
        best = least_of_all(work, server_hz, transfer_s, startup_s, backlog_s, deadline_s)
        if np.isinf(best):
            continue
        view = see(work, server_hz, transfer_s, startup_s, backlog_s, deadline_s)
        solution = solve(slot_of(view), splits=True)
        np.testing.assert_allclose(solution.cost, best, rtol=1e-7)
        n_checked += 1
        n_optimal += int(solution.is_optimal[0])
    assert n_checked >= 2
    if not is_slow and not has_deadlines:
        assert n_optimal == n_checked  # twice as fast as the devices: the even shares are known to be best


def test_solving_is_the_same_for_a_world_alone_and_in_a_batch():
    rng = np.random.default_rng(2)
    views = [see(rng.uniform(1, 8, 3), [6, 12], rng.uniform(0.1, 0.5, (3, 2)), deadline_s=2.0) for _ in range(5)]
    batch = MecView(
        **{
            name: np.concatenate([getattr(view, name) for view in views]) if isinstance(value, np.ndarray) else value
            for name, value in views[0]._asdict().items()
        }
    )
    for rule in (BestAssignment(), MyopicOracle(), SizeRank(1.0)):
        together = rule.decide(batch, 0, RuleDraws(0, range(5), 3))
        for b, view in enumerate(views):
            alone = decide(rule, view)
            assert isinstance(alone, Choice)
            np.testing.assert_array_equal(alone.target[0], together.target[b])
            if alone.share is not None:
                np.testing.assert_array_equal(alone.share[0], together.share[b])
