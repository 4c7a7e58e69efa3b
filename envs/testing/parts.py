"""Check the parts of a scenario that a user writes: networks, workloads and rules."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8, declared_arrays
from envs.baselines.base import Choice, Player, Rule, look
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.fog.observe import View
from envs.mec.observe import MecView
from envs.rng import Draws
from envs.scenario import Scenario, make
from envs.testing.bed_epochs import random_bed_view
from envs.testing.multiuser_slots import random_multiuser_view
from envs.testing.watched import ConformanceError
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.workload import TaskTable, Workload, check_tasks

FIRST_WORLD_ID = 11
RATE_FACTOR = 3.0  # bursts and daily rhythms move the rate of a short horizon; a slip of units moves it more
_MANY_TASKS = 200  # below, chance alone may move the rate


class TopologyReport(NamedTuple):
    """What check_topology looked at."""

    n_networks: int
    n_nodes: int  # over all networks
    n_links: int


class WorkloadReport(NamedTuple):
    """What check_workload looked at."""

    n_tables: int
    n_tasks: int  # over all tables
    n_distinct: int  # different tables among those of different worlds


class BaselineReport(NamedTuple):
    """What check_baseline looked at."""

    n_decisions: int  # decisions of agents with a task
    n_offloads: int
    n_steps: int  # steps in the world of the scenario


def check_topology(builder: TopologyBuilder, n_seeds: int = 3) -> TopologyReport:
    """Build networks and check that each is a function of its generator alone; raise ConformanceError."""
    label = type(builder).__name__
    _check_part(builder, TopologyBuilder)
    n_nodes = n_links = 0
    for seed in range(n_seeds):
        with _global_generator_untouched(label):
            one, two = (builder.build(np.random.default_rng(seed)) for _ in range(2))
        if not isinstance(one, Topology):
            raise ConformanceError(f"{label}: build returned {type(one).__name__}, expected Topology")
        for name in ("node_name", "node_type"):
            if getattr(one, name) != getattr(two, name):
                raise ConformanceError(f"{label}: two networks of one seed differ in {name}")
        for name, *_ in declared_arrays(Topology):
            if getattr(one, name).tobytes() != getattr(two, name).tobytes():
                raise ConformanceError(f"{label}: two networks of one seed differ in {name}")
        if len(set(one.node_name)) != one.n_nodes or len(one.node_type) != one.n_nodes:
            raise ConformanceError(f"{label}: {one.n_nodes} nodes need as many different names, and a type each")
        n_nodes, n_links = n_nodes + one.n_nodes, n_links + one.n_links
    return TopologyReport(n_seeds, n_nodes, n_links)


def check_workload(
    workload: Workload, topology: Topology, horizon_s: float = 60.0, n_worlds: int = 8, seed: int = 0
) -> WorkloadReport:
    """Draw task tables and check that each is possible and a function of its draws alone; raise ConformanceError."""
    label = type(workload).__name__
    _check_part(workload, Workload)
    tables = []
    for world_id in range(n_worlds):
        with _global_generator_untouched(label):
            one, two = (workload.tasks(Draws(seed, world_id, 0), topology, horizon_s) for _ in range(2))
        if not isinstance(one, TaskTable):
            raise ConformanceError(f"{label}: tasks returned {type(one).__name__}, expected TaskTable")
        table = check_tasks(one, topology, label)
        for name, left, right in zip(TaskTable._fields, table, check_tasks(two, topology, label), strict=True):
            if left.tobytes() != right.tobytes():
                raise ConformanceError(f"{label}: two tables of the same draws differ in {name}")
        if len(table.node) and table.created_s[-1] >= horizon_s:
            raise ConformanceError(f"{label}: a task is created at {table.created_s[-1]:g} s, horizon {horizon_s:g} s")
        tables.append(table)
    n_tasks = sum(len(table.node) for table in tables)
    _check_rate(label, workload.mean_rate_hz(topology), n_tasks, n_worlds * horizon_s)
    return WorkloadReport(n_worlds, n_tasks, len({b"".join(c.tobytes() for c in table) for table in tables}))


def check_baseline(
    rule: Rule, scenario: Scenario | None = None, n_worlds: int = 3, n_views: int = 50, seed: int = 0
) -> BaselineReport:
    """Show a rule random views, and play an episode of the scenario if one is given; raise ConformanceError."""
    _check_part(rule, Rule)
    rng = np.random.default_rng(seed)
    ids = np.arange(FIRST_WORLD_ID, FIRST_WORLD_ID + n_worlds)
    decisions, has_task = [], []
    makers = [_RANDOM_VIEWS[world] for world in rule.worlds if world in _RANDOM_VIEWS]
    for step in range(n_views if makers else 0):
        view = makers[step % len(makers)](rng, n_worlds)
        decisions.append(_watched_decision(rule, view, step, ids, seed))
        has_task.append(view.has_task.sum())
    n_steps = 0
    if scenario is not None:
        world = make(scenario, n_worlds, seed, FIRST_WORLD_ID)
        out = world.outcome()
        world.reset(None, out)
        player = Player(rule, world.spec, ids, seed)
        for step in range(world.spec.horizon_steps):
            view = look(world)
            decisions.append(_watched_decision(rule, view, step, ids, seed))
            has_task.append(view.has_task.sum())
            player.step(world, out)
            n_steps += 1
        n_refused = out.final_sums[:, world.spec.sum_names.index("refused")].sum()
        if n_refused:
            raise ConformanceError(f"{type(rule).__name__}: {scenario.name} refused {n_refused:g} decisions")
    n_offloads = sum(int((decision != LOCAL).sum()) for decision in decisions)
    return BaselineReport(int(sum(has_task)), n_offloads, n_steps)


def _check_part(part: object, base: type) -> None:
    """Check that a part is a frozen dataclass of its kind that survives pickling, as Ray's workers need it."""
    label = type(part).__name__
    if not isinstance(part, base):
        raise ConformanceError(f"{label}: expected a subclass of {base.__name__}")
    options = getattr(type(part), "__dataclass_params__", None)
    if options is None or not options.frozen:
        raise ConformanceError(f"{label}: expected a frozen dataclass: its fields are the keys of its yaml")
    try:
        twin = pickle.loads(pickle.dumps(part))
    except Exception as error:
        raise ConformanceError(f"{label}: cannot be pickled: {error}") from error
    if twin != part:
        raise ConformanceError(f"{label}: differs from itself after pickling: {part} became {twin}")


@contextmanager
def _global_generator_untouched(label: str) -> Iterator[None]:
    """Refuse what draws from NumPy's global generator: all chance comes from the arguments."""
    before = repr(np.random.get_state())  # noqa: NPY002
    yield
    if repr(np.random.get_state()) != before:  # noqa: NPY002
        raise ConformanceError(f"{label}: draws from NumPy's global generator; chance comes from the arguments alone")


def _check_rate(label: str, declared_hz: float, n_tasks: int, seconds: float) -> None:
    """Check the declared rate against the tables; a slip of units or a rate of one device shows."""
    if not (math.isfinite(declared_hz) and declared_hz >= 0.0):
        raise ConformanceError(f"{label}: mean_rate_hz is {declared_hz}; expected a finite number >= 0")
    expected = declared_hz * seconds
    low, high = sorted((expected, float(n_tasks)))
    if high >= _MANY_TASKS and low * RATE_FACTOR < high:
        raise ConformanceError(
            f"{label}: mean_rate_hz is {declared_hz:g}, but {n_tasks} tasks in {seconds:g} s are "
            f"{n_tasks / seconds:g} per second of the whole network"
        )


def _random_view(rng: np.random.Generator, n_worlds: int, n_agents: int = 6, n_targets: int = 4) -> View:
    """Return a view with agents without a task, missing targets, and ties."""
    shape = (n_worlds, n_agents, n_targets)
    target_tier = rng.integers(0, 3, (n_agents, n_targets))
    target_tier[:, 1:][rng.random((n_agents, n_targets - 1)) < 0.25] = -1
    is_target = np.broadcast_to(target_tier >= 0, shape)
    has_task = rng.random(shape[:2]) < 0.7
    mask = is_target & has_task[:, :, None]
    mask[:, :, LOCAL] = True
    names = ("upload_s", "wait_s", "service_s", "return_s")
    times = {name: np.where(is_target, rng.integers(0, 4, shape) * 0.1, np.inf) for name in names}
    queue_tasks = np.where(is_target, rng.integers(0, 5, shape), np.inf)
    return View(
        target_mask=mask,
        has_task=has_task,
        queue_tasks=queue_tasks,
        fill_frac=queue_tasks / 5.0,
        target_tier=target_tier,
        **times,
    )


def _random_mec_view(rng: np.random.Generator, n_worlds: int, n_agents: int = 4, n_servers: int = 3) -> MecView:
    """Return a slot with missing servers, ties, and every kind of transfer and cost."""
    shape = (n_worlds, n_agents, n_servers)
    mask = rng.random((n_worlds, n_agents, 1 + n_servers)) < 0.8
    mask[:, :, LOCAL] = True
    is_bounded = rng.random() < 0.5

    def numbers(low: int, high: int, of: tuple[int, ...]) -> F8:
        return rng.integers(low, high, of).astype(np.float64)

    return MecView(
        target_mask=mask,
        has_task=np.ones(shape[:2], np.bool_),
        work_cycles=numbers(1, 8, shape[:2]),
        size_bits=np.full(shape[:2], 1e6),
        deadline_s=numbers(1, 5, shape[:2]) * 0.7,
        device_hz=numbers(1, 3, shape[:2]),
        server_hz=numbers(1, 20, (n_worlds, n_servers)),
        local_backlog_s=numbers(0, 3, shape[:2]) * 0.5,
        server_backlog_s=numbers(0, 4, (n_worlds, n_servers)) * 0.25,
        transfer_s=numbers(1, 5, shape) * 0.1,
        startup_s=numbers(0, 2, shape) * 0.1,
        bandwidth_hz=1e6,
        interference=float(rng.choice([0.0, 0.5])),
        is_transfer_of_share=bool(rng.random() < 0.5),
        overlaps=bool(rng.random() < 0.5),
        slot_s=1.0,
        miss_weight=10.0,
        time_weight=float(rng.choice([0.5, 1.0])),
        transmit_w=np.full(shape[:2], 0.5),
        switching_farad=1.0,
        energy_j=rng.random(shape[:2]) * 10.0 if is_bounded else np.full(shape[:2], np.inf),
    )


_RANDOM_VIEWS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "fog": _random_view,
    "mec": _random_mec_view,
    "multiuser": random_multiuser_view,
    "testbed": random_bed_view,
}


def _watched_decision(rule: Rule, view: Any, step: int, world_ids: I8, seed: int) -> I8:
    """Return the targets that a rule decides on a view; check that they are allowed, and that the rule is pure."""
    label, shape = type(rule).__name__, view.has_task.shape
    draws = _draws(seed, world_ids, shape[1], step)
    before = [_bytes(field) for field in view]
    with _global_generator_untouched(label):
        chosen = rule.decide(view, step, draws)
    decision = chosen.target if isinstance(chosen, Choice) else chosen
    if not isinstance(decision, np.ndarray) or decision.shape != shape or decision.dtype != np.int64:
        given = f"{decision.dtype} {decision.shape}" if isinstance(decision, np.ndarray) else type(decision).__name__
        raise ConformanceError(f"{label}: decide returned {given}, expected int64 {shape}")
    if isinstance(chosen, Choice):
        _check_share(label, chosen.share, shape)
    for name, was, field in zip(view._fields, before, view, strict=True):
        if _bytes(field) != was:
            raise ConformanceError(f"{label}: decide changed the view's {name}; it belongs to the world")
    if not np.array_equal(draws.turns, _draws(seed, world_ids, shape[1], step).turns):
        raise ConformanceError(f"{label}: decide changed the turns of its draws; the player counts them")
    _check_allowed(label, decision, view.target_mask, view.has_task)
    again = rule.decide(view, step, _draws(seed, world_ids, shape[1], step))
    if not _are_equal(chosen, again):
        raise ConformanceError(f"{label}: two calls with the same view, step and seed decide differently")
    of_worlds = {name for name, _, axes, _ in declared_arrays(type(view)) if axes[0] == "B"}
    last = {name: field[-1:] if name in of_worlds else field for name, field in view._asdict().items()}
    alone = rule.decide(type(view)(**last), step, _draws(seed, world_ids[-1:], shape[1], step))
    if not _are_equal(_last(chosen), alone):
        raise ConformanceError(f"{label}: decides differently for a world alone and in a batch")
    return decision


def _bytes(field: Any) -> bytes:
    """Return the contents of a field of a view, an array or a number."""
    return np.asarray(field).tobytes()


def _are_equal(one: I8 | Choice, two: I8 | Choice) -> bool:
    """Return whether two decisions of a rule are equal, bit by bit."""
    if isinstance(one, Choice) and isinstance(two, Choice):
        if one.share is None or two.share is None:
            return one.share is two.share and np.array_equal(one.target, two.target)
        return np.array_equal(one.target, two.target) and np.array_equal(one.share, two.share)
    return not isinstance(one, Choice) and not isinstance(two, Choice) and np.array_equal(one, two)


def _last(chosen: I8 | Choice) -> I8 | Choice:
    """Return what was chosen for the last world."""
    if not isinstance(chosen, Choice):
        return chosen[-1:]
    return Choice(chosen.target[-1:], None if chosen.share is None else chosen.share[-1:])


def _check_share(label: str, share: Any, shape: tuple[int, ...]) -> None:
    """Check the shares of a choice."""
    if share is None:
        return
    if not isinstance(share, np.ndarray) or share.shape != shape or share.dtype != np.float64:
        given = f"{share.dtype} {share.shape}" if isinstance(share, np.ndarray) else type(share).__name__
        raise ConformanceError(f"{label}: decide returned shares {given}, expected float64 {shape}")
    if not ((share >= 0.0) & (share <= 1.0)).all():
        b, n = (int(i) for i in np.argwhere(~((share >= 0.0) & (share <= 1.0)))[0])
        raise ConformanceError(f"{label}: agent {n} sends a share of {share[b, n]:g}; expected one in [0, 1]")


def _draws(seed: int, world_ids: I8, n_agents: int, step: int) -> RuleDraws:
    """Return the draws of a rule in the middle of its play."""
    draws = RuleDraws(seed, world_ids, n_agents)
    draws.turns += (world_ids[:, None] + np.arange(n_agents)) * step % 7
    return draws


def _check_allowed(label: str, decision: I8, mask: BOOL, has_task: BOOL) -> None:
    in_range = (decision >= 0) & (decision < mask.shape[2])
    allowed = np.take_along_axis(mask, np.where(in_range, decision, 0)[:, :, None], axis=2)[:, :, 0]
    if not (in_range & allowed).all():
        b, n = (int(i) for i in np.argwhere(~(in_range & allowed))[0])
        options = np.flatnonzero(mask[b, n]).tolist()
        why = "" if has_task[b, n] else " (it has no task)"
        raise ConformanceError(f"{label}: agent {n} goes to target {decision[b, n]}, allowed are {options}{why}")
