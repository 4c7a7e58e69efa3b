"""One server: everybody sends everything to the same edge server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Choice, Rule
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.errors import ConfigError
from envs.mec.observe import MecView


@dataclass(frozen=True)
class OneServer(Rule):
    """Send every task, whole, to one server; devices that may not use it stay local."""

    server: Literal["fastest"] | int  # its number from 0, or the fastest; of equals the first

    worlds: ClassVar[tuple[str, ...]] = ("mec",)

    def __post_init__(self) -> None:
        if self.server != "fastest" and (isinstance(self.server, bool) or int(self.server) < 0):
            raise ConfigError(f"one_server: server = {self.server!r}: expected fastest or a number from 0")

    def decide(self, view: MecView, step: int, draws: RuleDraws) -> Choice:
        """Return the server's target for every agent."""
        n_worlds, n_servers = view.server_hz.shape
        if self.server == "fastest":
            server: I8 = view.server_hz.argmax(axis=1)
        elif int(self.server) < n_servers:
            server = np.full(n_worlds, int(self.server), np.int64)
        else:
            raise ConfigError(f"one_server: server = {self.server}: this world has servers 0 to {n_servers - 1}")
        target = np.broadcast_to(1 + server[:, None], view.has_task.shape)
        allowed = np.take_along_axis(view.target_mask, target[:, :, None], axis=2)[:, :, 0]
        return Choice(np.where(allowed, target, LOCAL), None)
