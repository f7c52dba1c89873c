"""
The link next door: the kernel's table, MTUs, and senders of frames that are not open.
"""

from ipaddress import IPv4Address
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import INeighbours
from piman.fleet.model import MACAddress
from piman.host.neighbours import (
    KernelNeighbours,
    LinkLayerSender,
    LinkLayerUnavailable,
    mtu_of,
    parse_arp_table,
)
from tests.captures.arp import PROC_NET_ARP

NODE = IPv4Address("172.30.4.101")
NODE_MAC = MACAddress.parse("b8:27:eb:00:00:01")


class ParseTests(SynchronousTestCase):
    """The text of /proc/net/arp."""

    def test_capture(self) -> None:
        """Complete entries are read, the incomplete one is not."""
        self.assertEqual(
            parse_arp_table(PROC_NET_ARP),
            {NODE: NODE_MAC, IPv4Address("172.30.4.77"): MACAddress.parse("dc:a6:32:01:02:03")},
        )

    def test_other_hardware(self) -> None:
        """Only Ethernet (0x1) counts: an InfiniBand entry (0x20) has a longer address."""
        self.assertEqual(parse_arp_table(PROC_NET_ARP.replace(" 0x1 ", " 0x20 ")), {})

    def test_empty(self) -> None:
        """A table of a heading only, or nothing at all, has no entries."""
        self.assertEqual(parse_arp_table(PROC_NET_ARP.splitlines()[0]), {})
        self.assertEqual(parse_arp_table(""), {})


class KernelNeighboursTests(SynchronousTestCase):
    """The table, read when somebody asks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text(PROC_NET_ARP)
        self.neighbours = KernelNeighbours(self.clock, self.path)

    def test_provides(self) -> None:
        """It is what the other parts ask for."""
        verifyObject(INeighbours, self.neighbours)

    def test_known(self) -> None:
        """Who is there, and nobody where nobody is."""
        self.assertEqual(self.neighbours.mac_at(NODE), NODE_MAC)
        self.assertIsNone(self.neighbours.mac_at(IPv4Address("172.30.4.55")))

    def test_cached(self) -> None:
        """The file is read again only when a second has passed."""
        self.neighbours.mac_at(NODE)
        self.path.write_text(PROC_NET_ARP.replace("b8:27:eb:00:00:01", "b8:27:eb:00:00:02"))
        self.clock.advance(0.75)
        self.assertEqual(self.neighbours.mac_at(NODE), NODE_MAC)
        self.clock.advance(0.25)
        self.assertEqual(self.neighbours.mac_at(NODE), MACAddress.parse("b8:27:eb:00:00:02"))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep old entries alive."""
        self.clock.advance(1000)
        self.neighbours.mac_at(NODE)
        self.path.write_text("")
        self.clock.rightNow = 10.0
        self.assertIsNone(self.neighbours.mac_at(NODE))

    def test_unreadable(self) -> None:
        """Without a table nobody is known."""
        self.path.unlink()
        self.assertIsNone(self.neighbours.mac_at(NODE))

    def test_this_host(self) -> None:
        """The table of this host can be read; nobody lives at the unspecified address."""
        self.assertIsNone(KernelNeighbours(self.clock).mac_at(IPv4Address("0.0.0.0")))


class MTUTests(SynchronousTestCase):
    """The largest packet of an interface."""

    def test_loopback(self) -> None:
        """The loopback interface tells the same here and in /sys."""
        self.assertEqual(mtu_of("lo"), int(Path("/sys/class/net/lo/mtu").read_text()))

    def test_missing(self) -> None:
        """A missing interface is an OSError."""
        self.assertRaises(OSError, mtu_of, "nonesuch0")


class LinkLayerSenderTests(SynchronousTestCase):
    """A sender that cannot send."""

    def test_closed(self) -> None:
        """Before it is opened and after it is closed frames are dropped and counted."""
        sender = LinkLayerSender("lo")
        sender.close()
        self.assertFalse(sender.send_udp(bytes(6), ("127.0.0.1", 67), ("127.0.0.1", 68), b"x"))
        self.assertEqual((sender.sent, sender.refused), (0, 1))

    def test_missing_interface(self) -> None:
        """A missing interface, or a missing right, is told in one line that names the interface."""
        refusal = self.assertRaises(LinkLayerUnavailable, LinkLayerSender("nonesuch0").open)
        self.assertIn("nonesuch0", str(refusal))
