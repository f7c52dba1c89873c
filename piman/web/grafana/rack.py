# -*- test-case-name: tests.test_web_grafana -*-
"""
The nodes as Grafana speaks of them: which value of which node a name means, tags to filter by, a table of all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Address
from typing import Any

import attrs

from piman.fleet.model import Node, NodeStatus
from piman.fleet.nodes import NodeRegistry
from piman.fleet.walltime import WallTime
from piman.web.grafana.questions import Filter
from piman.web.wishes import Refusal

VALUES: Mapping[str, str] = {
    "CPU": "cpu_percent",
    "Ram": "memory_percent",
    "Disk Usage": "disk_percent",
    "PIDs": "num_pids",
    "Temperature": "temp",
}
"""What the original called them, and what a reading calls them."""

_BY_NAME = {**{title.lower(): value for title, value in VALUES.items()}, **{value: value for value in VALUES.values()}}
TITLES = {value: title for title, value in VALUES.items()}

TAGS = ("name", "address", "switch", "image", "model", "phase")
COLUMNS = (
    ("Name", "string"),
    ("Address", "string"),
    ("Phase", "string"),
    ("Since", "time"),
    ("Switch", "string"),
    ("Port", "number"),
    ("Model", "string"),
    ("Image", "string"),
    ("Detail", "string"),
)

Labels = Mapping[IPv4Address, str]


@attrs.frozen
class Seen:
    """A node, and what was seen of it."""

    node: Node
    status: NodeStatus
    switch: str

    @property
    def address(self) -> str:
        """The one that it has, else the one that it should have; empty: none is known."""
        found = self.status.address or self.node.address
        return "" if found is None else str(found)

    def tag(self, name: str) -> str:
        """One of :data:`TAGS`."""
        match name:
            case "name" | "image":
                return str(getattr(self.node, name))
            case "address" | "switch":
                return str(getattr(self, name))
            case "model":
                return self.status.model or ""
        return self.status.phase.value


class Rack:
    """
    The nodes.

    :param labels: what people call the switches, by address, as of now.
    """

    def __init__(self, nodes: NodeRegistry, labels: Callable[[], Labels], wall: WallTime) -> None:
        self._nodes = nodes
        self._labels = labels
        self._wall = wall

    def seen(self, filters: Sequence[Filter] = ()) -> list[Seen]:
        """
        The nodes that pass, in the order of the files.

        :raises Refusal: when a filter has a key that there is not.
        """
        for each in filters:
            check_tag(each.key)
        return [
            one for one in self._all() if all((one.tag(each.key) == each.value) is each.is_equal for each in filters)
        ]

    def _all(self) -> Iterator[Seen]:
        labels = self._labels()
        for node in self._nodes.nodes():
            switch = labels.get(node.port.switch, str(node.port.switch)) if node.port else ""
            yield Seen(node, self._nodes.status(node.mac), switch)

    def by_name(self, seen: Sequence[Seen]) -> dict[str, Seen]:
        """Nodes by what they can be called: address, name, MAC; of two that are called alike the first."""
        found: dict[str, Seen] = {}
        for names in (lambda one: one.address, lambda one: one.node.name, lambda one: str(one.node.mac)):
            for one in seen:
                found.setdefault(names(one), one)
        found.pop("", None)
        return found

    def table(self, seen: Sequence[Seen]) -> dict[str, Any]:
        """All of them, as a table."""
        columns = [{"text": title, "type": kind} for title, kind in COLUMNS]
        return {"type": "table", "columns": columns, "rows": [self._row(one) for one in seen]}

    def _row(self, one: Seen) -> list[Any]:
        status = self._wall.to_wall(one.status)
        return [
            one.node.name,
            one.address,
            status.phase.value,
            milliseconds(status.since) if status.since else None,
            one.switch,
            one.node.port.port if one.node.port else None,
            status.model or "",
            one.node.image,
            status.detail,
        ]


def value_named(title: str) -> str | None:
    """The field of a reading that is called so; None: none is."""
    return _BY_NAME.get(title.lower())


def split_target(name: str) -> tuple[str, str]:
    """
    The node and the value that ``172.30.4.2 Disk Usage`` means.

    :raises Refusal: when no value is called so.
    """
    node, _, title = name.partition(" ")
    value = value_named(title.strip())
    if value is None:
        near = get_close_matches(title, VALUES, n=1)
        hint = f"Did you mean '{node} {near[0]}'?" if near else "POST /search lists all of them."
        expected = "nodes, events, or a node and one of " + ", ".join(VALUES)
        raise Refusal(400, "no-such-target", f"target: found {name!r:.80}, expected {expected}", hint)
    return node, value


def check_tag(key: str) -> None:
    """
    Whether one can filter by this.

    :raises Refusal: one cannot.
    """
    if key not in TAGS:
        raise Refusal(400, "no-such-tag", f"key: found {key!r:.60}, expected one of {', '.join(TAGS)}")


def milliseconds(moment: float) -> int:
    """As Grafana has times."""
    return round(moment * 1000)
