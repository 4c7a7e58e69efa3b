"""The cheapest decisions for one slot: which users send, when no two of them share a channel.

Uploads do not depend on each other then. Sending one more task never makes another one done earlier, under any service,
and a user that stays is on no channel. So a set of senders costs at least what it costs with everybody else at home,
less what the best of the others would gain if each were the only one to send: branch and bound over the users in the
order of that gain ends with the cheapest set. Without interference users share channels at will, and a set may be as
large as it likes.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F8, I8, allocate
from envs.multiuser import state as s
from envs.multiuser.kernel import price_slot
from envs.multiuser.observe import MultiuserView
from envs.multiuser.state import MultiuserState, MultiuserTables, Room, Rules, SlotFigures

_NEAR = 1e-12  # sums of the same costs in another order differ by less


class Cheapest(NamedTuple):
    """What the search found."""

    target: Annotated[I8, "B Us", "0 local, 1 + m channel m"]
    cost: Annotated[F8, "B", "of the slot"]
    is_proven: Annotated[BOOL, "B", "no set of senders on channels of their own costs less; else the search gave up"]


class _Tree(NamedTuple):
    """Room for the search of one world."""

    candidate: Annotated[I8, "Us", "users that would gain by sending alone, the largest gain first"]
    gain: Annotated[F8, "Us", "cost of staying less cost of sending alone, by user"]
    reach: Annotated[F8, "Us", "gain of the candidates up to this place together"]
    cost: Annotated[F8, "Us", "cost of the slot under the decisions above this depth"]
    stage: Annotated[I8, "Us", "0: nothing tried, 1: sends or was refused, 2: stays"]


def cheapest_slot(view: MultiuserView, max_priced: int) -> Cheapest:
    """Return the cheapest senders of every world; ``max_priced`` sets are priced at most in a world."""
    n_worlds, n_users, n_targets = view.target_mask.shape
    sizes = {"B": n_worlds, "Us": n_users, "N": n_users, "Ch": n_targets, "Cl": 0, "G": 1}
    state, figures = allocate(MultiuserState, sizes), allocate(SlotFigures, sizes)
    state.user[...] = view.user
    state.world["edge_backlog_s"][...] = view.edge_backlog_s
    tables = allocate(MultiuserTables, sizes)
    tables.user_hz[...] = view.user_hz
    tables.received_w[...] = view.received_w
    found, room, tree = allocate(Cheapest, sizes), allocate(Room, sizes), allocate(_Tree, sizes)
    _search_worlds(found, tree, figures, room, state, tables, view.rules, max_priced)
    return found


@kernel
def _search_worlds(
    found: Cheapest,
    tree: _Tree,
    figures: SlotFigures,
    room: Room,
    state: MultiuserState,
    tables: MultiuserTables,
    rules: Rules,
    max_priced: int,
) -> None:
    """Search in every world; all but ``found`` is room to work in."""
    for b in range(state.world.size):
        n_candidates = _list_candidates(tree, figures, room, state, tables, rules, b)
        _search(found, tree, figures, room, state, tables, rules, b, n_candidates, max_priced)
        _name_channels(found, rules, b)


@inlined
def _let(state: MultiuserState, b: int, u: int, sends: bool) -> None:
    """Let a user send on a channel of its own, or stay."""
    state.user[b, u].offloads = 1 if sends else 0


@kernel
def _price(
    figures: SlotFigures, room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> float:
    """Return the cost of the slot; senders take the channels in the order of their numbers."""
    channel = 0
    for u in range(state.user.shape[1]):
        state.user[b, u].channel = s.NO_CHANNEL
        if state.user[b, u].offloads == 1:
            state.user[b, u].channel = channel % rules.n_channels
            channel += 1
    return price_slot(figures, room, state, tables, rules, b)


@inlined
def _list_candidates(
    tree: _Tree, figures: SlotFigures, room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> int:
    """Fill the users that would gain by sending alone; return how many there are."""
    n_users, n_candidates = state.user.shape[1], 0
    for u in range(n_users):
        _let(state, b, u, False)
    nobody = _price(figures, room, state, tables, rules, b)
    for u in range(n_users):
        _let(state, b, u, True)
        tree.gain[u] = nobody - _price(figures, room, state, tables, rules, b)
        _let(state, b, u, False)
        if tree.gain[u] <= _NEAR:
            continue
        place = n_candidates
        while place > 0 and tree.gain[tree.candidate[place - 1]] < tree.gain[u]:
            tree.candidate[place] = tree.candidate[place - 1]
            place -= 1
        tree.candidate[place] = u
        n_candidates += 1
    total = 0.0
    for i in range(n_candidates):
        total += tree.gain[tree.candidate[i]]
        tree.reach[i] = total
    return n_candidates


@inlined
def _most_gain(tree: _Tree, first: int, n_more: int, n_candidates: int) -> float:
    """Return what the best ``n_more`` candidates from place ``first`` on would gain, each alone."""
    last = min(first + n_more, n_candidates)
    if last <= first:
        return 0.0
    before = tree.reach[first - 1] if first > 0 else 0.0
    return float(tree.reach[last - 1] - before)


@inlined
def _keep(found: Cheapest, state: MultiuserState, b: int, cost: float) -> None:
    found.cost[b] = cost
    for u in range(state.user.shape[1]):
        found.target[b, u] = state.user[b, u].offloads


@inlined
def _search(
    found: Cheapest,
    tree: _Tree,
    figures: SlotFigures,
    room: Room,
    state: MultiuserState,
    tables: MultiuserTables,
    rules: Rules,
    b: int,
    n_candidates: int,
    max_priced: int,
) -> None:
    """Fill the cheapest set of senders of world ``b``; of equal ones the first that is met."""
    most = n_candidates if rules.interference == s.NO_INTERFERENCE else min(rules.n_channels, n_candidates)
    nobody = _price(figures, room, state, tables, rules, b)
    _keep(found, state, b, nobody)
    found.is_proven[b] = True
    depth, n_sending, n_priced = 0, 0, 0
    if n_candidates > 0:
        tree.stage[0], tree.cost[0] = 0, nobody
    while 0 <= depth < n_candidates:
        u = tree.candidate[depth]
        tree.stage[depth] += 1
        cost = tree.cost[depth]
        if tree.stage[depth] == 1:  # sends
            if n_sending == most:
                continue
            if n_priced == max_priced:
                found.is_proven[b] = False
                return
            _let(state, b, u, True)
            n_sending += 1
            n_priced += 1
            cost = _price(figures, room, state, tables, rules, b)
            if cost < found.cost[b] - _NEAR:
                _keep(found, state, b, cost)
        elif tree.stage[depth] == 2:  # stays
            if state.user[b, u].offloads == 1:
                _let(state, b, u, False)
                n_sending -= 1
        else:
            depth -= 1
            continue
        at_best = cost - _most_gain(tree, depth + 1, most - n_sending, n_candidates)
        if depth + 1 < n_candidates and at_best < found.cost[b] - _NEAR:
            depth += 1
            tree.stage[depth], tree.cost[depth] = 0, cost


@inlined
def _name_channels(found: Cheapest, rules: Rules, b: int) -> None:
    """Turn senders into targets, as they were priced."""
    channel = 0
    for u in range(found.target.shape[1]):
        if found.target[b, u] == 1:
            found.target[b, u] = 1 + channel % rules.n_channels
            channel += 1
