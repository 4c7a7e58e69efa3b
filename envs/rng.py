"""Counter-based random numbers: a draw is a function of its key and counter, never of what was drawn before.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); the known
answers of its authors are a test. One counter is (index, stream, world, episode): four words of 32 bits. It gives
128 random bits, used as two doubles.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F8
from envs.errors import ConfigError

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_5 = np.uint64(5)
_6 = np.uint64(6)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53
_ROUNDS = 10
MAX_SEED = 2**63
MAX_WORLD_ID = 2**32 - 1  # one word of a counter


@inlined
def philox(
    counter_0: np.uint64, counter_1: np.uint64, counter_2: np.uint64, counter_3: np.uint64, key: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return four random words of 32 bits, each in a uint64; the key's low word is Philox's first key word."""
    c0, c1, c2, c3 = counter_0 & _LOW, counter_1 & _LOW, counter_2 & _LOW, counter_3 & _LOW
    k0, k1 = key & _LOW, key >> _32
    for _ in range(_ROUNDS):
        product_0 = c0 * _MULTIPLIER_0
        product_1 = c2 * _MULTIPLIER_1
        c0, c2 = (product_1 >> _32) ^ c1 ^ k0, (product_0 >> _32) ^ c3 ^ k1
        c1, c3 = product_1 & _LOW, product_0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@inlined
def unit_pair(
    key: np.uint64, index: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64
) -> tuple[float, float]:
    """Return two independent uniforms in the open interval (0, 1), 53 bits each."""
    a, b, c, d = philox(index, stream, world_id, episode, key)
    first = ((a >> _5) << np.uint64(26)) | (b >> _6)
    second = ((c >> _5) << np.uint64(26)) | (d >> _6)
    return (float(first) + 0.5) * _TO_UNIT, (float(second) + 0.5) * _TO_UNIT


@kernel
def fill_uniform(
    out: F8, key: np.uint64, first: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64
) -> None:
    """Fill ``out`` with the uniforms number first, first + 1, ... of a stream (two share a counter)."""
    for i in range(out.size):
        number = first + np.uint64(i)
        pair = unit_pair(key, number >> np.uint64(1), stream, world_id, episode)
        out[i] = pair[0] if number & np.uint64(1) == np.uint64(0) else pair[1]


@kernel
def fill_normal(
    out: F8, key: np.uint64, first: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64
) -> None:
    """Fill ``out`` with standard normals number first, first + 1, ... of a stream (Box-Muller, one a counter)."""
    for i in range(out.size):
        u, v = unit_pair(key, first + np.uint64(i), stream, world_id, episode)
        out[i] = math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


class Draws:
    """The random numbers of one world in one episode, by stream and position."""

    def __init__(self, key: int, world_id: int, episode: int) -> None:
        """Name the draws; the key has 64 bits, world id and episode 32 bits each."""
        self.key, self.world_id, self.episode = np.uint64(key), np.uint64(world_id), np.uint64(episode)

    def uniform(self, stream: int, n: int, first: int = 0) -> F8:
        """Return the uniforms in (0, 1) number first to first + n - 1 of a stream."""
        out = np.empty(n, np.float64)
        fill_uniform(out, self.key, np.uint64(first), np.uint64(stream), self.world_id, self.episode)
        return out

    def normal(self, stream: int, n: int, first: int = 0) -> F8:
        """Return the standard normals number first to first + n - 1 of a stream."""
        out = np.empty(n, np.float64)
        fill_normal(out, self.key, np.uint64(first), np.uint64(stream), self.world_id, self.episode)
        return out

    def exponential(self, stream: int, n: int, first: int = 0) -> F8:
        """Return exponentials of mean 1 number first to first + n - 1 of a stream."""
        return -np.log(self.uniform(stream, n, first))


def check_seed(seed: Any, name: str = "seed") -> None:
    """Raise ConfigError unless a seed is a whole number from 0 to 2**63."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) <= MAX_SEED:
        raise ConfigError(f"{name} = {seed!r}: expected a whole number from 0 to 2**63")


def key_from_seed(seed: int, role: str) -> int:
    """Return the 64-bit key of a role ("world", "rule", ...) under a seed; roles never share a key."""
    check_seed(seed)
    words = np.random.SeedSequence([seed, *role.encode()]).generate_state(1, np.uint64)
    return int(words[0])
