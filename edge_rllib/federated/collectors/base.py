"""What executes the chunks of a round, and what it returns of them. This one does all in this process, in order.

The ledger says which results count, and for whom: for the owner of a chunk, or for who executed it. The numbers of a
chunk are the same wherever it is executed, so that owners' estimates do not depend on the collector.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from edge_rllib.federated.clients import Client, Job, Order, execute
from edge_rllib.federated.collectors.sizing import Sizing
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.stealing.accounting import Kind, RoundAccount
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.events import Reason
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.policies import ChunkPlan
from edge_rllib.federated.stealing.records import Commit, Contribution, LedgerRules, Refusal
from envs.errors import ConfigError

Liar = Callable[[int, Chunk], Lie | None]  # of an executor and a chunk


def honest(executor: int, chunk: Chunk) -> None:
    """Spoil nothing."""


class Collected(NamedTuple):
    """What came of a round's chunks."""

    contributions: Mapping[int, Contribution]  # by client; one without results has nothing to say
    missing: frozenset[int]  # owners of chunks of which nobody sent a result that can be
    account: RoundAccount | None  # None where no time is kept
    figures: Mapping[str, float]  # by name, with units


class Collector:
    """Executes all chunks in this process, each for its owner, and keeps no time."""

    can_steal = False
    keeps_time = False  # by a clock that goes on while what it has collected is aggregated

    def __init__(
        self,
        clients: Sequence[Client],
        rules: LedgerRules | None = None,
        may_execute: Sequence[Sequence[bool]] | None = None,
        seed: int = 0,
        sizing: Sizing | None = None,
    ) -> None:
        """Let clients execute under the rules of a ledger; the seed is that of its spot checks.

        Without a sizing batches of clients that send episodes stay whole. A chunk of several executors belongs to none,
        so that cuts raise ConfigError where chunks count for who executed them.
        """
        self.clients, self.seed = clients, seed
        self.rules = LedgerRules(lease_s=1.0, attribution="owner") if rules is None else rules
        self.ledger = Ledger(len(clients), self.rules, may_execute, seed)
        self.sizing = sizing if sizing is not None and self.can_steal else Sizing(None)
        if self.sizing.part_steps and self.rules.attribution == "executor":
            raise ConfigError(
                f"part_steps = {self.sizing.part_steps} with credit to executors: a chunk of several belongs to none; "
                "expected part_steps = 0, or attribution = owner"
            )
        # of an executor's part of a batch: an episode is judged by the others
        self._least = 2 if self.rules.attribution == "executor" and clients[0].params.baseline != "none" else 1

    def collect(self, orders: Sequence[Order], liar: Liar = honest) -> Collected:
        """Execute the chunks of a round, of which each client was told its order."""
        index, plan = orders[0].round, self._plan(orders[0])
        how = (plan.n_episodes, self._least, plan.part_steps)
        chunks = [c for client, order in zip(self.clients, orders, strict=True) for c in client.chunks(order, *how)]
        before = dict(self.ledger.events.counts)
        self.ledger.open_round(chunks)
        try:
            account, figures = self._execute(chunks, orders, liar)
            contributions = self.ledger.contributions(index, allow_missing=True)
            missing = frozenset(chunk.owner for chunk in self.ledger.missing(index))
        finally:
            self.ledger.close_round(index)
        self.sizing.learn(result for each in contributions.values() for result in each.results)
        begin_s = time.monotonic()
        contributions = {k: self._estimated(each, orders) for k, each in contributions.items()}
        if account is not None and self.keeps_time and self.clients[0].sends_episodes:
            account = account.followed_by({Kind.AGGREGATION: time.monotonic() - begin_s})
        counts = self.ledger.events.counts
        events = {f"ledger_{reason.value}": float(counts[reason] - before.get(reason, 0)) for reason in Reason}
        times = {} if account is None else account.metrics()
        sizes = {"chunk_episodes": float(max(chunk.size for chunk in chunks))}
        return Collected(contributions, missing, account, {**times, **figures, **events, **sizes})

    def _plan(self, order: Order) -> ChunkPlan:
        """Return how the batches of clients that send episodes are cut in this round."""
        return ChunkPlan(0, None)

    def _estimated(self, contribution: Contribution, orders: Sequence[Order]) -> Contribution:
        """Return a contribution with the estimates of its episodes, one for each owner, in the place of them."""
        by_owner: dict[int, list[ChunkResult]] = {}
        for result in contribution.results:
            by_owner.setdefault(result.id.owner, []).append(result)
        if not any(self.clients[owner].sends_episodes for owner in by_owner):
            return contribution
        results = [self.clients[owner].estimated(each, orders[owner]) for owner, each in by_owner.items()]
        return replace(contribution, chunks=tuple(each.id for each in results), results=tuple(results))

    def _execute(
        self, chunks: Sequence[Chunk], orders: Sequence[Order], liar: Liar
    ) -> tuple[RoundAccount | None, dict[str, float]]:
        """Bring results of all chunks into the ledger."""
        results = self._results(chunks, [chunk.owner for chunk in chunks], orders, liar)
        for number, (chunk, result) in enumerate(zip(chunks, results, strict=True)):
            self._commit(chunk.id, chunk.owner, result, float(number))
        return None, {}

    def _results(
        self, chunks: Sequence[Chunk], executors: Sequence[int], orders: Sequence[Order], liar: Liar
    ) -> list[ChunkResult]:
        """Return what each executor makes of a chunk."""
        jobs = [
            Job(chunk.owner, chunk, orders[chunk.owner], liar(executor, chunk))
            for chunk, executor in zip(chunks, executors, strict=True)
        ]
        return execute(self.clients, jobs)

    def _commit(self, chunk: ChunkId, executor: int, result: ChunkResult, now_s: float) -> Commit | Refusal:
        """Lease a chunk and return its result in the same moment."""
        lease = self.ledger.lease(chunk, executor, now_s)
        if isinstance(lease, Refusal):
            return lease
        return self.ledger.commit(lease.id, executor, result, now_s)

    def get_state(self) -> dict[str, Any]:
        """Return what later rounds depend on."""
        return {"ledger": self.ledger.state(), "sizing": self.sizing.state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.ledger.restore(state["ledger"])
        self.sizing.restore(state["sizing"])

    def stop(self) -> None:
        """Give back what it holds."""
