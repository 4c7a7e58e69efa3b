"""Reading networks from files: rows of text to nodes and links, with the file and line in every refusal.

A row is a mapping from field to text, whether it was a line of a CSV file or the attributes of a GraphML element.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

import networkx as nx

from envs.constants import TIER_NAMES
from envs.errors import ConfigError, TopologyError
from envs.topologies.assemble import Link, Node
from envs.topologies.nodes import NodeSettings

NODE_FIELDS = (
    *("name", "type", "tier", "is_device", "n_cores", "core_hz", "queue_places"),
    *("idle_w", "busy_w", "transmit_w", "x_m", "y_m"),
)
LINK_FIELDS = ("source", "target", "rate_bps", "delay_s", "channel")
TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Row(NamedTuple):
    """The fields of one node or link, and where they stand."""

    where: str
    fields: Mapping[str, str]

    def text(self, field: str) -> str:
        """Return a field's text."""
        return self.fields[field]

    def number(self, field: str, at_least: float = -math.inf) -> float:
        """Return a field as a finite number."""
        expected = "a finite number" + (f" >= {at_least:g}" if at_least > -math.inf else "")
        number = self._convert(field, float, expected)
        if not (math.isfinite(number) and number >= at_least):
            raise self.refuse(field, expected)
        return number

    def count(self, field: str) -> int:
        """Return a field as a whole number of at least 1."""
        number = self._convert(field, float, "an integer >= 1")
        if not (math.isfinite(number) and number >= 1.0 and number.is_integer()):
            raise self.refuse(field, "an integer >= 1")
        return int(number)

    def choice(self, field: str, choices: Mapping[str, int]) -> int:
        """Return what a field's word, in any case, stands for."""
        value = choices.get(self.text(field).lower())
        if value is None:
            raise self.refuse(field, " or ".join(choices))
        return value

    def refuse(self, field: str, expected: str) -> TopologyError:
        """Return the error for a field."""
        return TopologyError(f"{self.where}: {field} = {self.text(field)!r}; expected {expected}")

    def _convert(self, field: str, convert: Callable[[str], float], expected: str) -> float:
        try:
            return convert(self.text(field))
        except ValueError:
            raise self.refuse(field, expected) from None


def read_csv(path: Path, fields: tuple[str, ...]) -> list[Row]:
    """Return the rows of a CSV file whose first line names exactly these fields, in any order."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or [], fields)
            return [_csv_row(f"{path}, line {reader.line_num}", row, fields) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TopologyError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error


def read_graphml(path: Path) -> tuple[list[Row], list[Row], bool]:
    """Return the rows of nodes and links of a GraphML file, and whether its edges are directed."""
    try:
        graph = nx.read_graphml(path)
    except (OSError, ParseError, nx.NetworkXError, ValueError, KeyError) as error:
        raise TopologyError(f"{path}: cannot be read as a GraphML file: {error}") from error
    nodes = [
        _graphml_row(f"{path}, node {name!r}", {"name": name, "type": "node", **data}, NODE_FIELDS)
        for name, data in graph.nodes(data=True)
    ]
    name_of = {name: row.text("name") for name, row in zip(graph.nodes, nodes, strict=True)}
    links = [
        _graphml_row(
            f"{path}, edge {a!r} -> {b!r}",
            {"channel": "", **data, "source": name_of[a], "target": name_of[b]},
            LINK_FIELDS,
        )
        for a, b, data in graph.edges(data=True)
    ]
    return nodes, links, graph.is_directed()


def node_from(row: Row) -> Node:
    """Return the node of a row."""
    tiers = {**{name: tier for tier, name in enumerate(TIER_NAMES)}, **{str(tier): tier for tier in range(3)}}
    try:
        settings = NodeSettings(
            n_cores=row.count("n_cores"),
            core_hz=row.number("core_hz", at_least=0.0),
            queue_places=row.count("queue_places"),
            idle_w=row.number("idle_w", at_least=0.0),
            busy_w=row.number("busy_w", at_least=0.0),
            transmit_w=row.number("transmit_w", at_least=0.0),
            queue_bits=math.inf,
        )
    except ConfigError as error:
        raise TopologyError(f"{row.where}: {error}") from error
    return Node(
        name=row.text("name"),
        type=row.text("type"),
        tier=row.choice("tier", tiers),
        is_device=bool(row.choice("is_device", TRUTH)),
        settings=settings,
        position_m=(row.number("x_m"), row.number("y_m")),
    )


def nodes_from(rows: Iterable[Row]) -> list[Node]:
    """Return the nodes of the rows, in order; a name that comes twice is refused."""
    nodes: dict[str, Node] = {}
    for row in rows:
        node = node_from(row)
        if not node.name or node.name in nodes:
            raise row.refuse("name", "a name that no other node has")
        nodes[node.name] = node
    return list(nodes.values())


def links_from(rows: Iterable[Row], nodes: Iterable[Node], both_ways: bool) -> list[Link]:
    """Return the links of the rows, with ``both_ways`` also the way back of each.

    Links with the same text in ``channel`` share a channel; an empty one is a channel of the link's own.
    """
    node_id = {node.name: m for m, node in enumerate(nodes)}
    links: dict[tuple[int, int], Link] = {}
    for row in rows:
        source, target = (_end(row, field, node_id) for field in ("source", "target"))
        rate_bps, delay_s = row.number("rate_bps", at_least=0.0), row.number("delay_s", at_least=0.0)
        if rate_bps == 0.0:
            raise row.refuse("rate_bps", "a finite number > 0")
        for ends in [(source, target), (target, source)][: 1 + both_ways]:
            if ends in links or source == target:
                raise row.refuse("target", f"a node that {row.text('source')!r} has no link with yet, nor itself")
            links[ends] = Link(*ends, rate_bps, delay_s, row.text("channel") or ends)
    return list(links.values())


def _end(row: Row, field: str, node_id: Mapping[str, int]) -> int:
    name = row.text(field)
    if name not in node_id:
        near = difflib.get_close_matches(name, node_id, n=1)
        raise row.refuse(field, "the name of a node" + (f"; did you mean {near[0]!r}?" if near else ""))
    return node_id[name]


def _check_header(path: Path, header: Iterable[str], fields: tuple[str, ...]) -> None:
    given = list(header)
    missing = [field for field in fields if field not in given]
    unknown = [field for field in given if field not in fields]
    if missing or unknown or len(given) > len(fields):
        problem = f"no column {missing[0]!r}" if missing else f"column {(unknown or given)[0]!r} is unknown or double"
        raise TopologyError(f"{path}, line 1: {problem}; expected the columns {', '.join(fields)}")


def _csv_row(where: str, row: Mapping[str | None, str | None], fields: tuple[str, ...]) -> Row:
    cells = {field: row[field] for field in fields}
    filled = {field: cell.strip() for field, cell in cells.items() if cell is not None}
    if None in row or len(filled) < len(fields):
        raise TopologyError(f"{where}: too {'many' if None in row else 'few'} cells; expected {len(fields)}")
    return Row(where, filled)


def _graphml_row(where: str, data: Mapping[str, object], fields: tuple[str, ...]) -> Row:
    missing = [field for field in fields if field not in data]
    if missing:
        raise TopologyError(f"{where}: attribute {missing[0]!r} is missing; expected {', '.join(fields)}")
    return Row(where, {field: str(data[field]).strip() for field in fields})
