"""Flows of tasks through a network without queues: all to the nearest server, or split as well as can be.

Tasks count as one kind, with the mean work and data of all. Only nodes with agents send tasks on, over at most
``max_hops`` links; results come back on the same links' reverses. Channels that are not shared have no load.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack

from envs.arrays import F8, I8
from envs.constants import PADDING, TIER_DEVICE
from envs.fog.network import Network
from envs.topologies.topology import Topology

_DONE = 0  # status of linprog: optimal


class Demand(NamedTuple):
    """What the devices ask for, on average."""

    rate_hz: Annotated[F8, "M", "tasks created per second"]
    work_cycles: Annotated[F8, "M", "mean work of a task of the node's type; 0 where none is created"]
    size_bits: Annotated[F8, "M", "mean input of such a task"]
    result_bits: Annotated[F8, "M", "mean output of such a task"]

    def mean_task(self) -> tuple[float, float, float]:
        """Return work, input and output of a mean task of the network."""
        work, size, result = (float(self.rate_hz @ each / self.rate_hz.sum()) for each in self[1:])
        return work, size, result


class Nearest(NamedTuple):
    """The server that each device reaches fastest with a mean task, waiting left out; and the loads if all go there."""

    node: Annotated[I8, "M", "the server, -1 where there is none within max_hops, or the node creates no tasks"]
    upload_s: Annotated[F8, "M", "time of a mean task on the links there"]
    return_s: Annotated[F8, "M", "time of its result on the links back"]
    node_frac: Annotated[F8, "M", "load of each node"]
    channel_frac: Annotated[F8, "C", "load of each channel"]


class Split(NamedTuple):
    """The best that any policy can do about the busiest core or channel."""

    busiest_frac: float  # its load
    node_frac: Annotated[F8, "M", "load of each node"]
    channel_frac: Annotated[F8, "C", "load of each channel"]


def nearest_servers(
    topology: Topology, network: Network, demand: Demand, max_hops: int, channels_are_shared: bool
) -> Nearest:
    """Return each device's nearest node of a higher tier, by the time of a mean task on the links."""
    _, size, result = demand.mean_task()
    link_s = size / topology.link_rate_bps + topology.link_delay_s
    link_back = network.link_back
    back_s = (result / topology.link_rate_bps + topology.link_delay_s)[link_back]
    time_s, via = _shortest_paths(topology, network, link_s, max_hops)
    server = np.full(topology.n_nodes, PADDING)
    upload_s, return_s, node_hz = np.zeros((3, topology.n_nodes))
    flow_hz = np.zeros(topology.n_links)
    for device in topology.device_nodes.tolist():
        node, hop = device, max_hops
        while np.isfinite(time_s[device]) and topology.tier[node] == TIER_DEVICE:
            link = via[hop, node]
            hop -= 1
            if link == PADDING:  # the way needs fewer links
                continue
            upload_s[device] += link_s[link]
            return_s[device] += back_s[link]
            flow_hz[link] += demand.rate_hz[device]
            node = int(topology.link_target[link])
        server[device] = node if node != device else PADDING
        node_hz[node] += demand.rate_hz[device] * demand.work_cycles[device]
    channel_frac = channels_are_shared * _channel_load(topology, network, flow_hz, size, result)
    return Nearest(server, upload_s, return_s, node_hz / (topology.n_cores * topology.core_hz), channel_frac)


def best_split(topology: Topology, network: Network, demand: Demand, max_hops: int, channels_are_shared: bool) -> Split:
    """Return the flows under which the load of the busiest core or channel is smallest.

    A linear programme. Variables: the tasks a second that cross each link as their hop number h, and the largest load
    z. A node sends at most what it creates (h = 1) or what came to it with one hop less, and serves the rest; loads of
    nodes and channels are at most z, which is minimised. All tasks local is a solution.
    """
    work, size, result = demand.mean_task()
    created_hz = demand.rate_hz * demand.work_cycles / work  # in mean tasks
    task_s = work / (topology.n_cores * topology.core_hz)
    links = np.flatnonzero(network.agent_of_node[topology.link_source] >= 0)
    n_nodes, n_channels, n_flows = topology.n_nodes, topology.n_channels, max_hops * len(links)
    if n_flows == 0:
        return Split(float((created_hz * task_s).max()), created_hz * task_s, np.zeros(n_channels))
    flow = np.arange(n_flows)
    hop, link = flow // len(links), links[flow % len(links)]
    source, target, back = topology.link_source[link], topology.link_target[link], network.link_back[link]
    ones, z = np.ones(n_flows), n_flows  # z: the last column
    sent_on = hop + 1 < max_hops
    keeps = _matrix(  # row (hop, node): sent, less what came with one hop less
        (max_hops * n_nodes, n_flows + 1),
        (hop * n_nodes + source, flow, ones),
        (((hop + 1) * n_nodes + target)[sent_on], flow[sent_on], -ones[sent_on]),
    )
    serves = _matrix(
        (n_nodes, n_flows + 1),
        (target, flow, task_s[target]),
        (source, flow, -task_s[source]),
        (np.arange(n_nodes), np.full(n_nodes, z), -np.ones(n_nodes)),
    )
    carries = _matrix(
        (n_channels, n_flows + 1),
        (topology.link_channel[link], flow, size / topology.link_rate_bps[link]),
        (topology.link_channel[back], flow, result / topology.link_rate_bps[back]),
        (np.arange(n_channels), np.full(n_channels, z), -np.ones(n_channels)),
    )
    at_most = [created_hz, np.zeros((max_hops - 1) * n_nodes), -created_hz * task_s, np.zeros(n_channels)]
    found = linprog(
        np.append(np.zeros(n_flows), 1.0),
        A_ub=vstack([keeps, serves, channels_are_shared * carries]).tocsr(),
        b_ub=np.concatenate(at_most),
        method="highs",
    )
    assert found.status == _DONE, found.message
    flow_hz = found.x[:-1]
    served_hz = created_hz + np.bincount(target, flow_hz, n_nodes) - np.bincount(source, flow_hz, n_nodes)
    on_link_hz = np.zeros(topology.n_links)
    np.add.at(on_link_hz, link, flow_hz)
    channel_frac = channels_are_shared * _channel_load(topology, network, on_link_hz, size, result)
    return Split(float(found.x[-1]), served_hz * task_s, channel_frac)


def _shortest_paths(topology: Topology, network: Network, link_s: F8, max_hops: int) -> tuple[F8, I8]:
    """Return each node's time (M,) to its nearest server, and its next link (H + 1, M) if at most h links are left.

    Bellman and Ford; -1 where h links are no better than h - 1.
    """
    sends = np.flatnonzero(network.agent_of_node[topology.link_source] >= 0)
    source, target = topology.link_source[sends], topology.link_target[sends]
    time_s = np.where(topology.tier > TIER_DEVICE, 0.0, np.inf)
    via = np.full((max_hops + 1, topology.n_nodes), PADDING)
    for hop in range(1, max_hops + 1):
        through_s = link_s[sends] + time_s[target]
        order = np.argsort(-through_s, kind="stable")  # the last to be written is the fastest
        shorter = order[through_s[order] < time_s[source[order]]]
        via[hop, source[shorter]] = sends[shorter]
        time_s = time_s.copy()
        time_s[source[shorter]] = through_s[shorter]
    return time_s, via


def _matrix(shape: tuple[int, int], *parts: tuple[I8, I8, F8]) -> coo_array:
    """Return a sparse matrix of parts: rows, columns, values."""
    rows, columns, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    return coo_array((values, (rows, columns)), shape=shape)


def _channel_load(topology: Topology, network: Network, flow_hz: F8, size_bits: float, result_bits: float) -> F8:
    """Return the load (C,) of the channels if so many tasks a second (L,) cross the links and their results go back."""
    bits_hz = flow_hz * size_bits + flow_hz[network.link_back] * result_bits
    load_frac = np.zeros(topology.n_channels)
    np.add.at(load_frac, topology.link_channel, bits_hz / topology.link_rate_bps)
    return load_frac
