"""
What every address book promises.

The lease table runs :class:`AddressBookMixin` in its own tests: how it comes by a binding is its own business.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IAddressBook
from piman.fleet.model import MACAddress
from piman.testing.fakes import MemoryAddressBook
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
