"""Rounds in three layers: clients tell their region's server, and the cloud joins what the servers have.

Between two joins each region moves on its own, so that most messages stay within it.
[Liu et al., Client-Edge-Cloud Hierarchical Federated Learning, 2020]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.clients import Client, Message, Order, combined
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.pipeline import Pipeline
from edge_rllib.federated.rounds import Report, Rounds, StepParams, accepted
from edge_rllib.federated.stealing.accounting import Kind
from edge_rllib.federated.vectors import Vectors
from edge_rllib.ops.aggregation.base import Received
from envs.errors import ConfigError, EdgeError


class Regions(Rounds):
    """R regions with parameters of their own, (R, d) by module; servers and cloud are honest, clients may lie.

    A region with more liars than its rule makes up for is a faulty region, which the cloud's rule makes up for.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        start: Vectors,
        params: EstimatorParams,
        step: StepParams,
        regions: Sequence[Sequence[int]],
        pipeline: Pipeline,
        cloud: Pipeline,
        join_every_rounds: int,
        n_faulty: int,
        n_faulty_regions: int,
        seed: int,
        faults: Faults | None = None,
        collector: Collector | None = None,
    ) -> None:
        """Begin all at ``start``; rules that cannot serve so many liars in a region, or so many regions, are refused.

        ``regions`` has the clients of each; ``n_faulty`` is the number of liars in any one of them.
        """
        if join_every_rounds < 1:
            raise ConfigError(f"join_every_rounds = {join_every_rounds}: expected 1 or more")
        if sorted(k for members in regions for k in members) != list(range(len(clients))):
            raise ConfigError(
                f"regions = {[list(each) for each in regions]}: expected {len(clients)} clients, each once"
            )
        for number, members in enumerate(regions):
            try:
                pipeline.check(len(members), n_faulty)
            except ConfigError as error:
                raise ConfigError(f"region {number} has {len(members)} clients: {error}") from error
        cloud.check(len(regions), n_faulty_regions)
        if faults is not None:
            faults.check(n_faulty, n_receivers=1)
        own = {name: vector.expand(len(regions), -1) for name, vector in start.items()}
        super().__init__(clients, own, params, step, seed, faults, collector)
        if self.collector.can_steal and self.collector.rules.attribution != "owner":
            raise ConfigError("attribution = executor: regions have parameters of their own; expected owner")
        self.regions, self.pipeline, self.cloud = [list(members) for members in regions], pipeline, cloud
        self.join_every_rounds, self.n_faulty, self.n_faulty_regions = join_every_rounds, n_faulty, n_faulty_regions
        self.region_of = {k: number for number, members in enumerate(regions) for k in members}

    def play(self) -> Report:
        """Play a round in all regions; at the end of every so many of them the cloud joins the regions' parameters."""
        is_large = self.plan.next(self._share)
        before = {name: vectors.clone() for name, vectors in self.vectors.items()}
        messages = self._messages(is_large, before)
        told = self._honest(messages)
        aggregates, n_refused = {}, len(self.clients) - len(messages)
        with self._phase(Kind.AGGREGATION):
            for name in self.vectors:
                aggregates[name], n_unsound = self._aggregates(name, messages)
                n_refused += n_unsound
        with self._phase(Kind.OPTIMISATION):
            self._move(is_large, before, aggregates)
        self._share = float(np.median([message.effective_share for message in messages.values()]))
        self.round += 1
        apart = max(float(torch.cdist(vectors, vectors).max()) for vectors in self.vectors.values())
        is_joined = self.round % self.join_every_rounds == 0
        if is_joined:
            with self._phase(Kind.AGREEMENT):
                for name, vector in self.policy().items():
                    self.vectors[name].copy_(vector)
        found = {name: rows.mean(0) for name, rows in aggregates.items()}
        return self._report(is_large, told, found, n_refused, (apart, 0.0 if is_joined else apart))

    def _messages(self, is_large: bool, before: Vectors) -> dict[int, Message]:
        """Return what clients have to say; one without all of its chunks says nothing."""
        older, known = (None, None) if is_large else (self._older, self._known)
        orders = [
            Order(self.round, is_large, *(_row(each, self.region_of[client.index]) for each in (before, older, known)))
            for client in self.clients
        ]
        collected = self._collect(orders)
        return {
            k: combined(collected.contributions[k].results, order.known)
            for k, order in enumerate(orders)
            if k not in collected.missing
        }

    def _aggregates(self, name: str, messages: dict[int, Message]) -> tuple[Tensor, int]:
        """Return what the servers make of a module's vectors, (R, d), and how many of these they refused."""
        sent = torch.stack([message.vectors[name] for message in messages.values()])
        if self.faults is not None:
            sent = self.faults.forged(self.round, name, sent, list(messages), self.n_faulty, None)
        vectors = dict(zip(messages, sent, strict=True))
        rows, n_refused = [], 0
        for number, members in enumerate(self.regions):
            heard = [vectors[k] for k in members if k in vectors]
            if not heard:
                raise EdgeError(f"round {self.round}: no client of region {number} has a result")
            received = torch.stack(heard)
            is_sound = accepted(received)
            n_silent = len(members) - int(is_sound.sum())  # who crashed or sent NaN is one of the faulty
            n_refused += len(heard) - int(is_sound.sum())
            n_faulty = max(0, self.n_faulty - n_silent)
            self.pipeline.check(int(is_sound.sum()), n_faulty)
            previous = None if self._last is None else self._last[name][number]
            rows.append(
                self.pipeline(Received(received[is_sound], n_faulty, previous=previous, generator=self._generator))
            )
        return torch.stack(rows), n_refused

    def policy(self) -> Vectors:
        """Return what the cloud makes of the regions' parameters, which is what is judged."""
        joined = {}
        for name, vectors in self.vectors.items():
            generator = torch.Generator().manual_seed(self.round)  # to be asked for the policy changes nothing
            joined[name] = self.cloud(Received(vectors, self.n_faulty_regions, generator=generator))
        return joined


def _row(vectors: Vectors | None, region: int) -> Any:
    """Return a region's vectors of those of all (R, d)."""
    return None if vectors is None else {name: rows[region] for name, rows in vectors.items()}
