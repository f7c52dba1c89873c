"""
What every neighbour table promises: the kernel's and its fake alike.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import INeighbours
from piman.fleet.model import MACAddress
from piman.host.neighbours import KernelNeighbours
from piman.testing.fakes import MemoryNeighbours
from tests.fleet_support import ADDRESS, MAC


class NeighboursMixin:
    """The contract of :class:`INeighbours`."""

    def make(self, entries: dict[IPv4Address, MACAddress]) -> Any:
        """A table with these entries."""
        raise NotImplementedError

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(INeighbours, self.make({}))

    def test_lookup(self) -> None:
        """An address that the kernel has seen leads to its MAC, any other to nothing."""
        table = self.make({ADDRESS: MAC})
        self.assertEqual(table.mac_at(ADDRESS), MAC)
        self.assertIsNone(table.mac_at(IPv4Address("172.30.4.99")))

    def test_empty(self) -> None:
        """An empty table knows nobody."""
        self.assertIsNone(self.make({}).mac_at(ADDRESS))


class MemoryNeighboursTests(NeighboursMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def make(self, entries: dict[IPv4Address, MACAddress]) -> Any:
        """A fake."""
        return MemoryNeighbours(entries)


class KernelNeighboursTests(NeighboursMixin, SynchronousTestCase):
    """The kernel's table keeps the contract; the columns are those of arp(7)."""

    def make(self, entries: dict[IPv4Address, MACAddress]) -> Any:
        """The real one, over a file like ``/proc/net/arp``."""
        rows = ["IP address       HW type     Flags       HW address            Mask     Device"]
        rows += [f"{address!s:<17}0x1         0x2         {mac}     *        eth0" for address, mac in entries.items()]
        path = Path(self.mktemp())
        path.write_text("\n".join(rows) + "\n")
        return KernelNeighbours(Clock(), path)
