"""A server that waits for nobody: it moves whenever enough vectors have come, however long their clients took.

A client begins its next batch as soon as it has sent the last one, at the parameters of that moment. Its vector is as
stale as the number of moves since; one that is too stale is dropped. Time is virtual: a client's batch takes its steps'
time at the client's speed, so that a run is the same wherever it is played.
[Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation, 2022; Ho et al., More Effective Distributed
ML via a Stale Synchronous Parallel Parameter Server, 2013]
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from edge_rllib.federated.clients import Client, Message, Order
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.pipeline import Pipeline
from edge_rllib.federated.rounds import Report, Rounds, StepParams, accepted
from edge_rllib.federated.stealing.network import Network
from edge_rllib.federated.stealing.speeds import SpeedProfile
from edge_rllib.federated.vectors import Vectors
from edge_rllib.ops.aggregation.base import Received
from envs.errors import ConfigError, EdgeError

FLOAT_BYTES = 4.0  # of a number that is sent
MOST_REFUSED = 10  # vectors of each client in a move that are no numbers, before that is an error


@dataclass(frozen=True)
class AsynchronousParams:
    """When the server moves."""

    buffer_size: int  # vectors of different clients that make a move
    most_stale: int  # moves since a vector's parameters, beyond which it is dropped
    stale_exponent: float  # a vector that is s moves stale counts (1 + s) to the power of minus this

    def __post_init__(self) -> None:
        if self.buffer_size < 1 or self.most_stale < 0:
            raise ConfigError(
                f"buffer_size = {self.buffer_size}, most_stale = {self.most_stale}: expected 1 or more, 0 or more"
            )
        if not self.stale_exponent >= 0.0:
            raise ConfigError(f"stale_exponent = {self.stale_exponent}: expected 0 or more")


class Clock(NamedTuple):
    """How virtual time passes."""

    speeds: SpeedProfile  # of the clients
    step_s: float  # of a world, at speed 1
    network: Network  # between clients and the server


class Sent(NamedTuple):
    """A vector on its way to the server, or there."""

    at_s: float  # when it arrives
    client: int
    move: int  # of the server, whose parameters it belongs to
    message: Message


class Asynchronous(Rounds):
    """A server and clients that never wait for each other; a round is a move of the server."""

    def __init__(
        self,
        clients: Sequence[Client],
        start: Vectors,
        params: EstimatorParams,
        step: StepParams,
        values: AsynchronousParams,
        clock: Clock,
        pipeline: Pipeline,
        n_faulty: int,
        seed: int,
        faults: Faults | None = None,
    ) -> None:
        """Begin at ``start``; ConfigError for a correction, whose small batches belong to parameters known to all."""
        if params.correction != "none":
            raise ConfigError(f"correction = {params.correction} without rounds: expected none")
        if values.buffer_size > len(clients):
            raise ConfigError(f"buffer_size = {values.buffer_size} of {len(clients)} clients: expected no more")
        pipeline.check(values.buffer_size, n_faulty)
        if faults is not None:
            faults.check(n_faulty, n_receivers=1)
        super().__init__(clients, start, params, step, seed, faults, None)
        self.values, self.clock, self.pipeline, self.n_faulty = values, clock, pipeline, n_faulty
        self.traces = clock.speeds.traces(len(clients), seed)
        self.now_s = 0.0
        self.n_batches = [0] * len(clients)  # that each client has begun
        self._under_way: list[Sent] = []  # a heap, by the time of arrival
        self._buffer: dict[int, Sent] = {}  # by client: a newer vector replaces an older one
        for client in range(len(clients)):
            self._begin(client)

    def _begin(self, client: int) -> None:
        """Let a client play its next batch, at the parameters of this moment."""
        vectors = {name: vector.clone() for name, vector in self.vectors.items()}
        order = Order(self.n_batches[client], True, vectors, None, None)
        lie = None if self.faults is None else self.faults.lie
        message = self.clients[client].message(order, None if lie is None else lambda chunk: lie(client, chunk))
        self.n_batches[client] += 1
        clock, server = self.clock, len(self.clients)
        n_bytes = FLOAT_BYTES * sum(vector.numel() for vector in vectors.values())
        begin_s = self.now_s + clock.network.message_s(server, client, n_bytes)
        end_s = self.traces[client].end_s(begin_s, clock.step_s * message.n_steps)
        arrival_s = end_s + clock.network.message_s(client, server, n_bytes)
        heapq.heappush(self._under_way, Sent(arrival_s, client, self.round, message))

    def play(self) -> Report:
        """Let time pass until the server moves."""
        n_dropped, n_refused, begin_s = 0, 0, self.now_s
        while len(self._buffer) < self.values.buffer_size:
            sent = heapq.heappop(self._under_way)
            self.now_s = sent.at_s
            if self.round - sent.move > self.values.most_stale:
                n_dropped += 1
            elif not all(bool(vector.isfinite().all()) for vector in sent.message.vectors.values()):
                n_refused += 1
                if n_refused > MOST_REFUSED * len(self.clients):
                    raise EdgeError(
                        f"move {self.round}: {n_refused} vectors with NaN or infinity, {len(self._buffer)} sound"
                    )
            else:
                self._buffer[sent.client] = sent
            if len(self._buffer) < self.values.buffer_size:
                self._begin(sent.client)
        stale = [self.round - sent.move for sent in self._buffer.values()]
        report = self._aggregate(list(self._buffer.values()), n_refused)
        self._buffer.clear()
        self._begin(sent.client)  # the one that filled the buffer goes on from the new parameters
        self.figures = {
            "virtual_s": self.now_s,
            "move_s": self.now_s - begin_s,
            "stale_moves_mean": float(np.mean(stale)),
            "stale_moves_max": float(max(stale)),
            "dropped_stale": float(n_dropped),
        }
        return report

    def _aggregate(self, buffer: Sequence[Sent], n_refused: int) -> Report:
        told = self._honest({sent.client: sent.message for sent in buffer})
        stale = torch.tensor([self.round - sent.move for sent in buffer], dtype=torch.float64)
        weights = (1.0 + stale) ** -self.values.stale_exponent
        senders, aggregates = [sent.client for sent in buffer], {}
        for name in self.vectors:
            vectors = torch.stack([sent.message.vectors[name] for sent in buffer])
            last = None if self._last is None else self._last[name]
            if self.faults is not None:
                vectors = self.faults.forged(self.round, name, vectors, senders, self.n_faulty, last)
            is_sound = accepted(vectors)
            n_unsound = len(vectors) - int(is_sound.sum())
            n_refused += n_unsound
            n_faulty = max(0, self.n_faulty - n_unsound)
            self.pipeline.check(int(is_sound.sum()), n_faulty)
            received = Received(
                vectors[is_sound], n_faulty, weights[is_sound], previous=last, generator=self._generator
            )
            aggregates[name] = self.pipeline(received)
        self._move(True, {name: vector.clone() for name, vector in self.vectors.items()}, aggregates)
        self.round += 1
        return self._report(True, told, aggregates, n_refused)

    def policy(self) -> Vectors:
        """Return the parameters that are judged."""
        return self.vectors

    def get_state(self) -> dict[str, Any]:
        """Return everything that the next moves depend on, vectors under way included."""
        timing = {
            "now_s": self.now_s,
            "n_batches": list(self.n_batches),
            "under_way": list(self._under_way),
            "buffer": dict(self._buffer),
        }
        return {**super().get_state(), "asynchronous": timing}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().set_state(state)
        timing = state["asynchronous"]
        self.now_s, self.n_batches = timing["now_s"], list(timing["n_batches"])
        self._under_way, self._buffer = list(timing["under_way"]), dict(timing["buffer"])
