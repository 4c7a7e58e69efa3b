"""What executes chunks elsewhere, as a round sees it: members that are sent chunks, and events that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_rllib.federated.clients import Order
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, ChunkResult


@dataclass(frozen=True)
class Answer:
    """A chunk's result; times in seconds of the driver's clock."""

    member: int
    ticket: int
    result: ChunkResult
    begin_s: float
    end_s: float
    demand_s: float  # what the chunk takes at speed 1


@dataclass(frozen=True)
class Gone:
    """A member has died, and with it what it was sent."""

    member: int


@dataclass(frozen=True)
class Back:
    """A member can be sent chunks: one that was started, or started again."""

    member: int


Event = Answer | Gone | Back


class Team(Protocol):
    """Members that execute one chunk at a time, in the order sent."""

    n_members: int

    def now_s(self) -> float:
        """Return the time of the driver's clock."""

    def is_up(self, member: int) -> bool:
        """Return whether it can be sent chunks."""

    def may_come_back(self, member: int) -> bool:
        """Return whether one that is not up is being started."""

    def n_sent(self, member: int) -> int:
        """Return how many chunks it has that it has not answered."""

    def begin(self, orders: Sequence[Order]) -> None:
        """Tell all what the owners of chunks were told; until then they know of the round before."""

    def send(self, member: int, chunk: Chunk, lie: Lie | None, speed: float, state: bytes | None) -> int:
        """Send a chunk, to be executed as slowly as a client of that speed would; return what its answer is named.

        ``state`` is what a later part goes on from.
        """

    def ask_for(self, member: int, chunk: ChunkId) -> None:
        """Ask for the rest of a chunk that a member executes: at the end of its part it answers with the state."""

    def cancel(self, member: int, chunk: ChunkId) -> None:
        """Say that a chunk's result is not needed any more."""

    def kill(self, member: int) -> None:
        """End a member that does not answer; an event says so, and another may take its place."""

    def wait(self, limit_s: float) -> list[Event]:
        """Return what has happened, at once if something has; nothing after the limit."""

    def stop(self) -> None:
        """End all members."""
