"""The random numbers of the MEC world: by world, episode, slot and place, never by order of drawing."""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined, kernel
from envs.mec.state import MecState, MecTables, Rules
from envs.rng import philox

# Streams, one a quantity.
WORK, DEAL, PLACE, CHANNEL, TURN = range(5)

_TO_UNIT = 2.0**-32


@kernel
def _units(
    index: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64, key: np.uint64
) -> tuple[float, float, float, float]:
    """Return four uniforms in (0, 1) of 32 bits each: one counter; compiled once for all who draw."""
    a, b, c, d = philox(index, stream, world_id, episode, key)
    return (
        (float(a) + 0.5) * _TO_UNIT,
        (float(b) + 0.5) * _TO_UNIT,
        (float(c) + 0.5) * _TO_UNIT,
        (float(d) + 0.5) * _TO_UNIT,
    )


@inlined
def uniforms(state: MecState, key: np.uint64, b: int, stream: int, index: int) -> tuple[float, float, float, float]:
    """Return four uniforms in (0, 1) of a stream of the episode of world ``b``."""
    world = state.world[b]
    return _units(np.uint64(index), np.uint64(stream), np.uint64(world.world_id), np.uint64(world.episode), key)


@inlined
def normals(state: MecState, key: np.uint64, b: int, stream: int, index: int) -> tuple[float, float, float, float]:
    """Return four independent standard normals of a stream of the episode of world ``b`` (Box-Muller), below 6.8."""
    u0, u1, u2, u3 = uniforms(state, key, b, stream, index)
    radius_0, radius_1 = math.sqrt(-2.0 * math.log(u0)), math.sqrt(-2.0 * math.log(u2))
    angle_0, angle_1 = 2.0 * math.pi * u1, 2.0 * math.pi * u3
    return (
        radius_0 * math.cos(angle_0),
        radius_0 * math.sin(angle_0),
        radius_1 * math.cos(angle_1),
        radius_1 * math.sin(angle_1),
    )


@inlined
def deal_profiles(state: MecState, rules: Rules, key: np.uint64, b: int) -> None:
    """Give each device its profile of the episode: its own number, or a uniformly random permutation."""
    n_agents = state.agent.shape[1]
    for n in range(n_agents):
        state.agent[b, n].profile = n
    if not rules.permutes:
        return
    for n in range(n_agents - 1, 0, -1):  # R. Durstenfeld, "Algorithm 235: random permutation", CACM 7(7), 1964
        other = int(uniforms(state, key, b, DEAL, n)[0] * (n + 1))
        profile = state.agent[b, n].profile
        state.agent[b, n].profile = state.agent[b, other].profile
        state.agent[b, other].profile = profile


@inlined
def draw_tasks(state: MecState, tables: MecTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Draw the task of each device for the slot that begins."""
    n_agents = state.agent.shape[1]
    first = state.world[b].slot * ((n_agents + 3) // 4)
    ahead_1, ahead_2, ahead_3 = 0.0, 0.0, 0.0
    for n in range(n_agents):
        if n % 4 == 0:
            normal, ahead_1, ahead_2, ahead_3 = normals(state, key, b, WORK, first + n // 4)
        else:
            normal, ahead_1, ahead_2 = ahead_1, ahead_2, ahead_3
        agent = state.agent[b, n]
        agent.work_cycles = tables.mean_work_cycles[agent.profile] + rules.work_sd_cycles * normal
        agent.size_bits = agent.work_cycles / rules.cycles_per_bit
        agent.deadline_s = tables.deadline_s[agent.profile]
