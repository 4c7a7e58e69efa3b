"""The channels between devices and servers, and the streets on which devices move.

The gain of a channel is path loss, log-normal shadowing and Rayleigh fading: 10 ** ((intercept - slope lg d_km +
shadowing_db) / 10) * |h| ** 2. It holds through a slot (block fading). The coefficient h follows first-order
Gauss-Markov, h' = rho h + sqrt(1 - rho ** 2) w with w ~ CN(0, 1) and rho = J0(2 pi doppler slot), the autocorrelation
of W. C. Jakes, "Microwave mobile communications", 1974, at the lag of a slot. Shadowing is first-order in the way that
a device moves, with correlation exp(-way / shadowing_distance) (M. Gudmundson, Electronics Letters 27(23), 1991).
Every sender disturbs all others at their servers, as in the paper, in proportion to ``interference``; the rate of a
device is bandwidth * log2(1 + SINR).

Devices move in a square of streets (Manhattan model, ETSI TR 101 112, B.1.4.3): straight on at constant speed, and at
each crossing left or right with ``turn_prob`` in all; where the way would leave the square, they turn at random.
"""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import inlined
from envs.mec.draws import CHANNEL, PLACE, TURN, normals, uniforms
from envs.mec.state import MecState, MecTables, Rules

_MAX_CROSSINGS = 64  # in a slot; a device that meets more stops at the last
_SQRT_HALF = math.sqrt(0.5)


@inlined
def distance_m(state: MecState, tables: MecTables, rules: Rules, b: int, n: int, e: int) -> float:
    """Return the distance between the antennas of a device and a server."""
    dx = state.agent[b, n].x_m - tables.server_xy_m[e, 0]
    dy = state.agent[b, n].y_m - tables.server_xy_m[e, 1]
    return math.sqrt(dx * dx + dy * dy + rules.server_height_m * rules.server_height_m)


@inlined
def write_gains(state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Compute the gains of world ``b`` from places, shadowing and fading."""
    for n in range(state.agent.shape[1]):
        for e in range(tables.server_hz.size):
            pair = state.pair[b, n, e]
            far_km = distance_m(state, tables, rules, b, n, e) / 1000.0
            gain_db = rules.intercept_db - rules.slope_db * math.log10(far_km) + pair.shadowing_db
            power = pair.fading_re * pair.fading_re + pair.fading_im * pair.fading_im
            pair.gain = 10.0 ** (gain_db / 10.0) * power


@inlined
def begin_channels(state: MecState, tables: MecTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Draw places, headings and channels of an episode from their stationary laws."""
    n_streets = int(rules.side_m / rules.block_m) + 1  # in each direction, at 0, block, 2 block, ...
    for n in range(state.agent.shape[1]):
        agent = state.agent[b, n]
        street, along, way, _ = uniforms(state, key, b, PLACE, n)
        agent.heading = int(4.0 * way)
        street_m = int(street * n_streets) * rules.block_m
        along_m = along * (n_streets - 1) * rules.block_m
        agent.x_m = along_m if agent.heading % 2 == 0 else street_m
        agent.y_m = street_m if agent.heading % 2 == 0 else along_m
    _draw_channels(state, rules, key, b, 0.0, 0.0)
    write_gains(state, tables, rules, b)


@inlined
def _draw_channels(
    state: MecState, rules: Rules, key: np.uint64, b: int, fading_memory: float, shadowing_memory: float
) -> None:
    """Carry fading and shadowing into the slot that begins, with these correlations to the last slot."""
    n_agents, n_servers = state.agent.shape[1], state.server.shape[1]
    fading_noise = math.sqrt(1.0 - fading_memory * fading_memory) * _SQRT_HALF
    shadowing_noise = math.sqrt(1.0 - shadowing_memory * shadowing_memory) * rules.shadowing_sd_db
    first = state.world[b].slot * n_agents * n_servers
    for n in range(n_agents):
        for e in range(n_servers):
            index = first + n * n_servers + e
            pair = state.pair[b, n, e]
            re, im, shade, _ = normals(state, key, b, CHANNEL, index)
            pair.fading_re = fading_memory * pair.fading_re + fading_noise * re
            pair.fading_im = fading_memory * pair.fading_im + fading_noise * im
            pair.shadowing_db = shadowing_memory * pair.shadowing_db + shadowing_noise * shade


@inlined
def advance_channels(state: MecState, tables: MecTables, rules: Rules, key: np.uint64, b: int) -> None:
    """Move the devices over a slot and draw the channels of the slot that begins."""
    if rules.step_m > 0.0:
        for n in range(state.agent.shape[1]):
            _move(state, rules, key, b, n)
    _draw_channels(state, rules, key, b, rules.fading_memory, rules.shadowing_memory)
    write_gains(state, tables, rules, b)


@inlined
def _move(state: MecState, rules: Rules, key: np.uint64, b: int, n: int) -> None:
    """Move a device along the streets by the way of a slot."""
    agent = state.agent[b, n]
    edge_m = int(rules.side_m / rules.block_m) * rules.block_m
    left_m = rules.step_m
    for crossing in range(_MAX_CROSSINGS):
        sign = 1.0 if agent.heading < 2 else -1.0
        at_m = agent.x_m if agent.heading % 2 == 0 else agent.y_m
        blocks = at_m / rules.block_m
        crossing_m = (math.floor(blocks + 1e-9) + 1.0 if sign > 0.0 else math.ceil(blocks - 1e-9) - 1.0) * rules.block_m
        is_inside = 0.0 <= crossing_m <= edge_m
        way_m = abs(crossing_m - at_m)
        if is_inside and left_m < way_m:
            at_m += sign * left_m
        elif is_inside:
            at_m = crossing_m
        if agent.heading % 2 == 0:
            agent.x_m = at_m
        else:
            agent.y_m = at_m
        if is_inside and left_m < way_m:
            return
        if is_inside:
            left_m -= way_m
        index = (state.world[b].slot * state.agent.shape[1] + n) * _MAX_CROSSINGS + crossing
        _turn(state, rules, b, n, uniforms(state, key, b, TURN, index)[0], edge_m)


@inlined
def _turn(state: MecState, rules: Rules, b: int, n: int, chance: float, edge_m: float) -> None:
    """Choose the heading at a crossing: straight on, left or right, among those that stay in the square."""
    agent = state.agent[b, n]
    weight_straight = 1.0 - rules.turn_prob if _stays(state, b, n, agent.heading, edge_m) else 0.0
    weight_left = _turn_weight(state, rules, b, n, 1, edge_m)
    weight_right = _turn_weight(state, rules, b, n, 3, edge_m)
    total = weight_straight + weight_left + weight_right
    if total <= 0.0:  # a street without crossings at its end, or turns that are never taken: back
        agent.heading = (agent.heading + 2) % 4
        return
    chosen = chance * total
    if chosen >= weight_straight + weight_left:
        agent.heading = (agent.heading + 3) % 4
    elif chosen >= weight_straight:
        agent.heading = (agent.heading + 1) % 4


@inlined
def _turn_weight(state: MecState, rules: Rules, b: int, n: int, quarter_turns: int, edge_m: float) -> float:
    """Return half the chance of a turn, or 0 where it would leave the square."""
    heading = (state.agent[b, n].heading + quarter_turns) % 4
    return 0.5 * rules.turn_prob if _stays(state, b, n, heading, edge_m) else 0.0


@inlined
def _stays(state: MecState, b: int, n: int, heading: int, edge_m: float) -> bool:
    """Return whether a block in this direction stays in the square."""
    agent = state.agent[b, n]
    at_m = agent.x_m if heading % 2 == 0 else agent.y_m
    return at_m < edge_m - 1e-6 if heading < 2 else at_m > 1e-6


@inlined
def rate_bps(rules: Rules, gain: float, interference_w: float) -> float:
    """Return the rate of a device at a server that receives ``interference_w`` from others."""
    sinr = rules.transmit_w * gain / (interference_w + rules.noise_w)
    return rules.bandwidth_hz * math.log1p(sinr) / math.log(2.0)


@inlined
def interference_w(state: MecState, rules: Rules, b: int, n: int) -> float:
    """Return the power that the other senders of the slot cause at the server of device ``n``."""
    e = state.agent[b, n].server
    total_w = 0.0
    for other in range(state.agent.shape[1]):
        if other != n and state.agent[b, other].server >= 0 and state.agent[b, other].share > 0.0:
            total_w += rules.transmit_w * state.pair[b, other, e].gain
    return rules.interference * total_w
