"""Instants of arrivals: Poisson processes whose rate is constant in pieces, drawn exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F8
from envs.rng import Draws, unit_pair
from envs.workloads import streams

_GUESS_SDS = 5.0  # spare places, in standard deviations of a Poisson count; a larger count is filled a second time
_GUESS_PLACES = 8


def poisson_instants(draws: Draws, end_s: F8, rate_hz: F8) -> F8:
    """Return the ascending instants of a Poisson process in [0, end_s[-1]).

    Piece i has the rate ``rate_hz[i]`` and ends at ``end_s[i]``; ends ascend, the first piece begins at 0.
    """
    mean = float(np.dot(np.diff(end_s, prepend=0.0), rate_hz))

    def fill(out: F8) -> int:
        return fill_poisson(out, end_s, rate_hz, draws.key, np.uint64(streams.GAPS), draws.world_id, draws.episode)

    return fill_exactly(fill, mean)


def constant_instants(draws: Draws, horizon_s: float, rate_hz: float) -> F8:
    """Return the ascending instants of a Poisson process of one rate in [0, horizon_s)."""
    return poisson_instants(draws, np.array([horizon_s]), np.array([rate_hz]))


def interval_ends(horizon_s: float, interval_s: float) -> F8:
    """Return the ends of the intervals that cover [0, horizon_s); the last one is the horizon."""
    end_s: F8 = np.minimum(np.arange(1, math.ceil(horizon_s / interval_s) + 1) * interval_s, horizon_s)
    end_s[-1] = horizon_s
    return end_s


def fill_exactly(fill: Callable[[F8], int], mean: float) -> F8:
    """Return all that ``fill`` has to write: it fills what fits and returns how many there are; mean is a guess."""
    guess = int(mean + _GUESS_SDS * math.sqrt(mean)) + _GUESS_PLACES
    out = np.empty(guess, np.float64)
    count = fill(out)
    if count > guess:
        out = np.empty(count, np.float64)
        fill(out)
    return out[:count]


@kernel
def fill_poisson(
    out: F8,
    end_s: F8,
    rate_hz: F8,
    key: np.uint64,
    stream: np.uint64,
    world_id: np.uint64,
    episode: np.uint64,
) -> int:
    """Fill ``out`` with the first arrivals, as many as fit; return how many there are in all pieces.

    The integral of the rate between two arrivals is exponential with mean 1, whatever the rate does meanwhile.
    """
    now_s = 0.0
    count = 0
    u, v = unit_pair(key, np.uint64(0), stream, world_id, episode)
    left = -math.log(u)  # integral of the rate until the next arrival
    for piece in range(end_s.size):
        rate = rate_hz[piece]
        while left < (end_s[piece] - now_s) * rate:
            instant_s = now_s + left / rate
            if instant_s >= end_s[piece]:  # rounding
                break
            now_s = instant_s
            if count < out.size:
                out[count] = now_s
            count += 1
            if count & 1:
                left = -math.log(v)
            else:
                u, v = unit_pair(key, np.uint64(count >> 1), stream, world_id, episode)
                left = -math.log(u)
        left = max(left - (end_s[piece] - now_s) * rate, 0.0)
        now_s = end_s[piece]
    return count
