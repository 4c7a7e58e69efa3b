"""Who goes to which server: the best of all assignments of a slot's tasks, with whole tasks or with the even shares.

Where devices do not disturb each other, the cost of an assignment is a sum over servers of a cost of the set of devices
that each one gets. For every server and every set that cost follows from the set without its last arrival, E * 2 ** N
steps; the best partition of the devices into sets follows by dynamic programming, E * 3 ** N steps.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F8, I8
from envs.baselines.mec_slot import Slot, even_share, local_cost, may_choose, serve

MAX_EXHAUSTIVE_AGENTS = 10  # 3 ** 10 sets and subsets a server: about a millisecond
_MAX_ROUNDS = 20  # moves and exchanges, in units of the number of devices
_LEAST_GAIN = 1e-12


class Scratch(NamedTuple):
    """Working memory of one world; sets of devices are numbers, bit n for device n."""

    cost: Annotated[F8, "Se Ds", "cost of the devices of a set at a server"]
    left: Annotated[F8, "Ds", "least cost of a set at the own nodes and the servers so far"]
    pick: Annotated[I8, "Se Ds", "the part of a set that goes to a server in that best partition"]
    busy_s: Annotated[F8, "Ds", "until when a server is busy with a set of arrivals, bit r for place r in its order"]
    devices: Annotated[I8, "Ds", "set of devices of a set of places"]
    server_cost: Annotated[F8, "Se", "cost of the devices at a server"]


def scratch_for(n_servers: int, n_agents: int) -> Scratch:
    """Return the working memory; tables of sets only where all of them are looked at."""
    n_sets = 2**n_agents if n_agents <= MAX_EXHAUSTIVE_AGENTS else 1
    return Scratch(
        cost=np.empty((n_servers, n_sets)),
        left=np.empty(n_sets),
        pick=np.zeros((n_servers, n_sets), np.int64),
        busy_s=np.empty(n_sets),
        devices=np.zeros(n_sets, np.int64),
        server_cost=np.empty(n_servers),
    )


@inlined
def _join(
    slot: Slot, b: int, e: int, n: int, busy_s: float, splits: bool, miss_cost: float
) -> tuple[float, float, float]:
    """Return (busy until, cost, share) of the next arrival at a server; infinite cost where it should not come."""
    transfer_s = slot.pair[b, e, n].transfer_s
    share = even_share(slot, b, e, n, busy_s, transfer_s) if splits else 1.0
    if share <= 0.0 or slot.pair[b, e, n].may_choose == 0:
        return busy_s, np.inf, 0.0
    busy_s, cost = serve(slot, b, e, n, busy_s, share, transfer_s, miss_cost)
    return busy_s, cost, share


@kernel
def assign_exhaustively(
    target: I8, share: F8, scratch: Scratch, slot: Slot, b: int, splits: bool, miss_cost: float
) -> float:
    """Fill ``target`` and ``share`` (N,) of world ``b`` with the best assignment of all, and return its cost."""
    n_agents, n_servers = target.size, slot.server_backlog_s.shape[1]
    n_sets = 1 << n_agents
    for e in range(n_servers):
        _fill_costs(scratch, slot, b, e, splits, miss_cost)
    scratch.left[0] = 0.0
    high = 0
    for devices in range(1, n_sets):
        if devices >> (high + 1):
            high += 1
        scratch.left[devices] = scratch.left[devices ^ (1 << high)] + local_cost(slot, b, high, miss_cost)
    for e in range(n_servers):
        last = n_sets - 1 if e == n_servers - 1 else 0  # for the last server the set of all devices is enough
        for devices in range(n_sets - 1, last - 1, -1):  # downwards: parts of a set are still those without server e
            best, best_part = scratch.left[devices], 0
            part = devices
            while part:
                cost = scratch.cost[e, part] + scratch.left[devices ^ part]
                if cost < best:
                    best, best_part = cost, part
                part = (part - 1) & devices
            scratch.left[devices] = best
            scratch.pick[e, devices] = best_part
    devices = n_sets - 1
    target[:] = 0
    share[:] = 0.0
    for back in range(n_servers):
        e = n_servers - 1 - back
        for n in range(n_agents):
            if (scratch.pick[e, devices] >> n) & 1:
                target[n] = 1 + e
        devices ^= scratch.pick[e, devices]
    for e in range(n_servers):
        settle_server(target, share, slot, b, e, splits, miss_cost)
    return scratch.left[n_sets - 1]


@kernel
def _fill_costs(scratch: Scratch, slot: Slot, b: int, e: int, splits: bool, miss_cost: float) -> None:
    """Fill the costs of every set of devices at a server, in the order of the server's arrivals."""
    scratch.cost[e, 0] = 0.0
    scratch.busy_s[0] = slot.server_backlog_s[b, e]
    scratch.devices[0] = 0
    last = 0
    for places in range(1, scratch.busy_s.size):
        if places >> (last + 1):
            last += 1
        before = places ^ (1 << last)
        n = slot.pair[b, e, last].in_order
        busy_s, cost, _ = _join(slot, b, e, n, scratch.busy_s[before], splits, miss_cost)
        devices = scratch.devices[before] | (1 << n)
        scratch.busy_s[places] = busy_s
        scratch.devices[places] = devices
        scratch.cost[e, devices] = scratch.cost[e, scratch.devices[before]] + cost


@kernel
def settle_server(target: I8, share: F8, slot: Slot, b: int, e: int, splits: bool, miss_cost: float) -> float:
    """Fill ``share`` for the devices whose target is server ``e``, in its order of arrival; return their cost."""
    cost, busy_s = 0.0, slot.server_backlog_s[b, e]
    for i in range(target.size):
        n = slot.pair[b, e, i].in_order
        if target[n] == 1 + e:
            busy_s, added, share[n] = _join(slot, b, e, n, busy_s, splits, miss_cost)
            cost += added
    return cost


@kernel
def assign_by_moves(
    target: I8, share: F8, scratch: Scratch, slot: Slot, b: int, splits: bool, miss_cost: float
) -> float:
    """Fill ``target`` and ``share`` (N,) of world ``b`` with an assignment that no move and no exchange betters.

    Local search for many devices: all begin at home, and what saves most is done until nothing saves: one device goes
    elsewhere, or two exchange their targets. The result depends on no chance; it is good and need not be the best.
    """
    n_agents, n_servers = target.size, slot.server_backlog_s.shape[1]
    target[:] = 0
    share[:] = 0.0
    scratch.server_cost[:] = 0.0
    for _ in range(_MAX_ROUNDS * n_agents):
        best, best_n, best_other, best_k = _LEAST_GAIN, -1, -1, 0
        for n in range(n_agents):
            for k in range(1 + n_servers):
                gain = _gain(target, share, scratch, slot, b, n, -1, k, splits, miss_cost)
                if gain > best:
                    best, best_n, best_other, best_k = gain, n, -1, k
            for other in range(n):
                gain = _gain(target, share, scratch, slot, b, n, other, target[other], splits, miss_cost)
                if gain > best:
                    best, best_n, best_other, best_k = gain, n, other, target[other]
        if best_n < 0:
            break
        left = target[best_n]
        target[best_n] = best_k
        if best_other >= 0:
            target[best_other] = left
        for k in (left, best_k):
            if k > 0:
                scratch.server_cost[k - 1] = settle_server(target, share, slot, b, k - 1, splits, miss_cost)
    cost = 0.0
    for n in range(n_agents):
        if target[n] == 0:
            share[n] = 0.0
            cost += local_cost(slot, b, n, miss_cost)
    for e in range(n_servers):
        cost += settle_server(target, share, slot, b, e, splits, miss_cost)
    return cost


@kernel
def _gain(
    target: I8, share: F8, scratch: Scratch, slot: Slot, b: int, n: int, other: int, k: int, splits: bool,
    miss_cost: float,
) -> float:  # fmt: skip
    """Return what is saved if device ``n`` goes to target ``k`` and device ``other`` (-1: none) from there to its own.

    ``target`` is as before on return; ``share`` is scratch.
    """
    was = target[n]
    if k == was or not may_choose(slot, b, n, k) or (other >= 0 and not may_choose(slot, b, other, was)):
        return 0.0
    saved = 0.0
    for at in (was, k):
        if at > 0:
            saved += scratch.server_cost[at - 1]
    saved += _home_cost(target, slot, b, n, miss_cost) + _home_cost(target, slot, b, other, miss_cost)
    target[n] = k
    if other >= 0:
        target[other] = was
    for at in (was, k):
        if at > 0:
            saved -= settle_server(target, share, slot, b, at - 1, splits, miss_cost)
    saved -= _home_cost(target, slot, b, n, miss_cost) + _home_cost(target, slot, b, other, miss_cost)
    target[n] = was
    if other >= 0:
        target[other] = k
    return saved


@inlined
def _home_cost(target: I8, slot: Slot, b: int, n: int, miss_cost: float) -> float:
    """Return what a device costs at home; 0 where it is at a server, or is none."""
    return local_cost(slot, b, n, miss_cost) if n >= 0 and target[n] == 0 else 0.0
