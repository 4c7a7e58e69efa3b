"""The exact optimum of up to three nodes: a continuous-time Markov decision process, solved by value iteration.

Tasks arrive as one Poisson process; each has exponential work, and a decision sends it to a node as it arrives. A node
serves up to ``n_cores`` tasks at once, holds ``places`` tasks, and drops whatever finds it full. The way to a node
takes no time, or is a first-in-first-out channel with exponential transmissions and places of its own. The cost is one
for each second of each task in the system and ``drop_cost_s`` for each dropped task. Which order a node serves in does
not matter as long as it is blind to the work: the numbers of tasks are then a Markov process, and the optimum is the
best of all policies that know them. (A policy that also knows the work of single tasks can do better.)

All rates are uniformised to one (S. Lippman, "Applying a new device in the optimization of exponential queuing
systems", Operations Research 23, 1975); relative value iteration brackets the optimal average cost between the least
and the largest increment (M. Puterman, "Markov Decision Processes", 1994, section 8.5), and stops when the bracket
is narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import spsolve

from envs.arrays import BOOL, F8, I8
from envs.errors import ConfigError

MAX_NODES = 3
MAX_STATES = 200_000
_MAX_SWEEPS = 2_000_000


@dataclass(frozen=True)
class TinyNode:
    """A node, and the way to it."""

    n_cores: int
    service_hz: float  # tasks per second of one busy core
    places: int  # tasks that fit, those in service counted
    transfer_hz: float  # transmissions per second on the way to the node; infinite: the way takes no time
    transfer_places: int  # tasks that fit on the way, the one under transmission counted; 0 where it takes no time


@dataclass(frozen=True)
class TinyNetwork:
    """Up to three nodes that share one stream of tasks."""

    arrivals_hz: float
    drop_cost_s: float  # what a dropped task costs, in seconds of a task in the system
    nodes: tuple[TinyNode, ...]
    entry: int  # node at which a task must find a place to be decided on at all; -1 for none

    def __post_init__(self) -> None:
        """Refuse what cannot be solved."""
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise ConfigError(f"value iteration: {len(self.nodes)} nodes; expected 1 to {MAX_NODES}")
        if not -1 <= self.entry < len(self.nodes):
            raise ConfigError(f"value iteration: entry = {self.entry}: expected a node or -1")
        if not (math.isfinite(self.arrivals_hz) and self.arrivals_hz > 0.0 and self.drop_cost_s >= 0.0):
            raise ConfigError("value iteration: expected arrivals_hz > 0 and drop_cost_s >= 0")
        for j, node in enumerate(self.nodes):
            is_quick = math.isinf(node.transfer_hz)
            if not (node.n_cores >= 1 and node.places >= 1 and 0.0 < node.service_hz < math.inf):
                raise ConfigError(f"value iteration: node {j}: n_cores, places and service_hz must be positive")
            if not node.transfer_hz > 0.0 or (node.transfer_places < 1) != is_quick:
                raise ConfigError(f"value iteration: node {j}: a way has places and a rate, or neither takes time")
        if self.n_states > MAX_STATES:
            raise ConfigError(f"value iteration: {self.n_states} states; at most {MAX_STATES}, choose smaller buffers")

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the sizes of the state: tasks on the way to each node, then tasks at each node."""
        return (*(node.transfer_places + 1 for node in self.nodes), *(node.places + 1 for node in self.nodes))

    @property
    def n_states(self) -> int:
        """Return the number of states X."""
        return math.prod(self.shape)


class Optimum(NamedTuple):
    """The best policy of a tiny network and what it costs."""

    cost: float  # per second of time, average cost; for discounted costs that of the empty network, per unit of rate
    tasks_mean: float  # tasks in the system
    drop_frac: float  # of arriving tasks
    response_s_mean: float  # tasks in the system over tasks finished per second, by Little's law
    table: Annotated[I8, "X", "node to choose, by the state at the arrival; an array of the network's shape"]
    value: Annotated[F8, "X", "relative value of each state, 0 for the empty network; discounted cost where asked"]


class _Moves(NamedTuple):
    """The events of the network: where each leads from each state, at which rate, at which cost in drops."""

    arrival_to: I8  # (nodes, X)
    arrival_drops: F8  # (nodes, X)
    move_to: I8  # (moves, X)
    move_hz: F8  # (moves, X)
    move_drops: F8  # (moves, X)
    tasks: F8  # (X,)
    total_hz: float


def solve(network: TinyNetwork, tolerance: float = 1e-9) -> Optimum:
    """Return the policy of least average cost; its cost is exact to ``tolerance`` (relative)."""
    moves = _moves_of(network)
    value: F8 = np.zeros(network.n_states)
    for _ in range(_MAX_SWEEPS):
        swept = _sweep(network, moves, value, 0.0)
        gain = swept - value
        low, high = float(gain.min()), float(gain.max())
        value = swept - swept[0]
        if high - low <= tolerance * max(abs(high), 1e-12):
            break
    else:
        raise ConfigError(f"value iteration did not settle within {_MAX_SWEEPS} sweeps")
    cost = 0.5 * (low + high) * moves.total_hz
    return _judged(network, moves, _best(network, moves, value), cost, value)


def solve_discounted(network: TinyNetwork, discount_hz: float, tolerance: float = 1e-9) -> Optimum:
    """Return the policy of least expected cost with weight exp(-discount_hz * t), started in the empty network.

    Its ``cost`` is ``discount_hz`` times that of the empty network, which tends to the average cost for small rates.
    """
    if not discount_hz > 0.0:
        raise ConfigError(f"value iteration: discount_hz = {discount_hz}: expected a positive rate")
    moves = _moves_of(network)
    value: F8 = np.zeros(network.n_states)
    for _ in range(_MAX_SWEEPS):
        swept = _sweep(network, moves, value, discount_hz)
        change = float(np.abs(swept - value).max())
        value = swept
        if change <= tolerance * float(np.abs(value).max()) * discount_hz / (discount_hz + moves.total_hz):
            break
    else:
        raise ConfigError(f"value iteration did not settle within {_MAX_SWEEPS} sweeps")
    return _judged(network, moves, _best(network, moves, value), discount_hz * float(value[0]), value)


def judge(network: TinyNetwork, table: I8) -> Optimum:
    """Return what a table (of the network's shape) of one's own costs, in the average; ``value`` is empty."""
    moves = _moves_of(network)
    judged = _judged(network, moves, np.asarray(table, np.int64).ravel(), 0.0, np.zeros(0))
    lost_hz = judged.drop_frac * network.arrivals_hz
    return judged._replace(cost=judged.tasks_mean + network.drop_cost_s * lost_hz)


def _sweep(network: TinyNetwork, moves: _Moves, value: F8, discount_hz: float) -> F8:
    """Return one step of value iteration (X,), for the uniformised process."""
    chosen = (value[moves.arrival_to] + network.drop_cost_s * moves.arrival_drops).min(axis=0)
    swept = moves.tasks + network.arrivals_hz * chosen
    spent_hz = np.full(len(value), network.arrivals_hz)
    for to, hz, drops in zip(moves.move_to, moves.move_hz, moves.move_drops, strict=True):
        swept += hz * (value[to] + network.drop_cost_s * drops)
        spent_hz += hz
    swept += (moves.total_hz - spent_hz) * value
    return np.asarray(swept / (moves.total_hz + discount_hz), np.float64)


def _best(network: TinyNetwork, moves: _Moves, value: F8) -> I8:
    """Return the best node (X,) of each state; of equals, up to rounding, the first."""
    cost = value[moves.arrival_to] + network.drop_cost_s * moves.arrival_drops
    least = cost.min(axis=0)
    return np.asarray(cost <= least + 1e-9 * (1.0 + np.abs(least)), np.bool_).argmax(axis=0).astype(np.int64)


def _judged(network: TinyNetwork, moves: _Moves, table: I8, cost: float, value: F8) -> Optimum:
    """Return an optimum with the stationary figures of its table."""
    states = np.arange(network.n_states)
    to, drops = moves.arrival_to[table, states], moves.arrival_drops[table, states]
    share = _stationary(network, moves, to)
    tasks_mean = float(share @ moves.tasks)
    lost_hz = network.arrivals_hz * float(share @ drops) + float(((moves.move_hz * moves.move_drops) @ share).sum())
    finished_hz = network.arrivals_hz - lost_hz
    return Optimum(
        cost=cost,
        tasks_mean=tasks_mean,
        drop_frac=lost_hz / network.arrivals_hz,
        response_s_mean=tasks_mean / finished_hz if finished_hz > 0.0 else math.nan,
        table=table.reshape(network.shape),
        value=(value - value[0] if len(value) else value),
    )


def _stationary(network: TinyNetwork, moves: _Moves, arrival_to: I8) -> F8:
    """Return the share of time (X,) in each state under a policy, from the balance of flows."""
    n, states = network.n_states, np.arange(network.n_states)
    source = [states, *([states] * len(moves.move_to))]
    target = [arrival_to, *moves.move_to]
    rate = [np.full(n, network.arrivals_hz), *moves.move_hz]
    flow = csr_array((np.concatenate(rate), (np.concatenate(target), np.concatenate(source))), shape=(n, n))
    out_hz = np.asarray(flow.sum(axis=0)).ravel()
    # The empty network is reached from everywhere. Its share is set to 1, which replaces its own balance.
    balance = (flow - eye_array(n, format="csr").multiply(out_hz)).tocsr()
    rest = balance[1:, 1:].tocsc()
    share = np.ones(n)
    if n > 1:
        share[1:] = spsolve(rest, -np.asarray(balance[1:, [0]].todense()).ravel())
    share = np.maximum(share, 0.0)
    return np.asarray(share / share.sum(), np.float64)


def _moves_of(network: TinyNetwork) -> _Moves:
    """Return the events of a network; the state is (tasks on the way, tasks at the node) of each node, flattened."""
    n_nodes, n_states = len(network.nodes), network.n_states
    state = np.stack(np.unravel_index(np.arange(n_states), network.shape))
    way, there = state[:n_nodes], state[n_nodes:]
    places = np.array([node.places for node in network.nodes])
    is_out = np.zeros(n_states, np.bool_) if network.entry < 0 else there[network.entry] >= places[network.entry]
    arrival_to, arrival_drops, move_to, move_hz, move_drops = [], [], [], [], []
    for j, node in enumerate(network.nodes):
        is_quick = math.isinf(node.transfer_hz)
        first, room = (n_nodes + j, node.places) if is_quick else (j, node.transfer_places)
        is_lost = is_out | (state[first] >= room)
        arrival_to.append(_after(network, state, {first: ~is_lost}))
        arrival_drops.append(is_lost)
        move_to.append(_after(network, state, {n_nodes + j: -1 * (there[j] > 0)}))
        move_hz.append(node.service_hz * np.minimum(there[j], node.n_cores))
        move_drops.append(np.zeros(n_states))
        if not is_quick:
            is_full = there[j] >= node.places
            move_to.append(_after(network, state, {j: -1 * (way[j] > 0), n_nodes + j: (way[j] > 0) & ~is_full}))
            move_hz.append(node.transfer_hz * (way[j] > 0))
            move_drops.append(((way[j] > 0) & is_full).astype(np.float64))
    services_hz = sum(node.n_cores * node.service_hz for node in network.nodes)
    transfers_hz = sum(node.transfer_hz for node in network.nodes if math.isfinite(node.transfer_hz))
    return _Moves(
        arrival_to=np.stack(arrival_to),
        arrival_drops=np.stack(arrival_drops).astype(np.float64),
        move_to=np.stack(move_to),
        move_hz=np.stack(move_hz).astype(np.float64),
        move_drops=np.stack(move_drops),
        tasks=state.sum(axis=0).astype(np.float64),
        total_hz=network.arrivals_hz + services_hz + transfers_hz,
    )


def _after(network: TinyNetwork, state: I8, change: Mapping[int, BOOL | I8]) -> I8:
    """Return the states (X,) after adding ``change`` to some of their parts."""
    after = state.copy()
    for part, amount in change.items():
        after[part] += amount
    return np.ravel_multi_index(tuple(after), network.shape).astype(np.int64)
