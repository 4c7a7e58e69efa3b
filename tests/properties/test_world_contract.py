"""The contract of worlds over random small scenarios and random decisions, and what it once missed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from envs.errors import DecisionError
from envs.fog import state as s
from envs.matching.world import MatchingParams
from envs.rng import Draws
from envs.scenario import Scenario, make
from envs.testing import check_world
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.workload import TaskTable, Workload

NEVER = np.inf
SLOT_S = 0.5
LOG = {name: column for column, name in enumerate(s.LOG_COLUMNS)}


@dataclass(frozen=True)
class Wild(TopologyBuilder):
    """A random tree with extra links: tight queues, slow and fast cores and links, channels of three kinds."""

    n_nodes: int
    channels: str  # shared by: link, node, all
    idle_node: bool  # the last node serves next to nothing

    def build(self, rng: np.random.Generator) -> Topology:
        n_nodes = self.n_nodes
        pairs = {(int(rng.integers(node)), node) for node in range(1, n_nodes)}
        pairs |= {tuple(sorted(rng.choice(n_nodes, 2, replace=False).tolist())) for _ in range(n_nodes // 2)}
        links = [link for a, b in sorted(pairs) for link in ((a, b), (b, a))]
        source, target = (np.array([link[end] for link in links], np.int64).reshape(-1) for end in (0, 1))
        shared = {"link": np.arange(len(links)), "node": source, "all": np.zeros(len(links), np.int64)}[self.channels]
        n_cores = rng.integers(1, 4, n_nodes)
        core_hz = rng.choice([1e8, 1e9, 5e9], n_nodes)
        core_hz[-1] = 1.0 if self.idle_node else core_hz[-1]
        is_device = rng.random(n_nodes) < 0.6
        is_device[0] = True
        return Topology(
            name="wild",
            node_name=tuple(f"node_{node}" for node in range(n_nodes)),
            node_type=("wild",) * n_nodes,
            tier=np.where(is_device, 0, rng.integers(0, 3, n_nodes)),
            is_device=is_device,
            n_cores=n_cores,
            core_hz=core_hz,
            queue_places=n_cores + rng.integers(0, 4, n_nodes),
            queue_bits=10.0 ** rng.choice([5.0, 6.0, np.inf], n_nodes),
            idle_w=np.full(n_nodes, 1.0),
            busy_w=np.full(n_nodes, 3.0),
            transmit_w=np.full(n_nodes, 0.5),
            position_m=np.zeros((n_nodes, 2)),
            link_source=source,
            link_target=target,
            link_rate_bps=10.0 ** rng.uniform(4.0, 9.0, len(links)),
            link_delay_s=rng.choice([0.0, 0.01, 0.5, 2.0], len(links)),
            link_channel=np.unique(shared, return_inverse=True)[1].astype(np.int64),
        )


@dataclass(frozen=True)
class Odd(Workload):
    """Tasks at random instants, many at slot boundaries, several at once; empty, huge and hopeless ones among them."""

    n_tasks: int

    def tasks(self, draws: Draws, topology: Topology, horizon_s: float) -> TaskTable:
        def pick(stream, *values):
            return np.array(values)[(draws.uniform(stream, self.n_tasks) * len(values)).astype(np.int64)]

        instants = draws.uniform(0, self.n_tasks) * horizon_s * 0.999
        created_s = np.sort(np.where(pick(1, 0, 1) == 1, instants, instants // SLOT_S * SLOT_S))
        return TaskTable(
            created_s=created_s,
            node=pick(2, *topology.device_nodes),
            size_bits=pick(3, 0.0, 1e3, 1e5, 1e7),
            result_bits=pick(4, 0.0, 1e3, 1e5),
            work_cycles=pick(5, 0.0, 1e7, 5e8, 5e9),
            due_s=created_s + pick(6, 0.0, 0.3, 2.0, NEVER),
            priority=pick(7, 0, 1, 2),
        )

    def mean_rate_hz(self, topology: Topology) -> float:
        return 1.0  # far too low, so that the tables have to grow


rewards = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(["none", "dense", "sparse", "response"]),
        "terms": st.dictionaries(st.sampled_from(s.TERMS), st.sampled_from([-1.0, 0.5]), max_size=3),
        "team_frac": st.sampled_from([0.0, 0.3]),
        "shaping": st.fixed_dictionaries(
            {
                "potential": st.sampled_from(["none", "alive_tasks", "backlog", "load_variance"]),
                "weight": st.just(0.7),
                "gamma": st.just(0.9),
            }
        ),
    }
)
options = st.fixed_dictionaries(
    {
        "agents": st.sampled_from(["devices", "devices_and_edges", "all"]),
        "undecided": st.sampled_from(["run", "hold"]),
        "decide_on": st.sampled_from(["slots", "events"]),
        "decisions_per_step": st.integers(1, 3),
        "slots_per_step": st.sampled_from([1, 3]),
        "max_hops": st.integers(0, 3),
        "discipline": st.sampled_from(["fifo", "lifo", "priority", "edf", "sharing"]),
        "service": st.sampled_from(["cores", "aggregate"]),
        "contention": st.sampled_from(["fifo", "fair", "none"]),
        "results": st.sampled_from(["reverse", "shortest"]),
        "deadlines": st.sampled_from(["soft", "waiting", "hard"]),
        "max_alive_tasks": st.sampled_from([3, 500]),
        "information": st.sampled_from(["reports", "exact"]),
        "report_every_slots": st.integers(1, 4),
        "report_bits": st.sampled_from([0.0, 4160.0, 1e6]),
        "reward": rewards,
    }
).filter(
    lambda params: (
        (params["discipline"], params["undecided"]) != ("sharing", "run")
        and (params["decide_on"], params["slots_per_step"]) != ("events", 3)
    )
)
networks = st.builds(
    Wild, n_nodes=st.integers(1, 5), channels=st.sampled_from(["link", "node", "all"]), idle_node=st.booleans()
)


@st.composite
def scenarios(draw):
    params = {"name": "fog", "slot_s": SLOT_S, "horizon_slots": 12, "task_log_places": 100, **draw(options)}
    return Scenario(
        name="wild",
        world="fog",
        topology=draw(networks),
        topology_seed=draw(st.integers(0, 1000)),
        workload=Odd(draw(st.integers(0, 90))),
        params=load_part("world_params", params, Source(None)),
    )


def decisions(rng, world, mask):
    """Return random decisions, one in ten of them masked."""
    spec = world.spec
    wish = rng.random((*mask.shape, spec.n_decisions)) * (mask | (rng.random(mask.shape) < 0.1))[..., None]
    chosen = wish.argmax(axis=2)
    return chosen[:, :, 0] if spec.n_decisions == 1 else chosen


@given(scenarios(), st.integers(1, 3), st.integers(0, 1000))
def test_any_world_keeps_the_contract(scenario, n_worlds, seed):
    # determinism, a world alone as in a batch, snapshot and restore, ranges, autoreset, masks, debug mode
    report = check_world(scenario, n_worlds, seed=seed)
    if scenario.params.decide_on == "slots":
        assert report.n_steps == 24 // scenario.params.slots_per_step
        assert report.n_episodes == 2 * n_worlds
    assert report.n_episodes >= 2 * n_worlds


@given(scenarios(), st.integers(0, 1000))
def test_no_task_is_lost_and_nothing_is_negative(scenario, seed):
    world = make(scenario, 2, seed)
    out, state, rng = world.outcome(), world.state, np.random.default_rng(seed)
    world.reset(None, out)
    sums, n_checked = np.full_like(out.final_sums, np.nan), 0
    for _ in range(world.spec.horizon_steps):
        world.step(decisions(rng, world, out.target_mask), out)
        for b in np.flatnonzero(out.truncated & np.isnan(sums[:, 0])):
            sums[b] = out.final_sums[b]
        assert_all_tasks_are_somewhere(state, world)
        n_checked += 1
        if not np.isnan(sums).any():
            break
    assert n_checked > 0
    dropped = sums[:, s.DROPPED : s.DROPPED + len(s.DROP_REASONS)].sum(axis=1)
    if scenario.params.decide_on == "slots":  # a runaway workload ends an episode of steps at events early
        np.testing.assert_array_equal(sums[:, s.CREATED], scenario.workload.n_tasks)
    np.testing.assert_array_equal(sums[:, s.CREATED], sums[:, s.COMPLETED] + dropped + sums[:, s.IN_FLIGHT])
    np.testing.assert_array_equal(sums[:, s.HISTOGRAM :].sum(axis=1), sums[:, s.COMPLETED])
    assert (sums >= 0.0).all()
    assert (sums[:, s.IN_TIME] <= sums[:, s.COMPLETED]).all()
    busy_s, core_s = (sums[:, first : first + 3] for first in (s.BUSY_S_TIER, s.CORE_S_TIER))
    assert (busy_s <= core_s * (1.0 + 1e-9)).all()


def assert_all_tasks_are_somewhere(state, world):
    """Check the books of the running episode against the tasks themselves."""
    topology, network = world.topology, world.network
    task, node = state.task, state.node
    alive = task.stage != s.FREE
    left = state.sums[:, s.COMPLETED] + state.sums[:, s.DROPPED : s.DROPPED + len(s.DROP_REASONS)].sum(axis=1)
    np.testing.assert_array_equal(alive.sum(axis=1), state.sums[:, s.CREATED] - left)
    np.testing.assert_array_equal(alive.sum(axis=1), state.agent.n_alive.sum(axis=1))
    np.testing.assert_array_equal(alive.shape[1] - alive.sum(axis=1), state.world.n_free)
    for stage, counted in ((s.WAITING, node.n_waiting), (s.SERVICE, node.n_busy), (s.UPLOAD, node.n_inbound)):
        for b, counts in enumerate(counted):
            there = np.bincount(task.node[b][task.stage[b] == stage], minlength=topology.n_nodes)
            np.testing.assert_array_equal(there, counts)
    if world.scenario.params.discipline != "sharing":
        assert (node.n_busy <= network.n_cores).all()
    held = np.isin(task.stage, (s.WAITING, s.SERVICE))
    for b in range(len(task)):
        bits = np.bincount(task.node[b][held[b]], task.size_bits[b][held[b]], minlength=topology.n_nodes)
        np.testing.assert_allclose(node.held_bits[b], bits, atol=1e-6)
    assert (node.held_bits <= topology.queue_bits).all()
    undecided = (task.stage == s.WAITING) & (task.is_decided == 0)
    np.testing.assert_array_equal(undecided.sum(axis=1), state.world.n_to_decide)
    for b in range(len(task)):
        for m in range(topology.n_nodes):
            first = node.first[b, m]
            while first >= 0 and not undecided[b, first]:
                first = task.following[b, first]
            assert node.undecided[b, m] == first
    n_sending = ((task.is_sending == 1) & alive).sum(axis=1)
    np.testing.assert_array_equal(n_sending, state.channel.n_flows.sum(axis=1))
    assert (node.n_waiting + node.n_busy <= topology.queue_places).all()
    for array in (node.waiting_cycles, node.inbound_cycles, task.upload_s, task.wait_s, state.channel.free_s):
        assert (array >= 0.0).all()


@given(scenarios(), st.integers(0, 1000))
def test_parts_of_the_response_time_sum_to_it(scenario, seed):
    # a step longer than what is played, so that the log is still there
    longer = replace(scenario.params, horizon_slots=12 + scenario.params.slots_per_step)
    world = make(replace(scenario, params=longer), 1, seed)
    out, rng = world.outcome(), np.random.default_rng(seed)
    world.reset(None, out)
    for _ in range(world.spec.horizon_steps):
        before = world.snapshot()
        world.step(decisions(rng, world, out.target_mask), out)
        if out.truncated[0]:
            world.restore(before)
            break
    log = {name: world.task_log(0)[:, column] for name, column in LOG.items()}
    is_finished = log["drop_reason"] < 0
    total_s = log["upload_s"] + log["wait_s"] + log["service_s"] + log["return_s"]
    np.testing.assert_allclose(total_s[is_finished], (log["left_s"] - log["created_s"])[is_finished], atol=1e-9)
    assert len(is_finished) == world.state.world.n_logged[0]
    assert all((log[name] >= 0.0).all() for name in ("upload_s", "wait_s", "service_s", "return_s"))
    assert (log["hops"] <= scenario.params.max_hops).all()


@given(scenarios(), st.integers(0, 1000), st.integers(0, 11))
def test_snapshot_at_any_step_continues_bit_equal(scenario, seed, n_before):
    world, other = make(scenario, 2, seed), make(scenario, 2, seed + 1, first_world_id=50)
    out, other_out, rng = world.outcome(), other.outcome(), np.random.default_rng(seed)
    world.reset(None, out)
    for _ in range(n_before):
        world.step(decisions(rng, world, out.target_mask), out)
    other.restore(pickle.loads(pickle.dumps(world.snapshot())))
    for _ in range(world.spec.horizon_steps + 2):
        decision = decisions(rng, world, out.target_mask)
        world.step(decision, out)
        other.step(decision, other_out)
        for name in ("observation", "target_mask", "state", "reward", "truncated"):
            assert getattr(out, name).tobytes() == getattr(other_out, name).tobytes(), name
    np.testing.assert_array_equal(out.final_sums, other_out.final_sums)


def test_snapshot_carries_the_seed_into_a_world_of_another_seed(fog):
    # the second episode is drawn after the restore; its tasks must be those of the first world's seed
    scenario = fog.scenario(fog.single(), fog.poisson(2.0, "exponential"), horizon_slots=4)
    one, other = make(scenario, 1, seed=1), make(scenario, 1, seed=2)
    outs = [world.outcome() for world in (one, other)]
    for world, out in zip((one, other), outs, strict=True):
        world.reset(None, out)
    other.restore(pickle.loads(pickle.dumps(one.snapshot())))
    for _ in range(8):
        for world, out in zip((one, other), outs, strict=True):
            world.step(np.zeros((1, 1), np.int64), out)
        np.testing.assert_array_equal(outs[0].observation, outs[1].observation)
    assert outs[0].final_sums[0, s.CREATED] > 0


def test_debug_mode_judges_by_the_restored_state(fog):
    # the device is busy from 0 s and a task waits from 0.5 s: at slot 1 it may be sent, at slot 0 nothing may
    work = fog.listed(((0.0, 0, 0.0, 0.0, 9e9, NEVER), (0.5, 0, 0.0, 0.0, 9e9, NEVER)))
    world = make(fog.scenario(fog.pair(), work, debug=True), 1)
    out = world.outcome()
    world.reset(None, out)
    at_slot_0 = world.snapshot()
    world.step(np.array([[0]]), out)
    at_slot_1 = world.snapshot()
    world.restore(at_slot_0)
    with pytest.raises(DecisionError, match="target 1 is masked"):
        world.step(np.array([[1]]), out)
    world.restore(at_slot_1)
    world.step(np.array([[1]]), out)
    assert world.snapshot()["state"]["sums"][0, s.OFFLOADS] == 1.0


def test_surplus_decisions_of_a_step_are_not_refused_targets(fog):
    # one task waits at slot 1, three decisions are taken: the mask allowed target 1, so nothing was refused
    work = fog.listed(((0.0, 0, 0.0, 0.0, 9e9, NEVER), (0.5, 0, 0.0, 0.0, 9e9, NEVER)))
    scenario = fog.scenario(fog.pair(), work, decisions_per_step=3, horizon_slots=3)
    _, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1] if step == 1 else [0, 0, 0]]])
    assert (sums[0, s.OFFLOADS], sums[0, s.DECISIONS], sums[0, s.REFUSED]) == (1.0, 1.0, 0.0)
    # in the last slot nothing waits and the mask allows target 0 alone: each of the three is refused
    _, sums = fog.play(scenario, decide=lambda step, out: [[[1, 1, 1] if step == 2 else [0, 0, 0]]])
    assert (sums[0, s.OFFLOADS], sums[0, s.REFUSED]) == (0.0, 3.0)


@given(
    st.builds(
        MatchingParams,
        n_agents=st.integers(1, 4),
        n_targets=st.integers(2, 5),
        horizon_steps=st.integers(1, 9),
        task_prob=st.floats(0.0, 1.0),
        allowed_prob=st.floats(0.0, 1.0),
        lag_steps=st.integers(0, 3),
        n_amounts=st.integers(0, 2),
    ),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_any_matching_world_keeps_the_contract(params, n_worlds, seed):
    report = check_world(Scenario("matching", "matching", None, 0, None, params), n_worlds, seed=seed)
    assert report.n_episodes == 2 * n_worlds
