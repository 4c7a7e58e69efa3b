"""Rounds without a server: each client aggregates what it hears, moves its own parameters, and agrees on them.

[Jordan et al., Decentralized Federated Policy Gradient with Byzantine Fault-Tolerance, 2024]
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
from edge_rllib.federated.rounds import Report, Rounds, StepParams
from edge_rllib.federated.stealing.accounting import Kind
from edge_rllib.federated.vectors import Vectors
from edge_rllib.ops.aggregation.coordinates import median
from edge_rllib.ops.agreement import Aggregation, Agreed, agree
from envs.errors import ConfigError, EdgeError


class Peers(Rounds):
    """K clients on a graph, each with parameters of its own.

    In a round each honest client hears the estimates of its neighbours, aggregates them with its own, and takes a step;
    then follow ``n_agreement_rounds`` rounds in which parameters are exchanged. All follow one plan, whose coin is
    public. A client is silent to whom it sends NaN or infinity.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        start: Vectors,
        params: EstimatorParams,
        step: StepParams,
        neighbours: Tensor,
        pipeline: Pipeline,
        agreement: Aggregation,
        n_agreement_rounds: int,
        n_faulty: int,
        seed: int,
        faults: Faults | None = None,
        collector: Collector | None = None,
    ) -> None:
        """Begin all at ``start``; ``neighbours`` (K, K) says whom a client hears, ``n_faulty`` how many of them lie.

        Without a collector each client executes its own chunks, here. One with which chunks count for who executed
        them raises ConfigError: clients have parameters of their own, and so a gradient of one is none of another's.
        """
        if n_agreement_rounds < 0:
            raise ConfigError(f"n_agreement_rounds = {n_agreement_rounds}: expected 0 or more")
        if neighbours.shape != (len(clients), len(clients)):
            raise ConfigError(f"a graph of {len(neighbours)} nodes for {len(clients)} clients")
        for node, n_heard in enumerate((neighbours.sum(1) + 1).tolist()):
            for rule in (pipeline, agreement):
                try:
                    rule.check(n_heard, n_faulty)
                except ConfigError as error:
                    raise ConfigError(f"client {node} hears {n_heard} vectors, its own among them: {error}") from error
        if faults is not None:
            faults.check(n_faulty, n_receivers=len(clients) - faults.schedule.n_faulty)
        own = {name: vector.expand(len(clients), -1) for name, vector in start.items()}  # (K, d)
        super().__init__(clients, own, params, step, seed, faults, collector)
        if self.collector.can_steal and self.collector.rules.attribution != "owner":
            raise ConfigError(
                "attribution = executor: clients without a server have parameters of their own; expected owner"
            )
        self.neighbours, self.n_faulty = neighbours, n_faulty
        self.pipeline, self.agreement, self.n_agreement_rounds = pipeline, agreement, n_agreement_rounds

    def play(self) -> Report:
        """Play a round."""
        is_large = self.plan.next(self._share)
        faulty = () if self.faults is None else self.faults.clients(self.round)
        before = {name: vectors.clone() for name, vectors in self.vectors.items()}
        messages = self._messages(is_large, before)
        honest = [k for k in range(len(messages)) if k not in faulty]
        aggregates, n_refused = {}, 0
        with self._phase(Kind.AGGREGATION):
            for name in self.vectors:
                sent = torch.stack([message.vectors[name] for message in messages])
                heard = self._exchange(name, "estimates", sent, self.pipeline, 1)
                aggregates[name] = heard.values
                n_refused += int(heard.n_refused.sum())
        with self._phase(Kind.OPTIMISATION):
            self._move(is_large, before, aggregates)
        diameters = []
        with self._phase(Kind.AGREEMENT):
            for name, vectors in self.vectors.items():
                agreed = self._exchange(name, "parameters", vectors, self.agreement, self.n_agreement_rounds)
                vectors.copy_(agreed.values)
                diameters.append(agreed.diameters)
                n_refused += int(agreed.n_refused.sum())
        self._share = float(np.median([message.effective_share for message in messages]))
        self.round += 1
        found = {name: rows[honest].mean(0) for name, rows in aggregates.items()}
        apart, agreed_apart = (float(torch.stack([each[place] for each in diameters]).max()) for place in (0, -1))
        return self._report(is_large, [messages[k] for k in honest], found, n_refused, (apart, agreed_apart))

    def _messages(self, is_large: bool, before: Vectors) -> list[Message]:
        """Return what all clients have to say."""
        older, known = (None, None) if is_large else (self._older, self._known)
        orders = [
            Order(self.round, is_large, *(_row(each, client.index) for each in (before, older, known)))
            for client in self.clients
        ]
        collected = self._collect(orders)
        if collected.missing:
            raise EdgeError(f"round {self.round}: clients {sorted(collected.missing)} have no estimate")
        return [combined(collected.contributions[k].results, order.known) for k, order in enumerate(orders)]

    def _exchange(self, name: str, what: str, vectors: Tensor, rule: Aggregation, n_rounds: int) -> Agreed:
        """Return what the honest make of what they hear in some rounds, lies included."""
        liars = None if self.faults is None else self.faults.nodes(self.round, f"{name} {what}", vectors, self.n_faulty)
        return agree(vectors, self.neighbours, rule, self.n_faulty, n_rounds, liars, self._generator)

    def policy(self) -> Vectors:
        """Return the parameters that are judged: in each coordinate the median of all clients, whoever they are."""
        return {name: median(vectors) for name, vectors in self.vectors.items()}


def _row(vectors: Vectors | None, client: int) -> Any:
    """Return a client's vectors of those of all (K, d)."""
    return None if vectors is None else {name: rows[client] for name, rows in vectors.items()}
