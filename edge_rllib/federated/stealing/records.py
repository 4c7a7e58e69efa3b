"""What a ledger is given, keeps and returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.events import Reason

Key = tuple[int, int]  # owner, index


@dataclass(frozen=True)
class LedgerRules:
    """Limits and shares."""

    lease_s: float  # a first lease's length; each further one of the same chunk is twice as long
    max_leases: int = 64  # of other clients' chunks that one executor may hold at a time
    check_prob: float = 0.0  # share of results, of others' chunks, that somebody else repeats
    n_votes: int = 2  # equal digests that settle a dispute; more than the liars that may agree
    attribution: Literal["executor", "owner"] = "executor"
    w_max: float = 1.0  # a client's weight is at most so many times the median of all that executed something

    def __post_init__(self) -> None:
        if not (0.0 < self.lease_s < math.inf and self.max_leases >= 1 and self.n_votes >= 2):
            given = f"lease_s = {self.lease_s}, max_leases = {self.max_leases}, n_votes = {self.n_votes}"
            raise StealingError(f"ledger: {given}: expected a positive time, 1 or more leases, 2 or more votes")
        if not (0.0 <= self.check_prob <= 1.0 and self.w_max >= 1.0):
            given = f"check_prob = {self.check_prob}, w_max = {self.w_max}"
            raise StealingError(f"ledger: {given}: expected a probability, and a factor of 1 or more")
        if self.attribution not in ("executor", "owner"):
            raise StealingError(f"ledger: attribution = {self.attribution!r}: expected 'executor' or 'owner'")


@dataclass(frozen=True)
class Lease:
    """The right to execute a chunk."""

    id: int
    chunk: Chunk
    executor: int
    deadline_s: float
    state: bytes | None = field(default=None, repr=False)  # serialised, which a later part of an episode goes on from
    is_check: bool = False

    @property
    def is_foreign(self) -> bool:
        """Return whether the chunk is somebody else's."""
        return self.executor != self.chunk.owner


@dataclass(frozen=True)
class Refusal:
    """Why something was not done."""

    reason: Reason
    text: str


@dataclass(frozen=True)
class Commit:
    """A result counts, or has been noted as a check."""

    chunk: ChunkId
    next_part: Chunk | None = None  # goes on from it, and waits to be leased


@dataclass(frozen=True)
class Contribution:
    """What counts for a client: results in the order of owner and index."""

    client: int
    chunks: tuple[ChunkId, ...]
    results: tuple[ChunkResult, ...]
    size: int  # episodes, or steps
    weight: float  # size, clipped to w_max times the median of those that are not 0


@dataclass
class Entry:
    """One chunk of a round, in all of its parts."""

    chunk: Chunk  # the part to be executed
    result: ChunkResult | None = None  # of the last part
    executor: int = -1
    state: bytes | None = None  # that the part goes on from
    parts: list[tuple[Chunk, int]] = field(default_factory=list)  # committed ones with their executors
    barred: set[int] = field(default_factory=set)  # executors whose results were refused
    n_leases: int = 0


@dataclass
class Check:
    """Opinions about one result, by executor; the first is the one that counts so far."""

    chunk: Chunk
    opinions: dict[int, ChunkResult]
    state: bytes | None = None  # that the part goes on from
    is_disputed: bool = False
    barred: set[int] = field(default_factory=set)  # executors whose opinions were refused
