"""The exact optimum of two nodes for an agent that knows everything: the work of its task and all work that waits.

Tasks arrive as a Poisson process; each has work that takes ``service_s`` times a random factor at node j, known when it
is decided on. Nodes have one server, serve in order of arrival and lose nothing, so that a task's response time is
known at once: the backlog v_j of its node, and its service there. No policy that does not foresee arrivals does better
than the optimum of this decision process, whatever else it knows.

With U(v) the cost to come after a decision left the backlogs v, relative to the average, and W(v) that of an arrival,

    W(v) = E over factors x of min over j of [v_j + s_j x + U(v + s_j x e_j)] - g,
    U(v) = E over the exponential time A to the next arrival of W(max(v - A, 0)).

Both live on a square grid of backlogs, linear between its points. U is the integral along the diagonal, exact for such
a W; the expectation over factors is Gauss' rule. What remains falls with the square of the grid's width:
``solve_backlogs`` says how far two widths are apart. Relative value iteration finds g.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F8
from envs.errors import ConfigError

CLASS_WIDTH, LAST_FACTOR = 0.25, 10.0  # classes of the exponential law, in means
_MAX_SWEEPS = 20_000


@dataclass(frozen=True)
class TwoNodes:
    """Two single servers and the tasks that they share."""

    arrivals_hz: float
    service_s: tuple[float, float]  # mean at each node
    is_exponential: bool  # the law of the work; else it is fixed

    def __post_init__(self) -> None:
        """Refuse what grows without limit."""
        if not (self.arrivals_hz > 0.0 and min(self.service_s) > 0.0 and all(map(math.isfinite, self.service_s))):
            raise ConfigError(f"two nodes: arrivals_hz and service_s must be positive and finite, got {self}")
        if self.arrivals_hz >= sum(1.0 / mean_s for mean_s in self.service_s):
            raise ConfigError(f"two nodes: {self.arrivals_hz:g} tasks/s are more than both nodes can serve")


class BacklogOptimum(NamedTuple):
    """The best policy and what it costs."""

    response_s_mean: float
    error_s: float  # distance of the values on this grid and on one of twice the width; the error is far smaller
    width_s: float  # of the grid
    after: Annotated[F8, "X Y", "U by the backlogs after a decision, in seconds"]


def solve_backlogs(
    nodes: TwoNodes, width_s: float = 0.0, reach_s: float = 0.0, tolerance: float = 1e-6
) -> BacklogOptimum:
    """Return the optimum on a grid up to ``reach_s``; 0 chooses 1 / 7 of the quicker service and 16 of the slower."""
    width_s = width_s or min(nodes.service_s) / 7.0
    reach_s = reach_s or 16.0 * max(nodes.service_s)
    coarse, _ = _iterate(nodes, 2.0 * width_s, reach_s, tolerance)
    fine, after = _iterate(nodes, width_s, reach_s, tolerance)
    # The error falls with the square of the width, so a third of the distance of two widths is left to take off.
    return BacklogOptimum(fine + (fine - coarse) / 3.0, abs(fine - coarse), width_s, after)


def _iterate(nodes: TwoNodes, width_s: float, reach_s: float, tolerance: float) -> tuple[float, F8]:
    """Return (mean response, U) on one grid."""
    n = math.ceil(reach_s / width_s) + 1
    after, arrival = np.zeros((n, n)), np.zeros((n, n))
    (factors, chances), services = _factors(nodes.is_exponential), np.array(nodes.service_s)
    for _ in range(_MAX_SWEEPS):
        before = arrival.copy()
        decide_all(arrival, after, factors, chances, services, width_s)
        gain = arrival - before
        low, high = float(gain[: n // 2, : n // 2].min()), float(gain[: n // 2, : n // 2].max())
        arrival -= arrival[0, 0]
        wait_all(after, arrival, nodes.arrivals_hz * width_s)
        if high - low <= tolerance * high:
            return 0.5 * (low + high), after
    raise ConfigError(f"value iteration of {nodes} did not settle within {_MAX_SWEEPS} sweeps")


def _factors(is_exponential: bool) -> tuple[F8, F8]:
    """Return factors of the mean and their chances: Gauss' rule of two points in each class of the exponential law."""
    if not is_exponential:
        return np.ones(1), np.ones(1)
    middle = (np.arange(0.0, LAST_FACTOR, CLASS_WIDTH) + 0.5 * CLASS_WIDTH)[:, None]
    inner = (middle + 0.5 * CLASS_WIDTH * np.array([-1.0, 1.0]) / math.sqrt(3.0)).ravel()
    factors = np.append(inner, LAST_FACTOR + 1.0)  # what is beyond the last class is one more on average
    chances = np.append(0.5 * CLASS_WIDTH * np.exp(-inner), math.exp(-LAST_FACTOR))
    chances /= chances.sum()
    return factors / (factors @ chances), chances


@inlined
def _between(row: F8, place: float) -> float:
    """Return a value of a row between its points; the last one beyond its end."""
    k = int(place)
    if k >= row.size - 1:
        return float(row[row.size - 1])
    return float(row[k] + (place - k) * (row[k + 1] - row[k]))


@kernel
def decide_all(arrival: F8, after: F8, factors: F8, chances: F8, service_s: F8, width_s: float) -> None:
    """Fill ``arrival`` (X, Y): the expected cost of the best decision of an arrival that finds these backlogs."""
    for i in range(arrival.shape[0]):
        for j in range(arrival.shape[1]):
            total = 0.0
            for x in range(factors.size):
                first_s, second_s = service_s[0] * factors[x], service_s[1] * factors[x]
                first = i * width_s + first_s + _between(after[:, j], i + first_s / width_s)
                second = j * width_s + second_s + _between(after[i, :], j + second_s / width_s)
                total += chances[x] * min(first, second)
            arrival[i, j] = total


@kernel
def wait_all(after: F8, arrival: F8, arrivals: float) -> None:
    """Fill ``after`` (X, Y): the expected value at the next arrival; ``arrivals`` is expected in a grid's width.

    Within a width W is linear: its part at the start has the weight 1 - (1 - q) / a, at the end (1 - q) / a - q, and
    with chance q = exp(-a) no task has come.
    """
    none = math.exp(-arrivals)
    late = (1.0 - none) / arrivals - none
    soon = 1.0 - none - late
    for i in range(arrival.shape[0]):
        for j in range(arrival.shape[1]):
            if i == 0 and j == 0:
                after[i, j] = arrival[i, j]
            else:
                k, m = max(i - 1, 0), max(j - 1, 0)
                after[i, j] = soon * arrival[i, j] + late * arrival[k, m] + none * after[k, m]
