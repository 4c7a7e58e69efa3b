"""The fog world: devices, edge servers and clouds with queues, and offloading over many hops of shared channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.arrays import F8, I8, allocate, check_entries, check_saved
from envs.constants import PADDING
from envs.errors import ConfigError
from envs.fog import state as s
from envs.fog.arrivals import ArrivalTables
from envs.fog.figures import METRICS, summarise
from envs.fog.network import Network, build_network
from envs.fog.observe import OWN_FEATURES, TARGET_FEATURES, View
from envs.fog.params import CONTENTIONS, DEADLINES, DISCIPLINES, FogParams
from envs.fog.reward import reward_weights
from envs.fog.routes import quickest_links
from envs.fog.state import FogState, Rules
from envs.fog.static import cumulated_shares, play_static
from envs.fog.step import clear_world, first_observation, step_worlds, view_worlds
from envs.fog.updates import free_update, post_update
from envs.rng import key_from_seed
from envs.scenario import Scenario
from envs.topologies.topology import Topology
from envs.world import Outcome, World, WorldSpec


class ArrivedUpdate(NamedTuple):
    """A model update that has arrived."""

    number: int  # as post_update returned it
    source: int  # node
    target: int  # node
    size_bits: float
    sent_s: float  # instants since the episode's start
    arrived_s: float


class FogWorld(World):
    """B fog worlds of one scenario. See envs/fog/kernel.py for the physics and envs/fog/params.py for the options."""

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Build the network, allocate the state; ``reset`` starts the first episode."""
        params: FogParams = scenario.params
        self.scenario = scenario
        self.topology: Topology = scenario.network()
        self.network: Network = build_network(self.topology, params)
        self._params = params
        self._rules = self._read_rules()
        self._weights = reward_weights(params.reward)
        self.spec = self._build_spec(n_worlds)
        self.state: FogState = allocate(FogState, self._sizes())
        self.state.world["world_id"] = first_world_id + np.arange(n_worlds)
        self._arrivals = ArrivalTables(
            scenario.workload, self.topology, params.horizon_s, n_worlds, key_from_seed(seed, "world")
        )
        self._chosen = np.zeros((self.spec.n_agents, self.spec.n_decisions), np.int64)
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
            has_task = self.state.agent["next_task"] >= 0
            self.refuse_masked(decision, has_task[:, :, None] & (self.spec.target_node >= 0))
        spec = self.spec
        n_ended = step_worlds(
            out,
            self._chosen,
            decision.reshape(spec.n_worlds, spec.n_agents, spec.n_decisions),
            self.state,
            self.network,
            self._rules,
            self._weights,
            self._arrivals.batch,
        )
        if n_ended:
            self._restart(out)

    def view(self) -> View:
        """Return what rules may know of the current slot; the arrays are reused by the next call."""
        if self._view is None:
            spec, network = self.spec, self.network
            tier = np.where(network.target_node >= 0, network.tier[network.target_node], PADDING)
            self._view = allocate(View, spec.sizes())._replace(target_tier=tier)
        view_worlds(self._view, self.state, self.network, self._rules)
        return self._view

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that the future depends on; see World.snapshot."""
        return {
            "scenario": self.scenario.name,
            "key": self._arrivals.key,
            "state": {name: array.copy() for name, array in self.state._asdict().items()},
            "arrivals": {name: array.copy() for name, array in self._arrivals.batch._asdict().items()},
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot, bit-equal; see World.restore."""
        label = f"snapshot of {self.scenario.name}"
        check_entries(snapshot, ("scenario", "key", "state", "arrivals"), label)
        if snapshot["scenario"] != self.scenario.name:
            raise ConfigError(f"a snapshot is of scenario {snapshot['scenario']!r}; expected {self.scenario.name!r}")
        check_saved(snapshot["state"], self.state._asdict(), f"{label}, state")
        self._arrivals.restore(snapshot["key"], snapshot["arrivals"], label)  # checks before it takes anything over
        for name, array in self.state._asdict().items():
            array[...] = snapshot["state"][name]
        if (self.state.task["stage"] == s.UPDATE).any():
            self._find_ways()

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the figures of METRICS from metric sums (G,)."""
        return summarise(sums)

    def task_log(self, b: int) -> F8:
        """Return the rows of the current episode's task log of a world, columns LOG_COLUMNS."""
        n_rows = min(int(self.state.world["n_logged"][b]), self._params.task_log_places)
        return self.state.log[b, :n_rows].copy()

    def play_static(self, share: F8, seed: int) -> F8:
        """Play every world to its horizon under a static policy and return the metric sums (B, G).

        ``share`` (N, K) is the probability of each target of each agent. Decisions are taken at the instants at which
        tasks wait for them: expected are decide_on = events and undecided = hold, else ConfigError. Nothing is observed
        or rewarded, which makes it the cheapest way to play; only ``reset`` may follow.
        """
        if not (self._rules.on_events and self._rules.holds):
            raise ConfigError("play_static: expected a world with decide_on = 'events' and undecided = 'hold'")
        upper = cumulated_shares(share, self.spec.target_node)
        key = np.uint64(key_from_seed(seed, "static"))
        decision = np.zeros(self.spec.n_decisions, np.int64)
        play_static(self._chosen[0], decision, self.state, self.network, self._rules, self._arrivals.batch, upper, key)
        return self.state.sums.copy()

    def post_update(self, b: int, source: int, target: int, size_bits: float) -> int:
        """Send a model update of ``size_bits`` from a node to another in world ``b``; return its number in the episode.

        It takes the quickest way, whole over one link after the other, and shares the channels with the tasks. It takes
        a place among ``max_alive_tasks``; where none is free, or a node or the size is out of range, ConfigError.
        """
        n_nodes = self.topology.n_nodes
        if not (0 <= b < self.spec.n_worlds and 0 <= source < n_nodes and 0 <= target < n_nodes):
            raise ConfigError(
                f"post_update: world {b}, node {source} to node {target}: expected a world in 0 .. "
                f"{self.spec.n_worlds - 1} and nodes in 0 .. {n_nodes - 1}"
            )
        if not (np.isfinite(size_bits) and size_bits >= 0.0):
            raise ConfigError(f"post_update: size_bits = {size_bits}: expected a finite number >= 0")
        self._find_ways()
        number = post_update(self.state, self.network, self._rules, b, source, target, float(size_bits))
        if number < 0:
            raise ConfigError(
                f"post_update: world {b} has max_alive_tasks = {self._params.max_alive_tasks} tasks and updates already"
            )
        return int(number)

    def take_updates(self, b: int) -> list[ArrivedUpdate]:
        """Return the model updates that arrived in world ``b`` since the last call, in order of arrival."""
        rows = np.flatnonzero(self.state.task["stage"][b] == s.DELIVERED)
        rows = rows[np.argsort(self.state.task["completed_s"][b, rows], kind="stable")]
        arrived = []
        for row in rows:
            task = self.state.task[b, row]
            arrived.append(
                ArrivedUpdate(
                    int(task.number),
                    int(task.origin),
                    int(task.target),
                    float(task.size_bits),
                    float(task.created_s),
                    float(task.completed_s),
                )
            )
            free_update(self.state, b, int(row))
        return arrived

    def _find_ways(self) -> None:
        """Compute the quickest ways, when something is sent over them for the first time."""
        if self.network.next_link.shape[0] < self.topology.n_nodes:
            self.network = self.network._replace(next_link=quickest_links(self.topology, self._params.route_bits))

    def _begin_episode(self, b: int, out: Outcome) -> None:
        """Draw the tasks of a world's episode, empty the world and write its first observation."""
        self._arrivals.renew(b, int(self.state.world["world_id"][b]), int(self.state.world["episode"][b]))
        clear_world(self.state, b)
        first_observation(out, self.state, self.network, self._rules, self._weights, b)

    def _restart(self, out: Outcome) -> None:
        """Keep the last observation and the sums of the worlds that ended, and begin their next episodes."""
        for b in np.flatnonzero(out.truncated):
            out.keep_last(int(b), self.state.sums[b])
            self.state.world["episode"][b] += 1
            self._begin_episode(int(b), out)

    def _build_spec(self, n_worlds: int) -> WorldSpec:
        params, network, topology = self._params, self.network, self.topology
        n_targets = network.target_node.shape[1]
        names = [f"own/{name}" for name in OWN_FEATURES]
        names += [f"target_{k}/{name}" for k in range(n_targets) for name in TARGET_FEATURES]
        return WorldSpec(
            scenario=self.scenario.name,
            n_worlds=n_worlds,
            n_agents=len(network.node_of_agent),
            n_targets=n_targets,
            n_features=len(names),
            n_state=4 * topology.n_nodes + topology.n_channels,
            n_decisions=params.decisions_per_step,
            horizon_steps=self._rules.horizon_steps,
            is_horizon_exact=not self._rules.on_events,
            step_s=params.slot_s * params.slots_per_step,
            agents=tuple(topology.node_name[node] for node in network.node_of_agent),
            agent_tier=network.tier[network.node_of_agent],
            target_node=network.target_node,
            own_features=len(OWN_FEATURES),
            target_features=len(TARGET_FEATURES),
            feature_names=tuple(names),
            sum_names=s.SUM_NAMES,
            metrics=METRICS,
        )

    def _read_rules(self) -> Rules:
        params = self._params
        horizon_steps = params.horizon_slots // params.slots_per_step
        if params.decide_on == "events":
            # Each task is decided on once at each node of its path; four times the expected tasks are out of reach for
            # all but a runaway workload, whose episode then ends early.
            expected = self.scenario.workload.mean_rate_hz(self.topology) * params.horizon_s
            horizon_steps = int(4.0 * expected * (params.max_hops + 1)) + 64
        return Rules(
            slot_s=float(params.slot_s),
            slots_per_step=params.slots_per_step,
            horizon_slots=params.horizon_slots,
            horizon_steps=horizon_steps,
            on_events=params.decide_on == "events",
            holds=params.undecided == "hold",
            discipline=DISCIPLINES.index(params.discipline),
            contention=CONTENTIONS.index(params.contention),
            deadlines=DEADLINES.index(params.deadlines),
            by_shortest_way=params.results == "shortest",
            max_hops=params.max_hops,
            report_every_slots=params.report_every_slots,
            time_scale_s=float(params.time_scale_s),
            n_decisions=params.decisions_per_step,
        )

    def _sizes(self) -> dict[str, int]:
        params = self._params
        return {
            **self.spec.sizes(),
            "M": self.topology.n_nodes,
            "C": self.topology.n_channels,
            "P": params.max_alive_tasks,
            "H": max(params.max_hops, 1),
            "U": len(self.network.report_lag_slots),
            "R": int(self.network.report_lag_slots.max()) + params.report_every_slots,
            "Z": params.task_log_places,
            "W": len(s.LOG_COLUMNS),
            "O": len(s.TERMS),
        }
