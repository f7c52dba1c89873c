"""
Tests for :mod:`piman.web.discovery`.
"""

import json
from ipaddress import IPv4Address
from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from piman.fleet.model import Node, NodeStatus, Phase
from piman.fleet.nodes import NodeRegistry
from piman.web.discovery import discovery_resource
from tests.web_support import NODES, PI2, PI3, RACK, SLOTS, STRANGER


class DiscoveryTests(SynchronousTestCase):
    """What Prometheus is told of the nodes."""

    def listed(self, *statuses: NodeStatus, nodes: tuple[Node, ...] = NODES) -> Any:
        """The answer."""
        registry = NodeRegistry(nodes, SLOTS, statuses)
        root = Resource()
        root.putChild(b"sd", discovery_resource(registry, agent_port=lambda: 3000, labels=lambda: {RACK: "rack-a"}))
        response = self.successResultOf(StubTreq(root).get("http://piman/sd/nodes"))
        self.assertEqual((response.code, response.headers.getRawHeaders("content-type")), (200, ["application/json"]))
        return json.loads(self.successResultOf(response.content()))

    def test_labels(self) -> None:
        """A node with an agent is a target, with all that the files say of it and the board told."""
        up = NodeStatus(mac=PI2, phase=Phase.UP, has_agent=True, model="4B", serial="89eb9bb9", last_event_id=1)
        expected = {
            "__meta_piman_name": "pi2",
            "__meta_piman_hostname": "pi2",
            "__meta_piman_mac": str(PI2),
            "__meta_piman_image": "default",
            "__meta_piman_model": "4B",
            "__meta_piman_serial": "89eb9bb9",
            "__meta_piman_switch": "rack-a",
            "__meta_piman_switch_address": "172.30.4.254",
            "__meta_piman_port": "2",
        }
        self.assertEqual(self.listed(up), [{"targets": ["172.30.4.2:3000"], "labels": expected}])

    def test_who_is_no_target(self) -> None:
        """Nodes without an agent, or without a known address, and strangers are none; a silent node is one."""
        self.assertEqual(self.listed(), [])
        agent = {"has_agent": True, "last_event_id": 1}
        nodes = (Node(mac=PI2), Node(mac=PI3, address=IPv4Address("172.30.4.3")))
        without_address = NodeStatus(mac=PI2, phase=Phase.UP, **agent)
        silent = NodeStatus(mac=PI3, phase=Phase.SILENT, **agent)
        stranger = NodeStatus(mac=STRANGER, phase=Phase.UP, address=IPv4Address("172.30.4.9"), **agent)
        found = self.listed(without_address, silent, stranger, nodes=nodes)
        self.assertEqual([each["targets"] for each in found], [["172.30.4.3:3000"]])
        self.assertEqual(found[0]["labels"]["__meta_piman_name"], str(PI3))
        self.assertNotIn("__meta_piman_port", found[0]["labels"])

    def test_address_of_the_pool(self) -> None:
        """The address that a node has goes before the one that it should have."""
        moved = NodeStatus(mac=PI2, phase=Phase.UP, has_agent=True, address=IPv4Address("172.30.4.77"), last_event_id=1)
        self.assertEqual(self.listed(moved)[0]["targets"], ["172.30.4.77:3000"])
