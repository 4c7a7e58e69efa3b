"""Who may execute which chunk, whose results count, and for whom: every chunk counts exactly once.

A chunk is leased to an executor until a deadline. The first good result of a running lease counts; what comes later, or
is impossible, is refused, counted and logged. Expired and crashed leases leave their chunks to be leased again. Some
results are checked by letting others repeat the work: who is outvoted goes into quarantine, and its work for others is
withdrawn. Times are seconds of the driver's own clock. [specs/federated.md, 5.2 and 5.6]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult, digest_of, wrong_count
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.events import EventLog, Reason
from edge_rllib.federated.stealing.ledger_state import load, plain
from edge_rllib.federated.stealing.records import Check, Commit, Contribution, Entry, Key, Lease, LedgerRules, Refusal
from edge_rllib.federated.stealing.whitelist import whitelist

CHECK_STREAM = 0x5C4EC  # keeps the draws of spot checks apart from the seeds of chunks


class Ledger:
    """The driver's book of chunks, leases and results."""

    def __init__(
        self, n_clients: int, rules: LedgerRules, may_execute: Sequence[Sequence[bool]] | None = None, seed: int = 0
    ) -> None:
        if n_clients < 1:
            raise StealingError(f"ledger: n_clients = {n_clients}: expected 1 or more")
        self.n_clients, self.rules, self.seed = n_clients, rules, seed
        self.may_execute = whitelist(may_execute, n_clients)
        self.events = EventLog()
        self.quarantined: set[int] = set()
        self.rounds: dict[int, dict[Key, Entry]] = {}
        self.leases: dict[int, Lease] = {}  # that run
        self.of_chunk: dict[ChunkId, list[Lease]] = {}  # the running leases again, checks too
        self.n_foreign: Counter[int] = Counter()  # running leases of others' chunks, by executor
        self.ended: dict[int, tuple[int, Reason]] = {}  # leases of open rounds: their round, and how they ended
        self.checks: dict[ChunkId, Check] = {}
        self.n_leased = 0

    # A round

    def open_round(self, chunks: Iterable[Chunk]) -> None:
        """Begin a round with all of its chunks."""
        entries: dict[Key, Entry] = {}
        for chunk in chunks:
            self._check_client(chunk.owner)
            if (chunk.owner, chunk.index) in entries or chunk.part:
                raise StealingError(f"{chunk.label} is given twice, or not from its beginning")
            entries[chunk.owner, chunk.index] = Entry(chunk)
        rounds = {entry.chunk.round for entry in entries.values()}
        kinds = {entry.chunk.n_steps is None for entry in entries.values()}
        if len(rounds) != 1 or len(kinds) != 1:
            raise StealingError(f"a round's chunks are of rounds {sorted(rounds)}: expected one, and one unit of work")
        (index,) = rounds
        if index in self.rounds:
            raise StealingError(f"round {index} is open already")
        self.rounds[index] = entries

    def close_round(self, index: int) -> None:
        """Forget a round; its leases end, and results that still come are late."""
        self._entries(index)
        for lease in [lease for lease in self.leases.values() if lease.chunk.round == index]:
            self._end(lease, Reason.LATE)
        self.checks = {chunk: check for chunk, check in self.checks.items() if chunk.round != index}
        self.ended = {lease_id: entry for lease_id, entry in self.ended.items() if entry[0] != index}
        del self.rounds[index]

    def missing(self, index: int) -> list[ChunkId]:
        """Return the chunks of a round that have no result yet, the part that is to be executed of each."""
        return [entry.chunk.id for _, entry in sorted(self._entries(index).items()) if entry.result is None]

    def available(self, index: int) -> list[ChunkId]:
        """Return those of the missing chunks that nobody has leased."""
        return [chunk for chunk in self.missing(index) if not self._holders(chunk)]

    def open_checks(self, index: int) -> list[ChunkId]:
        """Return the results of a round that wait for another opinion."""
        self._entries(index)
        return sorted(chunk for chunk in self.checks if chunk.round == index)

    def is_complete(self, index: int) -> bool:
        """Return whether each chunk has a result and no check is open."""
        return not self.missing(index) and not self.open_checks(index)

    def chunk(self, chunk: ChunkId) -> Chunk:
        """Return the chunk of a name: one that is to be executed, or to be checked."""
        if chunk in self.checks:
            return self.checks[chunk].chunk
        entry = self._entries(chunk.round).get((chunk.owner, chunk.number))
        if entry is None or entry.chunk.id != chunk:
            raise StealingError(f"{chunk} is no chunk of its round that could be executed")
        return entry.chunk

    def contributions(self, index: int, allow_missing: bool = False) -> dict[int, Contribution]:
        """Return for each client what counts for it; a round with missing chunks is refused unless it is allowed.

        Weights are clipped by the median, which thieves cannot move far while they are fewer than half: clipped by
        the mean, three of 13 have half of all weight as soon as they have stolen half of the others' work.
        """
        missing = self.missing(index)
        if missing and not allow_missing:
            raise StealingError(f"round {index}: {len(missing)} chunks have no result, the first {missing[0]}")
        counted: dict[int, list[Entry]] = {k: [] for k in range(self.n_clients)}
        for _, entry in sorted(self._entries(index).items()):
            if entry.result is not None:
                by_owner = self.rules.attribution == "owner"
                counted[entry.chunk.owner if by_owner else entry.executor].append(entry)
        sizes = {k: sum(entry.chunk.size for entry in entries) for k, entries in counted.items()}
        most = self.rules.w_max * median([size for size in sizes.values() if size] or [0])
        return {
            k: Contribution(
                k,
                tuple(entry.chunk.id for entry in entries),
                tuple(entry.result for entry in entries if entry.result is not None),
                sizes[k],
                min(float(sizes[k]), most),
            )
            for k, entries in counted.items()
        }

    # Leases

    def lease(self, chunk: ChunkId, executor: int, now_s: float, is_copy: bool = False) -> Lease | Refusal:
        """Give a chunk to an executor; ``is_copy`` allows that others have it, too."""
        self._check_client(executor)
        entry = self._entries(chunk.round).get((chunk.owner, chunk.number))
        if entry is None:
            raise StealingError(f"{chunk} is no chunk of round {chunk.round}")
        if entry.result is not None or entry.chunk.id != chunk:
            return self._refuse(now_s, Reason.COMMITTED, executor, chunk, "has a result")
        refusal = self._unfit(entry.chunk, executor, now_s)
        if refusal:
            return refusal
        if executor in entry.barred:
            return self._refuse(now_s, Reason.NOT_ALLOWED, executor, chunk, "its result was refused before")
        holders = self._holders(chunk)
        if executor in holders or (holders and not is_copy):
            return self._refuse(now_s, Reason.TAKEN, executor, chunk, f"is leased to {holders}")
        entry.n_leases += 1
        deadline_s = now_s + self.rules.lease_s * 2.0 ** (entry.n_leases - 1)
        return self._lease(Lease(self.n_leased, entry.chunk, executor, deadline_s, entry.state))

    def may_lease(self, chunk: ChunkId, executor: int) -> bool:
        """Return whether an executor could have a chunk that has no result and that nobody has; nothing is counted."""
        entry = self._entries(chunk.round)[chunk.owner, chunk.number]
        if executor in entry.barred or not self.may_execute[executor][chunk.owner]:
            return False
        is_limited = executor in self.quarantined or self.n_foreign[executor] >= self.rules.max_leases
        return executor == chunk.owner or not is_limited

    def lease_check(self, chunk: ChunkId, executor: int, now_s: float) -> Lease | Refusal:
        """Give a chunk whose result is to be checked to somebody who has not executed it."""
        self._check_client(executor)
        check = self.checks.get(chunk)
        if check is None:
            raise StealingError(f"{chunk} is not to be checked; see open_checks")
        refusal = self._unfit(check.chunk, executor, now_s)
        if refusal:
            return refusal
        if executor not in self.checkers(chunk):
            return self._refuse(now_s, Reason.NOT_ALLOWED, executor, chunk, "only a third one may check it")
        if any(held.is_check for held in self.of_chunk.get(chunk, [])):
            return self._refuse(now_s, Reason.TAKEN, executor, chunk, "is being checked")
        deadline_s = now_s + self.rules.lease_s
        return self._lease(Lease(self.n_leased, check.chunk, executor, deadline_s, check.state, is_check=True))

    def checkers(self, chunk: ChunkId) -> list[int]:
        """Return who may check a result: not its executors; its owner only where nobody else can."""
        check = self.checks[chunk]
        able = [
            k
            for k in range(self.n_clients)
            if self.may_execute[k][chunk.owner] and k not in {*check.opinions, *check.barred, *self.quarantined}
        ]
        return [k for k in able if k != chunk.owner] or able

    def expire(self, now_s: float) -> list[ChunkId]:
        """End all leases whose deadline has passed; return their chunks, which may be leased again."""
        return self._lose([held for held in self.leases.values() if held.deadline_s <= now_s], Reason.EXPIRED, now_s)

    def crash(self, executor: int, now_s: float) -> list[ChunkId]:
        """End all leases of an executor that is gone; return their chunks, which may be leased again."""
        self._check_client(executor)
        return self._lose([held for held in self.leases.values() if held.executor == executor], Reason.CRASHED, now_s)

    # Results

    def commit(self, lease_id: int, executor: int, result: ChunkResult, now_s: float) -> Commit | Refusal:
        """Take a result that ``executor`` sent; it counts if it is the first good one of its chunk."""
        self._check_client(executor)
        lease = self.leases.get(lease_id)
        if lease is None:
            known = Reason.LATE if 0 <= lease_id < self.n_leased else Reason.UNKNOWN_LEASE
            reason = self.ended.get(lease_id, (0, known))[1]
            return self._refuse(now_s, reason, executor, result.id, f"lease {lease_id} does not run")
        if lease.executor != executor:
            text = f"lease {lease_id} is client {lease.executor}'s"
            return self._refuse(now_s, Reason.WRONG_EXECUTOR, executor, result.id, text)
        if lease.deadline_s <= now_s:
            self._lose([lease], Reason.EXPIRED, now_s)
            return self._refuse(now_s, Reason.LATE, executor, result.id, f"lease {lease_id} ended {lease.deadline_s} s")
        fault = fault_of(lease.chunk, result)
        if fault:
            self._end(lease, Reason.REPLAYED)
            self._bar(lease, now_s)
            return self._refuse(now_s, fault.reason, executor, lease.chunk.id, fault.text)
        self._end(lease, Reason.REPLAYED)
        if lease.is_check:
            self.checks[lease.chunk.id].opinions[executor] = result
            self._settle(lease.chunk.id, now_s)
            return Commit(lease.chunk.id)
        for other in [held for held in self.of_chunk.get(lease.chunk.id, []) if not held.is_check]:
            self._end(other, Reason.DUPLICATE)
        return self._accept(lease.chunk, executor, result)

    def _bar(self, lease: Lease, now_s: float) -> None:
        """Let who sent what cannot be a result not try again."""
        if not lease.is_check:
            self._entry(lease.chunk).barred.add(lease.executor)
            return
        self.checks[lease.chunk.id].barred.add(lease.executor)
        if not self.checkers(lease.chunk.id):
            self.give_up(lease.chunk.id, now_s)

    def _accept(self, chunk: Chunk, executor: int, result: ChunkResult) -> Commit:
        entry = self._entry(chunk)
        entry.parts.append((chunk, executor))
        if self._is_drawn(chunk, executor):
            self.checks[chunk.id] = Check(chunk.of_parts(result.n_parts), {executor: result}, entry.state)
            if not self.checkers(chunk.id):
                del self.checks[chunk.id]
        if result.end is None:
            entry.result, entry.executor = result, executor
            return Commit(chunk.id)
        entry.chunk, entry.state, entry.n_leases = chunk.next_part(result.end, result.n_parts), result.end, 0
        return Commit(chunk.id, entry.chunk)

    # Checks and quarantine

    def _is_drawn(self, chunk: Chunk, executor: int) -> bool:
        """Return whether a result is checked; executors cannot foresee it without the ledger's seed."""
        if executor == chunk.owner or not self.rules.check_prob:
            return False
        sequence = np.random.SeedSequence((self.seed, CHECK_STREAM, *chunk.id))
        return bool(np.random.default_rng(sequence).random() < self.rules.check_prob)

    def _settle(self, chunk: ChunkId, now_s: float) -> None:
        """Decide a check, if its opinions are enough for that."""
        check = self.checks[chunk]
        votes = Counter(result.digest for result in check.opinions.values())
        if len(votes) > 1 and not check.is_disputed:
            check.is_disputed = True
            text = f"clients {sorted(check.opinions)} got different results"
            self.events.add(now_s, Reason.MISMATCH, next(iter(check.opinions)), chunk, f"{check.chunk.label}: {text}")
        digest, most = votes.most_common(1)[0]
        if most < (self.rules.n_votes if check.is_disputed else 2):
            if not self.checkers(chunk):
                self.give_up(chunk, now_s)
            return
        del self.checks[chunk]
        for client, result in list(check.opinions.items()):
            if result.digest != digest:
                self.quarantine(client, now_s, f"outvoted about {check.chunk.label}")

    def give_up(self, chunk: ChunkId, now_s: float) -> None:
        """End a check that nobody can go on with; a disputed chunk is left to its owner."""
        check = self.checks.pop(chunk)
        if not check.is_disputed:
            return
        text = f"{check.chunk.label}: nobody can decide between clients {sorted(check.opinions)}"
        self.events.add(now_s, Reason.UNDECIDED, chunk.owner, chunk, text)
        self._withdraw(self._entry(check.chunk), now_s)
        self._entry(check.chunk).barred |= set(range(self.n_clients)) - {chunk.owner}

    def quarantine(self, client: int, now_s: float, why: str) -> None:
        """Let a client execute only its own chunks from here on; what it did for others does not count any more."""
        self._check_client(client)
        self.quarantined.add(client)
        self.events.add(now_s, Reason.CAUGHT, client, None, f"client {client} is in quarantine: {why}")
        foreign = [held for held in self.leases.values() if held.executor == client and held.is_foreign]
        self._lose(foreign, Reason.QUARANTINED, now_s)
        for entries in self.rounds.values():
            for entry in entries.values():
                if entry.chunk.owner != client and any(executor == client for _, executor in entry.parts):
                    self._withdraw(entry, now_s)
        for chunk, check in list(self.checks.items()):
            if check.opinions.pop(client, None) is not None and not check.opinions:
                del self.checks[chunk]
            elif not self.checkers(chunk):
                self._settle(chunk, now_s)

    def release(self, client: int) -> None:
        """End a client's quarantine."""
        self._check_client(client)
        self.quarantined.discard(client)

    def _withdraw(self, entry: Entry, now_s: float) -> None:
        """Let a chunk be executed once more, from its first part."""
        first = entry.parts[0][0]
        text = f"{first.label} is to be executed again"
        self.events.add(now_s, Reason.WITHDRAWN, entry.parts[-1][1], entry.chunk.id, text)
        running = [held for held in self.leases.values() if held.chunk.id[:3] == first.id[:3]]  # of any part
        self._lose(running, Reason.WITHDRAWN, now_s)
        for part, _ in entry.parts:
            self.checks.pop(part.id, None)
        entry.chunk, entry.state, entry.result, entry.executor = first, None, None, -1
        entry.parts, entry.n_leases = [], 0

    # Helpers

    def _unfit(self, chunk: Chunk, executor: int, now_s: float) -> Refusal | None:
        """Return why an executor may not have a chunk of this owner."""
        if not self.may_execute[executor][chunk.owner]:
            return self._refuse(now_s, Reason.NOT_ALLOWED, executor, chunk.id, "not on the owner's whitelist")
        if executor == chunk.owner:
            return None
        if executor in self.quarantined:
            return self._refuse(now_s, Reason.QUARANTINED, executor, chunk.id, "in quarantine")
        n_held = self.n_foreign[executor]
        if n_held >= self.rules.max_leases:
            return self._refuse(now_s, Reason.HOARDING, executor, chunk.id, f"holds {n_held} leases of others' chunks")
        return None

    def _holders(self, chunk: ChunkId) -> list[int]:
        """Return who executes a chunk, checks apart."""
        return [held.executor for held in self.of_chunk.get(chunk, []) if not held.is_check]

    def _lease(self, lease: Lease) -> Lease:
        self.leases[lease.id] = lease
        self.of_chunk.setdefault(lease.chunk.id, []).append(lease)
        self.n_foreign[lease.executor] += lease.is_foreign
        self.n_leased += 1
        return lease

    def _end(self, lease: Lease, how: Reason) -> None:
        del self.leases[lease.id]
        self.of_chunk[lease.chunk.id].remove(lease)
        if not self.of_chunk[lease.chunk.id]:
            del self.of_chunk[lease.chunk.id]
        self.n_foreign[lease.executor] -= lease.is_foreign
        self.ended[lease.id] = (lease.chunk.round, how)

    def _lose(self, leases: list[Lease], why: Reason, now_s: float) -> list[ChunkId]:
        """End leases without a result; return the chunks that nobody executes any more."""
        for lease in leases:
            self._end(lease, Reason.LATE)
            text = f"{lease.chunk.label}: lease {lease.id} of client {lease.executor} ended without a result"
            self.events.add(now_s, why, lease.executor, lease.chunk.id, text)
        return sorted({lease.chunk.id for lease in leases if lease.chunk.id not in self.of_chunk})

    def _refuse(self, now_s: float, reason: Reason, client: int, chunk: ChunkId, why: str) -> Refusal:
        part = f", part {chunk.part}" if chunk.part else ""
        name = f"chunk {chunk.number} of client {chunk.owner} in round {chunk.round}{part}"
        event = self.events.add(now_s, reason, client, chunk, f"client {client} and {name}: {why}")
        return Refusal(reason, event.text)

    def _check_client(self, client: int) -> None:
        if not 0 <= client < self.n_clients:
            raise StealingError(f"no client {client}; known: 0 to {self.n_clients - 1}")

    def _entries(self, index: int) -> dict[Key, Entry]:
        if index not in self.rounds:
            raise StealingError(f"round {index} is not open; open: {sorted(self.rounds)}")
        return self.rounds[index]

    def _entry(self, chunk: Chunk) -> Entry:
        return self.rounds[chunk.round][chunk.owner, chunk.index]

    # State

    def state(self) -> dict[str, Any]:
        """Return what has to be saved, as plain containers and arrays; running leases are not in it."""
        return plain(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. Leases that ran then have ended: their results are late."""
        load(self, state)


def fault_of(chunk: Chunk, result: ChunkResult) -> Refusal | None:
    """Return why a result cannot be that of a chunk."""
    if result.id != chunk.id or result.version != chunk.version:
        given = f"{tuple(result.id)} with parameters {result.version}"
        return Refusal(Reason.WRONG_CHUNK, f"is a result of {given}; expected {tuple(chunk.id)} with {chunk.version}")
    count = wrong_count(chunk, result)
    if count:
        return Refusal(Reason.WRONG_COUNT, count)
    for name, array in result.arrays.items():
        if array.dtype.kind in "fc" and not np.all(np.isfinite(array)):
            return Refusal(Reason.NOT_FINITE, f"array {name!r} has entries that are not finite")
    if result.digest != digest_of(chunk, result):
        return Refusal(Reason.WRONG_DIGEST, "the digest is not that of its numbers")
    return None
