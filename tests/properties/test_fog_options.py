"""The options of the fog world followed by hand: every instant has its derivation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.fog import state as s
from envs.scenario import make
from envs.topologies.assemble import Link

NEVER = math.inf
LOG = {name: column for column, name in enumerate(s.LOG_COLUMNS)}
FINISHED = -1.0


def log_of(world, *names):
    """Return columns of the task log in order of creation."""
    log = world.task_log(0)
    log = log[np.argsort(log[:, LOG["created_s"]], kind="stable")]
    return [[pytest.approx(value, abs=1e-9) for value in log[:, LOG[name]]] for name in names]


def triangle(fog, direct_delay_s=0.0):
    """Return a device a and two servers b and c: a - b and b - c at 1 Mbit/s, c - a at 4 Mbit/s."""
    nodes = (("a", 0, fog.node()), ("b", 1, fog.node()), ("c", 1, fog.node()))
    rates = {(0, 1): (1e6, 0.0), (1, 2): (1e6, 0.0), (0, 2): (4e6, direct_delay_s)}
    links = [Link(*ends, *rate, ends) for (a, b), rate in rates.items() for ends in ((a, b), (b, a))]
    return fog.wired(nodes, tuple(links))


# Order of service.


@pytest.mark.parametrize(
    ("discipline", "started_s"),
    [
        ("fifo", [0.0, 1.0, 2.0, 3.0]),
        ("lifo", [0.0, 3.0, 2.0, 1.0]),
        ("priority", [0.0, 3.0, 1.0, 2.0]),  # priorities 2, 0, 1
        ("edf", [0.0, 2.0, 3.0, 1.0]),  # deadlines 8, 9, 7
    ],
)
def test_task_in_service_goes_on_and_the_next_is_chosen_by_the_discipline(fog, discipline, started_s):
    rows = ((0.0, 0, 0, 0, 1e9, NEVER, 2), (0.1, 0, 0, 0, 1e9, 8.0, 2), (0.2, 0, 0, 0, 1e9, 9.0, 0))
    work = fog.listed((*rows, (0.3, 0, 0, 0, 1e9, 7.0, 1)))
    scenario = fog.scenario(fog.single(), work, discipline=discipline, task_log_places=8, horizon_slots=6)
    world, _ = fog.play(scenario)
    assert log_of(world, "started_s") == [started_s]


@pytest.mark.parametrize("discipline", ["priority", "edf"])
def test_equals_are_served_in_order_of_arrival(fog, discipline):
    work = fog.listed(tuple((0.1 * i, 0, 0, 0, 1e9, 50.0, 3) for i in range(5)))
    scenario = fog.scenario(fog.single(), work, discipline=discipline, task_log_places=8, horizon_slots=7)
    world, _ = fog.play(scenario)
    assert log_of(world, "started_s") == [[0.0, 1.0, 2.0, 3.0, 4.0]]


def test_three_tasks_share_two_cores(fog):
    # to 1 s tasks 0 and 1 have a core each, 1 s and 3 s are left. Then three share two, each at 2/3: task 0 is done
    # after 1.5 s, at 2.5 s; of tasks 1 and 2 2 s are left, and they have a core each again: 4.5 s.
    rows = ((0.0, 0, 0, 0, 2e9, NEVER), (0.0, 0, 0, 0, 4e9, NEVER), (1.0, 0, 0, 0, 3e9, NEVER))
    topology = fog.wired((("a", 0, fog.node(n_cores=2)), ("b", 1, fog.node())), LINKS)
    sharing = {"discipline": "sharing", "undecided": "hold", "agent_nodes": ("b",)}
    world, sums = fog.play(fog.scenario(topology, fog.listed(rows), task_log_places=8, horizon_slots=6, **sharing))
    parts = ("left_s", "service_s", "wait_s", "started_s")
    assert log_of(world, *parts) == [[2.5, 4.5, 4.5], [2, 4, 3], [0.5, 0.5, 0.5], [0, 0, 1]]
    assert sums[0, s.BUSY_S_TIER] == pytest.approx(9.0)
    assert sums[0, s.COMPUTE_J] == pytest.approx(13.5)  # 3 W of two cores: 1.5 W each


LINKS = (Link(0, 1, 1e6, 0.25, "up"), Link(1, 0, 1e6, 0.25, "down"))


# Deadlines.


def test_hard_deadline_ends_a_task_in_the_queue_and_in_service(fog):
    # task 0 is stopped at 2.5 s, task 1 leaves the queue at 1.5 s, task 2 gets the core at 2.5 s and just makes it
    rows = ((0.0, 0, 0, 0, 4e9, 2.5), (0.5, 0, 0, 0, 1e9, 1.5), (0.6, 0, 0, 0, 1e9, 3.5))
    scenario = fog.scenario(fog.single(), fog.listed(rows), deadlines="hard", task_log_places=8, horizon_slots=6)
    world, sums = fog.play(scenario)
    expected = [[2.5, 1.5, 3.5], [s.EXPIRED, s.EXPIRED, FINISHED], [2.5, 0.0, 1.0]]
    assert log_of(world, "left_s", "drop_reason", "service_s") == expected
    assert sums[0, s.COMPUTE_J] == pytest.approx(3.0 * 3.5)  # what was served in vain is paid for
    assert sums[0, s.IN_TIME] == sums[0, s.COMPLETED] == 1.0


def test_hard_deadline_ends_a_task_among_those_that_share(fog):
    # two share a core to 2 s, when task 1 is stopped; task 0 has had 1 s of 3 s and is done at 4 s
    rows = ((0.0, 0, 0, 0, 3e9, NEVER), (0.0, 0, 0, 0, 2e9, 2.0))
    sharing = {"discipline": "sharing", "undecided": "hold", "agent_nodes": ("server",), "deadlines": "hard"}
    scenario = fog.scenario(fog.pair(), fog.listed(rows), task_log_places=8, horizon_slots=6, **sharing)
    world, _ = fog.play(scenario)
    assert log_of(world, "left_s", "drop_reason", "service_s") == [[2, 4], [s.EXPIRED, FINISHED], [1, 3]]


@pytest.mark.parametrize(
    ("due_s", "deadlines", "left_s", "reason"),
    [
        (3.0, "hard", 3.25, s.EXPIRED),  # passed on the link: dropped where it arrives
        (3.0, "waiting", 3.25, s.EXPIRED),
        (4.0, "hard", 4.0, s.EXPIRED),  # on the server's core
        (4.0, "waiting", 5.0, FINISHED),
        (4.5, "hard", 5.0, s.EXPIRED),  # while the result returns: it is worth nothing at home
        (5.0, "hard", 5.0, FINISHED),
        (3.0, "soft", 5.0, FINISHED),
    ],
)
def test_deadline_of_an_offloaded_task(fog, due_s, deadlines, left_s, reason):
    # task 1 is sent at 1 s, is there at 3.25 s, served until 4.25 s and home at 5 s; see test_fog_physics.py
    rows = ((0.0, 0, 0, 0, 4e9, NEVER), (0.5, 0, 2e6, 5e5, 4e9, due_s))
    scenario = fog.scenario(fog.pair(), fog.listed(rows), deadlines=deadlines, task_log_places=8, horizon_slots=8)
    world, sums = fog.play(scenario, decide=lambda step, out: [[1 if step == 1 else 0]])
    assert log_of(world, "left_s", "drop_reason") == [[4.0, left_s], [FINISHED, reason]]
    assert sums[0, s.IN_TIME] == 1.0 + (left_s <= due_s and reason == FINISHED)


# Ways of results, memory, channels.


@pytest.mark.parametrize(("results", "return_s"), [("reverse", 2.0), ("shortest", 0.3)])
def test_result_returns_as_its_task_came_or_by_the_quickest_way(fog, results, return_s):
    # out a - b - c, 1.5 Mbit: sent at 1 s, at b at 2.5 s, sent at 3 s, at c at 4.5 s. Home over b: 1 Mbit twice at
    # 1 Mbit/s; directly: 0.25 s and 0.05 s.
    rows = ((0.5, 0, 1.5e6, 1e6, 1e9, NEVER),)
    params = {"agents": "all", "max_hops": 2, "undecided": "hold", "task_log_places": 8, "horizon_slots": 12}
    scenario = fog.scenario(triangle(fog, 0.05), fog.listed(rows), results=results, **params)

    def decide(step, out):
        assert out.target_mask[0, :, 1:].any() == (step in (1, 3))
        return [[1 if step == 1 else 0, 2 if step == 3 else 0, 0]]  # targets of b: itself, a, c

    world, _ = fog.play(scenario, decide=decide)
    assert log_of(world, "upload_s", "return_s", "hops", "left_s") == [[3.0], [return_s], [2.0], [5.5 + return_s]]


def test_task_that_does_not_fit_into_memory_is_dropped(fog):
    # 2 Mbit of 3 Mbit are taken until 1 s; 1 Mbit fits beside them, 2 Mbit do not before 1 s; 4 Mbit never
    rows = ((0.0, 0, 2e6, 0, 1e9, NEVER), (0.1, 0, 2e6, 0, 0, NEVER), (0.2, 0, 1e6, 0, 1e9, NEVER))
    rows = (*rows, (0.3, 0, 1.0, 0, 0, NEVER), (1.5, 0, 2e6, 0, 0, NEVER), (9.0, 0, 4e6, 0, 0, NEVER))
    scenario = fog.scenario(fog.single(queue_bits=3e6), fog.listed(rows), task_log_places=8, horizon_slots=12)
    world, sums = fog.play(scenario)
    full = s.MEMORY_FULL
    assert log_of(world, "drop_reason") == [[FINISHED, full, FINISHED, full, FINISHED, full]]
    assert sums[0, s.DROPPED : s.DROPPED + 4].tolist() == [0.0, 0.0, 0.0, 3.0]
    assert world.summarise(sums[0])["drop_memory_full_frac"] == pytest.approx(0.5)


def test_place_is_asked_for_before_memory(fog):
    rows = ((0.0, 0, 2e6, 0, 9e9, NEVER), (0.1, 0, 2e6, 0, 0, NEVER))
    work = fog.listed(rows)
    _, sums = fog.play(fog.scenario(fog.single(queue_bits=3e6, queue_places=1), work, horizon_slots=3))
    assert sums[0, s.DROPPED : s.DROPPED + 4].tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("contention", "upload_s"),
    [
        # three devices send 2 Mbit each at 0 s over links of 1, 4 and 8 Mbit/s on one channel
        ("none", [2.0, 0.5, 0.25]),
        ("fifo", [2.0, 2.5, 2.75]),
        # max-min of 8 Mbit/s: equal parts are 8/3, so the slow link takes 1 and the others 3.5 each until they are done
        # together at 4/7 s; the slow one always has its 1 Mbit/s
        ("fair", [2.0, 4.0 / 7.0, 4.0 / 7.0]),
    ],
)
def test_three_links_of_unequal_rates_share_a_channel(fog, contention, upload_s):
    nodes = (*((name, 0, fog.node()) for name in "abc"), ("server", 1, fog.node(core_hz=1e12)))
    links = [Link(n, 3, rate_bps, 0.0, "air") for n, rate_bps in enumerate((1e6, 4e6, 8e6))]
    links += [Link(3, n, 1e6, 0.0, ("back", n)) for n in range(3)]
    work = fog.listed(tuple((0.5, n, 2e6, 0, 0, NEVER) for n in range(3)))
    params = {"contention": contention, "undecided": "hold", "task_log_places": 8, "horizon_slots": 6}
    # at step 1 the agents take turns that begin with the second; fifo is meant to begin with the first
    scenario = fog.scenario(fog.wired(nodes, tuple(links)), work, **params)
    world, sums = fog.play(scenario, decide=lambda step, out: out.target_mask[:, :, 1].astype(int))
    log = world.task_log(0)
    by_origin = log[np.argsort(log[:, LOG["origin_node"]]), LOG["upload_s"]]
    if contention == "fifo":
        upload_s = [2.75, 0.5, 0.75]  # b, c, a
    assert by_origin == pytest.approx(upload_s, abs=1e-9)
    assert sums[0, s.TRANSMIT_J] == pytest.approx(0.5 * (2.0 + 0.5 + 0.25))  # airtime at each link's own rate


def test_fair_channel_gives_what_a_slow_link_leaves_to_the_others(fog):
    # links of 2 and 8 Mbit/s: at 1 s a sends 6 Mbit at 2 (its limit), at 2 s b 12 Mbit at 6; a is done at 4 s, when b
    # has sent all: 12 Mbit in 2 s
    nodes = (("a", 0, fog.node()), ("b", 0, fog.node()), ("server", 1, fog.node()))
    links = [Link(n, 2, rate_bps, 0.0, "air") for n, rate_bps in enumerate((2e6, 8e6))]
    links += [Link(2, n, 1e6, 0.0, ("back", n)) for n in range(2)]
    work = fog.listed(((0.5, 0, 6e6, 0, 0, NEVER), (1.5, 1, 12e6, 0, 0, NEVER)))
    params = {"contention": "fair", "undecided": "hold", "task_log_places": 8, "horizon_slots": 6}
    scenario = fog.scenario(fog.wired(nodes, tuple(links)), work, **params)
    world, _ = fog.play(scenario, decide=lambda step, out: out.target_mask[:, :, 1].astype(int))
    assert log_of(world, "upload_s", "left_s") == [[3.0, 2.0], [4.0, 4.0]]


# Decisions at events, and what agents know.

EVENTS = {"decide_on": "events", "undecided": "hold", "task_log_places": 8}


def test_step_ends_at_the_instant_at_which_a_task_waits_for_a_decision(fog):
    work = fog.listed(((0.3, 0, 0, 0, 1e9, NEVER), (4.7, 0, 0, 0, 1e9, NEVER), (4.7, 0, 0, 0, 1e9, NEVER)))
    world = make(fog.scenario(fog.pair(), work, horizon_slots=7, **EVENTS), 1)
    out = world.outcome()
    world.reset(None, out)
    seen = []
    while not out.truncated[0]:
        asked = bool(out.target_mask[0, 0, 1])
        seen.append((float(world.state.world[0].now_s), int(world.state.world[0].slot), asked))
        log = log_of(world, "started_s")
        world.step(np.zeros((1, 1), np.int64), out)
    # nothing to decide at 0 s; two tasks of one instant are two steps, the second without time
    assert seen == [(0.0, 0, False), (0.3, 0, True), (4.7, 4, True), (4.7, 4, True)]
    assert log == [[0.3]]
    assert out.final_sums[0, s.ELAPSED_S] == 7.0
    assert out.final_sums[0, s.COMPLETED] == 3.0  # 0.3 to 1.3 s, 4.7 to 5.7 s, and 5.7 to 6.7 s
    assert out.final_sums[0, s.DECISIONS] == 3.0


def test_each_agent_with_a_task_is_asked_at_the_same_instant(fog):
    work = fog.listed(((0.3, 0, 0, 0, 1e9, NEVER), (0.3, 1, 0, 0, 1e9, NEVER), (0.6, 1, 0, 0, 1e9, NEVER)))
    nodes = (("a", 0, fog.node()), ("b", 0, fog.node()))
    world = make(fog.scenario(fog.wired(nodes, LINKS), work, horizon_slots=7, **EVENTS), 1)
    out = world.outcome()
    world.reset(None, out)
    masks = []
    for _ in range(4):
        world.step(np.zeros((1, 2), np.int64), out)
        masks.append(out.target_mask[0, :, 1].tolist())
    # the second task of an instant is created after the first was decided on
    assert masks == [[True, False], [False, True], [False, True], [False, False]]
    assert out.truncated[0]


def test_task_that_no_agent_may_decide_on_ends_no_step(fog):
    # an idle device starts its task at once where undecided tasks run; the second task waits for the first to 2.3 s
    work = fog.listed(((0.3, 0, 0, 0, 2e9, NEVER), (1.4, 0, 0, 0, 1e9, NEVER)))
    scenario = fog.scenario(fog.pair(), work, decide_on="events", horizon_slots=7)
    world = make(scenario, 1)
    out = world.outcome()
    world.reset(None, out)
    instants = []
    while not out.truncated[0]:
        world.step(np.zeros((1, 1), np.int64), out)
        instants.append(float(world.state.world[0].now_s))
    assert instants == [1.4, 0.0]  # and then the next episode's first instant
    assert out.final_sums[0, s.DECISIONS] == 1.0


def test_observation_is_taken_at_the_exact_instant(fog):
    # the core has 1.4 s of task 0 left at 0.9 s, when task 1 of 2 s is created, due 3 s later; times as t / (t + 1 s)
    work = fog.listed(((0.3, 0, 0, 0, 2e9, NEVER), (0.9, 0, 0, 0, 2e9, 3.9)))
    world = make(fog.scenario(fog.pair(), work, horizon_slots=7, **EVENTS), 1)
    out = world.outcome()
    world.reset(None, out)
    world.step(np.zeros((1, 1), np.int64), out)
    world.step(np.zeros((1, 1), np.int64), out)
    seen = dict(zip(world.spec.feature_names, out.observation[0, 0].tolist(), strict=True))
    expected = {"own/backlog": 3.4 / 4.4, "own/task_work": 2.0 / 3.0, "own/task_age": 0.0, "own/task_slack": 3.0 / 4.0}
    expected |= {"target_0/wait": 1.4 / 2.4, "target_0/response": 3.4 / 4.4, "target_1/response": 1.0 / 2.0}
    assert {name: seen[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("information", "first_step"), [("reports", 5), ("exact", 3)])
def test_neighbour_is_seen_as_reported_or_as_it_is(fog, information, first_step):
    # delay 1.5 s: sent at 1 s, there at 2.5 s, in the report of 3 s, which is there at 4.5 s and seen at 5 s
    work = fog.listed(((0.0, 0, 0, 0, 9e9, NEVER), (0.1, 0, 0, 0, 4e10, NEVER)))
    scenario = fog.scenario(fog.pair(delay_s=1.5), work, information=information, horizon_slots=8)
    seen = []

    def decide(step, out):
        seen.append(float(out.observation[0, 0, out.observation.shape[2] - 11 + 1]) > 0.0)  # target 1, fill_frac
        return [[int(out.target_mask[0, 0, 1])]]

    fog.play(scenario, decide=decide)
    assert seen == [step >= first_step for step in range(8)]


# Who decides.


def test_device_without_an_agent_runs_its_tasks_itself(fog):
    work = fog.listed(((0.5, 0, 0, 0, 1e9, NEVER), (0.5, 1, 0, 0, 1e9, NEVER)))
    nodes = (("a", 0, fog.node()), ("b", 0, fog.node()), ("server", 1, fog.node()))
    links = [Link(*ends, 1e6, 0.0, ends) for n in range(2) for ends in ((n, 2), (2, n))]
    params = {"agent_nodes": ("b",), "undecided": "hold", "task_log_places": 8, "horizon_slots": 4}
    world, sums = fog.play(fog.scenario(fog.wired(nodes, tuple(links)), work, **params))
    assert world.spec.agents == ("b",)
    assert log_of(world, "origin_node", "started_s") == [[0, 1], [0.5, 1.0]]  # b's task is held to the slot's end
    assert sums[0, s.DECISIONS] == 1.0


def test_only_named_nodes_decide_on_tasks_that_come_to_them(fog):
    work = fog.listed(((0.5, 0, 0, 0, 1e9, NEVER),))
    params = {"undecided": "hold", "max_hops": 2, "task_log_places": 8, "horizon_slots": 4}
    started_s = {}
    for names in (("a",), ("a", "b")):
        scenario = fog.scenario(triangle(fog), work, agent_nodes=names, **params)
        world, _ = fog.play(scenario, decide=lambda step, out: out.target_mask[:, :, 1] * [1, 0][: len(out.reward[0])])
        started_s[names] = log_of(world, "last_node", "started_s")
    assert started_s == {("a",): [[1], [1.0]], ("a", "b"): [[1], [2.0]]}


def test_unknown_agent_node_is_refused_with_what_is_near(fog):
    work = fog.listed(((0.5, 0, 0, 0, 1e9, NEVER),))
    with pytest.raises(ConfigError, match=r"agent_nodes: pair has no node named 'devise'; did you mean 'device'\?"):
        make(fog.scenario(fog.pair(), work, agent_nodes=("devise",)), 1)


def test_three_decisions_of_one_step_take_three_tasks_in_order_of_service(fog):
    # priority: tasks 3 (0), 1 (1), 4 (1), 2 (2) wait; the first three go to the server, at once, the last one stays
    priorities = (0, 1, 2, 0, 1)
    work = fog.listed(tuple((0.1 * i, 0, 1e6, 0, 9e9, NEVER, rank) for i, rank in enumerate(priorities)))
    params = {"decisions_per_step": 3, "discipline": "priority", "task_log_places": 8, "horizon_slots": 40}
    scenario = fog.scenario(fog.pair(delay_s=0.0), work, **params)
    world, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1]]] if step == 1 else [[[0, 0, 0]]])
    assert sums[0, s.OFFLOADS] == 3.0
    assert sums[0, s.DECISIONS] == 4.0  # task 2 at the next step; task 0 runs undecided
    assert sums[0, s.REFUSED] == 0.0
    assert log_of(world, "last_node", "upload_s") == [[0, 1, 0, 1, 1], [0.0, 2.0, 0.0, 1.0, 3.0]]


def test_more_decisions_than_tasks_are_not_refused_but_a_decision_without_any_task_is(fog):
    work = fog.listed(((0.1, 0, 0, 0, 9e9, NEVER), (0.2, 0, 0, 0, 9e9, NEVER)))
    scenario = fog.scenario(fog.pair(), work, decisions_per_step=3, horizon_slots=3)
    _, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1]]])
    assert sums[0, s.OFFLOADS] == 1.0
    assert sums[0, s.REFUSED] == 6.0  # steps 0 and 2


@pytest.mark.parametrize("decide_on", ["slots", "events"])
@pytest.mark.parametrize("discipline", ["fifo", "lifo", "priority", "edf", "sharing"])
def test_service_that_the_horizon_cuts_is_paid_for(fog, discipline, decide_on):
    # two tasks of 10 s on one core from 0.5 s to the horizon at 4 s: it is busy for 3.5 s at 3 W
    work = fog.listed(tuple((0.5, 0, 0, 0, 1e10, NEVER) for _ in range(2)))
    params = {"undecided": "hold", "agent_nodes": ("server",), "horizon_slots": 4, "decide_on": decide_on}
    world = make(fog.scenario(fog.pair(), work, discipline=discipline, **params), 1)
    out = world.outcome()
    world.reset(None, out)
    n_steps = 0
    while not out.truncated[0]:
        world.step(np.zeros((1, 1), np.int64), out)
        n_steps += 1
    assert n_steps == (4 if decide_on == "slots" else 1)
    sums = out.final_sums[0]
    assert sums[[s.BUSY_S_TIER, s.COMPUTE_J]] == pytest.approx([3.5, 10.5])
    assert sums[[s.IN_FLIGHT, s.ALIVE_TASK_S, s.ELAPSED_S]] == pytest.approx([2.0, 7.0, 4.0])
    assert sums[s.IDLE_J] == pytest.approx(2 * 2.0 * 4.0)
