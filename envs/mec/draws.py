"""The random numbers of the MEC world: by world, episode, slot and place, never by order of drawing."""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined, kernel
from envs.mec.state import MecState, MecTables, Rules
from envs.rng import unit_pair

# Streams, one a quantity.
WORK, DEAL, PLACE, FADING, SHADOWING, TURN = range(6)


@kernel
def _pair(
    key: np.uint64, index: np.uint64, stream: np.uint64, world_id: np.uint64, episode: np.uint64
) -> tuple[float, float]:
    """Compile ``unit_pair`` once for all who draw."""
    return unit_pair(key, index, stream, world_id, episode)


@inlined
def uniforms(state: MecState, key: np.uint64, b: int, stream: int, index: int) -> tuple[float, float]:
    """Return two uniforms in (0, 1) of a stream of the episode of world ``b``."""
    world = state.world[b]
    return _pair(key, np.uint64(index), np.uint64(stream), np.uint64(world.world_id), np.uint64(world.episode))


@inlined
def normals(state: MecState, key: np.uint64, b: int, stream: int, index: int) -> tuple[float, float]:
    """Return two independent standard normals of a stream of the episode of world ``b`` (Box-Muller)."""
    u, v = uniforms(state, key, b, stream, index)
    radius = math.sqrt(-2.0 * math.log(u))
    angle = 2.0 * math.pi * v
    return radius * math.cos(angle), radius * math.sin(angle)


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
    first = state.world[b].slot * ((n_agents + 1) // 2)
    second = 0.0
    for n in range(n_agents):
        if n % 2 == 0:
            normal, second = normals(state, key, b, WORK, first + n // 2)
        else:
            normal = second
        agent = state.agent[b, n]
        agent.work_cycles = tables.mean_work_cycles[agent.profile] + rules.work_sd_cycles * normal
        agent.size_bits = agent.work_cycles / rules.cycles_per_bit
        agent.deadline_s = tables.deadline_s[agent.profile]
