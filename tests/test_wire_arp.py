"""
ARP packets: captures field by field, and whatever else may come.
"""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire.arp import Operation, Packet
from piman.wire.layout import MalformedDatagram
from tests.captures import arp as captures

FIRST, SECOND = bytes.fromhex("b827eb000001"), bytes.fromhex("b827eb000002")
MANAGER = bytes.fromhex("020000000001")
ADDRESS = IPv4Address("172.30.4.101")


class CaptureTests(SynchronousTestCase):
    """What others send."""

    def test_reply(self) -> None:
        """Every field of the kernel's reply to a probe is read."""
        wanted = Packet(
            operation=Operation.REPLY,
            sender_mac=FIRST,
            sender_address=ADDRESS,
            target_mac=MANAGER,
            target_address=IPv4Address("0.0.0.0"),
        )
        self.assertEqual(Packet.from_wire(captures.KERNEL_REPLY), wanted)

    def test_request(self) -> None:
        """A request shows who asks, for whom."""
        packet = Packet.from_wire(captures.KERNEL_REQUEST)
        self.assertEqual((packet.operation, packet.sender_mac), (Operation.REQUEST, FIRST))
        self.assertEqual((packet.sender_address, packet.target_address), (ADDRESS, IPv4Address("172.30.4.1")))

    def test_announcement(self) -> None:
        """An announcement names one address twice."""
        packet = Packet.from_wire(captures.BUSYBOX_ANNOUNCEMENT)
        self.assertEqual((packet.sender_address, packet.target_address), (IPv4Address("172.30.4.102"),) * 2)

    def test_probe(self) -> None:
        """Our probe is the one of arping, octet by octet, but for its padding."""
        wire = Packet.probe(SECOND, ADDRESS).to_wire()
        self.assertEqual(wire, captures.ARPING_PROBE[: len(wire)])
        self.assertEqual(captures.ARPING_PROBE[len(wire) :].strip(b"\0"), b"")

    def test_written_again(self) -> None:
        """What was read is written as it was, without padding."""
        for name in ("KERNEL_REQUEST", "KERNEL_REPLY", "ARPING_PROBE", "BUSYBOX_PROBE", "BUSYBOX_ANNOUNCEMENT"):
            data = getattr(captures, name)
            self.assertEqual(Packet.from_wire(data).to_wire(), data[:28], name)


class OtherTests(SynchronousTestCase):
    """What is not for us."""

    def test_short(self) -> None:
        """A packet that ends early is malformed."""
        for length in range(28):
            self.assertRaises(MalformedDatagram, Packet.from_wire, captures.KERNEL_REPLY[:length])

    def test_other_kinds(self) -> None:
        """Other hardware, protocols, lengths and operations (RARP's 3, InARP's 8) are malformed."""
        for place, value in ((1, 32), (2, 0x86), (4, 8), (5, 16), (7, 0), (7, 3), (7, 8), (6, 1)):
            data = bytearray(captures.KERNEL_REPLY)
            data[place] = value
            self.assertRaises(MalformedDatagram, Packet.from_wire, bytes(data))

    @given(st.binary(max_size=64))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes raise nothing else."""
        for packet in (data, captures.KERNEL_REPLY[:8] + data):
            try:
                Packet.from_wire(packet)
            except MalformedDatagram:
                continue
