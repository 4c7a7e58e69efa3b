"""PeersimGym worlds that can be worked out by hand: events in a fixed order, tasks sent in slots that the test names.

In the fixed order a slot has: the look and the decisions, arriving messages, the turns of clients, those of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from envs.fog.peersim.state import SUM_NAMES
from envs.fog.peersim.world import PeersimWorld
from envs.scenario import Scenario, make
from envs.topologies.layered import Layer, Layered, LayeredCloud
from envs.workloads.task_types import NodeSchedule, TaskType, TaskTypes
from envs.world import Outcome

NEVER = 1e-12  # tasks per second: none within any horizon
MB = 8e6  # bits


def layer(n_nodes: int = 1, core_hz: float = 1.0, **values: Any) -> Layer:
    """Return a layer of devices that serve one cycle a slot, with ten places, and take their clients' tasks."""
    named = {
        "name": "device",
        "tier": "device",
        "n_cores": 1,
        "core_hz_spread": 0.0,
        "queue_places": 10,
        "queue_bits": np.inf,
        "has_clients": True,
        "takes_tasks": True,
        "reaches_cloud": False,
        "idle_w": 0.0,
        "busy_w": 0.0,
        "transmit_w": 0.0,
    }
    return Layer(n_nodes=n_nodes, core_hz=core_hz, **{**named, **values})


def servers(n_nodes: int = 1, core_hz: float = 1.0, **values: Any) -> Layer:
    """Return a layer of nodes without clients, to which no client sends tasks."""
    named = {"name": "server", "tier": "edge", "has_clients": False, "takes_tasks": False}
    return layer(n_nodes, core_hz, **{**named, **values})


def cloud(n_vms: int, vm_hz: float) -> LayeredCloud:
    return LayeredCloud(n_vms, vm_hz, 20.0, 60.0, 1000, 0.0, 0.0, 0.0)


def task_type(work_cycles: float, size_mb: float = 0.0, deadline_s: float = 0.0, **values: Any) -> TaskType:
    """Return a type whose input and output have one size; every deadline is the same."""
    named = {"name": "t", "share": 1.0, "result_bits": size_mb * MB, "deadline_high_s": deadline_s, "priority": 0}
    return TaskType(size_bits=size_mb * MB, work_cycles=work_cycles, deadline_low_s=deadline_s, **{**named, **values})


def build(
    layers: Sequence[Layer],
    types: Sequence[TaskType],
    *,
    links: Sequence[tuple[int, int]] = (),
    positions: Sequence[tuple[float, float]] = (),
    behind: LayeredCloud | None = None,
    pieces: Sequence[tuple[float, float]] = ((1.0, NEVER),),
    n_worlds: int = 1,
    params: Mapping[str, Any] | None = None,
    **switches: Any,
) -> PeersimWorld:
    """Return worlds of 40 slots of a second in which all nodes decide and events have their fixed order."""
    n_nodes = sum(each.n_nodes for each in layers)
    places = tuple(positions) or tuple((10.0 * m, 0.0) for m in range(n_nodes))
    topology = Layered(tuple(layers), behind, (), places, 100.0, tuple(links), 50.0, 2e6, 20.0, (), 45.0, (0.0, 0.0))
    values = {
        "name": "fog",
        "semantics": "peersim",
        "slot_s": 1.0,
        "horizon_slots": 40,
        "agents": "all",
        **(params or {}),
        "peersim": {"event_order": "fixed", **switches},
    }
    fog = load_part("world_params", values, Source(None))
    workload = TaskTypes(tuple(types), (NodeSchedule("", tuple(pieces)),), None)
    world = make(Scenario("by hand", "fog", topology, 0, workload, fog), n_worlds)
    assert isinstance(world, PeersimWorld)
    return world


class Hand:
    """A world at the first look, and the hand that sends tasks and takes decisions, the same in all worlds."""

    def __init__(self, world: PeersimWorld) -> None:
        self.world = world
        self.out: Outcome = world.outcome()
        self.earned: list[list[float]] = []  # of each agent, step by step
        world.reset(None, self.out)

    @property
    def slot(self) -> int:
        """The slot of the look."""
        return int(self.world.state.world["slot"][0])

    def to(
        self,
        slot: int,
        sends: Mapping[int, Sequence[int]] | None = None,
        decisions: Mapping[int, Sequence[int]] | None = None,
    ) -> Hand:
        """Go on to the look of a slot; clients send to the entries of ``sends``, agents decide, local if not said."""
        setup, state = self.world.setup, self.world.state
        n_worlds, n_agents = self.world.spec.n_worlds, self.world.spec.n_agents
        while self.slot < slot:
            now = self.slot
            for entry in (sends or {}).get(now, ()):
                assert setup.entry["is_stream"][entry]
                state.entry["next_slot"][:, entry] = now
            chosen = np.array((decisions or {}).get(now, [0] * n_agents), np.int64)
            self.world.step(np.tile(chosen, (n_worlds, 1)), self.out)
            self.earned.append(self.out.reward[0].tolist())
            assert not self.out.truncated.any(), "the episode ended before the slot that the test names"
        return self

    def sums(self) -> dict[str, float]:
        """Return the metric sums so far, of the first world."""
        return dict(zip(SUM_NAMES, self.world.state.sums[0].tolist(), strict=True))

    def node(self, m: int) -> Any:
        return self.world.state.node[0, m]

    def queue(self, m: int) -> list[int]:
        """Return the slots in which the tasks of a node's queue were sent, that which is served next first."""
        slots, task = [], int(self.node(m).first)
        while task >= 0:
            slots.append(int(self.world.state.task["sent_slot"][0, task]))
            task = int(self.world.state.task["following"][0, task])
        return slots

    def seen_queue(self, n: int, k: int) -> float:
        """Return the tasks that an agent sees at a target."""
        return float(self.world.view().queue_tasks[0, n, k])


class Lab:
    """What the tests build with."""

    never, mb = NEVER, MB
    layer, servers, cloud, task_type = (
        staticmethod(layer),
        staticmethod(servers),
        staticmethod(cloud),
        staticmethod(task_type),
    )
    build = staticmethod(build)

    @staticmethod
    def hand(*args: Any, **kwargs: Any) -> Hand:
        """Return a hand at the first look of worlds, see ``build``."""
        return Hand(build(*args, **kwargs))

    @classmethod
    def crowd(cls, core_hz: float, work_cycles: float, **kwargs: Any) -> Hand:
        """Return a hand at look 2: node 0 got three tasks at once; beside it two devices, and a server as target 3.

        Entries of the lists: node 0: 0 to 3 (itself, 1, 2, the server), node 1: 4 to 6, node 2: 7 to 9.
        """
        layers = [layer(3, core_hz), servers(1, 4.0)]
        types = kwargs.pop("types", [task_type(work_cycles)])
        made = cls.hand(layers, types, links=[(0, 1), (0, 2), (1, 2), (0, 3)], **kwargs)
        return made.to(2, sends={0: [0, 5, 8]})


@pytest.fixture
def lab() -> type[Lab]:
    return Lab


@pytest.fixture
def part() -> Any:
    """Return what loads a part with the values of its yaml."""
    return lambda kind, name: load_part(kind, name, Source(None))


@pytest.fixture
def scenario_of_devices(part: Any) -> Any:
    """Return what builds a world of PeersimGym's semantics on one device, under the workload of a name."""
    params = load_part("world_params", {"name": "fog", "semantics": "peersim"}, Source(None))
    return lambda name: make(Scenario("one", "fog", part("topology", "single"), 0, part("workload", name), params), 1)
