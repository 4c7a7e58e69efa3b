"""What a message costs: a delay and a bandwidth for each ordered pair of clients; the last place is the server.

In a yaml a delay or a bandwidth is one of
  a number            of all edges
  a list              of each client's access: the worse of both ends counts, the server has none
  a table             ``default`` of all edges, then by client ``3``, by edge both ways ``0-3`` or one way ``0>3``, with
                      ``server`` for the server: the narrower entry counts, and of two clients the worse
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_rllib.config import convert
from edge_rllib.config.source import Source
from edge_rllib.federated.stealing.errors import StealingError
from envs.errors import ConfigError

Floats = NDArray[np.float64]
DEFAULT, SERVER = "default", "server"
_CLIENT = re.compile(r"\d+")
_EDGE = re.compile(rf"(?P<first>\d+|{SERVER})(?P<ways>[->])(?P<second>\d+|{SERVER})")


@dataclass(frozen=True)
class Network:
    """Delays and bandwidths of all edges. Messages to oneself are free."""

    delay_s: Floats  # (K + 1, K + 1) one way, of a message without a load
    bandwidth_bps: Floats  # (K + 1, K + 1), infinite where the size does not matter

    def __post_init__(self) -> None:
        n = len(self.delay_s)
        for name, table in (("delay_s", self.delay_s), ("bandwidth_bps", self.bandwidth_bps)):
            if table.shape != (n, n) or n < 2:
                raise StealingError(
                    f"network: {name} has shape {table.shape}: expected (K + 1, K + 1), the server last"
                )
        if not (np.all(self.delay_s >= 0.0) and np.all(np.isfinite(self.delay_s))):
            raise StealingError("network: delay_s has entries that are negative or not finite; expected seconds")
        if not np.all(self.bandwidth_bps > 0.0):
            raise StealingError("network: bandwidth_bps has entries that are not positive; expected bit/s")

    @property
    def n_clients(self) -> int:
        """Return the number of clients."""
        return len(self.delay_s) - 1

    def message_s(self, source: int, destination: int, n_bytes: float = 0.0) -> float:
        """Return the time from sending to having received."""
        if source == destination:
            return 0.0
        load_s = 8.0 * n_bytes / float(self.bandwidth_bps[source, destination])
        return float(self.delay_s[source, destination]) + load_s

    def longest_round_trips_s(self, n_bytes: float = 0.0) -> Floats:
        """Return for each place the longest time from a question to its answer with a load, (K + 1,)."""
        ways_s: Floats = self.delay_s + self.delay_s.T + 8.0 * n_bytes / self.bandwidth_bps.T
        np.fill_diagonal(ways_s, 0.0)
        longest_s: Floats = ways_s.max(1)
        return longest_s

    def round_trip_s(self, asking: int, asked: int, n_bytes: float = 0.0) -> float:
        """Return the time from a question to its answer with a load."""
        return self.message_s(asking, asked) + self.message_s(asked, asking, n_bytes)


def uniform_network(n_clients: int, delay_s: float = 0.0, bandwidth_bps: float = math.inf) -> Network:
    """Return a network in which all edges are alike."""
    shape = (n_clients + 1, n_clients + 1)
    return Network(np.full(shape, float(delay_s)), np.full(shape, float(bandwidth_bps)))


def check_edges(value: Any, where: str) -> Any:
    """Return a number, a list or a table of a yaml by its types; what is none of them raises ConfigError."""
    source = Source(None, where)
    if isinstance(value, Mapping):
        table = convert.convert(value, dict[str, float], source)
        if DEFAULT not in table:
            raise ConfigError(
                f"{where}: expected the key {DEFAULT!r} for the edges without an entry; got {_keys(table)}"
            )
        for key in table:
            if key != DEFAULT and not _CLIENT.fullmatch(key) and not _EDGE.fullmatch(key):
                raise ConfigError(
                    f"{where}: key {key!r}; expected {DEFAULT}, a client as 3, or an edge as 0-3 or 0>{SERVER}"
                )
        return table
    if isinstance(value, (list, tuple)):
        return convert.convert(value, tuple[float, ...], source)
    return convert.convert(value, float, source)


def edges(value: Any, n_clients: int, worse: Callable[[Floats, Floats], Floats], where: str) -> Floats:
    """Return a value of each edge, (K + 1, K + 1), of what ``check_edges`` takes; ``worse`` picks of two ends."""
    value = check_edges(value, where)
    if isinstance(value, float):
        return np.full((n_clients + 1, n_clients + 1), value)
    if isinstance(value, tuple):
        if len(value) != n_clients:
            raise ConfigError(f"{where}: {len(value)} values; expected one for each of {n_clients} clients")
        return _of_ends({str(k): own for k, own in enumerate(value)}, n_clients, math.nan, worse)
    unknown = sorted(k for key in value for k in re.findall(r"\d+", key) if int(k) >= n_clients)
    if unknown:
        raise ConfigError(f"{where}: no client {unknown[0]}; expected 0 to {n_clients - 1}, or {SERVER}")
    found = _of_ends(value, n_clients, value[DEFAULT], worse)
    narrow = [(match, own) for key, own in value.items() if (match := _EDGE.fullmatch(key))]
    for match, own in sorted(narrow, key=lambda entry: entry[0]["ways"] == ">"):
        first, second = (n_clients if end == SERVER else int(end) for end in (match["first"], match["second"]))
        found[first, second] = own
        if match["ways"] == "-":
            found[second, first] = own
    return found


def _of_ends(
    value: Mapping[str, float], n_clients: int, default: float, worse: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Return the worse of both ends' values, of one end's where the other has none, (K + 1, K + 1)."""
    own = np.array([*(value.get(str(k), math.nan) for k in range(n_clients)), math.nan])
    shape = (n_clients + 1, n_clients + 1)
    first, second = np.broadcast_to(own[:, np.newaxis], shape), np.broadcast_to(own, shape)
    either = worse(np.where(np.isnan(first), second, first), np.where(np.isnan(second), first, second))
    found: Floats = np.where(np.isnan(either), 0.0 if math.isnan(default) else default, either)
    return found


def _keys(table: Mapping[str, float]) -> str:
    return ", ".join(map(repr, table)) or "none"


def network(delay_s: Any, bandwidth_bps: Any, n_clients: int, where: str = "algorithm.stealing") -> Network:
    """Return the network of a yaml's delays and bandwidths; see the module."""
    delays_s = edges(delay_s, n_clients, np.maximum, f"{where}.delay_s")
    bandwidths_bps = edges(bandwidth_bps, n_clients, np.minimum, f"{where}.bandwidth_bps")
    np.fill_diagonal(bandwidths_bps, math.inf)
    return Network(delays_s, bandwidths_bps)
