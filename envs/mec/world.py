"""The MEC world: devices split tasks with edge servers; the released and the published ExplabOff, and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.arrays import F8, I8, allocate, as_row
from envs.constants import TIER_DEVICE
from envs.mec.build import parts_of, read_rules, read_tables
from envs.mec.checks import check_possible
from envs.mec.decode import Chosen, encode, n_amounts, n_targets
from envs.mec.figures import metrics, summarise
from envs.mec.names import own_features, state_entries, target_features
from envs.mec.observe import MecView, view_worlds
from envs.mec.start import MecStart, load_start
from envs.mec.state import SUM_NAMES, MecState, SlotFigures
from envs.mec.step import begin_worlds, observe_exactly, observe_worlds, step_worlds
from envs.rng import key_from_seed
from envs.scenario import Scenario
from envs.snapshots import restore_snapshot, take_snapshot
from envs.world import Outcome, World, WorldSpec


@dataclass(frozen=True)
class _Bounds:
    """What an agent's amounts are."""

    low: float
    high: float
    names: tuple[str, ...]


_AMOUNTS = {
    "hybrid": _Bounds(0.0, 1.0, ("share",)),
    "box": _Bounds(-1.0, 1.0, ("server", "share")),
    "discrete": _Bounds(0.0, 1.0, ()),
}


class MecWorld(World):
    """B MEC worlds of one scenario. See envs/mec/params.py for the options and envs/mec/kernel.py for the physics."""

    def __init__(self, scenario: Scenario, n_worlds: int, seed: int, first_world_id: int) -> None:
        """Read the parts and allocate the state; ``reset`` starts the first episode."""
        cell, profiles, params = parts_of(scenario)
        self.scenario = scenario
        self.topology = scenario.network()
        self._params = params
        self._tables = read_tables(cell, profiles, params)
        self._rules = read_rules(cell, profiles, params)
        check_possible(params, self._tables, self._rules)
        self._row = as_row(self._rules)
        self._key = key_from_seed(seed, "world")
        self.spec = self._build_spec(n_worlds)
        self.state: MecState = allocate(MecState, self._sizes())
        self.state.world["world_id"] = first_world_id + np.arange(n_worlds)
        self.figures: SlotFigures = allocate(SlotFigures, self._sizes())  # of the last step, in float64
        self._order = np.zeros(self.spec.n_agents, np.int64)
        self._no_amounts = np.zeros((n_worlds, self.spec.n_agents, 0))
        self._view: MecView | None = None

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Start the first episode of every world; see World.reset."""
        if world_ids is not None:
            self.state.world["world_id"] = world_ids
        self.state.world["episode"] = 0
        begin_worlds(self.state, self._tables, self._row, np.uint64(self._key))
        observe_worlds(out, self.state, self._tables, self._row)
        out.clear_endings()

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Advance every world by a slot; see World.step. A target out of range raises DecisionError: none is masked."""
        self.check_decision(decision, amounts)
        self.check_targets(decision)
        amounts = self._no_amounts if amounts is None else amounts
        key = np.uint64(self._key)
        step_worlds(out, self.figures, self._order, self.state, decision, amounts, self._tables, self._row, key)

    def view(self) -> MecView:
        """Return what rules may know of the current slot; the arrays are reused by the next call."""
        if self._view is None:
            rules, params = self._rules, self._params
            self._view = allocate(
                MecView,
                {**self._sizes(), "K": 1 + len(self._tables.server_hz)},
                bandwidth_hz=rules.bandwidth_hz if rules.is_radio else 0.0,
                interference=rules.interference if rules.is_radio else 0.0,
                is_transfer_of_share=rules.is_radio,
                overlaps=rules.overlaps,
                slot_s=rules.slot_s,
                miss_weight=params.reward.miss_weight,
                time_weight=rules.time_weight,
                switching_farad=rules.switching_farad,
            )
        view_worlds(self._view, self.state, self._tables, self._row)
        return self._view

    def encode(self, choice: Chosen) -> tuple[I8, F8 | None]:
        """Return the decision and amounts for ``step`` that a rule's choice stands for."""
        return encode(self._params.decision, len(self._tables.server_hz), choice)

    def load(self, start: MecStart, out: Outcome) -> None:
        """Put every world into a given state, as for replaying recorded transitions, and write what is seen of it.

        Channels, places and episode numbers stay as they are, metric sums begin at 0. Steps go on from there; what
        happened in a step is in ``figures``, also where it ended an episode.
        """
        load_start(self.state, start, self._tables, self._rules)
        observe_worlds(out, self.state, self._tables, self._row)

    def exact_observation(self) -> F8:
        """Return the observations (B, N, F) in float64, for comparison with recorded ones."""
        spec = self.spec
        rows = np.zeros((spec.n_worlds, spec.n_agents, spec.n_features))
        global_state = np.zeros((spec.n_worlds, spec.n_state))
        observe_exactly(rows, global_state, self.state, self._tables, self._row)
        return rows

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
        params, decision = self._params, self._params.decision
        n_agents, n_servers = len(self._tables.device_hz), len(self._tables.server_hz)
        own, of_target = own_features(params, n_agents, n_servers), target_features(params)
        n_choices, amounts = n_targets(decision, n_servers), _AMOUNTS[decision.kind]
        names = own + [f"target_{k}/{name}" for k in range(n_choices) for name in of_target]
        return WorldSpec(
            scenario=self.scenario.name,
            n_worlds=n_worlds,
            n_agents=n_agents,
            n_targets=n_choices,
            n_features=len(names),
            n_state=len(state_entries(params, n_agents, n_servers)),
            n_decisions=1,
            horizon_steps=params.horizon_slots,
            step_s=self._rules.slot_s,
            agents=self.topology.node_name[:n_agents],
            agent_tier=np.full(n_agents, TIER_DEVICE, np.int64),
            target_node=self._target_node(n_choices),
            own_features=len(own),
            target_features=len(of_target),
            feature_names=tuple(names),
            sum_names=SUM_NAMES + tuple(f"to_server_{e}" for e in range(n_servers)),
            metrics=metrics(n_servers),
            has_local=decision.explicit_local,
            n_amounts=n_amounts(decision),
            amount_low=amounts.low,
            amount_high=amounts.high,
            amount_names=amounts.names,
        )

    def _target_node(self, n_choices: int) -> I8:
        """Return the node of each target, (N, K): servers follow the devices; the box's one target is no node's own."""
        decision, n_agents = self._params.decision, len(self._tables.device_hz)
        own = np.arange(n_agents)[:, None]
        if decision.kind == "box":
            return own.astype(np.int64)
        n_levels = len(decision.share_levels) if decision.kind == "discrete" else 1
        servers = n_agents + np.arange(n_choices - decision.explicit_local) // n_levels
        nodes = np.broadcast_to(servers, (n_agents, len(servers)))
        return np.hstack([own, nodes]).astype(np.int64) if decision.explicit_local else nodes.astype(np.int64)

    def _sizes(self) -> dict[str, int]:
        return {**self.spec.sizes(), "Se": len(self._tables.server_hz)}
