"""Small fog worlds, built by hand, and the loop that plays them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from envs.fog.params import FogParams, RewardParams, ShapingParams
from envs.fog.state import LOG_COLUMNS
from envs.rng import Draws
from envs.scenario import Scenario, make
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.pair import Pair
from envs.topologies.single import Single
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.laws import Amount, Deadline, TaskLaw
from envs.workloads.poisson import Poisson
from envs.workloads.workload import TaskTable, Workload

REWARD = RewardParams("sparse", {}, 0.0, ShapingParams("none", 1.0, 0.99))
PARAMS = FogParams(
    semantics="correct",
    slot_s=1.0,
    slots_per_step=1,
    horizon_slots=100,
    decide_on="slots",
    agents="devices",
    agent_nodes=(),
    undecided="run",
    decisions_per_step=1,
    max_hops=1,
    max_targets=8,
    discipline="fifo",
    service="cores",
    contention="fifo",
    results="reverse",
    route_bits=1e6,
    deadlines="soft",
    max_alive_tasks=400,
    information="reports",
    report_every_slots=1,
    report_bits=0.0,
    time_scale_s=1.0,
    task_log_places=0,
    debug=False,
    reward=REWARD,
    peersim=load_part("world_params", "fog", Source(None)).peersim,
)


@dataclass(frozen=True)
class Listed(Workload):
    """The same tasks in every world: (created_s, node, size_bits, result_bits, work_cycles, due_s[, priority])."""

    rows: tuple[tuple[Any, ...], ...]

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        columns = list(zip(*self.rows, strict=True))
        arrays = [np.array(c, np.int64 if i in (1, 6) else np.float64) for i, c in enumerate(columns)]
        return TaskTable(*arrays, *([] if len(arrays) == 7 else [np.zeros(len(self.rows), np.int64)]))

    def mean_rate_hz(self, topology: Topology) -> float:
        return 1.0


def node(n_cores: int = 1, core_hz: float = 1e9, queue_places: int = 400, queue_bits: float = math.inf) -> NodeSettings:
    return NodeSettings(n_cores, core_hz, queue_places, 2.0, 5.0, 0.5, queue_bits)


def single(**settings: Any) -> Single:
    return Single(device=node(**settings))


def pair(rate_bps: float = 1e6, delay_s: float = 0.25, **server: Any) -> Pair:
    return Pair(device=node(), server=node(**{"core_hz": 4e9, **server}), rate_bps=rate_bps, delay_s=delay_s)


@dataclass(frozen=True)
class Wired(TopologyBuilder):
    """Nodes (name, tier, settings), of which those of tier 0 are devices, and links as listed."""

    nodes: tuple[tuple[str, int, NodeSettings], ...]
    links: tuple[Link, ...]

    def build(self, rng: np.random.Generator) -> Topology:
        nodes = [Node(name, name, tier, tier == 0, settings, (0.0, 0.0)) for name, tier, settings in self.nodes]
        return assemble("wired", nodes, self.links)


def poisson(rate_hz: float, law: str, mean_cycles: float = 1e9) -> Poisson:
    nothing = Amount("fixed", 0.0, 0.0)
    return Poisson(rate_hz, TaskLaw(Amount(law, mean_cycles, 0.0), nothing, nothing, Deadline("none", 0.0, 0.0), ()))


class Fog:
    """What a test needs to build and play worlds."""

    def __init__(self) -> None:
        self.params, self.listed = PARAMS, Listed
        self.single, self.pair, self.wired, self.node, self.poisson = single, pair, Wired, node, poisson

    def scenario(self, topology: Any, workload: Workload, **params: Any) -> Scenario:
        return Scenario("test", "fog", topology, 0, workload, replace(self.params, **params))

    def play(
        self, scenario: Scenario, n_worlds: int = 1, decide: Callable[..., Any] | None = None, seed: int = 0
    ) -> Any:
        """Return (world, metric sums (B, G)) after one episode; ``decide(step, outcome)`` gives (B, N), None is local.

        The horizon is one step longer than what is played, so that the task log is still there.
        """
        params = replace(scenario.params, horizon_slots=scenario.params.horizon_slots + scenario.params.slots_per_step)
        world: Any = make(replace(scenario, params=params), n_worlds, seed)
        out = world.outcome()
        world.reset(None, out)
        local = np.zeros((n_worlds, world.spec.n_agents), np.int64)
        for step in range(world.spec.horizon_steps - 1):
            world.step(local if decide is None else np.asarray(decide(step, out), np.int64), out)
        assert not out.truncated.any()
        return world, world.state.sums.copy()

    def play_events(
        self, scenario: Scenario, n_steps: int, n_worlds: int = 1, decide: Callable[..., Any] | None = None
    ) -> Any:
        """Return (world, metric sums (B, G)) after steps that end at events; ``decide`` as in ``play``, None is 1."""
        world: Any = make(scenario, n_worlds)
        out = world.outcome()
        world.reset(None, out)
        decision = np.ones((n_worlds, world.spec.n_agents), np.int64)
        world.step(0 * decision, out)  # nobody has a task yet
        for step in range(n_steps):
            world.step(decision if decide is None else np.asarray(decide(step, out), np.int64), out)
            assert not out.truncated.any()
        return world, world.state.sums.copy()

    def totals(self, topology: Any, workload: Workload, horizon_s: float = 65_000.0, **params: Any) -> Any:
        """Return the metric sums (G,) of 64 worlds in which every task stays local; a core serves 1 s on average."""
        params = {"slot_s": 13.0, **params}
        horizon_slots = int(horizon_s / params["slot_s"])
        return self.play(self.scenario(topology, workload, horizon_slots=horizon_slots, **params), 64)[1].sum(axis=0)

    def logs(self, topology: Any, workload: Workload, n_batches: int = 4, **params: Any) -> Any:
        """Yield the task logs, one array by column name a world, of batches of 16 worlds of 65,000 s, all local."""
        horizon_slots = 5_000
        rows = int(1.1 * 13.0 * horizon_slots * workload.mean_rate_hz(topology.build(np.random.default_rng(0))))
        params = {"slot_s": 13.0, "horizon_slots": horizon_slots, "task_log_places": rows, **params}
        for seed in range(n_batches):
            world, _ = self.play(self.scenario(topology, workload, **params), 16, seed=seed)
            assert world.state.world["n_logged"].max() < rows
            for b in range(16):
                yield dict(zip(LOG_COLUMNS, world.task_log(b).T, strict=True))


@pytest.fixture
def fog() -> Fog:
    return Fog()
