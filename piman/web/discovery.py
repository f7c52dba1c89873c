# -*- test-case-name: tests.test_web_discovery -*-
"""
``GET /sd/nodes``: the nodes whose agents Prometheus should scrape, with what the operator's files say of them.

Prometheus' HTTP service discovery (https://prometheus.io/docs/prometheus/latest/http_sd/): always the whole list,
always status 200.  A node is in it once its agent has answered, and stays in it when it falls silent: its silence is
what alerts are for.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from twisted.web.resource import Resource

from piman.fleet.model import Node, NodeStatus
from piman.fleet.nodes import NodeRegistry
from piman.web.branch import Branch

PREFIX = "__meta_piman_"

Labels = Mapping[IPv4Address, str]


def targets(nodes: NodeRegistry, agent_port: int, labels: Labels) -> list[dict[str, Any]]:
    """
    The list.

    :param labels: what people call the switches, by address.
    """
    found: list[dict[str, Any]] = []
    for node in nodes.nodes():
        status = nodes.status(node.mac)
        address = status.address or node.address
        if status.has_agent and address is not None:
            meta = {f"{PREFIX}{name}": value for name, value in _inventory(node, status, labels) if value}
            found.append({"targets": [f"{address}:{agent_port}"], "labels": meta})
    return found


def _inventory(node: Node, status: NodeStatus, labels: Labels) -> Iterator[tuple[str, str]]:
    yield "name", node.name
    yield "hostname", node.hostname
    yield "mac", str(node.mac)
    yield "image", node.image
    yield "model", status.model or ""
    yield "serial", status.serial or ""
    if node.port is not None:
        yield "switch", labels.get(node.port.switch, str(node.port.switch))
        yield "switch_address", str(node.port.switch)
        yield "port", str(node.port.port)


class NodesResource(Resource):
    """
    ``/sd/nodes``.

    :param agent_port: where agents listen, as of now.
    :param labels: what people call the switches, by address, as of now.
    """

    isLeaf = True

    def __init__(self, nodes: NodeRegistry, agent_port: Callable[[], int], labels: Callable[[], Labels]) -> None:
        super().__init__()
        self._nodes = nodes
        self._agent_port = agent_port
        self._labels = labels

    def render_GET(self, request: Any) -> bytes:
        """The list."""
        request.setHeader("content-type", "application/json")
        request.setHeader("cache-control", "no-store")
        return json.dumps(targets(self._nodes, self._agent_port(), self._labels())).encode()


def discovery_resource(
    nodes: NodeRegistry, *, agent_port: Callable[[], int], labels: Callable[[], Labels]
) -> Resource:
    """What hangs at ``/sd``."""
    return Branch({"nodes": NodesResource(nodes, agent_port, labels)})
