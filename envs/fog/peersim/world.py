"""The fog world with PeersimGym's slots: everything happens in whole slots, in an order drawn for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.arrays import F8, I8, allocate, check_entries, check_key, check_saved
from envs.constants import PADDING
from envs.errors import ConfigError
from envs.fog.observe import View
from envs.fog.params import FogParams
from envs.fog.peersim import observe
from envs.fog.peersim import state as s
from envs.fog.peersim.figures import METRICS, summarise
from envs.fog.peersim.rules import build_rewards, build_rules
from envs.fog.peersim.setup import build_setup, fill_pieces, types_of
from envs.fog.peersim.state import N_ORDERS, PeersimState, Setup
from envs.fog.peersim.step import begin_world, step_worlds, view_worlds
from envs.rng import Draws, key_from_seed
from envs.scenario import Scenario
from envs.topologies.topology import Topology
from envs.workloads.task_types import TaskTypes
from envs.world import Outcome, World, WorldSpec


class PeersimWorld(World):
    """B worlds of one scenario under PeersimGym's semantics; envs/fog/peersim/params.py names its peculiarities.

    The network is ``layered``, or any other: then its devices are clients that take tasks, and its links have their own
    rates. The workload is ``task_types`` or ``peersim_trace``; this world draws its arrivals itself.
    """

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Build the network, allocate the state; ``reset`` starts the first episode."""
        params: FogParams = scenario.params
        self.scenario = scenario
        self.topology: Topology = scenario.network()
        self.setup: Setup = build_setup(scenario, self.topology)
        self._workload: TaskTypes = types_of(scenario)
        self._params = params
        self._horizon_steps = params.horizon_slots // params.slots_per_step - 1
        if self._horizon_steps < 1 or params.decisions_per_step != 1:
            raise ConfigError(
                f"semantics 'peersim': horizon_slots = {params.horizon_slots}, decisions_per_step = "
                f"{params.decisions_per_step}; expected at least two steps of slots, and one decision a step"
            )
        self._rules = build_rules(params, self.setup, key_from_seed(seed, "world"))
        self._rewards = build_rewards(params, self._workload)
        self.spec = self._build_spec(n_worlds)
        pieces = self._workload.pieces(Draws(0, 0, 0), params.horizon_s)
        self._schedule_of = dict(
            zip(self.topology.device_nodes.tolist(), self._workload.schedule_of(self.topology), strict=True)
        )
        self.state: PeersimState = allocate(PeersimState, self._sizes(max(map(len, pieces))))
        self.state.world["world_id"] = first_world_id + np.arange(n_worlds)
        self._lay_schedules(range(n_worlds))
        self._view: View | None = None

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world; see World.reset."""
        if world_ids is not None:
            self.state.world["world_id"] = world_ids
        self.state.world["episode"] = 0
        for b in range(self.spec.n_worlds):
            self._begin_episode(b, out)
        out.clear_endings()

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Advance every world by one step; see World.step."""
        self.check_decision(decision, amounts)
        if self._params.debug:
            has_task = (self.state.agent["has_task"] == 1) | bool(self._rules.offers_without_task)
            self.refuse_masked(decision, has_task[:, :, None] & (self.spec.target_node >= 0))
        if not step_worlds(out, decision, self.state, self.setup, self._rules, self._rewards):
            return
        for b in np.flatnonzero(out.truncated):
            out.keep_last(int(b), self.state.sums[b])
            self.state.world["episode"][b] += 1
            self._begin_episode(int(b), out)

    def view(self) -> View:
        """Return what rules may know at the current look; the arrays are reused by the next call."""
        if self._view is None:
            node = self.spec.target_node
            tier = np.where(node >= 0, self.setup.node["tier"][node], PADDING)
            self._view = allocate(View, self.spec.sizes())._replace(target_tier=tier)
        view_worlds(self._view, self.state, self.setup, self._rules)
        return self._view

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that the future depends on; see World.snapshot."""
        return {
            "scenario": self.scenario.name,
            "key": int(self._rules.key),
            "state": {name: array.copy() for name, array in self.state._asdict().items()},
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot, bit-equal; see World.restore."""
        label = f"snapshot of {self.scenario.name}"
        check_entries(snapshot, ("scenario", "key", "state"), label)
        if snapshot["scenario"] != self.scenario.name:
            raise ConfigError(f"a snapshot is of scenario {snapshot['scenario']!r}; expected {self.scenario.name!r}")
        check_key(snapshot["key"], label)
        check_saved(snapshot["state"], self.state._asdict(), f"{label}, state")
        self._rules = self._rules._replace(key=np.uint64(snapshot["key"]))
        for name, array in self.state._asdict().items():
            array[...] = snapshot["state"][name]

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the figures of METRICS from metric sums (G,)."""
        return summarise(sums)

    def _begin_episode(self, b: int, out: Outcome) -> None:
        """Empty a world, draw its schedules where they are drawn, and write its first observation."""
        if self._workload.pattern is not None:
            self._lay_schedules([b])
        begin_world(out, self.state, self.setup, self._rules, b)

    def _lay_schedules(self, worlds: Sequence[int]) -> None:
        """Write the schedules of some worlds' clients."""
        for b in worlds:
            world = self.state.world[b]
            draws = Draws(int(self._rules.key), int(world.world_id), int(world.episode))
            pieces = self._workload.pieces(draws, self._params.horizon_s)
            for node, schedule in self._schedule_of.items():
                fill_pieces(self.state.piece[b, node], np.array(pieces[schedule], np.float64), self._params.slot_s)

    def _build_spec(self, n_worlds: int) -> WorldSpec:
        params, setup, rules = self._params, self.setup, self._rules
        n_targets = setup.target_node.shape[1]
        own = list(observe.OWN_FEATURES)
        if rules.shows_next:
            own += [f"next_{name}" for name in observe.TASK_FEATURES]
        own += [f"task_{i}_{name}" for i in range(rules.n_listed) for name in observe.TASK_FEATURES]
        if rules.shows_total:
            own += observe.TOTAL_FEATURES
        names = [f"own/{name}" for name in own]
        names += [f"target_{k}/{name}" for k in range(n_targets) for name in observe.TARGET_FEATURES]
        return WorldSpec(
            scenario=self.scenario.name,
            n_worlds=n_worlds,
            n_agents=len(setup.node_of_agent),
            n_targets=n_targets,
            n_features=len(names),
            n_state=len(observe.NODE_FEATURES) * self.topology.n_nodes,
            n_decisions=1,
            horizon_steps=self._horizon_steps,
            step_s=params.slot_s * params.slots_per_step,
            agents=tuple(self.topology.node_name[node] for node in setup.node_of_agent),
            agent_tier=setup.node["tier"][setup.node_of_agent],
            target_node=setup.target_node,
            own_features=len(own),
            target_features=len(observe.TARGET_FEATURES),
            feature_names=tuple(names),
            sum_names=s.SUM_NAMES,
            metrics=METRICS,
        )

    def _sizes(self, n_pieces: int) -> dict[str, int]:
        params, setup = self._params, self.setup
        n_nodes, n_entries = self.topology.n_nodes, len(setup.entry)
        longest = int(max(setup.out_slots.max(), setup.back_slots.max(), setup.entry["report_slots"].max()))
        n_reports = min(int(setup.entry["report_slots"].max()), params.horizon_slots) + 1
        cloud = np.flatnonzero(setup.node["is_cloud"])
        return {
            **self.spec.sizes(),
            "M": n_nodes,
            "L": n_entries,
            "P": params.max_alive_tasks,
            "H": params.peersim.max_hops,
            "R": n_reports,
            "E": params.max_alive_tasks + n_entries * n_reports + 2 * n_nodes + 1,
            "Y": N_ORDERS + min(longest, params.horizon_slots) + 1,
            "V": int(self.topology.n_cores[cloud[0]]) if len(cloud) else 0,
            "J": len(setup.type),
            "I": n_pieces,
        }
