"""The least cost of a slot: every assignment with whole tasks or the best shares, and a search where that is not exact.

Where the transfer time is constant, nothing overlaps and the cost is the delay, the even shares are the best shares of
an assignment, and the result is the optimum of the slot. Let device i be followed at its server by k others, and let
it send a little more, so that the server works d seconds longer for it. Beyond the even share that delays all k + 1.
Below, it saves local_s / service_s * d of its own delay and delays each of the k by d at most, less where they answer
by sending less. So the even share is best if the server is k times as fast as the device, and a device for which it
would be below zero is better off at home. Deadlines do not change that as long as the optimum without them keeps them.

Everywhere else the result of that solution is the start of a search: one device at a time takes the target and share
that are best for all while the others stay, and two devices exchange their targets, until nothing is gained.
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
from envs.baselines.mec_slot import MISS_COST, Slot, even_share, serve, slot_cost

_GRID = 16  # shares that a search looks at before it narrows in between two of them
_NARROWINGS = 32  # by the golden section: to 2e-7 of a width of 1 / 8
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_MAX_ROUNDS = 50
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
    n_worlds, n_agents = slot.local_s.shape
    solution = Solution(
        np.zeros((n_worlds, n_agents), np.int64),
        np.zeros((n_worlds, n_agents)),
        np.zeros(n_worlds),
        np.zeros(n_worlds, np.bool_),
    )
    scratch = scratch_for(slot.server_backlog_s.shape[1], n_agents)
    _solve_worlds(solution, scratch, np.empty_like(solution.target[0]), np.empty(n_agents), slot, splits)
    return solution


@kernel
def _solve_worlds(
    solution: Solution, scratch: Scratch, other_target: I8, other_share: F8, slot: Slot, splits: bool
) -> None:
    """Fill ``solution``; ``other_target`` and ``other_share`` (N,) are scratch."""
    target, share = solution.target, solution.share
    for b in range(target.shape[0]):
        solution.is_optimal[b] = _solve(target[b], share[b], other_target, other_share, scratch, slot, b, splits)
        solution.cost[b] = slot_cost(scratch.member, slot, b, target[b], share[b], 0.0)


@kernel
def _solve(
    target: I8, share: F8, other_target: I8, other_share: F8, scratch: Scratch, slot: Slot, b: int, splits: bool
) -> bool:
    """Fill ``target`` and ``share`` (N,) of world ``b``; return whether nothing can be better."""
    is_exhaustive = target.size <= MAX_EXHAUSTIVE_AGENTS
    if not splits:
        _assign(target, share, scratch, slot, b, False, MISS_COST)
        return is_exhaustive
    if _even_shares_are_best(slot, b):
        # without a weight on misses: if the best of all has none, it is the best of those with the fewest, too
        cost = _assign(target, share, scratch, slot, b, True, 0.0)
        if slot_cost(scratch.member, slot, b, target, share, MISS_COST) <= cost + 0.5 * MISS_COST:
            return is_exhaustive
    _assign(other_target, other_share, scratch, slot, b, True, MISS_COST)
    other_cost = _search(other_target, other_share, scratch.trial, scratch.member, slot, b)
    _assign(target, share, scratch, slot, b, False, MISS_COST)
    if _search(target, share, scratch.trial, scratch.member, slot, b) > other_cost:
        for n in range(target.size):
            target[n], share[n] = other_target[n], other_share[n]
    return False


@kernel
def _assign(target: I8, share: F8, scratch: Scratch, slot: Slot, b: int, splits: bool, miss_cost: float) -> float:
    if target.size <= MAX_EXHAUSTIVE_AGENTS:
        return assign_exhaustively(target, share, scratch, slot, b, splits, miss_cost)
    return assign_by_moves(target, share, scratch, slot, b, splits, miss_cost)


@inlined
def _even_shares_are_best(slot: Slot, b: int) -> bool:
    """Return whether the even shares are the best for whatever devices meet at a server."""
    if slot.is_transfer_of_share or slot.overlaps or slot.time_weight != 1.0:
        return False
    n_agents, n_servers = slot.local_s.shape[1], slot.server_backlog_s.shape[1]
    for n in range(n_agents):
        if slot.energy_j[b, n] < np.inf:
            return False
        for e in range(n_servers):
            if slot.local_s[b, n] < (n_agents - 1) * slot.service_s[b, e, n]:
                return False
    return True


@kernel
def _search(target: I8, share: F8, trial: F8, member: I8, slot: Slot, b: int) -> float:
    """Better ``target`` and ``share`` (N,) until no device alone and no exchange gains; return the cost.

    ``trial`` and ``member`` (N,) are scratch.
    """
    n_agents = target.size
    cost = slot_cost(member, slot, b, target, share, MISS_COST)
    n_idle = 0  # rounds without a gain: in turn the others answer to a change, and keep to their shares
    for i in range(_MAX_ROUNDS):
        before = cost
        for n in range(n_agents):
            cost = _try_device(target, share, trial, member, slot, b, n, i % 2 == 0, cost)
        for n in range(n_agents):
            for other in range(n):
                if target[n] != target[other]:
                    cost = _try_exchange(target, share, member, slot, b, n, other, cost)
        n_idle = n_idle + 1 if cost > before - _LEAST_GAIN else 0
        if n_idle == 2:
            break
    return cost


@kernel
def _try_exchange(target: I8, share: F8, member: I8, slot: Slot, b: int, n: int, other: int, cost: float) -> float:
    """Let two devices exchange targets and shares if that costs less; return the cost."""
    if not (slot.may_choose[b, n, target[other]] and slot.may_choose[b, other, target[n]]):
        return cost
    target[n], target[other] = target[other], target[n]
    share[n], share[other] = share[other], share[n]
    changed = slot_cost(member, slot, b, target, share, MISS_COST)
    if changed < cost:
        return changed
    target[n], target[other] = target[other], target[n]
    share[n], share[other] = share[other], share[n]
    return cost


@kernel
def _try_device(
    target: I8, share: F8, trial: F8, member: I8, slot: Slot, b: int, n: int, answers: bool, cost: float
) -> float:
    """Let device ``n`` send its best share to its best target if that costs less; return the cost.

    The best of a grid of shares is narrowed down by the golden section.
    """
    was = target[n]
    target[n] = 0
    best, best_k, best_share = _cost_with(trial, target, share, member, slot, b, n, 0.0, answers), 0, 0.0
    in_time = 1.0 - (slot.deadline_s[b, n] - slot.device_backlog_s[b, n]) / slot.local_s[b, n]
    for k in range(1, slot.may_choose.shape[2]):
        if slot.may_choose[b, n, k]:
            target[n] = k
            for i in range(_GRID + 1):
                part = (i + 1.0) / _GRID if i < _GRID else in_time  # the least share with which the rest is in time
                if 0.0 < part <= 1.0:
                    found = _cost_with(trial, target, share, member, slot, b, n, part, answers)
                    if found < best:
                        best, best_k, best_share = found, k, part
    target[n] = best_k
    if best_k > 0:
        low, high = max(best_share - 1.0 / _GRID, 0.0), min(best_share + 1.0 / _GRID, 1.0)
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        of_left = _cost_with(trial, target, share, member, slot, b, n, left, answers)
        of_right = _cost_with(trial, target, share, member, slot, b, n, right, answers)
        for _ in range(_NARROWINGS):
            if of_left <= of_right:
                high, right, of_right = right, left, of_left
                left = high - _GOLDEN * (high - low)
                of_left = _cost_with(trial, target, share, member, slot, b, n, left, answers)
            else:
                low, left, of_left = left, right, of_right
                right = low + _GOLDEN * (high - low)
                of_right = _cost_with(trial, target, share, member, slot, b, n, right, answers)
        if min(of_left, of_right) < best:
            best, best_share = min(of_left, of_right), left if of_left <= of_right else right
    if best >= cost:
        target[n] = was
        return cost
    _cost_with(trial, target, share, member, slot, b, n, best_share, answers)
    for i in range(share.size):
        share[i] = trial[i]
    return best


@kernel
def _cost_with(
    trial: F8, target: I8, share: F8, member: I8, slot: Slot, b: int, n: int, part: float, answers: bool
) -> float:
    """Return the cost of the slot if device ``n`` sends this share; ``trial`` (N,) becomes the shares of all.

    Where it ``answers``, those after it at its server take their even shares; else they keep theirs.
    """
    for i in range(share.size):
        trial[i] = share[i]
    trial[n] = part
    if answers and target[n] > 0:
        e = target[n] - 1
        busy_s, is_after = slot.server_backlog_s[b, e], False
        for i in range(share.size):
            j = slot.order[b, e, i]
            if target[j] != target[n]:
                continue
            if is_after:
                trial[j] = even_share(slot, b, e, j, busy_s, slot.transfer_s[b, e, j])
            if trial[j] > 0.0:
                busy_s, _ = serve(slot, b, e, j, busy_s, trial[j], slot.transfer_s[b, e, j], 0.0)
            is_after = is_after or j == n
    return slot_cost(member, slot, b, target, trial, MISS_COST)
