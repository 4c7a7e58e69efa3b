"""The linear program on worlds whose optimum is worked by hand, and its routes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.bounds.linear_program import LinearProgram
from envs.bounds.routes import routes_of
from envs.bounds.zero_queue import ZeroQueue
from envs.fog import state as s
from envs.rng import Draws
from envs.scenario import Scenario
from envs.topologies.nodes import NodeSettings
from envs.topologies.pair import Pair
from envs.topologies.single import Single
from envs.topologies.topology import Topology
from envs.workloads.workload import TaskTable, Workload


@dataclass(frozen=True)
class AtOnce(Workload):
    """Five equal tasks of node 0 at time 0."""

    size_bits: float
    work_cycles: float
    due_s: float

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        zeros = np.zeros(5)
        columns = dict.fromkeys(TaskTable._fields, zeros) | dict.fromkeys(("node", "priority"), np.zeros(5, np.int64))
        own = {"size_bits": self.size_bits, "work_cycles": self.work_cycles, "due_s": self.due_s}
        return TaskTable(**{**columns, **{name: zeros + value for name, value in own.items()}})  # type: ignore[arg-type]

    def mean_rate_hz(self, topology: Topology) -> float:
        return 0.25


def node(core_hz: float, n_cores: int = 1) -> NodeSettings:
    return NodeSettings(n_cores, core_hz, 400, 1.0, 2.0, 0.5, math.inf)


def scenario(topology: Any, workload: Workload, **params: Any) -> Scenario:
    """Return a world of 20 s whose devices decide at any instant."""
    base = load_scenario("pair_best_known")
    rules = {"decide_on": "events", "undecided": "run", "horizon_slots": 200, "slot_s": 0.1, **params}
    return replace(base, topology=topology, workload=workload, params=replace(base.params, **rules))


def all_finished() -> np.ndarray:
    sums = np.zeros((1, len(s.SUM_NAMES)))
    sums[0, s.COMPLETED] = 5
    return sums


def bounds(world: Scenario, figure: str = "response_time_s_mean") -> tuple[float, float]:
    """Return (zero-queue bound, linear program) for who finishes all."""
    kinds = ZeroQueue, LinearProgram
    zero_queue, program = (kind(world, 1, 0, 0).limit(figure, all_finished()).value for kind in kinds)
    return zero_queue, program


@pytest.mark.parametrize("discipline", ["fifo", "priority"])
def test_five_tasks_on_one_core_wait_for_each_other(discipline: str) -> None:
    # 1 s each, one core: 1 + 2 + 3 + 4 + 5 s, a mean of 3 s
    zero_queue, program = bounds(scenario(Single(node(1e9)), AtOnce(0.0, 1e9, math.inf), discipline=discipline))

    assert zero_queue == pytest.approx(1.0)
    assert program == pytest.approx(3.0, rel=0.003)


def test_sharing_the_core_cannot_be_better_than_one_after_the_other() -> None:
    # Divided into pieces the program ends tasks no earlier than the bins of 0.2 s allow.
    _, program = bounds(scenario(Single(node(1e9)), AtOnce(0.0, 1e9, math.inf), discipline="sharing", undecided="hold"))

    assert 3.0 - 0.2 < program <= 3.0 * 1.003


@pytest.mark.parametrize(("cores", "service", "mean_s"), [(2, "cores", 1.8), (5, "cores", 1.0), (2, "aggregate", 1.5)])
def test_cores_serve_side_by_side_and_an_aggregate_one_after_the_other(cores: int, service: str, mean_s: float) -> None:
    # two cores: 1 + 1 + 2 + 2 + 3 = 9 s; one of twice the speed: half of 15 s
    _, program = bounds(scenario(Single(node(1e9, cores)), AtOnce(0.0, 1e9, math.inf), service=service))

    assert program == pytest.approx(mean_s, rel=0.005)  # bins of 0.2 s: half a second is no whole number


@pytest.mark.parametrize(("contention", "mean_s"), [("fifo", 3.001), ("fair", 3.001), ("none", 1.001)])
def test_five_uploads_over_one_channel_wait_for_each_other(contention: str, mean_s: float) -> None:
    # 1 s of upload each to a server that takes 1 ms with room for all; at home a task would take 100 s
    world = scenario(Pair(node(1e7), node(1e12, 8), 1e6, 0.0), AtOnce(1e6, 1e9, math.inf), contention=contention)
    zero_queue, program = bounds(world)

    assert zero_queue == pytest.approx(1.001)
    assert program == pytest.approx(mean_s, rel=0.003) or (contention == "fair" and 2.8 < program <= mean_s * 1.003)


def test_as_many_tasks_are_in_time_as_one_core_can_end_by_the_deadline() -> None:
    # 1 s each, due after 2.5 s: two; the program may divide the third, the bound is whole
    zero_queue, program = bounds(scenario(Single(node(1e9)), AtOnce(0.0, 1e9, 2.5)), "in_time_frac")

    assert zero_queue == 1.0
    assert program == pytest.approx(2 / 5)


def test_gap_says_what_a_better_solver_could_add() -> None:
    program = LinearProgram(scenario(Single(node(1e9)), AtOnce(0.0, 1e9, math.inf)), 1, 0, 0)
    program.limit("response_time_s_mean", all_finished())

    assert len(program.gap_frac) == 1
    assert 0.0 <= program.gap_frac[0] <= 0.002


def test_of_equal_ways_one_is_kept_and_none_leads_back() -> None:
    from envs.bounds.physics import physics_of

    world = scenario(Pair(node(1e9), node(1e9), 1e6, 0.0), AtOnce(1.0, 1.0, math.inf), agents="all", max_hops=5)
    routes = routes_of(physics_of(world.network(), world.params), np.array([0]))

    assert routes.node.tolist() == [0, 1]
    assert routes.n_hops.tolist() == [0, 1]
    assert routes.home_bit_s.tolist() == [0.0, 1e-6]
