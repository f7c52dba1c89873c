"""
What every address book promises: the lease table and its fake alike.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IAddressBook
from piman.fleet.model import MACAddress, Node, Stage
from piman.fleet.state.leases import LeaseTable
from piman.testing.fakes import MemoryAddressBook, MemoryDirectory
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC


class AddressBookMixin:
    """The contract of :class:`IAddressBook`."""

    def make(self, bindings: dict[IPv4Address, MACAddress]) -> Any:
        """A book in which these are bound right now."""
        raise NotImplementedError

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IAddressBook, self.make({}))

    def test_lookup(self) -> None:
        """A binding is found from both of its ends."""
        book = self.make({ADDRESS: MAC})
        self.assertEqual((book.holder_of(ADDRESS), book.address_of(MAC)), (MAC, ADDRESS))

    def test_nobody(self) -> None:
        """An address that nobody has, and a board without one, lead to nothing."""
        book = self.make({ADDRESS: MAC})
        self.assertIsNone(book.holder_of(IPv4Address("172.30.4.14")))
        self.assertIsNone(book.address_of(OTHER_MAC))

    def test_touch(self) -> None:
        """Touching any address is harmless, and a touched binding is there afterwards."""
        book = self.make({ADDRESS: MAC})
        book.touch(ADDRESS)
        book.touch(IPv4Address("172.30.4.14"))
        self.assertEqual(book.holder_of(ADDRESS), MAC)
        self.assertIsNone(book.holder_of(IPv4Address("172.30.4.14")))


class MemoryAddressBookTests(AddressBookMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def make(self, bindings: dict[IPv4Address, MACAddress]) -> Any:
        """A fake."""
        return MemoryAddressBook(bindings)


class LeaseTableTests(AddressBookMixin, SynchronousTestCase):
    """The real thing keeps the contract."""

    def make(self, bindings: dict[IPv4Address, MACAddress]) -> Any:
        """A table in which boards were bound."""
        table = LeaseTable(Clock(), nodes=MemoryDirectory())
        for address, mac in bindings.items():
            table.bind(mac, address, stage=Stage.OS)
        return table


class OfferedTests(AddressBookMixin, SynchronousTestCase):
    """Addresses that were only offered belong to their boards as well."""

    def make(self, bindings: dict[IPv4Address, MACAddress]) -> Any:
        """A table that made offers of reservations."""
        nodes = [Node(mac=mac, address=address) for address, mac in bindings.items()]
        table = LeaseTable(Clock(), nodes=MemoryDirectory(nodes))
        for mac in bindings.values():
            table.offer(mac)
        return table
