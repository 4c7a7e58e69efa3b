"""A server that waits for nobody: it moves whenever enough vectors have come, however long their clients took.

A client begins its next batch as soon as it has sent the last one, at the parameters of that moment. Its vector is as
stale as the number of moves since; one that is too stale is dropped. Time is virtual: a client's batch takes its steps'
time at the client's speed, so that a run is the same wherever it is played.

With a look-ahead of alpha the server moves along d, of which the newest aggregate makes alpha and the last d the rest,
and clients play not at theta but at theta + (1 - alpha) / alpha * (theta - theta'), theta' being what it was a move
before: the gradients there make up for those in d that belong to older parameters. [Lan et al., Asynchronous Federated
Reinforcement Learning with Policy Gradient Updates, 2024]

[Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation, 2022; Ho et al., More Effective Distributed
ML via a Stale Synchronous Parallel Parameter Server, 2013]
"""

from __future__ import annotations

import copy
import heapq
import math
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
from edge_rllib.federated.stealing.accounting import Kind, RoundAccount, Timeline
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
    aggregation_s: float  # virtual time of the server for a move, in which it begins nothing else
    look_ahead: float  # alpha, in (0, 1]; 0: none

    def __post_init__(self) -> None:
        if self.buffer_size < 1 or self.most_stale < 0:
            raise ConfigError(
                f"buffer_size = {self.buffer_size}, most_stale = {self.most_stale}: expected 1 or more, 0 or more"
            )
        if not self.stale_exponent >= 0.0:
            raise ConfigError(f"stale_exponent = {self.stale_exponent}: expected 0 or more")
        if not 0.0 <= self.aggregation_s < math.inf:
            raise ConfigError(f"aggregation_s = {self.aggregation_s}: expected 0 or more seconds")
        if not 0.0 <= self.look_ahead <= 1.0:
            raise ConfigError(f"look_ahead = {self.look_ahead}: expected 0 for none, or the newest's share, at most 1")


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
    spans: tuple[Span, ...]  # what its client does from the batch's beginning on


@dataclass
class Span:
    """A stretch of a client's time."""

    kind: Kind
    start_s: float
    end_s: float
    is_wasted: bool = False  # work whose vector was dropped


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
        self._spans: list[list[Span]] = [[] for _ in clients]  # that the last move has not seen the end of
        self._before: Vectors | None = None  # parameters before the last move
        for client in range(len(clients)):
            self._begin(client)

    def _begin(self, client: int) -> None:
        """Let a client play its next batch, at the parameters of this moment."""
        vectors = self._played()
        order = Order(self.n_batches[client], True, vectors, None, None)
        lie = None if self.faults is None else self.faults.lie
        message = self.clients[client].message(order, None if lie is None else lambda chunk: lie(client, chunk))
        self.n_batches[client] += 1
        clock, server = self.clock, len(self.clients)
        n_bytes = FLOAT_BYTES * sum(vector.numel() for vector in vectors.values())
        begin_s = self.now_s + clock.network.message_s(server, client, n_bytes)
        end_s = self.traces[client].end_s(begin_s, clock.step_s * message.n_steps)
        arrival_s = end_s + clock.network.message_s(client, server, n_bytes)
        spans = (
            Span(Kind.TRANSFER, self.now_s, begin_s),
            Span(Kind.OWN, begin_s, end_s),
            Span(Kind.TRANSFER, end_s, arrival_s),
        )
        self._spans[client].extend(spans)
        heapq.heappush(self._under_way, Sent(arrival_s, client, self.round, message, spans))

    def _played(self) -> Vectors:
        """Return the parameters that a client plays with: those of the server, or further the way it went."""
        look_ahead, before = self.values.look_ahead, self._before
        if not look_ahead or before is None:
            return {name: vector.clone() for name, vector in self.vectors.items()}
        further = (1.0 - look_ahead) / look_ahead
        return {name: vector + further * (vector - before[name]) for name, vector in self.vectors.items()}

    def play(self) -> Report:
        """Let time pass until the server moves."""
        n_dropped, n_refused, begin_s = 0, 0, self.now_s
        while len(self._buffer) < self.values.buffer_size:
            sent = heapq.heappop(self._under_way)
            self._wait(sent)
            if self.round - sent.move > self.values.most_stale:
                n_dropped += 1
                _waste(sent)
            elif not all(bool(vector.isfinite().all()) for vector in sent.message.vectors.values()):
                n_refused += 1
                _waste(sent)
                if n_refused > MOST_REFUSED * len(self.clients):
                    raise EdgeError(
                        f"move {self.round}: {n_refused} vectors with NaN or infinity, {len(self._buffer)} sound"
                    )
            else:
                if sent.client in self._buffer:
                    _waste(self._buffer[sent.client])
                self._buffer[sent.client] = sent
            if len(self._buffer) < self.values.buffer_size:
                self._begin(sent.client)
        stale = [self.round - sent.move for sent in self._buffer.values()]
        self.figures = {}
        report = self._aggregate(list(self._buffer.values()), n_refused)
        self._buffer.clear()
        end_s = self.now_s + self.values.aggregation_s
        self._spans[sent.client].append(Span(Kind.AGGREGATION, self.now_s, end_s))
        self.now_s = end_s
        account = self._booked(begin_s)
        self._begin(sent.client)  # the one that filled the buffer goes on from the new parameters
        self.figures |= {
            **{name: value for name, value in account.metrics().items() if math.isfinite(value)},
            "virtual_s": self.now_s,
            "move_s": self.now_s - begin_s,
            "stale_moves_mean": float(np.mean(stale)),
            "stale_moves_max": float(max(stale)),
            "dropped_stale": float(n_dropped),
        }
        return report

    def _wait(self, sent: Sent) -> None:
        """Let time pass until the server takes a vector, which may wait while the server moves."""
        self.now_s = max(self.now_s, sent.at_s)
        self._spans[sent.client].append(Span(Kind.WAITING, sent.at_s, self.now_s))

    def _booked(self, begin_s: float) -> RoundAccount:
        """Return the account of a move that ends at this moment, and keep what goes on."""
        lines = []
        for client, spans in enumerate(self._spans):
            line = Timeline(client, begin_s)
            for span in spans:
                first_s, last_s = max(span.start_s, begin_s), min(span.end_s, self.now_s)
                if last_s > first_s:
                    owner = client if span.kind is Kind.OWN else -1
                    line.add(span.kind, first_s, last_s, owner, span.is_wasted)
            line.fill(Kind.WAITING, self.now_s)  # a vector that came while the server moved
            lines.append(line)
        self._spans = [[span for span in spans if span.end_s > self.now_s] for spans in self._spans]
        return RoundAccount(begin_s, self.now_s, lines, bound_s=math.nan)

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
        if self.values.look_ahead and self._last is not None:
            share, last = self.values.look_ahead, self._last
            aggregates = {name: share * each + (1.0 - share) * last[name] for name, each in aggregates.items()}
        self._before = {name: vector.clone() for name, vector in self.vectors.items()}
        self._move(True, self._before, aggregates)
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
            "spans": [list(spans) for spans in self._spans],
            "before": self._before,
        }
        return {**super().get_state(), "asynchronous": timing}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().set_state(state)
        timing = state["asynchronous"]
        self.now_s, self.n_batches = timing["now_s"], list(timing["n_batches"])
        timing = copy.deepcopy(timing)  # spans are changed, and a vector under way has those of its client
        self._under_way, self._buffer = timing["under_way"], timing["buffer"]
        self._spans, self._before = timing["spans"], timing["before"]


def _waste(sent: Sent) -> None:
    """Note that a batch's work does not count."""
    for span in sent.spans:
        span.is_wasted = span.kind is Kind.OWN
