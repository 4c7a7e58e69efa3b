"""The network as the kernels read it: flat arrays of nodes, links, agents and their targets."""

from __future__ import annotations

import difflib
from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.constants import LOCAL, PADDING
from envs.errors import ConfigError
from envs.fog.params import AGENT_TIERS, FogParams
from envs.fog.routes import quickest_links
from envs.topologies.topology import Topology


class Network(NamedTuple):
    """Everything about nodes, links and agents that no step changes."""

    tier: Annotated[I8, "M", "0 device, 1 edge, 2 cloud"]
    n_cores: Annotated[I8, "M", "tasks in service at once"]
    core_hz: Annotated[F8, "M", "cycles per second of a core"]
    queue_places: Annotated[I8, "M", "capacity in tasks, those in service counted"]
    queue_bits: Annotated[F8, "M", "capacity in bits of input, infinite for no limit"]
    core_w: Annotated[F8, "M", "additional power of one busy core"]
    idle_w: Annotated[F8, "M", "power when nothing runs"]
    transmit_w: Annotated[F8, "M", "additional power while transmitting"]
    agent_of_node: Annotated[I8, "M", "agent that decides for the node, -1 for none"]
    node_of_agent: Annotated[I8, "N", "node that the agent decides for"]
    link_source: Annotated[I8, "L", "node that transmits"]
    link_target: Annotated[I8, "L", "node that receives"]
    link_rate_bps: Annotated[F8, "L", "bits per second"]
    link_delay_s: Annotated[F8, "L", "seconds after the last bit left"]
    link_channel: Annotated[I8, "L", "channel that the link transmits on"]
    link_back: Annotated[I8, "L", "link of the way back"]
    channel_rate_bps: Annotated[F8, "C", "bits per second of the channel, those of its fastest link"]
    channel_is_even: Annotated[BOOL, "C", "all links of the channel have its rate"]
    next_link: Annotated[
        I8, "M M", "first link of the quickest way from a node to another; (1, 1) where nothing is routed"
    ]
    target_node: Annotated[I8, "N K", "node of each target, -1 padding; column 0 the own node"]
    target_link: Annotated[I8, "N K", "link to each target, -1 for the own node and padding"]
    n_targets: Annotated[I8, "N", "targets of each agent, padding left out"]
    report_lag_slots: Annotated[I8, "U", "slots until a report has arrived, ascending; the first is 0, at home"]
    report_lag: Annotated[I8, "N K", "which of those lags a target's reports have"]


def build_network(topology: Topology, params: FogParams) -> Network:
    """Return the arrays of a topology under the world's parameters; raise ConfigError if K exceeds its limit."""
    nodes = _deciding_nodes(topology, params)
    agent_of_node = np.full(topology.n_nodes, PADDING, np.int64)
    agent_of_node[nodes] = np.arange(len(nodes))
    by_ends = {
        pair: link
        for link, pair in enumerate(zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True))
    }
    link_back = np.array([by_ends[b, a] for a, b in by_ends], np.int64)
    target_link = _targets(topology, nodes, params)
    ends = np.append(topology.link_target, PADDING)  # padding is link -1, whose end is -1
    target_node = ends[target_link]
    target_node[:, LOCAL] = nodes
    report_lag_slots, report_lag = np.unique(
        _report_lags(topology, target_link, link_back, params), return_inverse=True
    )
    is_one_core = params.service == "aggregate"
    n_cores = np.ones_like(topology.n_cores) if is_one_core else topology.n_cores
    rate_bps = np.zeros(topology.n_channels)
    np.maximum.at(rate_bps, topology.link_channel, topology.link_rate_bps)
    is_even = np.ones(topology.n_channels, np.bool_)
    np.logical_and.at(is_even, topology.link_channel, topology.link_rate_bps == rate_bps[topology.link_channel])
    return Network(
        tier=topology.tier,
        n_cores=n_cores,
        core_hz=topology.core_hz * topology.n_cores if is_one_core else topology.core_hz,
        queue_places=topology.queue_places,
        queue_bits=topology.queue_bits,
        core_w=np.maximum(topology.busy_w - topology.idle_w, 0.0) / n_cores,
        idle_w=topology.idle_w,
        transmit_w=topology.transmit_w,
        agent_of_node=agent_of_node,
        node_of_agent=nodes,
        link_source=topology.link_source,
        link_target=topology.link_target,
        link_rate_bps=topology.link_rate_bps,
        link_delay_s=topology.link_delay_s,
        link_channel=topology.link_channel,
        link_back=link_back,
        channel_rate_bps=rate_bps,
        channel_is_even=is_even,
        next_link=quickest_links(topology, params.route_bits)
        if params.results == "shortest"
        else np.full((1, 1), PADDING, np.int64),
        target_node=target_node.astype(np.int64),
        target_link=target_link,
        n_targets=1 + (target_link >= 0).sum(axis=1).astype(np.int64),
        report_lag_slots=report_lag_slots,
        report_lag=report_lag.reshape(target_link.shape).astype(np.int64),
    )


def _deciding_nodes(topology: Topology, params: FogParams) -> I8:
    """Return the ids of the nodes that decide, ascending; devices beside them run what they create."""
    if not params.agent_nodes:
        is_agent = np.isin(topology.tier, AGENT_TIERS[params.agents]) | topology.is_device
        return np.flatnonzero(is_agent).astype(np.int64)
    number = {name: node for node, name in enumerate(topology.node_name)}
    for name in params.agent_nodes:
        if name not in number:
            near = difflib.get_close_matches(name, number, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"agent_nodes: {topology.name} has no node named {name!r}{hint}")
        if params.agent_nodes.count(name) > 1:
            raise ConfigError(f"agent_nodes: {name!r} is named twice; expected each node once")
    return np.array(sorted({number[name] for name in params.agent_nodes}), np.int64)


def _targets(topology: Topology, nodes: I8, params: FogParams) -> I8:
    """Return the link of each target (N, K): column 0 the own node, then the neighbours in ascending order."""
    links = [topology.out_links(int(node)) for node in nodes]
    n_targets = 1 + max(len(of_node) for of_node in links)
    if n_targets > params.max_targets:
        node = int(nodes[int(np.argmax([len(of_node) for of_node in links]))])
        raise ConfigError(
            f"{topology.name}: node {node} has {n_targets - 1} neighbours, so an agent has {n_targets} targets; "
            f"the limit is max_targets = {params.max_targets}; raise it or choose a sparser network"
        )
    target_link = np.full((len(nodes), n_targets), PADDING, np.int64)
    for agent, of_node in enumerate(links):
        target_link[agent, 1 : 1 + len(of_node)] = of_node
    return target_link


def _report_lags(topology: Topology, target_link: I8, link_back: I8, params: FogParams) -> I8:
    """Return the slots (N, K) after which a report sent at a slot's start is there at a slot's start; 0 at home."""
    lags = np.zeros(target_link.shape, np.int64)
    if params.information == "exact":
        return lags
    for agent, target in zip(*np.nonzero(target_link >= 0), strict=True):
        link = link_back[target_link[agent, target]]
        lag_s = params.report_bits / topology.link_rate_bps[link] + topology.link_delay_s[link]
        lags[agent, target] = max(1, int(np.ceil(lag_s / params.slot_s)))
    return lags


def device_mask(network: Network) -> BOOL:
    """Return which agents (N,) decide for devices."""
    return np.asarray(network.tier[network.node_of_agent] == 0)
