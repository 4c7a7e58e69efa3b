"""The simulated twin of the testbed: what its processes do, event by event, and what they report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.arrays import F8, I8, ROWS, allocate, as_row
from envs.constants import TIER_DEVICE
from envs.rng import key_from_seed
from envs.scenario import Scenario
from envs.snapshots import restore_snapshot, take_snapshot
from envs.testbed.build import parts_of, read_rules, read_tables
from envs.testbed.decode import AMOUNT, AMOUNT_EDGES, N_STAGES, Chosen, n_targets
from envs.testbed.figures import METRICS, summarise
from envs.testbed.observe import OWN_FEATURES, TARGET_FEATURES, BedView, feature_names, state_names, view_worlds
from envs.testbed.state import N_CUTS, SUM_NAMES, BedState
from envs.testbed.step import begin_worlds, step_worlds
from envs.world import Outcome, World, WorldSpec

_LANE_JOBS = 2  # of a task on its device: before the upload, and the rest if patience ends


class BedWorld(World):
    """B twins of one scenario. See envs/testbed/params.py for the options, queues.py and events.py for what happens.

    An episode ends of itself: with its last decision all tasks are followed to their end, for at most ``drain_s``.
    """

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Read the parts and allocate the state; ``reset`` starts the first episode."""
        lan, _, self._params = parts_of(scenario)
        self.scenario = scenario
        self.topology = scenario.network()
        self._tables, self._rules = read_tables(scenario), read_rules(scenario)
        self._row = as_row(self._rules)
        self._key = key_from_seed(seed, "world")
        self._n_devices, self._n_servers = lan.n_devices, len(lan.servers)
        self._n_lanes = sum(server.n_lanes for server in lan.servers)
        self.spec = self._build_spec(n_worlds)
        self.state: BedState = allocate(BedState, self._sizes())
        self.state.world["world_id"] = first_world_id + np.arange(n_worlds)
        # (B, N, T) tasks of the last ended episode of each world, rows as ``envs.testbed.state.TaskRow``
        self.ended: ROWS = self.state.task.copy()
        self._view: BedView = allocate(BedView, self._sizes())
        self._no_amounts = np.ones((n_worlds, lan.n_devices))

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world; see World.reset."""
        if world_ids is not None:
            self.state.world["world_id"] = world_ids
        self.state.world["episode"] = 0
        begin_worlds(out, self._view, self.state, self._tables, self._row, np.uint64(self._key))
        out.clear_endings()

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Advance every world by an epoch; see World.step. A target out of range raises DecisionError."""
        self.check_decision(decision, amounts)
        self.check_targets(decision)
        given = self._no_amounts if amounts is None else np.ascontiguousarray(amounts[:, :, 0])
        key, chosen = np.uint64(self._key), np.ascontiguousarray(decision)
        step_worlds(out, self._view, self.ended, self.state, chosen, given, self._tables, self._row, key)

    def view(self) -> BedView:
        """Return what was reported for the current epoch; the arrays are reused by the next step."""
        return self._view

    def encode(self, choice: Chosen) -> tuple[I8, F8 | None]:
        """Return the decision and amounts for ``step`` that a rule's choice of targets stands for."""
        if self._params.decision.kind != "shares":
            return choice.target, None
        return choice.target, np.ones((*choice.target.shape, 1))

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that the future depends on; see World.snapshot."""
        return take_snapshot(self.scenario.name, self._key, self.state._asdict())

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot, bit-equal; see World.restore."""
        self._key = restore_snapshot(snapshot, self.scenario.name, self.state._asdict())
        view_worlds(self._view, self.state, self._tables, self._row)

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the figures of ``spec.metrics`` from metric sums (G,)."""
        return summarise(sums)

    def _build_spec(self, n_worlds: int) -> WorldSpec:
        kind, n_devices, n_servers = self._params.decision.kind, self._n_devices, self._n_servers
        n_choices = n_targets(kind, n_servers)
        has_amount = kind == "shares"
        names = feature_names(n_choices)
        server_of = n_devices + np.arange(n_choices - 1) // (N_CUTS if kind == "cuts" else 1)
        nodes = np.column_stack([np.arange(n_devices), np.tile(server_of, (n_devices, 1))]).astype(np.int64)
        return WorldSpec(
            scenario=self.scenario.name,
            n_worlds=n_worlds,
            n_agents=n_devices,
            n_targets=n_choices,
            n_features=len(names),
            n_state=len(state_names(n_devices, n_servers)),
            n_decisions=1,
            horizon_steps=self._params.horizon_slots,
            step_s=self._rules.epoch_s,
            agents=self.topology.node_name[:n_devices],
            agent_tier=np.full(n_devices, TIER_DEVICE, np.int64),
            target_node=nodes,
            own_features=len(OWN_FEATURES),
            target_features=len(TARGET_FEATURES),
            feature_names=tuple(names),
            sum_names=SUM_NAMES,
            metrics=METRICS,
            n_amounts=int(has_amount),
            amount_names=(AMOUNT,) if has_amount else (),
            amount_edges=(AMOUNT_EDGES,) if has_amount else (),
        )

    def _sizes(self) -> dict[str, int]:
        n_epochs, listed = self._params.horizon_slots, self._tables.listed_frames.shape
        return {
            **self.spec.sizes(),
            "Se": self._n_servers,
            "Sn": self._n_servers + 1,
            "La": self._n_lanes,
            "Ep": n_epochs,
            "Jo": _LANE_JOBS * n_epochs,
            "Ta": self._n_devices * n_epochs,
            "St": N_STAGES,
            "Nf": listed[0],
            "Tf": listed[1],
        }
