"""Rounds with a central server: it orders, clients answer, faulty ones lie, the server aggregates and moves."""

from __future__ import annotations

import copy
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.attacks.chunk import ChunkPoisoning
from edge_rllib.federated.clients import Client, Message, Order, combined, world_figures
from edge_rllib.federated.collectors.base import Collected, Collector, honest
from edge_rllib.federated.estimators import EstimatorParams, Plan
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.pipeline import Pipeline
from edge_rllib.federated.stealing.accounting import Kind, RoundAccount
from edge_rllib.federated.vectors import Vectors
from edge_rllib.ops.aggregation.base import Received
from envs.errors import ConfigError, EdgeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepParams:
    """How the server moves the parameters up an aggregate."""

    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    momentum: float  # of sgd
    schedule: Literal["constant", "linear", "cosine"]  # of the rate, from the first round on
    final_frac: float  # share of the rate that it goes down to
    decay_rounds: int  # until it is there; the rate stays there from then on

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0.0 and 0.0 <= self.momentum < 1.0):
            raise ConfigError(
                f"learning_rate = {self.learning_rate}, momentum = {self.momentum}: expected a positive number and "
                "one in [0, 1)"
            )
        if not (0.0 <= self.final_frac <= 1.0 and self.decay_rounds >= 1):
            raise ConfigError(
                f"final_frac = {self.final_frac}, decay_rounds = {self.decay_rounds}: expected a share in [0, 1] and "
                "1 or more"
            )

    def rate(self, round_: int) -> float:
        """Return the rate of a round, of which 0 is the first."""
        done = min(1.0, round_ / self.decay_rounds)
        lost = {"constant": 0.0, "linear": done, "cosine": 0.5 - 0.5 * math.cos(math.pi * done)}[self.schedule]
        return self.learning_rate * (1.0 - (1.0 - self.final_frac) * lost)

    def build(self, parameter: Tensor) -> torch.optim.Optimizer:
        """Return the optimizer of a vector."""
        if self.optimizer == "adam":
            return torch.optim.Adam([parameter], self.learning_rate, maximize=True)
        return torch.optim.SGD([parameter], self.learning_rate, momentum=self.momentum, maximize=True)


class Report(NamedTuple):
    """What is told of a round."""

    round: int
    is_large: bool
    n_episodes: int  # of each client
    honest_return: float  # mean over honest clients
    effective_share: float  # median over clients that sent something
    n_steps: int  # of all honest clients
    n_agent_steps: int  # likewise
    n_refused: int  # vectors with NaN or infinity, or not complete, each counted as a crash for the round
    aggregate_norm: float
    distance: float  # of the aggregate to the mean of honest vectors
    diameter_before: float = 0.0  # of honest parameters before they agree; a server has one vector
    diameter: float = 0.0  # and after


class Rounds(ABC):
    """What a federation keeps from one round to the next, with a server or without one.

    Parameters are (d,) by module for a server, (K, d) for clients that have their own.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        start: Vectors,
        params: EstimatorParams,
        step: StepParams,
        seed: int,
        faults: Faults | None,
        collector: Collector | None,
    ) -> None:
        self.clients, self.params, self.faults = clients, params, faults
        self.collector = Collector(clients) if collector is None else collector
        if faults is not None and isinstance(faults.attack, ChunkPoisoning) and not self.collector.can_steal:
            raise ConfigError(
                "attack = chunk_poisoning: nobody executes the chunks of others here; expected a collector"
            )
        self.figures: dict[str, float] = {}  # of the last round's work
        self._account: RoundAccount | None = None
        self._phases_s: dict[Kind, float] = {}
        seeds = np.random.SeedSequence(seed).generate_state(2)
        self.plan = Plan(params, int(seeds[0]))
        self._generator = torch.Generator().manual_seed(int(seeds[1]))
        self.vectors = {name: vector.clone() for name, vector in start.items()}
        self.optimizers = {name: step.build(vector) for name, vector in self.vectors.items()}
        self.step = step
        self.round = 0
        self._older: Vectors | None = None  # parameters that ``_known`` belongs to
        self._known: Vectors | None = None
        self._last: Vectors | None = None  # aggregates of the last round
        self._share = 1.0

    def _collect(self, orders: Sequence[Order]) -> Collected:
        """Let the round's chunks be executed."""
        collected = self.collector.collect(orders, honest if self.faults is None else self.faults.lie)
        self.figures, self._account, self._phases_s = dict(collected.figures), collected.account, {}
        return collected

    @contextmanager
    def _phase(self, kind: Kind) -> Iterator[None]:
        """Count the time inside as a phase of the round, which all clients wait for."""
        begin_s = time.monotonic()
        yield
        self._phases_s[kind] = self._phases_s.get(kind, 0.0) + time.monotonic() - begin_s
        if self._account is not None and self.collector.keeps_time:
            self.figures.update(self._account.followed_by(self._phases_s).metrics())

    def _move(self, is_large: bool, before: Vectors, aggregates: Vectors) -> None:
        """Step along the aggregates, and keep what later rounds need."""
        if self.params.correction == "page" or is_large:
            self._older, self._known = before, aggregates
        self._last = aggregates
        for name, vector in self.vectors.items():
            vector.grad = aggregates[name]
            for group in self.optimizers[name].param_groups:
                group["lr"] = self.step.rate(self.round)
            self.optimizers[name].step()

    def _honest(self, messages: Mapping[int, Message]) -> list[Message]:
        """Return what honest clients have to say in this round; EdgeError where that is nothing."""
        faulty = () if self.faults is None else self.faults.clients(self.round)
        told = [message for client, message in messages.items() if client not in faulty]
        if not told:
            raise EdgeError(f"round {self.round}: no honest client has a result")
        return told

    def _report(
        self,
        is_large: bool,
        told: Sequence[Message],
        aggregates: Vectors,
        n_refused: int,
        diameters: tuple[float, float] = (0.0, 0.0),
    ) -> Report:
        """Return what is told of the round that has just ended: of honest messages, and of aggregates (d,)."""
        self.figures |= world_figures(self.clients, told)
        found = torch.cat(list(aggregates.values()))
        mean = torch.cat([torch.stack([m.vectors[name] for m in told]).mean(0) for name in aggregates])
        return Report(
            round=self.round - 1,
            is_large=is_large,
            n_episodes=self.params.large_episodes if is_large else self.params.small_episodes,
            honest_return=mean_return(told),
            effective_share=self._share,
            n_steps=sum(message.n_steps for message in told),
            n_agent_steps=sum(message.n_agent_steps for message in told),
            n_refused=n_refused,
            aggregate_norm=float(found.norm()),
            distance=float((found - mean).norm()),
            diameter_before=diameters[0],
            diameter=diameters[1],
        )

    def get_state(self) -> dict[str, Any]:
        """Return everything that the next rounds depend on; clients have no state of their own."""
        return {
            "round": self.round,
            "vectors": {name: vector.clone() for name, vector in self.vectors.items()},
            "optimizers": {name: copy.deepcopy(each.state_dict()) for name, each in self.optimizers.items()},
            "plan": self.plan.get_state(),
            "generator": self._generator.get_state(),
            "older": self._older,
            "known": self._known,
            "last": self._last,
            "faults": None if self.faults is None else self.faults.get_state(),
            "share": self._share,
            "collector": self.collector.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.round, self._share = state["round"], state["share"]
        for name, vector in self.vectors.items():
            vector.copy_(state["vectors"][name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        self.plan.set_state(state["plan"])
        self._generator.set_state(state["generator"])
        self._older, self._known, self._last = state["older"], state["known"], state["last"]
        if self.faults is not None and state["faults"] is not None:
            self.faults.set_state(state["faults"])
        self.collector.set_state(state["collector"])

    @abstractmethod
    def play(self) -> Report:
        """Play a round."""

    @abstractmethod
    def policy(self) -> Vectors:
        """Return the parameters that are judged."""

    def stop(self) -> None:
        """Give back what the collector holds."""
        self.collector.stop()


class Server(Rounds):
    """Holds the parameters, and plays rounds with clients of which it expects at most ``n_faulty`` to lie."""

    def __init__(
        self,
        clients: Sequence[Client],
        start: Vectors,
        params: EstimatorParams,
        step: StepParams,
        pipeline: Pipeline,
        n_faulty: int,
        seed: int,
        faults: Faults | None = None,
        collector: Collector | None = None,
    ) -> None:
        """Begin at parameters ``start``; a pipeline that cannot serve so many faulty clients raises ConfigError.

        Without a collector each client executes its own chunks, here.
        """
        pipeline.check(len(clients), n_faulty)
        if faults is not None:
            faults.check(n_faulty, n_receivers=1)
        super().__init__(clients, start, params, step, seed, faults, collector)
        self.pipeline, self.n_faulty = pipeline, n_faulty

    def play(self) -> Report:
        """Play a round."""
        is_large = self.plan.next(self._share)
        vectors = {name: vector.clone() for name, vector in self.vectors.items()}
        order = Order(
            self.round, is_large, vectors, None if is_large else self._older, None if is_large else self._known
        )
        messages, weights, n_missing = self._messages(order)
        told = self._honest(messages)
        aggregates, n_refused = {}, n_missing
        with self._phase(Kind.AGGREGATION):
            for name in vectors:
                sent = self._sent(name, messages)
                is_sound = accepted(sent, list(messages))
                n_unsound = len(sent) - int(is_sound.sum())
                n_refused += n_unsound
                # who sends what cannot be a gradient is a faulty one
                n_faulty = max(0, self.n_faulty - n_missing - n_unsound)
                self.pipeline.check(len(sent) - n_unsound, n_faulty)
                previous = None if self._last is None else self._last[name]
                counted = None if weights is None else weights[is_sound]
                received = Received(sent[is_sound], n_faulty, counted, previous=previous, generator=self._generator)
                aggregates[name] = self.pipeline(received)
        with self._phase(Kind.OPTIMISATION):
            self._move(is_large, vectors, aggregates)
        self._share = float(np.median([message.effective_share for message in messages.values()]))
        self.round += 1
        return self._report(is_large, told, aggregates, n_refused)

    def _messages(self, order: Order) -> tuple[dict[int, Message], Tensor | None, int]:
        """Return what clients have to say, how much it counts (n,), and how many of them crashed.

        Who executes counts by its work where chunks count for who executed them. An owner without all of its chunks
        says nothing.
        """
        collected = self._collect([order] * len(self.clients))
        is_by_owner = self.collector.rules.attribution == "owner"
        crashed = collected.missing if is_by_owner else frozenset()
        heard = [
            contribution
            for client, contribution in sorted(collected.contributions.items())
            if contribution.results and client not in crashed
        ]
        if not heard:
            raise EdgeError(f"round {self.round}: no client has a result")
        messages = {each.client: combined(each.results, order.known) for each in heard}
        weights = None if is_by_owner else torch.tensor([each.weight for each in heard], dtype=torch.float32)
        return messages, weights, len(crashed)

    def _sent(self, name: str, messages: Mapping[int, Message]) -> Tensor:
        """Return what arrives of a module, (n, d)."""
        vectors = torch.stack([message.vectors[name] for message in messages.values()])
        if self.faults is None:
            return vectors
        aggregate = None if self._last is None else self._last[name]
        return self.faults.forged(self.round, name, vectors, list(messages), self.n_faulty, aggregate)

    def policy(self) -> Vectors:
        """Return the parameters that are judged."""
        return self.vectors


def mean_return(messages: Sequence[Message]) -> float:
    """Return the mean over all episodes; NaN where there are none."""
    n_episodes = sum(message.n_episodes for message in messages)
    total = sum(message.n_episodes * message.mean_return for message in messages)
    return total / n_episodes if n_episodes else math.nan


def accepted(vectors: Tensor, senders: Sequence[int] | None = None) -> Tensor:
    """Return which vectors are finite, (n,); who sent the others counts as crashed for the round."""
    is_finite = vectors.isfinite().all(-1)
    if not is_finite.any():
        raise EdgeError("no client sent a finite vector")
    if not is_finite.all():
        rows = torch.nonzero(~is_finite)[:, 0].tolist()
        unsound = rows if senders is None else [senders[row] for row in rows]
        log.warning("clients %s sent nothing, or NaN or infinity: left out", unsound)
    return is_finite
