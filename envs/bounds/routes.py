"""The ways that agents can choose for tasks of each origin: which links, to which node, how the result comes home."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.bounds.physics import Physics
from envs.errors import ConfigError

MAX_ROUTES = 100_000


class Routes(NamedTuple):
    """All routes, those of an origin side by side; a route without links stays at home."""

    first: Annotated[I8, "M+1", "where the routes of an origin begin"]
    node: Annotated[I8, "R", "where the task is served"]
    n_hops: Annotated[I8, "R", "links to there"]
    is_held: Annotated[I8, "R", "1: the task starts at a decision of the node's agent"]
    channel: Annotated[I8, "R H", "channel of each link, -1 padding"]
    bit_s: Annotated[F8, "R H", "seconds that a bit takes on each link"]
    delay_s: Annotated[F8, "R H", "delay of each link"]
    home_bit_s: Annotated[F8, "R", "seconds that a bit of the result takes on all links home together"]
    home_delay_s: Annotated[F8, "R", "delays of all links home together"]


def routes_of(physics: Physics, origins: I8) -> Routes:
    """Return the routes of these origins; one that another beats for every task is left out."""
    found: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(physics.network.tier.size)]
    for origin in origins:
        found[int(origin)] = _undominated(physics, int(origin))
    flat = [(origin, node, links) for origin, ways in enumerate(found) for node, links in ways]
    n_hops = max([1, *(len(links) for _, _, links in flat)])
    network, shape = physics.network, (len(flat), n_hops)
    channel, bit_s, delay_s = np.full(shape, -1, np.int64), np.zeros(shape), np.zeros(shape)
    for row, (_, _, links) in enumerate(flat):
        for hop, link in enumerate(links):
            channel[row, hop] = network.link_channel[link]
            bit_s[row, hop] = 1.0 / network.link_rate_bps[link]
            delay_s[row, hop] = network.link_delay_s[link]
    home = np.array([_home(physics, origin, node, links) for origin, node, links in flat])
    held = [physics.holds and physics.is_slotted and physics.may_decide(node, len(links)) for _, node, links in flat]
    return Routes(
        first=np.cumsum([0, *(len(ways) for ways in found)]).astype(np.int64),
        node=np.array([node for _, node, _ in flat], np.int64),
        n_hops=np.array([len(links) for _, _, links in flat], np.int64),
        is_held=np.array(held, np.int64),
        channel=channel,
        bit_s=bit_s,
        delay_s=delay_s,
        home_bit_s=np.ascontiguousarray(home[:, 0]),
        home_delay_s=np.ascontiguousarray(home[:, 1]),
    )


def _undominated(physics: Physics, origin: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return (node, links) of the ways from an origin.

    A way is left out if another to the same node has as many links on the same channels, none slower or longer, and
    none slower home: whatever a task does on the first it can do on the second, no later and for no more.
    """
    network = physics.network
    kept: dict[tuple[int, tuple[int, ...]], list[tuple[F8, tuple[int, ...]]]] = {}
    pending: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = [(origin, (), (origin,))]
    while pending:
        node, links, passed = pending.pop()
        rows = list(links)
        home = np.array(_home(physics, origin, node, links))
        key = node, tuple(int(c) for c in network.link_channel[rows])
        figures: F8 = np.concatenate((1.0 / network.link_rate_bps[rows], network.link_delay_s[rows], home))
        others = kept.setdefault(key, [])
        if not any((other <= figures).all() for other, _ in others):
            kept[key] = [(other, way) for other, way in others if not (figures <= other).all()] + [(figures, links)]
        if physics.may_decide(node, len(links)):
            for link in physics.out_links(node):
                target = int(network.link_target[link])
                if target not in passed:
                    pending.append((target, (*links, int(link)), (*passed, target)))
        if len(pending) > MAX_ROUTES:
            raise ConfigError(
                f"linear_program: more than {MAX_ROUTES} ways from node {origin} within {physics.max_hops} links; "
                "use bound: zero_queue, or a smaller max_hops"
            )
    return sorted((node, links) for (node, _), ways in kept.items() for _, links in ways)


def _home(physics: Physics, origin: int, node: int, links: tuple[int, ...]) -> tuple[float, float]:
    """Return (seconds a bit, delay) of the way of a result home."""
    network = physics.network
    if physics.is_routed_home:
        back = []
        while node != origin:
            back.append(int(network.next_link[node, origin]))
            node = int(network.link_target[back[-1]])
    else:
        back = [int(network.link_back[link]) for link in links]
    return float((1.0 / network.link_rate_bps[back]).sum()), float(network.link_delay_s[back].sum())
