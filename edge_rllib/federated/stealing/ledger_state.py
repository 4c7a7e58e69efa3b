"""A ledger as plain containers, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.events import Reason
from edge_rllib.federated.stealing.records import Check, Entry

if TYPE_CHECKING:
    from edge_rllib.federated.stealing.ledger import Ledger

FORMAT = 2


def plain(ledger: Ledger) -> dict[str, Any]:
    """Return everything but running leases and the text of events."""
    return {
        "format": FORMAT,
        "n_clients": ledger.n_clients,
        "n_leased": ledger.n_leased,
        "quarantined": sorted(ledger.quarantined),
        "ended": {lease_id: (index, reason.value) for lease_id, (index, reason) in ledger.ended.items()},
        "counts": {reason.value: count for reason, count in ledger.events.counts.items()},
        "entries": [
            {
                "chunk": asdict(entry.chunk),
                "result": _result(entry.result),
                "executor": entry.executor,
                "state": entry.state,
                "parts": [(asdict(chunk), executor) for chunk, executor in entry.parts],
                "barred": sorted(entry.barred),
                "n_leases": entry.n_leases,
            }
            for entries in ledger.rounds.values()
            for entry in entries.values()
        ],
        "checks": [
            {
                "chunk": asdict(check.chunk),
                "opinions": [(client, _result(result)) for client, result in check.opinions.items()],
                "state": check.state,
                "is_disputed": check.is_disputed,
                "barred": sorted(check.barred),
            }
            for check in ledger.checks.values()
        ],
    }


def load(ledger: Ledger, state: dict[str, Any]) -> None:
    """Put a saved state into a ledger of the same number of clients."""
    if state.get("format") != FORMAT or state.get("n_clients") != ledger.n_clients:
        given = f"format {state.get('format')}, {state.get('n_clients')} clients"
        raise StealingError(f"ledger: a state of {given}: expected format {FORMAT}, {ledger.n_clients} clients")
    ledger.n_leased, ledger.quarantined = state["n_leased"], set(state["quarantined"])
    ledger.leases, ledger.of_chunk = {}, {}
    ledger.n_foreign.clear()
    ledger.ended = {lease_id: (index, Reason(value)) for lease_id, (index, value) in state["ended"].items()}
    ledger.events.counts.clear()
    ledger.events.counts.update({Reason(value): count for value, count in state["counts"].items()})
    ledger.rounds, ledger.checks = {}, {}
    for saved in state["entries"]:
        entry = Entry(
            Chunk(**saved["chunk"]),
            _loaded(saved["result"]),
            saved["executor"],
            saved["state"],
            [(Chunk(**chunk), executor) for chunk, executor in saved["parts"]],
            set(saved["barred"]),
            saved["n_leases"],
        )
        ledger.rounds.setdefault(entry.chunk.round, {})[entry.chunk.owner, entry.chunk.index] = entry
    for saved in state["checks"]:
        opinions = {client: _loaded(result) for client, result in saved["opinions"]}
        known = {client: result for client, result in opinions.items() if result}
        check = Check(Chunk(**saved["chunk"]), known, saved["state"], saved["is_disputed"], set(saved["barred"]))
        ledger.checks[check.chunk.id] = check


def _result(result: ChunkResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "id": tuple(result.id),
        "version": result.version,
        "n_episodes": result.n_episodes,
        "n_steps": result.n_steps,
        "arrays": {name: np.array(array) for name, array in result.arrays.items()},
        "end": result.end,
        "n_parts": result.n_parts,
        "digest": result.digest,
    }


def _loaded(saved: dict[str, Any] | None) -> ChunkResult | None:
    return None if saved is None else ChunkResult(**{**saved, "id": ChunkId(*saved["id"])})
