"""The random numbers of the world: by world, episode, epoch and device, never by order of drawing."""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined
from envs.rng import unit_pair
from envs.testbed.state import BedState, BedTables, Rules

# Streams, one a quantity.
FRAMES, SPREADS, DEVICE, SERVER, LINK, EPISODE = range(6)


@inlined
def draw_task(state: BedState, tables: BedTables, rules: Rules, key: np.uint64, b: int, n: int, epoch: int) -> None:
    """Draw what the task of device ``n`` in an epoch is."""
    world, task = state.world[b], state.task[b, n, epoch]
    world_id, episode = np.uint64(world.world_id), np.uint64(world.episode)
    index = np.uint64(epoch * state.device.shape[1] + n)
    if tables.listed_frames.size > 0:
        task.frames = tables.listed_frames[n, epoch]
    else:
        first, _ = unit_pair(key, index, np.uint64(FRAMES), world_id, episode)
        task.frames = rules.least_frames + int(first * rules.range_frames)
    u, v = unit_pair(key, index, np.uint64(SPREADS), world_id, episode)
    radius = math.sqrt(-2.0 * math.log(u))  # Box-Muller
    task.work_factor = _log_normal(rules.work_spread, radius * math.cos(2.0 * math.pi * v))
    task.bytes_factor = _log_normal(rules.bytes_spread, radius * math.sin(2.0 * math.pi * v))


@inlined
def _log_normal(spread: float, normal: float) -> float:
    """Return a factor of mean 1 and standard deviation ``spread``."""
    variance = math.log(1.0 + spread * spread)
    return math.exp(math.sqrt(variance) * normal - 0.5 * variance)


@inlined
def draw_factors(state: BedState, tables: BedTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Draw how fast everything is in the episode that begins."""
    world = state.world[b]
    world_id, episode = np.uint64(world.world_id), np.uint64(world.episode)
    first, second = unit_pair(key, np.uint64(0), np.uint64(EPISODE), world_id, episode)
    world.work_factor = _factor(first, rules.work_frac)
    world.bytes_factor = _factor(second, rules.bytes_frac)
    first, _ = unit_pair(key, np.uint64(1), np.uint64(EPISODE), world_id, episode)
    world.delay_s = rules.delay_s * _factor(first, rules.delay_frac)
    n_servers = state.server.shape[1]
    for m in range(n_servers):
        first, _ = unit_pair(key, np.uint64(m), np.uint64(SERVER), world_id, episode)
        state.server[b, m].factor = _factor(first, rules.server_speed_frac)
    for n in range(state.device.shape[1]):
        first, _ = unit_pair(key, np.uint64(n), np.uint64(DEVICE), world_id, episode)
        state.device[b, n].hz = tables.device_hz[n] * _factor(first, rules.device_speed_frac)
        for m in range(n_servers):
            first, _ = unit_pair(key, np.uint64(n * n_servers + m), np.uint64(LINK), world_id, episode)
            state.link[b, n, m].bps = tables.up_bps[n, m] * rules.goodput_frac * _factor(first, rules.rate_frac)


@inlined
def _factor(draw: float, half_width: float) -> float:
    return 1.0 + half_width * (2.0 * draw - 1.0)
