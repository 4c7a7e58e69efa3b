"""How many users of a multi-user world send in a slot, and on which channels: what its rules have in common."""

from __future__ import annotations

from typing import Literal

import numpy as np

from envs.arrays import I8
from envs.errors import ConfigError
from envs.multiuser.observe import MultiuserView

Senders = Literal["full"] | int


def check_senders(name: str, senders: Senders) -> None:
    """Raise ConfigError unless ``senders`` is a number of users of at least 0, or full."""
    if senders != "full" and (isinstance(senders, bool) or int(senders) < 0):
        raise ConfigError(f"{name}: senders = {senders!r}: expected full or a number of users from 0")


def n_senders(senders: Senders, view: MultiuserView) -> int:
    """Return how many users send: a number, or as many tasks of middling work as the server does in a slot."""
    n_users = view.has_task.shape[1]
    if senders != "full":
        return min(int(senders), n_users)
    rules = view.rules
    middling = float(rules.work_low_cycles + rules.work_range_cycles / 2.0)
    served = int(rules.slot_s * rules.edge_hz / middling)
    return min(max(served, 1), n_users)


def sent_in_order(order: I8, n: int, view: MultiuserView) -> I8:
    """Return targets (B, Us): the first ``n`` users of each world's order (B, Us) send, each on the next channel."""
    target: I8 = np.zeros(view.has_task.shape, np.int64)
    channel = np.arange(n) % (view.target_mask.shape[2] - 1)
    np.put_along_axis(target, order[:, :n], 1 + channel, axis=1)
    return target
