"""The world beside other simulators: a model of the same written by hand in SimPy, PeersimGym, and itself at scale."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from edge_rllib.config.load import load_scenario
from edge_rllib.experiment.bench.table import Row
from edge_rllib.experiment.bench.world import player
from envs.errors import ConfigError
from envs.fog import state as s
from envs.scenario import Scenario, make
from envs.topologies.assemble import Link, Node, assemble
from envs.topologies.nodes import NodeSettings
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.laws import Amount, Deadline, TaskLaw
from envs.workloads.poisson import Poisson

_REPEATS = 5

# The queueing network that both models hold: each node creates tasks and sends each to a node drawn from all, itself
# too; a message takes a second whatever else is sent; one server a node, first in, first out. By independence each
# node is M/M/1 of load 0.6.
_N_NODES, _RATE_HZ, _SERVICE_S, _TRANSFER_S = 20, 0.06, 10.0, 1.0
_THEORY_S = _SERVICE_S / (1.0 - _RATE_HZ * _SERVICE_S) + _TRANSFER_S * (_N_NODES - 1) / _N_NODES
_HORIZON_S, _SIMPY_HORIZON_S = 200_000.0, 50_000.0  # 240,000 and 60,000 tasks

# PeersimGym on its network of 31 nodes, 23 agents: 62 environment steps a second on two cores; another run.
_PEERSIM_AGENT_STEPS = 1_440.0


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench simulators``."""
    return [*_simpy_rows(), *_peersim_rows(), _scale_row()]


def _simpy_rows() -> list[Row]:
    """Compare tasks per CPU-second, and both means with the closed form."""
    models = _our_model(), _simpy_model()
    ours, theirs = ([_timed(partial(model, seed)) for seed in range(_REPEATS + 1)][1:] for model in models)
    (our_rate, our_s), (their_rate, their_s) = (np.median(each, axis=0).tolist() for each in (ours, theirs))
    what = f"one world, {_N_NODES} nodes, full mesh of queues"
    return [
        Row(f"{what}, random targets", our_rate, "tasks/CPU-s", 20, 100, their_rate, "SimPy by hand"),
        Row(f"{what}: mean response", our_s, "s", 0.99, 1.0, _THEORY_S, "M/M/1 and transfer"),
        Row(f"{what}: the same in SimPy", their_s, "s", 0.98, 1.0, _THEORY_S, "M/M/1 and transfer"),
    ]


def _peersim_rows() -> list[Row]:
    """Step 256 worlds of PeersimGym's largest published network."""
    world, play = player(load_scenario("ether_31_v1"), 256, 100)
    value = _rates([play])[0] * world.spec.n_agents
    what = f"31 nodes ({world.spec.n_agents} agents), 256 worlds, one core, random decisions"
    return [
        Row(what, value, "agent-steps/CPU-s", 1.5e6, 5e6),
        Row(what, value, "agent-steps/CPU-s", 1_000, 3_500, _PEERSIM_AGENT_STEPS, "PeersimGym, two cores, earlier run"),
    ]


def _scale_row() -> Row:
    """Step 20 and 1,000 nodes of one density, load and mean degree, as many nodes in a batch."""
    large = load_scenario("scale_1k_v1")
    base = load_scenario("scale_100_v1")
    # side_m: the square in which 20 nodes have the mean degree 10 of the large network, its border counted
    network: Any = base.topology
    small_network = replace(network, n_nodes=20, side_m=180.0, nodes=replace(network.nodes, n_edge=4))
    params = replace(base.params, max_alive_tasks=large.params.max_alive_tasks // 50)
    small = replace(base, topology=small_network, topology_seed=3, params=params)
    of_small, of_large = _rates([player(small, 250, 40)[1], player(large, 5, 40)[1]])
    what = "1,000 nodes x 5 worlds, against 20 nodes x 250 worlds, mean degree 10"
    return Row(what, 1_000 * of_large, "node-steps/CPU-s", 1.0 / 1.5, 1.0, 20 * of_small, "20 nodes")


@dataclass(frozen=True)
class _Mesh(TopologyBuilder):
    """Devices of one core of 1 Hz, so that cycles are seconds, and links of 1 bit/s between any two."""

    n_nodes: int

    def build(self, rng: np.random.Generator) -> Topology:
        settings = NodeSettings(1, 1.0, 10_000, 0.0, 0.0, 0.0, math.inf)
        nodes = [Node(f"node_{n}", "node", 0, True, settings, (float(n), 0.0)) for n in range(self.n_nodes)]
        pairs = [(a, b) for a in range(self.n_nodes) for b in range(self.n_nodes) if a != b]
        return assemble("mesh", nodes, [Link(a, b, 1.0, 0.0, (a, b)) for a, b in pairs])


def _our_scenario() -> Scenario:
    """Return the queueing network as a scenario; every task is logged, as in SimPy."""
    nothing = Amount("fixed", 0.0, 0.0)
    work, size = Amount("exponential", _SERVICE_S, 0.0), Amount("fixed", _TRANSFER_S, 0.0)
    workload = Poisson(_RATE_HZ, TaskLaw(work, size, nothing, Deadline("none", 0.0, 0.0), ()))
    params = replace(
        load_scenario("fog_ring_8").params,
        slot_s=1000.0,
        slots_per_step=1,
        horizon_slots=int(_HORIZON_S / 1000.0),
        decide_on="events",
        undecided="hold",
        agents="all",
        max_hops=1,
        contention="none",
        deadlines="soft",
        max_alive_tasks=1024,
        task_log_places=int(1.1 * _RATE_HZ * _N_NODES * _HORIZON_S),
        decisions_per_step=1,
    )
    return Scenario("mesh_20", "fog", _Mesh(_N_NODES), 0, workload, params)


def _our_model() -> Callable[[int], tuple[int, float]]:
    """Return a function that plays the network as world number ``seed``; tasks, and their mean response time.

    Drawing the tasks and logging them is in it, as it is in SimPy's.
    """
    world: Any = make(_our_scenario(), 1)
    out = world.outcome()
    share = np.ones((_N_NODES, _N_NODES))

    def simulate(seed: int) -> tuple[int, float]:
        world.reset([seed], out)
        sums = world.play_static(share, seed)[0]
        log = world.task_log(0)
        assert len(log) == sums[s.COMPLETED]
        response_s = log[:, s.LOG_COLUMNS.index("left_s")] - log[:, s.LOG_COLUMNS.index("created_s")]
        return len(log), float(response_s.mean())

    return simulate


def _rates(plays: Sequence[Callable[[], int]]) -> list[float]:
    """Return each one's median units per CPU-second; they take turns, so that all meet the machine in one state."""
    turns = np.zeros((_REPEATS + 1, len(plays)))
    for turn in turns:
        for place, play in enumerate(plays):
            begin = time.process_time()
            turn[place] = play() / (time.process_time() - begin)
    return [float(each) for each in np.median(turns[1:], axis=0)]  # the first turn warms up


def _timed(work: Callable[[], tuple[int, float]]) -> tuple[float, float]:
    """Return units per CPU-second, and what else the work returns."""
    begin = time.process_time()
    n_units, figure = work()
    return n_units / (time.process_time() - begin), figure


def _simpy_model() -> Callable[[int], tuple[int, float]]:
    """Return a function that simulates the network in SimPy under a seed; tasks, and their mean response time."""
    try:
        import simpy
    except ModuleNotFoundError:
        raise ConfigError("bench simulators: SimPy is not installed; pip install 'edge-rllib[dev]'") from None

    def simulate(seed: int) -> tuple[int, float]:
        draws, env = random.Random(seed), simpy.Environment()
        servers = [simpy.Resource(env, 1) for _ in range(_N_NODES)]
        log: list[tuple[float, float, int, int]] = []

        def task(source: int, created_s: float) -> Generator[Any, Any, None]:
            target = draws.randrange(_N_NODES)
            if target != source:
                yield env.timeout(_TRANSFER_S)
            with servers[target].request() as turn:
                yield turn
                yield env.timeout(draws.expovariate(1.0 / _SERVICE_S))
            log.append((created_s, env.now, source, target))

        def node(source: int) -> Generator[Any, Any, None]:
            while True:
                yield env.timeout(draws.expovariate(_RATE_HZ))
                env.process(task(source, env.now))

        for source in range(_N_NODES):
            env.process(node(source))
        env.run(until=_SIMPY_HORIZON_S)
        return len(log), sum(left_s - created_s for created_s, left_s, _, _ in log) / len(log)

    return simulate
