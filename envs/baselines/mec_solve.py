"""The least cost of a slot: every assignment with whole tasks or the best shares, and a search where that is not exact.

Where transfer times are constant, nothing overlaps and the cost is the delay, the even shares are the best shares of an
assignment, and the result is the optimum of the slot. Let device i be followed at its server by k others, and let it
send a little more, so that the server works d seconds longer for it. Beyond the even share that delays all k + 1.
Below, it saves local_s / service_s * d of its own delay and delays each of the k by d at most, less where they answer
by sending less. So the even share is best if the server is k times as fast as the device, and a device for which it
would be below zero is better off at home. Deadlines do not change that as long as the optimum without them keeps them.

Everywhere else the result of that solution is the start of a search: one device at a time takes the target and share
that are best for all while the others stay, and two devices exchange their targets, until nothing is gained. With more
devices than can be weighed together the start is a search, too, and the second one ends after a few rounds.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F8, I8
from envs.baselines.mec_assign import (
    MAX_EXHAUSTIVE_AGENTS,
    Scratch,
    assign_by_moves,
    assign_exhaustively,
    scratch_for,
)
from envs.baselines.mec_slot import MISS_COST, Room, Slot, even_share, may_choose, reach_s, room_for, serve, slot_cost

_GRID = 16  # shares that a search looks at before it narrows in between two of them
_NARROWINGS = 32  # by the golden section: to 2e-7 of a width of 1 / 8
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_MAX_ROUNDS, _MAX_ROUNDS_OF_MANY = 50, 5  # of a search with few and with many devices
_LEAST_GAIN = 1e-10


class Solution(NamedTuple):
    """What is best in a slot of B worlds."""

    target: Annotated[I8, "B N", "0 for the own node, 1 + e for server e"]
    share: Annotated[F8, "B N", "of the task that is sent; 0 at the own node"]
    cost: Annotated[F8, "B", "sum over devices, without what misses were counted with"]
    is_optimal: Annotated[BOOL, "B", "nothing costs less; else a search found nothing better"]


def solve(slot: Slot, splits: bool) -> Solution:
    """Return the solution with the fewest misses, and among those with the least cost.

    With ``splits`` a device may send any share of its task, else all or nothing.
    """
    n_worlds, n_agents = slot.device.shape
    solution = Solution(
        np.zeros((n_worlds, n_agents), np.int64),
        np.zeros((n_worlds, n_agents)),
        np.zeros(n_worlds),
        np.zeros(n_worlds, np.bool_),
    )
    scratch = scratch_for(slot.server_backlog_s.shape[1], n_agents)
    other = np.zeros(n_agents, np.int64), np.zeros(n_agents)
    _solve_worlds(solution, scratch, room_for(n_agents), *other, slot, splits)
    return solution


@kernel
def _solve_worlds(
    solution: Solution, scratch: Scratch, room: Room, other_target: I8, other_share: F8, slot: Slot, splits: bool
) -> None:
    """Fill ``solution``; ``other_target`` and ``other_share`` (N,) are room to work in."""
    target, share = solution.target, solution.share
    for b in range(target.shape[0]):
        solution.is_optimal[b] = _solve_surely(target[b], share[b], scratch, room, slot, b, splits)
        if not solution.is_optimal[b]:
            _solve_by_search(target[b], share[b], other_target, other_share, scratch, room, slot, b, splits)
        solution.cost[b] = slot_cost(room, slot, b, target[b], share[b], 0.0)


@kernel
def _solve_surely(target: I8, share: F8, scratch: Scratch, room: Room, slot: Slot, b: int, splits: bool) -> bool:
    """Fill ``target`` and ``share`` (N,) of world ``b`` with the optimum where that can be found; return whether."""
    if target.size > MAX_EXHAUSTIVE_AGENTS or slot.interference > 0.0:
        return False
    if not splits:
        assign_exhaustively(target, share, scratch, slot, b, False, MISS_COST)
        return True
    if not _even_shares_are_best(slot, b):
        return False
    # without a weight on misses: if the best of all has none, it is the best of those with the fewest, too
    cost = assign_exhaustively(target, share, scratch, slot, b, True, 0.0)
    return slot_cost(room, slot, b, target, share, MISS_COST) <= cost + 0.5 * MISS_COST


@kernel
def _solve_by_search(
    target: I8, share: F8, other_target: I8, other_share: F8, scratch: Scratch, room: Room, slot: Slot, b: int,
    splits: bool,
) -> None:  # fmt: skip
    """Fill ``target`` and ``share`` (N,) with the better of two searches: from even shares, and from whole tasks."""
    is_small = target.size <= MAX_EXHAUSTIVE_AGENTS
    _assign(target, share, scratch, slot, b, splits)
    if not is_small and slot.interference == 0.0 and (not splits or _even_shares_are_best(slot, b)):
        return
    cost = _search(target, share, room, slot, b, splits)
    if not (splits and is_small):
        return
    _assign(other_target, other_share, scratch, slot, b, False)
    if _search(other_target, other_share, room, slot, b, True) < cost:
        for n in range(target.size):
            target[n], share[n] = other_target[n], other_share[n]


@kernel
def _assign(target: I8, share: F8, scratch: Scratch, slot: Slot, b: int, splits: bool) -> None:
    """Fill ``target`` and ``share`` (N,) with an assignment as if devices did not disturb each other."""
    if target.size <= MAX_EXHAUSTIVE_AGENTS:
        assign_exhaustively(target, share, scratch, slot, b, splits, MISS_COST)
    else:
        assign_by_moves(target, share, scratch, slot, b, splits, MISS_COST)


@inlined
def _even_shares_are_best(slot: Slot, b: int) -> bool:
    """Return whether the even shares are the best for whatever devices meet at a server."""
    if slot.is_transfer_of_share or slot.overlaps or slot.time_weight != 1.0:
        return False
    n_agents, n_servers = slot.device.shape[1], slot.server_backlog_s.shape[1]
    for n in range(n_agents):
        if slot.device[b, n].energy_j < np.inf:
            return False
        for e in range(n_servers):
            if slot.device[b, n].local_s < (n_agents - 1) * slot.pair[b, e, n].service_s:
                return False
    return True


@kernel
def _search(target: I8, share: F8, room: Room, slot: Slot, b: int, splits: bool) -> float:
    """Better ``target`` and ``share`` (N,) until no device alone and no exchange gains; return the cost."""
    n_agents = target.size
    cost = slot_cost(room, slot, b, target, share, MISS_COST)
    n_idle = 0  # rounds without a gain: in turn the others answer to a change, and keep to their shares
    for i in range(_MAX_ROUNDS if n_agents <= MAX_EXHAUSTIVE_AGENTS else _MAX_ROUNDS_OF_MANY):
        before = cost
        for n in range(n_agents):
            cost = _try_device(target, share, room, slot, b, n, splits, splits and i % 2 == 0, cost)
        for n in range(n_agents):
            for other in range(n):
                if target[n] != target[other]:
                    cost = _try_exchange(target, share, room, slot, b, n, other, cost)
        n_idle = n_idle + 1 if cost > before - _LEAST_GAIN else 0
        if n_idle == 2:
            break
    return cost


@kernel
def _try_exchange(target: I8, share: F8, room: Room, slot: Slot, b: int, n: int, other: int, cost: float) -> float:
    """Let two devices exchange targets and shares if that costs less; return the cost."""
    if not (may_choose(slot, b, n, target[other]) and may_choose(slot, b, other, target[n])):
        return cost
    target[n], target[other] = target[other], target[n]
    share[n], share[other] = share[other], share[n]
    changed = slot_cost(room, slot, b, target, share, MISS_COST)
    if changed < cost:
        return changed
    target[n], target[other] = target[other], target[n]
    share[n], share[other] = share[other], share[n]
    return cost


@kernel
def _try_device(
    target: I8, share: F8, room: Room, slot: Slot, b: int, n: int, splits: bool, answers: bool, cost: float
) -> float:
    """Let device ``n`` send its best share to its best target if that costs less; return the cost.

    The best of a grid of shares is narrowed down by the golden section.
    """
    was = target[n]
    target[n] = 0
    best, best_k, best_share = _cost_with(target, share, room, slot, b, n, 0.0, answers), 0, 0.0
    in_time = 1.0 - (slot.device[b, n].deadline_s - slot.device[b, n].backlog_s) / slot.device[b, n].local_s
    for k in range(1, 1 + slot.pair.shape[1]):
        if slot.pair[b, k - 1, n].may_choose == 1:
            target[n] = k
            for i in range(0 if splits else _GRID - 1, _GRID + 1 if splits else _GRID):  # else the whole task alone
                part = (i + 1.0) / _GRID if i < _GRID else in_time  # the least share with which the rest is in time
                if 0.0 < part <= 1.0:
                    found = _cost_with(target, share, room, slot, b, n, part, answers)
                    if found < best:
                        best, best_k, best_share = found, k, part
    target[n] = best_k
    if best_k > 0 and splits:
        low, high = max(best_share - 1.0 / _GRID, 0.0), min(best_share + 1.0 / _GRID, 1.0)
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        of_left = _cost_with(target, share, room, slot, b, n, left, answers)
        of_right = _cost_with(target, share, room, slot, b, n, right, answers)
        for _ in range(_NARROWINGS):
            if of_left <= of_right:
                high, right, of_right = right, left, of_left
                left = high - _GOLDEN * (high - low)
                of_left = _cost_with(target, share, room, slot, b, n, left, answers)
            else:
                low, left, of_left = left, right, of_right
                right = low + _GOLDEN * (high - low)
                of_right = _cost_with(target, share, room, slot, b, n, right, answers)
        if min(of_left, of_right) < best:
            best, best_share = min(of_left, of_right), left if of_left <= of_right else right
    if best >= cost:
        target[n] = was
        return cost
    _cost_with(target, share, room, slot, b, n, best_share, answers)
    for i in range(share.size):
        share[i] = room.trial[i]
    return best


@kernel
def _cost_with(target: I8, share: F8, room: Room, slot: Slot, b: int, n: int, part: float, answers: bool) -> float:
    """Return the cost of the slot if device ``n`` sends this share; ``room.trial`` becomes the shares of all.

    Where it ``answers``, those after it at its server take their even shares; else they keep theirs.
    """
    for i in range(share.size):
        room.trial[i] = share[i]
    room.trial[n] = part
    if answers and target[n] > 0:
        e = target[n] - 1
        busy_s, is_after = slot.server_backlog_s[b, e], False
        for i in range(share.size):
            j = slot.pair[b, e, i].in_order
            if target[j] != target[n]:
                continue
            if is_after:
                room.trial[j] = even_share(slot, b, e, j, busy_s, reach_s(slot, b, target, share, j))
            if room.trial[j] > 0.0:
                busy_s, _ = serve(slot, b, e, j, busy_s, room.trial[j], reach_s(slot, b, target, share, j), 0.0)
            is_after = is_after or j == n
    return slot_cost(room, slot, b, target, room.trial, MISS_COST)
