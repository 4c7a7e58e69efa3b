"""Transmissions: how links that name one channel share it.

- fifo: one after the other in the order in which they were given to the channel, each at its link's rate.
- fair: all at once. The channel has the rate of its fastest link; it is shared out max-min fairly, so that each
  transmission gets an equal part unless its own link is slower, and what the slow ones leave is shared by the others.
- none: each link is its own, whatever the others do.

The last bit arrives ``link_delay_s`` after it was sent; propagation occupies no channel.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined
from envs.fog import state as s
from envs.fog.heap import cancel, push
from envs.fog.network import Network
from envs.fog.state import CHANNEL_FAIR, CHANNEL_FIFO, FogState, Rules


@inlined
def send(
    state: FogState, network: Network, rules: Rules, b: int, task: int, link: int, bits: float, now_s: float
) -> None:
    """Give a task, a result or a model update to a link; its event is its arrival, or the last bit's departure."""
    channel = network.link_channel[link]
    transmission_s = bits / network.link_rate_bps[link]
    sender = network.link_source[link]
    energy_j = network.transmit_w[sender] * transmission_s
    state.sums[b, s.TRANSMIT_J] += energy_j
    agent = network.agent_of_node[sender]
    if agent >= 0:
        state.term[b, agent, s.ENERGY_J] += energy_j
    state.task[b, task].link = link
    state.task[b, task].is_sending = 0
    if rules.contention == CHANNEL_FAIR:
        _join_channel(state, network, b, task, channel, bits, now_s)
        return
    end_s = now_s + transmission_s
    if rules.contention == CHANNEL_FIFO:
        end_s = max(now_s, state.channel[b, channel].free_s) + transmission_s
        state.channel[b, channel].free_s = end_s
    push(state, b, end_s + network.link_delay_s[link], task)


@inlined
def end_sending(state: FogState, network: Network, b: int, task: int, now_s: float) -> None:
    """Let a transmission leave its fair channel; its last bit is under way."""
    link = state.task[b, task].link
    channel = network.link_channel[link]
    _settle(state, b, channel, now_s)
    before, behind = state.task[b, task].preceding, state.task[b, task].following
    if before >= 0:
        state.task[b, before].following = behind
    else:
        state.channel[b, channel].first = behind
    if behind >= 0:
        state.task[b, behind].preceding = before
    state.channel[b, channel].n_flows -= 1
    state.channel[b, channel].left_bits -= state.task[b, task].left_bits
    if state.channel[b, channel].n_flows == 0:
        state.channel[b, channel].left_bits = 0.0
    state.task[b, task].is_sending = 0
    _share_out(state, network, b, channel, now_s)
    push(state, b, now_s + network.link_delay_s[link], task)


@inlined
def _join_channel(
    state: FogState, network: Network, b: int, task: int, channel: int, bits: float, now_s: float
) -> None:
    """Add a transmission to a fair channel."""
    _settle(state, b, channel, now_s)
    first = state.channel[b, channel].first
    state.task[b, task].preceding = -1
    state.task[b, task].following = first
    if first >= 0:
        state.task[b, first].preceding = task
    state.channel[b, channel].first = task
    state.channel[b, channel].n_flows += 1
    state.channel[b, channel].left_bits += bits
    state.task[b, task].left_bits = bits
    state.task[b, task].is_sending = 1
    _share_out(state, network, b, channel, now_s)


@inlined
def _settle(state: FogState, b: int, channel: int, now_s: float) -> None:
    """Book what was sent since the rates last changed."""
    passed_s = now_s - state.channel[b, channel].since_s
    left_bits = 0.0
    task = state.channel[b, channel].first
    while task >= 0:
        left = max(state.task[b, task].left_bits - state.task[b, task].rate_bps * passed_s, 0.0)
        state.task[b, task].left_bits = left
        left_bits += left
        task = state.task[b, task].following
    state.channel[b, channel].left_bits = left_bits
    state.channel[b, channel].since_s = now_s


@inlined
def _fill_rates(state: FogState, network: Network, b: int, channel: int) -> None:
    """Give each transmission its max-min fair rate: slow links first, until no one is slower than an equal part."""
    free_bps = network.channel_rate_bps[channel]
    n_open = state.channel[b, channel].n_flows
    task = state.channel[b, channel].first
    while task >= 0:
        state.task[b, task].rate_bps = 0.0
        task = state.task[b, task].following
    has_closed = not network.channel_is_even[channel]
    while has_closed:
        has_closed = False
        share_bps = free_bps / max(n_open, 1)
        task = state.channel[b, channel].first
        while task >= 0:
            limit_bps = network.link_rate_bps[state.task[b, task].link]
            if state.task[b, task].rate_bps == 0.0 and limit_bps < share_bps:
                state.task[b, task].rate_bps = limit_bps
                free_bps -= limit_bps
                n_open -= 1
                has_closed = True
            task = state.task[b, task].following
    share_bps = free_bps / max(n_open, 1)
    task = state.channel[b, channel].first
    while task >= 0:
        if state.task[b, task].rate_bps == 0.0:
            state.task[b, task].rate_bps = share_bps
        task = state.task[b, task].following


@inlined
def _share_out(state: FogState, network: Network, b: int, channel: int, now_s: float) -> None:
    """Set the rates anew; the transmission that ends first is the only one with an event."""
    _fill_rates(state, network, b, channel)
    soonest, soonest_s = -1, math.inf
    task = state.channel[b, channel].first
    while task >= 0:
        cancel(state, b, task)
        end_s = now_s + state.task[b, task].left_bits / state.task[b, task].rate_bps
        if end_s < soonest_s:
            soonest, soonest_s = task, end_s
        task = state.task[b, task].following
    if soonest >= 0:
        push(state, b, soonest_s, soonest)


@inlined
def channel_wait_s(
    state: FogState, network: Network, rules: Rules, b: int, channel: int, bits: float, now_s: float
) -> float:
    """Return the seconds that the others on a channel will cost a message of ``bits``, should no more come."""
    if rules.contention == CHANNEL_FIFO:
        return float(max(state.channel[b, channel].free_s - now_s, 0.0))
    if rules.contention == CHANNEL_FAIR:
        # Beside it, each transmission sends at most what is left of it, and at most as many bits as the message has.
        n_flows = state.channel[b, channel].n_flows
        rate_bps = network.channel_rate_bps[channel]
        sent = (now_s - state.channel[b, channel].since_s) * rate_bps
        return float(min(max(state.channel[b, channel].left_bits - sent, 0.0), n_flows * bits) / rate_bps)
    return 0.0


@inlined
def channel_backlog_s(state: FogState, network: Network, rules: Rules, b: int, channel: int, now_s: float) -> float:
    """Return the seconds until a channel has sent all that it was given."""
    return channel_wait_s(state, network, rules, b, channel, math.inf, now_s)
