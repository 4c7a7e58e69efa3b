"""The multi-user world: N users share channels and one edge server; DC-DRL as released and as meant, and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.arrays import F8, I8, allocate, as_row
from envs.constants import TIER_DEVICE, TIER_EDGE
from envs.multiuser.build import check_finite, parts_of, read_rules, read_tables
from envs.multiuser.decode import Chosen, amount_edges, amount_names, encode, n_targets, users_in_turn
from envs.multiuser.figures import METRICS, summarise
from envs.multiuser.names import own_features, state_entries, target_features
from envs.multiuser.observe import MultiuserView, view_worlds
from envs.multiuser.start import MultiuserStart, load_start
from envs.multiuser.state import SUM_NAMES, MultiuserState, Room, SlotFigures
from envs.multiuser.step import begin_worlds, observe_worlds, step_turns, step_worlds
from envs.rng import key_from_seed
from envs.scenario import Scenario
from envs.snapshots import restore_snapshot, take_snapshot
from envs.world import Outcome, World, WorldSpec

CONTROLLER = "controller"  # name of the agent that decides for all users


class MultiuserWorld(World):
    """B multi-user worlds of one scenario. See envs/multiuser/params.py for the options and kernel.py for physics."""

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Read the parts and allocate the state; ``reset`` starts the first episode."""
        cell, _, self._params = parts_of(scenario)
        self.scenario = scenario
        self.topology = scenario.network()
        self._tables, self._rules = read_tables(scenario), read_rules(scenario)
        check_finite(self._tables, self._rules)
        self._row = as_row(self._rules)
        self._key = key_from_seed(seed, "world")
        self._n_users, self._n_channels = cell.n_users, cell.n_channels
        self.spec = self._build_spec(n_worlds)
        self.state: MultiuserState = allocate(MultiuserState, self._sizes())
        self.state.world["world_id"] = first_world_id + np.arange(n_worlds)
        self.state.user["deadline_s"] = 1.0  # there is a task from ``reset`` on
        self.figures: SlotFigures = allocate(SlotFigures, self._sizes())  # of the last slot, in float64
        self._room: Room = allocate(Room, self._sizes())
        self._no_decision = np.zeros((n_worlds, cell.n_users), np.int64)
        self._no_amounts = np.zeros((n_worlds, 2 * cell.n_users))
        self._view: MultiuserView | None = None

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world; see World.reset."""
        if world_ids is not None:
            self.state.world["world_id"] = world_ids
        self.state.world["episode"] = 0
        begin_worlds(self.state, self._tables, self._row, np.uint64(self._key))
        observe_worlds(out, self.state, self._tables, self._row)
        out.clear_endings()

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Advance every world by a slot, or by a user's turn; see World.step.

        A target out of range raises DecisionError: none is masked.
        """
        self.check_decision(decision, amounts)
        self.check_targets(decision)
        key = np.uint64(self._key)
        if self._params.takes_turns:
            given = np.ascontiguousarray(decision)
            step_turns(out, self.figures, self._room, self.state, given, self._tables, self._row, key)
            return
        shape = self._no_decision.shape
        if amounts is None:
            given, numbers = np.ascontiguousarray(decision).reshape(shape), self._no_amounts
        else:
            given, numbers = self._no_decision, np.ascontiguousarray(amounts).reshape(self._no_amounts.shape)
        step_worlds(out, self.figures, self._room, self.state, given, numbers, self._tables, self._row, key)

    def view(self) -> MultiuserView:
        """Return what rules may know of the current slot; the arrays are reused by the next call."""
        if self._view is None:
            self._view = allocate(
                MultiuserView,
                {**self._sizes(), "K": 1 + self._n_channels},
                rules=self._row,
            )
            self._view.target_mask[:] = True
            self._view.has_task[:] = True
            self._view.user_hz[:] = self._tables.user_hz
            self._view.received_w[:] = self._tables.received_w
        view_worlds(self._view, self.state)
        return self._view

    def encode(self, choice: Chosen) -> tuple[I8, F8 | None]:
        """Return the decision and amounts for ``step`` that a rule's choice stands for, or its part of this turn."""
        turn = users_in_turn(self.state, self._rules.by_urgency)
        return encode(self._params, self._n_channels, choice, turn)

    def load(self, start: MultiuserStart, out: Outcome) -> None:
        """Put every world into a given state, as for replaying recorded transitions, and write what is seen of it.

        Episode numbers stay as they are, metric sums begin at 0. Steps go on from there; what happened in a step is in
        ``figures``, also where it ended an episode.
        """
        load_start(self.state, start, self._rules)
        observe_worlds(out, self.state, self._tables, self._row)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything that the future depends on; see World.snapshot."""
        return take_snapshot(self.scenario.name, self._key, self.state._asdict())

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot, bit-equal; see World.restore."""
        self._key = restore_snapshot(snapshot, self.scenario.name, self.state._asdict())

    def summarise(self, sums: F8) -> dict[str, float]:
        """Return the figures of ``spec.metrics`` from metric sums (G,)."""
        return summarise(sums)

    def _build_spec(self, n_worlds: int) -> WorldSpec:
        params, n_users = self._params, self._n_users
        is_central, kind = params.is_central, params.decision.kind
        n_turns = n_users if params.takes_turns else 1
        n_agents, n_choices = 1 if is_central else n_users, n_targets(params, self._n_channels)
        own, of_target = own_features(params, n_users), target_features(params)
        names = own + [f"target_{k}/{name}" for k in range(n_choices) for name in of_target]
        amounts = amount_names(params, n_users)
        return WorldSpec(
            scenario=self.scenario.name,
            n_worlds=n_worlds,
            n_agents=n_agents,
            n_targets=n_choices,
            n_features=len(names),
            n_state=len(state_entries(params, n_users)),
            n_decisions=n_users if is_central and kind == "discrete" else 1,
            horizon_steps=params.horizon_slots * n_turns,
            step_s=self._rules.slot_s / n_turns,
            agents=(CONTROLLER,) if is_central else self.topology.node_name[:n_users],
            agent_tier=np.full(n_agents, TIER_EDGE if is_central else TIER_DEVICE, np.int64),
            target_node=self._target_node(n_agents, n_choices),
            own_features=len(own),
            target_features=len(of_target),
            feature_names=tuple(names),
            sum_names=SUM_NAMES,
            metrics=METRICS,
            has_local=kind != "box",
            n_amounts=len(amounts),
            amount_low=-1.0,
            amount_high=1.0,
            amount_names=amounts,
            amount_edges=amount_edges(params, n_users, self._n_channels),
            n_turns=n_turns,
        )

    def _target_node(self, n_agents: int, n_choices: int) -> I8:
        """Return the node of each target, (N, K): oneself, then the edge server, where a controller stands, too."""
        nodes = np.full((n_agents, n_choices), self._n_users, np.int64)
        if not self._params.is_central:
            nodes[:, 0] = np.arange(n_agents)
        return nodes

    def _sizes(self) -> dict[str, int]:
        return {**self.spec.sizes(), "Us": self._n_users, "Ch": self._n_channels + 1}
