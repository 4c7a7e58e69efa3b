"""What executes the chunks of a round, and what it returns of them. This one does all in this process, in order.

The ledger says which results count, and for whom: for the owner of a chunk, or for who executed it. The numbers of a
chunk are the same wherever it is executed, so that owners' estimates do not depend on the collector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edge_rllib.federated.clients import Client, Job, Order, execute
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.stealing.accounting import RoundAccount
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.events import Reason
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.records import Commit, Contribution, LedgerRules, Refusal

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
    ) -> None:
        """Let clients execute under the rules of a ledger; the seed is that of its spot checks."""
        self.clients, self.seed = clients, seed
        self.rules = LedgerRules(lease_s=1.0, attribution="owner") if rules is None else rules
        self.ledger = Ledger(len(clients), self.rules, may_execute, seed)

    def collect(self, orders: Sequence[Order], liar: Liar = honest) -> Collected:
        """Execute the chunks of a round, of which each client was told its order."""
        index = orders[0].round
        chunks = [chunk for client, order in zip(self.clients, orders, strict=True) for chunk in client.chunks(order)]
        before = dict(self.ledger.events.counts)
        self.ledger.open_round(chunks)
        try:
            account, figures = self._execute(chunks, orders, liar)
            contributions = self.ledger.contributions(index, allow_missing=True)
            missing = frozenset(chunk.owner for chunk in self.ledger.missing(index))
        finally:
            self.ledger.close_round(index)
        counts = self.ledger.events.counts
        events = {f"ledger_{reason.value}": float(counts[reason] - before.get(reason, 0)) for reason in Reason}
        times = {} if account is None else account.metrics()
        return Collected(contributions, missing, account, {**times, **figures, **events})

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
        return {"ledger": self.ledger.state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.ledger.restore(state["ledger"])

    def stop(self) -> None:
        """Give back what it holds."""
