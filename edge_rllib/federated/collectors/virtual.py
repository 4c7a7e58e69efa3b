"""Chunks in virtual time: executed in this process, by whom and when a simulation says.

Their steps are real, and the work that clients of other speeds share out. A liar's own batch is as long as it is where
the liar plays it. A chunk that is handed over is played here in one piece, since that changes no number; it counts as
its last executor's, who may spoil it. Spot checks, and what they withdraw, follow behind the round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from edge_rllib.federated.clients import Client, Order
from edge_rllib.federated.collectors.base import Collector, Liar
from edge_rllib.federated.collectors.sizing import Sizing
from edge_rllib.federated.stealing.accounting import RoundAccount
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import Network, uniform_network
from edge_rllib.federated.stealing.policies import ChunkPlan, Scheduler, Static
from edge_rllib.federated.stealing.records import LedgerRules, Refusal
from edge_rllib.federated.stealing.speeds import SpeedProfile
from edge_rllib.federated.stealing.virtual import REQUEST_BYTES, RoundSetting, simulate
from edge_rllib.federated.stealing.whitelist import Whitelist, whitelist
from envs.rng import key_from_seed

FLOAT_BYTES = 4.0  # of a parameter that is sent


class Repair(NamedTuple):
    """A chunk that is executed behind the round: to check its result, or because none counts."""

    chunk: Chunk
    executor: int
    is_check: bool


class VirtualCollector(Collector):
    """Executes all chunks in this process; clients, speeds and messages are simulated."""

    can_steal = True

    def __init__(
        self,
        clients: Sequence[Client],
        rules: LedgerRules,
        scheduler: Scheduler,
        profile: SpeedProfile,
        step_s: float,
        network: Network | None = None,
        may_execute: Sequence[Sequence[bool]] | None = None,
        seed: int = 0,
        sizing: Sizing | None = None,
    ) -> None:
        """Give clients the speeds of a profile; a step takes ``step_s`` at speed 1. No network: messages are free."""
        if not step_s > 0.0:
            raise StealingError(f"step_s = {step_s}: expected positive seconds of a step at speed 1")
        super().__init__(clients, rules, may_execute, seed, sizing)
        self.scheduler, self.profile, self.step_s = scheduler, profile, step_s
        self.network = uniform_network(len(clients)) if network is None else network
        self.may_execute = whitelist(may_execute, len(clients))
        self.estimates: Estimates | None = None

    def _plan(self, order: Order) -> ChunkPlan:
        speeds = [1.0] if self.estimates is None else self.estimates.prior_speeds
        latency_s = float(np.median(self.network.longest_round_trips_s(REQUEST_BYTES)[:-1]))
        plan = self.sizing.plan(self.clients[0], order, self.step_s / float(np.mean(speeds)), latency_s)
        self.sizing.resize(plan, self.estimates)
        return plan

    def _execute(
        self, chunks: Sequence[Chunk], orders: Sequence[Order], liar: Liar
    ) -> tuple[RoundAccount, dict[str, float]]:
        owners = [chunk.owner for chunk in chunks]
        results = self._results(chunks, owners, orders, liar)
        demands_s = [self.step_s * result.n_steps for result in results]
        if self.estimates is None:
            self.estimates = Estimates(len(self.clients), float(np.mean(demands_s)))
        setting = self._setting(chunks, orders, self._cuts_s(chunks, results))
        played = simulate(demands_s, owners, self.scheduler, setting, self.estimates)
        self.estimates.end_round()
        executors = played.executors.tolist()
        changed = [
            number
            for number, (chunk, executor) in enumerate(zip(chunks, executors, strict=True))
            if executor != chunk.owner and (liar(executor, chunk) or liar(chunk.owner, chunk))
        ]
        again = self._results([chunks[i] for i in changed], [executors[i] for i in changed], orders, liar)
        results = list({**dict(enumerate(results)), **dict(zip(changed, again, strict=True))}.values())
        for i in np.argsort(played.ends_s, kind="stable").tolist():
            self._commit(chunks[i].id, executors[i], results[i], float(played.ends_s[i]))
        whole = replace(setting, part_s=math.inf, cuts_s=None)
        repair_s = self._repair(chunks[0].round, orders, liar, played.account.makespan_s, whole)
        return played.account, {"repair_s": repair_s}

    def _cuts_s(self, chunks: Sequence[Chunk], results: Sequence[ChunkResult]) -> list[list[float]] | None:
        """Return the work of each chunk at the end of its parts but the last; None where they are not cut."""
        if chunks[0].part_steps is None:
            return None
        found = []
        for chunk, result in zip(chunks, results, strict=True):
            lengths, part_steps = result.arrays["lengths"], chunk.part_steps or chunk.horizon
            ends = np.arange(part_steps, int(lengths.max()), part_steps)
            found.append((self.step_s * np.minimum(lengths, ends[:, np.newaxis]).sum(1)).tolist())
        return found

    def _part_s(self, chunks: Sequence[Chunk]) -> float:
        """Return the most work of a part: all episodes of a chunk go on."""
        return self.step_s * (chunks[0].part_steps or 0) * max(chunk.size for chunk in chunks)

    def _setting(
        self, chunks: Sequence[Chunk], orders: Sequence[Order], cuts_s: list[list[float]] | None
    ) -> RoundSetting:
        """Return a round's speeds and costs. Clients that were told different things send that with a chunk."""
        is_own = any(order is not orders[0] for order in orders)
        n_numbers = sum(vector.numel() for vector in orders[0].vectors.values()) if is_own else 0
        return RoundSetting(
            self.profile.traces(len(self.clients), self.seed, chunks[0].round),
            self.network,
            self._may(),
            part_s=math.inf if cuts_s is None else self._part_s(chunks),
            cuts_s=cuts_s,
            chunk_bytes=REQUEST_BYTES + FLOAT_BYTES * n_numbers,
            seed=key_from_seed(self.seed, f"steal {chunks[0].round}"),
        )

    def _may(self) -> Whitelist:
        """Return who may execute whose chunks; who is in quarantine only its own."""
        return [
            [may and (owner == executor or executor not in self.ledger.quarantined) for owner, may in enumerate(row)]
            for executor, row in enumerate(self.may_execute)
        ]

    def _repair(self, round_: int, orders: Sequence[Order], liar: Liar, now_s: float, setting: RoundSetting) -> float:
        """Check what is drawn, and execute again what does not count any more; return how long that takes."""
        draws = np.random.default_rng([key_from_seed(self.seed, "checkers"), round_])
        start_s = now_s
        while repairs := self._repairs(round_, draws):
            executors = [repair.executor for repair in repairs]
            results = self._results([repair.chunk for repair in repairs], executors, orders, liar)
            demands_s = [self.step_s * result.n_steps for result in results]
            played = simulate(demands_s, executors, Static(), setting)
            now_s += played.account.makespan_s
            for repair, result in zip(repairs, results, strict=True):
                give = self.ledger.lease_check if repair.is_check else self.ledger.lease
                if repair.is_check and repair.chunk.id not in self.ledger.checks:
                    continue  # another check has settled it
                lease = give(repair.chunk.id, repair.executor, now_s)
                if not isinstance(lease, Refusal):
                    self.ledger.commit(lease.id, repair.executor, result, now_s)
        return now_s - start_s

    def _repairs(self, round_: int, draws: np.random.Generator) -> list[Repair]:
        """Return what is to be executed next, nothing where all is settled."""
        ledger = self.ledger
        found = []
        for name in ledger.open_checks(round_):
            able = ledger.checkers(name)
            found.append(Repair(ledger.chunk(name), able[int(draws.integers(len(able)))], is_check=True))
        for name in ledger.available(round_):
            executor = self._fit(name)
            if executor is not None:
                found.append(Repair(ledger.chunk(name), executor, is_check=False))
        return found

    def _fit(self, name: ChunkId) -> int | None:
        """Return who may execute a chunk without a result: its owner, or else the first that may."""
        others = (k for k in range(len(self.clients)) if k != name.owner)
        return next((k for k in (name.owner, *others) if self.ledger.may_lease(name, k)), None)

    def get_state(self) -> dict[str, Any]:
        """Return what later rounds depend on."""
        estimates = None if self.estimates is None else self.estimates.state()
        return {**super().get_state(), "estimates": estimates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().set_state(state)
        estimates = state["estimates"]
        self.estimates = None if estimates is None else Estimates.from_state(estimates)
