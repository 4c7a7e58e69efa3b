"""Who lies in a round, and how: the schedule, the attack, and what attackers remember."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.attacks.base import Attack, AttackView
from edge_rllib.federated.attacks.chunk import ChunkPoisoning
from edge_rllib.federated.attacks.read import AnyAttack
from edge_rllib.federated.attacks.schedule import Schedule
from edge_rllib.federated.attacks.timing import TimingFault
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.pipeline import Pipeline
from edge_rllib.federated.stealing.chunks import Chunk
from edge_rllib.ops.agreement import FaultyNodes
from envs.rng import key_from_seed


class Faults:
    """Faulty clients of a federation. They collude, and see what honest clients send."""

    def __init__(self, attack: AnyAttack, schedule: Schedule, rule: Pipeline, seed: int) -> None:
        """Let the clients of a schedule attack a rule; they know how many liars it makes up for."""
        self.attack, self.schedule, self.rule, self.seed = attack, schedule, rule, seed
        self._generator = torch.Generator().manual_seed(key_from_seed(seed, "attack") % 2**63)
        self._sent: dict[str, Tensor] = {}  # (f, d) by what was told
        self._own: dict[str, Tensor] = {}
        self._past: dict[str, dict[int, dict[int, Tensor]]] = {}  # vectors (d,) by what was told, round and client

    def check(self, n_faulty: int, n_receivers: int) -> None:
        """Refuse, with ConfigError, an attack that means nothing here; ``n_faulty`` is what the rule makes up for."""
        if isinstance(self.attack, Attack):
            self.attack.check(self.schedule.n, max(n_faulty, self.schedule.n_faulty), n_receivers)

    def clients(self, round_: int) -> tuple[int, ...]:
        """Return the faulty clients of a round, ascending."""
        return self.schedule.faulty(round_)

    def lie(self, executor: int, chunk: Chunk) -> Lie | None:
        """Return how an executor spoils a chunk: a function of the seed, the executor and the chunk.

        Attacks on data spoil all that it executes, poisoning only what is somebody else's.
        """
        if isinstance(self.attack, (Attack, TimingFault)) or executor not in self.clients(chunk.round):
            return None
        if isinstance(self.attack, ChunkPoisoning) and executor == chunk.owner:
            return None
        return Lie(self.attack, (key_from_seed(self.seed, "lie"), executor, *chunk.id))

    def forged(
        self,
        round_: int,
        module_id: str,
        vectors: Tensor,
        senders: Sequence[int],
        n_faulty: int,
        aggregate: Tensor | None,
    ) -> Tensor:
        """Return what a server receives, (n, d), of the vectors (n, d) that the senders computed as they were told."""
        liars = set(self.clients(round_))
        faulty = [row for row, client in enumerate(senders) if client in liars]
        if isinstance(self.attack, TimingFault):
            return self._late(round_, module_id, vectors, senders)
        if not faulty or len(faulty) == len(vectors) or not isinstance(self.attack, Attack):
            return vectors
        is_honest = torch.ones(len(vectors), dtype=torch.bool)
        is_honest[faulty] = False
        received = vectors.clone()
        received[faulty] = self._lies(module_id, vectors[is_honest], vectors[faulty], n_faulty, 1, aggregate)
        return received

    def nodes(self, round_: int, what: str, vectors: Tensor, n_faulty: int) -> FaultyNodes | None:
        """Return how faulty clients lie where clients (K, d) tell each other; None where all send what they have."""
        faulty = self.clients(round_)
        if isinstance(self.attack, TimingFault):
            late = self._late(round_, what, vectors, range(len(vectors)))[list(faulty)]
            return FaultyNodes(faulty, lambda _, __: late) if faulty else None
        if not faulty or not isinstance(self.attack, Attack):
            return None
        own = vectors[list(faulty)].clone()

        def send(_: int, honest: Tensor) -> Tensor:
            return self._lies(what, honest, own, n_faulty, len(honest), None)

        return FaultyNodes(faulty, send)

    def _late(self, round_: int, what: str, vectors: Tensor, senders: Sequence[int]) -> Tensor:
        """Return what arrives of vectors (n, d): faulty clients' old ones, or NaN, by which silence is told."""
        assert isinstance(self.attack, TimingFault)
        past = self._past.setdefault(what, {})
        past[round_] = {client: vector.clone() for client, vector in zip(senders, vectors, strict=True)}
        for old in [each for each in past if each < round_ - self.attack.longest_rounds]:
            del past[old]
        received, liars = vectors.clone(), set(self.clients(round_))
        for row, client in enumerate(senders):
            if client in liars:
                draws = np.random.default_rng([key_from_seed(self.seed, "timing"), round_, client])
                arriving = self.attack.arriving(round_, draws)
                found = None if arriving is None else past.get(arriving, {}).get(client)
                received[row] = math.nan if found is None else found
        return received

    def _lies(
        self, what: str, honest: Tensor, own: Tensor, n_faulty: int, n_receivers: int, aggregate: Tensor | None
    ) -> Tensor:
        """Return what the faulty send, and remember it; (f, d), or (r, f, d) to receivers one by one."""
        sent, own_before = self._sent.get(what), self._own.get(what)
        view = AttackView(
            honest=honest,
            own=own,
            n_faulty=n_faulty,
            generator=self._generator,
            n_receivers=n_receivers,
            sent=None if sent is None or len(sent) != len(own) else sent,
            own_before=None if own_before is None or len(own_before) != len(own) else own_before,
            aggregate=aggregate,
            rule=self.rule,
        )
        assert isinstance(self.attack, Attack)
        lies = self.attack(view)
        self._sent[what], self._own[what] = (lies if lies.ndim == 2 else lies[0]).clone(), own.clone()
        return lies

    def get_state(self) -> dict[str, Any]:
        """Return what later lies depend on."""
        remembered = {"sent": dict(self._sent), "own": dict(self._own), "past": copy.deepcopy(self._past)}
        return {"generator": self._generator.get_state(), **remembered}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._generator.set_state(state["generator"])
        self._sent, self._own = dict(state["sent"]), dict(state["own"])
        self._past = copy.deepcopy(state["past"])
