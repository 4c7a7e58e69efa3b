"""What is stolen: a chunk says in full which work is to be done; a result belongs to exactly one chunk.

Whoever executes a chunk gets the same numbers, because they depend on the chunk's fields alone. So work can be moved,
repeated after a crash, and checked by repeating it. A chunk's episodes, which are played side by side, may be cut into
parts of ``part_steps``: who stops at the end of a part leaves a state behind, and somebody else goes on from it. The
digest of the state is among the fields of what is left.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_rllib.federated.stealing.errors import StealingError

DIGEST_BYTES = 16  # an accidental collision among 2**32 results has a probability of 2**-65


class ChunkId(NamedTuple):
    """Names a chunk within its run."""

    round: int
    owner: int
    number: int  # the chunk's index; a tuple has another ``index``
    part: int = 0


@dataclass(frozen=True)
class Chunk:
    """A description of work: nothing but these fields may influence its result."""

    run_id: str
    round: int
    owner: int  # whose environment and batch it belongs to
    index: int  # place in the owner's batch
    version: int  # of the parameters that act
    run_seed: int
    horizon: int  # steps after which an episode is truncated
    n_episodes: int | None = None  # either whole episodes
    n_steps: int | None = None  # or so many steps, the last episode cut
    part_steps: int | None = None  # its episodes can be cut after each so many steps; None: not at all
    part: int = 0  # that it begins with
    start: str = ""  # digest of the state that a later part goes on from
    n_parts: int = 0  # to be executed; 0: as many as suit the executor

    def __post_init__(self) -> None:
        for name in ("round", "owner", "index", "version", "run_seed", "part", "n_parts"):
            if getattr(self, name) < 0:
                raise StealingError(f"{self.label}: {name} = {getattr(self, name)}: expected 0 or more")
        if self.horizon < 1:
            raise StealingError(f"{self.label}: horizon = {self.horizon}: expected 1 or more steps")
        if (self.n_episodes is None) == (self.n_steps is None) or not self.size >= 1:
            given = f"n_episodes = {self.n_episodes}, n_steps = {self.n_steps}"
            raise StealingError(f"{self.label}: {given}: expected exactly one of them, 1 or more")
        if self.part_steps is not None and (self.part_steps < 1 or self.n_episodes is None):
            given = f"part_steps = {self.part_steps} with n_episodes = {self.n_episodes}"
            raise StealingError(f"{self.label}: {given}: expected 1 or more steps of whole episodes")
        if (self.part or self.n_parts) and self.part_steps is None:
            given = f"part = {self.part}, n_parts = {self.n_parts}"
            raise StealingError(f"{self.label}: {given} of a chunk that is not cut into parts")
        if bool(self.part) != bool(self.start):
            raise StealingError(f"{self.label}: part = {self.part}, start = {self.start!r}: later parts have a start")

    @property
    def label(self) -> str:
        """Return what messages call the chunk."""
        return f"chunk {self.index} of client {self.owner} in round {self.round}" + (
            f", part {self.part}" if self.part else ""
        )

    @property
    def id(self) -> ChunkId:
        """Return its name within the run."""
        return ChunkId(self.round, self.owner, self.index, self.part)

    @property
    def size(self) -> int:
        """Return the amount of work in its unit, episodes or steps."""
        return (self.n_steps if self.n_episodes is None else self.n_episodes) or 0

    @property
    def most_steps(self) -> int:
        """Return the largest number of environment steps that it can need; of one part where it is cut anywhere."""
        if self.n_steps is not None:
            return self.n_steps
        return self.size * self.most_played(self.n_parts or 1)

    def most_played(self, n_parts: int) -> int:
        """Return how many steps an episode has in so many parts, at most."""
        left = self.horizon - self.part * (self.part_steps or 0)
        return left if self.part_steps is None else min(n_parts * self.part_steps, left)

    @property
    def seeds(self) -> np.random.SeedSequence:
        """Return the source of its random numbers: the same for all of an episode's parts."""
        return np.random.SeedSequence((self.run_seed, self.owner, self.round, self.index))

    def next_part(self, end: bytes, n_parts: int = 1) -> Chunk:
        """Return the chunk that goes on from the serialised state ``end``, so many parts further."""
        return replace(self, part=self.part + n_parts, start=bytes_digest(end), n_parts=0)

    def of_parts(self, n_parts: int) -> Chunk:
        """Return the chunk that ends after so many parts; itself where it is not cut."""
        return self if self.part_steps is None else replace(self, n_parts=n_parts)


@dataclass(frozen=True)
class ChunkResult:
    """What came of a chunk; build it with ``result_of``, which computes the digest."""

    id: ChunkId
    version: int  # of the parameters that acted
    n_episodes: int  # finished
    n_steps: int  # played in the environment
    arrays: Mapping[str, NDArray[np.generic]] = field(repr=False)  # sums of gradients, returns, lengths ...
    end: bytes | None = field(default=None, repr=False)  # serialised state of episodes that go on; None: ended
    n_parts: int = 1  # that were executed, the last one maybe not to its end
    digest: str = ""


def result_of(
    chunk: Chunk,
    n_episodes: int,
    n_steps: int,
    arrays: Mapping[str, NDArray[np.generic]],
    end: bytes | None = None,
    n_parts: int = 1,
) -> ChunkResult:
    """Return a chunk's result with its digest."""
    bare = ChunkResult(chunk.id, chunk.version, n_episodes, n_steps, dict(arrays), end, n_parts)
    return replace(bare, digest=digest_of(chunk, bare))


def digest_of(chunk: Chunk, result: ChunkResult) -> str:
    """Return the digest that a result must have: over the chunk's fields, the counts and the arrays, bit by bit."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    hasher.update(repr((chunk.of_parts(result.n_parts), tuple(result.id), result.version)).encode())
    hasher.update(struct.pack("<qq", result.n_episodes, result.n_steps))
    for name in sorted(result.arrays):
        array = np.ascontiguousarray(result.arrays[name])
        hasher.update(repr((name, array.dtype.str, array.shape)).encode())
        hasher.update(array.tobytes())
    hasher.update(b"-" if result.end is None else b"+" + result.end)
    return hasher.hexdigest()


def bytes_digest(state: bytes) -> str:
    """Return the digest of a serialised state."""
    return hashlib.blake2b(state, digest_size=DIGEST_BYTES).hexdigest()


def wrong_count(chunk: Chunk, result: ChunkResult) -> str:
    """Return what is impossible about a result's counts, or an empty text."""
    steps, episodes = result.n_steps, result.n_episodes
    if chunk.n_steps is not None:
        if steps == chunk.n_steps and 0 <= episodes <= steps and result.end is None:
            return ""
        return f"{steps} steps in {episodes} episodes; expected {chunk.n_steps} steps, none of them left open"
    if result.n_parts < 1 or (chunk.n_parts or result.n_parts) != result.n_parts:
        return f"{result.n_parts} parts; expected {chunk.n_parts or '1 or more'}"
    played = chunk.most_played(result.n_parts)  # steps of the longest episode
    if result.end is not None:
        is_cut = chunk.part_steps is not None and played == result.n_parts * chunk.part_steps
        if is_cut and episodes == 0 and played <= steps <= chunk.size * played:
            return ""
        expected = "an ended chunk" if chunk.part_steps is None else f"{chunk.part_steps} steps of an open episode"
        return f"{steps} steps and {episodes} episodes, left open after {result.n_parts} parts; expected {expected}"
    least, most = chunk.size if chunk.part == 0 else 1, chunk.size * played
    if episodes == chunk.size and least <= steps <= most:
        return ""
    return f"{episodes} episodes with {steps} steps; expected {chunk.size} with {least} to {most} steps"
