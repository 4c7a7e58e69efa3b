"""What faulty clients that forge vectors see, and what their attacks are.

Receivers are the honest clients in the order of ``AttackView.honest``, or one server. An attack is a pure function of
its view: what it has to remember stands there, so that a run goes on from a checkpoint as it would have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edge_rllib.ops.aggregation.base import Received, name_of
from envs.errors import ConfigError


@dataclass(frozen=True)
class AttackView:
    """What the faulty clients of a round know; they collude."""

    honest: Tensor  # (h, d) what the honest clients send
    own: Tensor  # (f, d) what the faulty clients computed as they were told
    n_faulty: int  # how many faulty clients the rule makes up for; may differ from f
    generator: torch.Generator  # of the attackers' random numbers
    n_receivers: int = 1  # 1 for a server, else h
    sent: Tensor | None = None  # (f, d) what they sent in the round before; None at first
    own_before: Tensor | None = None  # (f, d) what they computed in the round before; None at first
    aggregate: Tensor | None = None  # (d,) the last aggregate; None at first
    rule: Callable[[Received], Tensor] | None = None  # what the receivers do; for adaptive attackers only
    neighbours: Tensor | None = None  # (h, h + f) bool, whom a receiver hears, the honest first; None: all

    @property
    def f(self) -> int:
        """Return the number of faulty clients."""
        return int(self.own.shape[0])

    @property
    def mean(self) -> Tensor:
        """Return the honest mean, (d,)."""
        return self.honest.mean(0)

    @property
    def std(self) -> Tensor:
        """Return the standard deviation of each coordinate over the honest, (d,), 0 for one alone."""
        return self.honest.std(0) if len(self.honest) > 1 else torch.zeros_like(self.honest[0])

    @property
    def diameter(self) -> Tensor:
        """Return the largest distance between two honest vectors."""
        return distances(self.honest, self.honest).max()

    def of_all(self, vector: Tensor) -> Tensor:
        """Return one vector (..., d) for each faulty client, (..., f, d), in the honest vectors' type."""
        return vector.to(self.honest.dtype).unsqueeze(-2).expand(*vector.shape[:-1], self.f, -1).clone()


class Attack(ABC):
    """What faulty clients send. A subclass may be a dataclass, whose fields are its values in a text."""

    needs_honest: ClassVar[bool] = False  # reads what the honest clients send
    needs_rule: ClassVar[bool] = False  # tries the receivers' rule
    needs_receivers: ClassVar[bool] = False  # tells each receiver something else, and attacks no server

    @abstractmethod
    def __call__(self, view: AttackView) -> Tensor:
        """Return what they send: (f, d), or (r, f, d) where receivers are told different things."""

    def check(
        self, n: int, n_faulty: int, n_receivers: int = 1, sees_honest: bool = True, sees_rule: bool = True
    ) -> None:
        """Refuse, with ConfigError, clients among whom it means nothing, and what it needs but cannot see."""
        name = name_of(self)
        if n_faulty < 1:
            raise ConfigError(f"{name}: f = {n_faulty} faulty clients; expected 1 or more, or no attack")
        if n_faulty >= n:
            raise ConfigError(f"{name}: f = {n_faulty} of n = {n} clients; expected an honest one at least")
        if self.needs_honest and not sees_honest:
            raise ConfigError(f"{name}: reads the honest vectors, which these attackers do not see; {_blind()}")
        if self.needs_rule and not sees_rule:
            raise ConfigError(f"{name}: tries the receivers' rule, which these attackers do not see; {_blind()}")
        if self.needs_receivers and n_receivers < 2:
            raise ConfigError(
                f"{name}: tells each receiver something else, and there is {n_receivers}; expected a decentralised run"
            )


def _blind() -> str:
    return "blind attacks: large_noise, gaussian, sign_flip(of=own), nan_inf, replay, free_rider, fed_scs_pg"


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Return the distance of each pair of (n, d) and (m, d), (n, m), without the loss of large squares."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (..., d) of length one; zero stays zero."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / norms.clamp_min(torch.finfo(norms.dtype).tiny)


def normal(shape: tuple[int, ...], view: AttackView) -> Tensor:
    """Return standard normal numbers in the honest vectors' type; the same whatever the type."""
    drawn = torch.randn(shape, generator=view.generator, dtype=torch.float64, device=view.generator.device)
    return drawn.to(view.honest)


def refuse_unless(is_right: bool, attack: object, given: str, expected: str) -> None:
    """Raise ConfigError for a value of an attack that means nothing."""
    if not is_right:
        raise ConfigError(f"{name_of(attack)}: {given}: expected {expected}")
