"""No rule beats a bound, task by task and figure by figure, whatever the world's options; empty worlds reach it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from envs.baselines.base import Player, look
from envs.baselines.least_queue import LeastQueue
from envs.baselines.least_response_time import LeastResponseTime
from envs.baselines.local import Local
from envs.baselines.random import Random
from envs.bounds.limits import n_dropped_of
from envs.bounds.linear_program import LinearProgram
from envs.bounds.zero_queue import ZeroQueue
from envs.fog import state as s
from envs.scenario import Scenario, make
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.laws import Amount, Deadline, TaskLaw
from envs.workloads.poisson import Poisson

N_WORLDS = 2
RULES = {"random": Random(), "local": Local(), "least_queue": LeastQueue(), "least_time": LeastResponseTime()}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"undecided": "run"},
    {"undecided": "run", "agents": "devices", "slots_per_step": 3},
    {"discipline": "lifo", "deadlines": "hard"},
    {"discipline": "priority", "deadlines": "waiting"},
    {"discipline": "edf", "deadlines": "hard", "undecided": "run"},
    {"discipline": "sharing"},
    {"discipline": "sharing", "service": "aggregate", "contention": "fair"},
    {"service": "aggregate"},
    {"contention": "fair"},
    {"contention": "none", "results": "shortest"},
    {"results": "shortest", "max_hops": 3},
    {"decide_on": "events"},
    {"decide_on": "events", "undecided": "run", "information": "exact", "decisions_per_step": 2},
    {"agent_nodes": ("d0", "e0"), "max_hops": 3},
]


@dataclass(frozen=True)
class Kite(TopologyBuilder):
    """Two devices, two edge servers and a cloud; rates differ by direction, two links share a channel."""

    queue_bits: float

    def build(self, rng: np.random.Generator) -> Topology:
        queue_bits = self.queue_bits

        def node(name: str, tier: int, n_cores: int, core_hz: float, places: int) -> Node:
            return Node(
                name, name, tier, tier == 0, NodeSettings(n_cores, core_hz, places, 1.0, 2.0, 0.5, queue_bits), (0, 0)
            )

        nodes = [
            node("d0", 0, 1, 1e9, 6),
            node("d1", 0, 2, 0.8e9, 6),
            node("e0", 1, 2, 3e9, 12),
            node("e1", 1, 1, 4e9, 12),
            node("c", 2, 8, 5e9, 40),
        ]
        ways = [(0, 2, 4e6, 2e6, 0.01), (0, 1, 1e6, 1e6, 0.0), (1, 2, 3e6, 5e6, 0.02), (1, 3, 6e6, 6e6, 0.01),
                (2, 3, 1e7, 1e7, 0.001), (3, 4, 2e7, 4e6, 0.05), (2, 4, 5e6, 9e6, 0.03)]  # fmt: skip
        links = []
        for a, b, up_bps, down_bps, delay_s in ways:
            shared = "air" if b == 2 else f"{a}{b}"
            links += [Link(a, b, up_bps, delay_s, shared), Link(b, a, down_bps, delay_s, f"{b}{a}")]
        return assemble("kite", nodes, links)


def kite(fog: Any, tasks_per_s: float = 2.5, **options: Any) -> Scenario:
    law = TaskLaw(
        Amount("exponential", 1e9, 0.0),
        Amount("exponential", 3e5, 0.0),
        Amount("exponential", 1e5, 0.0),
        Deadline("absolute", 0.2, 2.0),
        (),
    )
    options = {
        "slot_s": 0.1,
        "horizon_slots": 300,
        "agents": "devices_and_edges",
        "undecided": "hold",
        "max_hops": 2,
        "task_log_places": 1000,
        **options,
    }
    return fog.scenario(Kite(4e6), Poisson(tasks_per_s, law), **options)


def play(scenario: Scenario, rule: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return (metric sums (B, G), task logs) of one episode of each world, of the scenario's horizon."""
    world: Any = make(scenario, N_WORLDS, 3)
    out = world.outcome()
    world.reset(None, out)
    player = Player(rule, world.spec, np.arange(N_WORLDS), 0)
    logs: list[np.ndarray] = [np.zeros((0, len(s.LOG_COLUMNS)))] * N_WORLDS
    sums = np.zeros_like(out.final_sums)
    is_over = np.zeros(N_WORLDS, np.bool_)
    for _ in range(world.spec.horizon_steps):
        for b in np.flatnonzero(~is_over):
            logs[b] = world.task_log(b)
        world.step(player.decide(look(world)), out)
        ended = out.truncated & ~is_over
        sums[ended] = out.final_sums[ended]
        is_over |= ended
        if is_over.all():
            return sums, logs
    raise AssertionError("a world did not end")


def response_s(log: np.ndarray) -> np.ndarray:
    """Return the response times of the finished tasks of a log."""
    finished = log[log[:, s.LOG_COLUMNS.index("drop_reason")] < 0]
    return finished[:, s.LOG_COLUMNS.index("left_s")] - finished[:, s.LOG_COLUMNS.index("created_s")]


def n_tasks_not_beaten(bound: ZeroQueue, logs: list[np.ndarray]) -> int:
    """Return how many finished tasks were compared; raise where one took less than its bound."""
    n_tasks = 0
    for b, log in enumerate(logs):
        least_of = dict(zip(bound.tasks[b].created_s.tolist(), bound.least_s[b].tolist(), strict=True))
        finished = log[log[:, s.LOG_COLUMNS.index("drop_reason")] < 0]
        least_s = np.array([least_of[created_s] for created_s in finished[:, 0].tolist()])
        assert (response_s(finished) >= least_s - 1e-9).all()
        n_tasks += len(finished)
    return n_tasks


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_rule_beats_a_bound_whatever_the_options(fog: Any, options: dict[str, Any]) -> None:
    scenario = kite(fog, **options)
    zero_queue, program = ZeroQueue(scenario, N_WORLDS, 3, 0), LinearProgram(scenario, N_WORLDS, 3, 0)
    played = {name: play(scenario, rule) for name, rule in RULES.items()}
    all_sums = {name: sums for name, (sums, _) in played.items()}
    n_tasks = sum(n_tasks_not_beaten(zero_queue, logs) for _, logs in played.values())
    assert n_tasks > 300
    for each in (zero_queue, program):
        least_s = each.cost_with_drops_s(2.0)
        for sums in all_sums.values():
            n_unfinished = sums[:, s.CREATED] - sums[:, s.COMPLETED]
            assert (sums[:, s.RESPONSE_S] + 2.0 * n_unfinished >= least_s - 1e-9).all()
    for figure, sign in (("response_time_s_mean", 1.0), ("in_time_frac", -1.0)):
        lp_limits = program.limits(figure, all_sums)
        for name, sums in all_sums.items():
            figures = make(scenario, 1).summarise
            zero, lp = zero_queue.limit(figure, sums), lp_limits[name]
            for b in range(N_WORLDS):
                value = figures(sums[b])[figure]
                assert sign * value >= sign * zero.top[b] / zero.bottom[b] - 1e-9
                assert sign * value >= sign * lp.top[b] / lp.bottom[b] - 1e-9
                assert sign * lp.top[b] >= sign * zero.top[b] - 1e-9  # never weaker


def test_check_rejects_a_bound_that_is_a_thousandth_too_high(fog: Any) -> None:
    scenario = kite(fog, tasks_per_s=0.05)
    bound = ZeroQueue(scenario, N_WORLDS, 3, 0)
    _, logs = play(scenario, RULES["least_time"])

    assert n_tasks_not_beaten(bound, logs) > 0
    bound.least_s = [1.001 * least_s for least_s in bound.least_s]
    with pytest.raises(AssertionError):
        n_tasks_not_beaten(bound, logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"results": "shortest"}, {"contention": "fair"}, {"service": "aggregate"}], ids=str
)
def test_empty_world_reaches_the_bound_task_by_task(fog: Any, options: dict[str, Any]) -> None:
    # One task every 20 s, 12 of them: nothing is there when the next one comes. Agents play every constant decision, a
    # world each; what the best of these does with a task is the best that can be done with it.
    rng = np.random.default_rng(4)
    rows = tuple(
        (20.0 * i + rng.uniform(0.0, 1.0), i % 2, *np.minimum(rng.exponential([2e6, 2e6, 3e9]), 4e9), np.inf)
        for i in range(12)
    )
    empty = kite(fog, max_hops=2, horizon_slots=2400, task_log_places=20, **options)
    scenario = replace(empty, topology=Kite(math.inf), workload=fog.listed(rows))
    targets = make(scenario, 1).spec.target_node
    choices = np.array(list(itertools.product(*[np.flatnonzero(each >= 0) for each in targets])), np.int64)
    world: Any = make(scenario, len(choices))
    out = world.outcome()
    world.reset(None, out)
    for _ in range(world.spec.horizon_steps - 1):
        world.step(np.where(out.target_mask.sum(-1) > 1, choices, 0), out)
    logs = [world.task_log(b) for b in range(len(choices))]
    best_s = np.min([response_s(log[np.argsort(log[:, 0])]) for log in logs], axis=0)

    assert len(choices) == 3 * 4 * 5 * 4  # own node and neighbours of d0, d1, e0 and e1
    np.testing.assert_allclose(best_s, ZeroQueue(scenario, 1, 0, 0).least_s[0], rtol=1e-9)
    assert len({log[best, 5] for log in logs for best in range(12)}) == 3  # ways of 0, 1 and 2 links were played


def test_bounds_of_a_policy_that_finishes_everything_is_the_mean_of_its_tasks(fog: Any) -> None:
    scenario = kite(fog, tasks_per_s=0.05)
    bound = ZeroQueue(scenario, N_WORLDS, 3, 0)
    sums, _ = play(scenario, RULES["least_time"])
    n_tasks = np.array([len(table.node) for table in bound.tasks])

    assert (n_dropped_of(sums) == 0).all()
    assert (sums[:, s.COMPLETED] == n_tasks).all()
    assert bound.limit("response_time_s_mean", sums).value == pytest.approx(np.concatenate(bound.least_s).mean())
