"""
What every node directory promises: the registry and its fake alike.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import INodeDirectory
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase
from piman.fleet.nodes import NodeRegistry
from piman.testing.fakes import MemoryDirectory
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC

STRANGER = MACAddress.parse("b8:27:eb:00:00:99")
NODES = (Node(mac=OTHER_MAC, hostname="pi14"), Node(mac=MAC, address=ADDRESS, hostname="pi13"))
STATUSES = (
    NodeStatus(mac=MAC, serial="89eb9bb9", phase=Phase.UP),
    NodeStatus(mac=STRANGER, serial="00000001"),
)


class DirectoryMixin:
    """The contract of :class:`INodeDirectory`."""

    def make(self, nodes: Iterable[Node], statuses: Iterable[NodeStatus]) -> Any:
        """A directory with these nodes, of which this was seen."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two nodes, one of them seen, and a stranger."""
        self.directory = self.make(NODES, STATUSES)

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(INodeDirectory, self.directory)

    def test_node(self) -> None:
        """A board is looked up by its MAC; a stranger is none of the operator's."""
        self.assertEqual(self.directory.node(MAC), NODES[1])
        self.assertIsNone(self.directory.node(STRANGER))

    def test_reserved(self) -> None:
        """A reserved address leads to its node, any other to nobody."""
        self.assertEqual(self.directory.reserved_by(ADDRESS), NODES[1])
        self.assertIsNone(self.directory.reserved_by(IPv4Address("172.30.4.14")))

    def test_serial(self) -> None:
        """A serial leads to the known node that was seen with it, and never to a stranger."""
        self.assertEqual(self.directory.with_serial("89eb9bb9"), NODES[1])
        self.assertIsNone(self.directory.with_serial("00000001"))
        self.assertIsNone(self.directory.with_serial("ffffffff"))

    def test_serial_clash(self) -> None:
        """A serial that two known nodes show leads to neither."""
        statuses = [NodeStatus(mac=mac, serial="89eb9bb9") for mac in (MAC, OTHER_MAC, STRANGER)]
        self.assertIsNone(self.make(NODES, statuses).with_serial("89eb9bb9"))

    def test_status(self) -> None:
        """What was seen, also of strangers; an empty status of whoever was not seen."""
        self.assertEqual(self.directory.status(MAC), STATUSES[0])
        self.assertEqual(self.directory.status(STRANGER), STATUSES[1])
        self.assertEqual(self.directory.status(OTHER_MAC), NodeStatus(mac=OTHER_MAC))

    def test_nodes(self) -> None:
        """All nodes come in the order of the files."""
        self.assertEqual(tuple(self.directory.nodes()), NODES)


class MemoryDirectoryTests(DirectoryMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def make(self, nodes: Iterable[Node], statuses: Iterable[NodeStatus]) -> Any:
        """A fake."""
        return MemoryDirectory(nodes, statuses)


class NodeRegistryTests(DirectoryMixin, SynchronousTestCase):
    """The registry keeps the contract."""

    def make(self, nodes: Iterable[Node], statuses: Iterable[NodeStatus]) -> Any:
        """The real one."""
        return NodeRegistry(nodes, statuses=statuses)
