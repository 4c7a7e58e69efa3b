"""The same tasks and decisions through a model written by hand in SimPy: every task leaves both at the same instant."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import simpy

from edge_rllib.config.load import load_scenario
from envs.fog import state as s
from envs.fog.params import FogParams
from envs.scenario import Scenario, make
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import TopologyBuilder
from envs.workloads.workload import TaskTable, Workload

N_TASKS = 400
DISCIPLINES = ("fifo", "lifo", "priority", "edf", "sharing")
CONTENTIONS = ("fifo", "fair", "none")
LAST_S = 390.0  # creation of one task more, when all others have left; steps go from one task to the next


# The model. It shares nothing with the world but the task table, the network's numbers and the decisions.


class Cores:
    """A node whose tasks have a core each, in an order of service."""

    def __init__(self, model, node):
        self.env, self.rank = model.env, model.rank
        self.hz, self.busy_s = model.network.core_hz[node], 0.0
        self.cores = simpy.PriorityResource(model.env, int(model.network.n_cores[node]))

    def serve(self, task, patience):
        """Yield until the task is served; return the reason if its deadline, an event, comes first."""
        with self.cores.request(priority=self.rank(task)) as request:
            yield request | patience("waiting")
            if not request.triggered:
                return "expired"
            started_s, done = self.env.now, self.env.timeout(task.work_cycles / self.hz)
            yield done | patience("hard")
            self.busy_s += self.env.now - started_s
            return None if done.processed else "expired"


class SharedOut:
    """Demands that are served at once, at rates that depend on who is there: the cores of a node, or a channel."""

    def __init__(self, env, rates):
        self.env, self.rates = env, rates
        self.left, self.wake, self.speed, self.since = {}, {}, {}, 0.0

    def serve(self, item, amount):
        """Return the event of the item's completion."""
        self._change()
        self.left[item], self.wake[item] = amount, self.env.event()
        self._plan()
        return self.wake[item]

    def leave(self, item):
        """Return what an item was still to get, after which the others go on without it."""
        self._change()
        del self.wake[item]
        left = self.left.pop(item)
        self._plan()
        return left

    def _change(self):
        for item in self.left:
            self.left[item] -= self.speed[item] * (self.env.now - self.since)
        self.since = self.env.now

    def _plan(self):
        self.speed = self.rates(list(self.left))
        if self.left:
            first = min(self.left, key=lambda item: self.left[item] / self.speed[item])
            self.env.process(self._end(first, self.speed, max(self.left[first], 0.0) / self.speed[first]))

    def _end(self, item, plan, after_s):
        yield self.env.timeout(after_s)
        if self.speed is plan:  # nobody came or left meanwhile
            done = self.wake[item]
            self.leave(item)
            done.succeed()


class SharedCores:
    """A node that shares its cores among all tasks."""

    def __init__(self, model, node):
        self.hz, self.n_cores = float(model.network.core_hz[node]), int(model.network.n_cores[node])
        self.served, self.busy_s = SharedOut(model.env, self.rates), 0.0

    def rates(self, tasks):
        return dict.fromkeys(tasks, self.hz * min(1.0, self.n_cores / max(len(tasks), 1)))

    def serve(self, task, patience):
        done = self.served.serve(task, task.work_cycles)
        yield done | patience("hard")
        left = 0.0 if done.triggered else self.served.leave(task)
        self.busy_s += (task.work_cycles - left) / self.hz
        return None if done.triggered else "expired"


def max_min(rate_of, most):
    """Return rates that share ``most`` max-min fairly: in ascending order of their own limits (textbook filling)."""

    def rates(items):
        left, given = most, {}
        for place, item in enumerate(sorted(items, key=rate_of)):
            given[item] = min(rate_of(item), left / (len(items) - place))
            left -= given[item]
        return given

    return rates


class Fifo:
    """A channel that sends one message after the other."""

    def __init__(self, env):
        self.env, self.sender = env, simpy.Resource(env, 1)

    def send(self, message, bits, rate_bps):
        with self.sender.request() as turn:
            yield turn
            yield self.env.timeout(bits / rate_bps)


class Fair:
    def __init__(self, env, most_bps):
        self.served = SharedOut(env, max_min(lambda message: message[1], most_bps))

    def send(self, message, bits, rate_bps):
        yield self.served.serve((message, rate_bps), bits)


class Free:
    def __init__(self, env):
        self.env = env

    def send(self, message, bits, rate_bps):
        yield self.env.timeout(bits / rate_bps)


@dataclass(frozen=True)
class Task:
    number: int
    created_s: float
    node: int
    size_bits: float
    result_bits: float
    work_cycles: float
    due_s: float
    priority: int
    way: tuple[int, ...]  # nodes to which it goes, the last one serves it


class Model:
    """A network of nodes and channels, and what became of each task."""

    def __init__(self, network, params, tasks):
        self.env, self.network, self.params = simpy.Environment(), network, params
        self.outcome: dict[int, tuple[float, str]] = {}
        self.n_here = np.zeros(network.n_nodes, int)
        self.bits_here = np.zeros(network.n_nodes)
        self.counter, self.transmit_j = 0, 0.0
        kind = SharedCores if params.discipline == "sharing" else Cores
        self.nodes = [kind(self, node) for node in range(network.n_nodes)]
        self.link = {(a, b): i for i, (a, b) in enumerate(ends(network))}
        self.channels: list[Any] = []
        for channel in range(network.n_channels):
            most_bps = float(network.link_rate_bps[network.link_channel == channel].max())
            kinds = {"fifo": lambda: Fifo(self.env), "none": lambda: Free(self.env)}
            self.channels.append(kinds.get(params.contention, lambda bps=most_bps: Fair(self.env, bps))())
        for task in tasks:
            self.env.process(self.live(task))
        self.env.run()

    def rank(self, task):
        """Return the order of service, ascending; SimPy serves equal ranks in order of arrival."""
        self.counter += 1
        return {"lifo": -self.counter, "priority": task.priority, "edf": task.due_s}.get(self.params.discipline, 0)

    def send(self, task, source, target, bits):
        link = self.link[source, target]
        channel = self.channels[self.network.link_channel[link]]
        self.transmit_j += self.network.transmit_w[source] * bits / self.network.link_rate_bps[link]
        yield from channel.send((task.number, self.env.now), bits, float(self.network.link_rate_bps[link]))
        yield self.env.timeout(float(self.network.link_delay_s[link]))

    def live(self, task):
        yield self.env.timeout(task.created_s)
        reason = yield from self.path(task)
        self.outcome[task.number] = (self.env.now, reason or "finished")

    def path(self, task):
        """Yield the life of a task and return why it ended, None for finished."""
        here, is_mortal = task.node, self.params.deadlines != "soft"

        def patience(kind):
            applies = self.params.deadlines == "hard" or (kind == "waiting" and is_mortal)
            if not applies or task.due_s == math.inf:
                return self.env.event()
            return self.env.timeout(task.due_s - self.env.now)

        for there in task.way:
            if refused := self.refuse(task, here):
                return refused
            yield from self.send(task, here, there, task.size_bits)
            here = there
            if is_mortal and self.env.now >= task.due_s:
                return "expired"
        if refused := self.refuse(task, here):
            return refused
        self.n_here[here] += 1
        self.bits_here[here] += task.size_bits
        reason = yield from self.nodes[here].serve(task, patience)
        self.n_here[here] -= 1
        self.bits_here[here] -= task.size_bits
        if reason:
            return reason
        for there in self.way_home(task, here):
            yield from self.send(task, here, there, task.result_bits)
            here = there
        return "expired" if self.params.deadlines == "hard" and self.env.now > task.due_s else None

    def way_home(self, task, here):
        if self.params.results == "reverse":
            return [task.node, *task.way][-2::-1]
        return shortest(self.network, self.params.route_bits, here, task.node)

    def refuse(self, task, node):
        if self.n_here[node] >= self.network.queue_places[node]:
            return "queue_full"
        return "memory_full" if self.bits_here[node] + task.size_bits > self.network.queue_bits[node] else None


def ends(network):
    return zip(network.link_source.tolist(), network.link_target.tolist(), strict=True)


def shortest(network, bits, source, target):
    """Return the nodes of the quickest way, by relaxing all links as often as there are nodes (Bellman, Ford)."""
    best_s, following = np.full(network.n_nodes, np.inf), np.full(network.n_nodes, -1)
    best_s[target] = 0.0
    for _ in range(network.n_nodes):
        for link, (a, b) in enumerate(ends(network)):
            through_s = best_s[b] + bits / network.link_rate_bps[link] + network.link_delay_s[link]
            if through_s < best_s[a]:
                best_s[a], following[a] = through_s, b
    way = []
    while source != target:
        source = int(following[source])
        way.append(source)
    return way


# The world under the same decisions.


@dataclass(frozen=True)
class Network(TopologyBuilder):
    """Two devices and two servers in a ring with a chord; all links of a device share a channel, of unequal rates."""

    queue_places: int
    queue_bits: float

    def build(self, rng):
        settings = [(1, 1e9), (2, 0.6e9), (2, 0.8e9), (1, 2e9)]
        nodes = [
            Node(
                name,
                "x",
                tier,
                tier == 0,
                NodeSettings(n, hz, self.queue_places, 1.0, 2.0, 3.0, self.queue_bits),
                (0, 0),
            )
            for name, tier, (n, hz) in zip("abcd", (0, 0, 1, 1), settings, strict=True)
        ]
        rates = {(0, 1): 3e6, (1, 2): 2e6, (2, 3): 8e6, (3, 0): 1e6, (0, 2): 5e6}
        links = []
        for (a, b), rate_bps in rates.items():
            links += [Link(a, b, rate_bps, 0.003 * a + 0.01, a), Link(b, a, 0.9 * rate_bps, 0.003 * b + 0.02, b)]
        return assemble("ring with a chord", nodes, links)


@dataclass(frozen=True)
class Table(Workload):
    rows: tuple[Task, ...]

    def tasks(self, draws, topology, horizon_s):
        columns = zip(*[[getattr(row, name) for name in TaskTable._fields] for row in self.rows], strict=True)
        return TaskTable(*[np.array(column) for column in columns])

    def mean_rate_hz(self, topology):
        return 4.0


def drawn_tasks(network, seed):
    rng = np.random.default_rng(seed)
    created_s = np.cumsum(rng.exponential(0.25, N_TASKS))
    tasks = []
    for number in range(N_TASKS):
        node, way = int(rng.integers(2)), []
        for _ in range(2):
            options = [(way or [node])[-1], *network.link_target[network.out_links((way or [node])[-1])].tolist()]
            choice = options[rng.integers(len(options))]
            if choice == options[0]:
                break
            way.append(choice)
        sizes = (rng.exponential(8e5), rng.exponential(4e5), rng.exponential(1e9))
        due_s = created_s[number] + rng.uniform(1.0, 8.0)
        tasks.append(Task(number, created_s[number], node, *sizes, due_s, int(rng.integers(3)), tuple(way)))
    return (*tasks, replace(tasks[-1], number=N_TASKS, created_s=LAST_S, size_bits=0.0, due_s=math.inf))


def play(scenario, tasks):
    """Return (left_s, reason) by number, the sums and the agents' terms; every agent decides as the ways say."""
    world: Any = make(scenario, 1)
    out, row_of = world.outcome(), {task.created_s: task for task in tasks}
    world.reset(None, out)
    decision = np.zeros((1, world.spec.n_agents), np.int64)
    n_steps, terms = 0, np.zeros(world.state.term.shape[1:])
    while world.state.world[0].now_s < LAST_S:
        decision[:] = 0
        for n, agent in enumerate(world.state.agent[0]):
            if agent.next_task >= 0:
                row = world.state.task[0, agent.next_task]
                way = row_of[row.created_s].way
                if row.n_hops < len(way):
                    decision[0, n] = world.spec.target_node[n].tolist().index(way[row.n_hops])
        world.step(decision, out)
        assert not out.truncated[0]
        n_steps += 1
        terms += world.state.term[0]
    assert n_steps > N_TASKS
    assert (world.state.task.stage[0] > 0).sum() == 1
    log = [dict(zip(s.LOG_COLUMNS, values, strict=True)) for values in world.task_log(0).tolist()]
    reasons = ("finished", *s.DROP_REASONS)
    left = {row_of[row["created_s"]].number: (row["left_s"], reasons[int(row["drop_reason"]) + 1]) for row in log}
    return left, world.state.sums[0], terms


def compare(seed=0, queue_places=400, queue_bits=math.inf, **params):
    """Play both and return the reasons by frequency, after asserting that every task leaves both alike."""
    base: FogParams = load_scenario("fog_ring_8").params
    common = {"decide_on": "events", "undecided": "hold", "agents": "all", "slot_s": 1.0, "slots_per_step": 1}
    rest = {"horizon_slots": 400, "max_hops": 2, "task_log_places": N_TASKS, "route_bits": 4e5}
    topology = Network(queue_places, queue_bits)
    tasks = drawn_tasks(topology.build(np.random.default_rng(0)), seed)
    scenario = Scenario("replay", "fog", topology, 0, Table(tasks), replace(base, **common, **rest, **params))
    ours, sums, terms = play(scenario, tasks)
    model = Model(scenario.network(), scenario.params, tasks[:-1])
    theirs = model.outcome
    assert sorted(ours) == sorted(theirs) == list(range(N_TASKS))
    assert [ours[number][1] for number in range(N_TASKS)] == [theirs[number][1] for number in range(N_TASKS)]
    left_s = [[each[number][0] for number in range(N_TASKS)] for each in (ours, theirs)]
    np.testing.assert_allclose(left_s[0], left_s[1], rtol=0.0, atol=1e-9)
    # Energy is a core's watts times its busy time and the radio's times its airtime; the integral of the tasks alive
    # is the sum of their times in the system (Little), and both are paid to the agents in full.
    compute_j = sum((node.busy_s / n for node, n in zip(model.nodes, model.network.n_cores, strict=True)), 0.0)
    alive_s = sum(left_s[1]) - sum(task.created_s for task in tasks[:-1])
    assert sums[s.COMPUTE_J] == pytest.approx(compute_j, rel=1e-9)
    assert sums[s.TRANSMIT_J] == pytest.approx(model.transmit_j, rel=1e-9)
    assert sums[s.ALIVE_TASK_S] == pytest.approx(alive_s, rel=1e-9)
    assert terms[:, s.ALIVE_S].sum() == pytest.approx(alive_s, rel=1e-9)
    assert terms[:, s.ENERGY_J].sum() == pytest.approx(compute_j + model.transmit_j, rel=1e-9)
    reasons = [reason for _, reason in ours.values()]
    return {reason: reasons.count(reason) for reason in reasons}


@pytest.mark.parametrize("contention", CONTENTIONS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_every_task_leaves_at_the_same_instant(discipline, contention):
    assert compare(discipline=discipline, contention=contention) == {"finished": N_TASKS}


@pytest.mark.parametrize("contention", CONTENTIONS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
@pytest.mark.parametrize("deadlines", ["waiting", "hard"])
def test_every_task_ends_at_the_same_deadline(deadlines, discipline, contention):
    reasons = compare(seed=1, deadlines=deadlines, discipline=discipline, contention=contention)
    assert reasons["finished"] > 100
    assert reasons["expired"] > (50 if deadlines == "hard" else 5)


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_every_drop_for_want_of_a_place_or_of_memory_is_the_same(discipline):
    reasons = compare(seed=2, discipline=discipline, queue_places=6, queue_bits=4e6)
    assert min(reasons[name] for name in ("finished", "queue_full", "memory_full")) > 10


@pytest.mark.parametrize("contention", CONTENTIONS)
def test_results_by_the_quickest_way_are_back_at_the_same_instant(contention):
    assert compare(seed=3, results="shortest", contention=contention) == {"finished": N_TASKS}
