"""
Frames of our own making, compared with frames of the Linux kernel.
"""

from ipaddress import IPv4Address

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire.frame import ETHERNET, IPV4, UDP, checksum, udp_frame, udp_in_frame
from piman.wire.layout import MalformedDatagram
from tests.captures import frame as captures
from tests.captures import offers

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
ports = st.integers(0, 65_535)


def sums_to_zero(data: bytes) -> bool:
    """Whether one's complement addition gives all ones, computed as an integer modulo 65,535."""
    return int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF == 0


class FrameTests(SynchronousTestCase):
    """Ethernet, IPv4 and UDP around a payload."""

    def test_kernel(self) -> None:
        """Byte for byte the frame that the Linux kernel sends for the same datagram."""
        frame = udp_frame(
            source_mac=bytes.fromhex("020000000001"),
            destination_mac=bytes.fromhex("b827eb000001"),
            source=("172.30.4.1", 67),
            destination=("172.30.4.101", 68),
            payload=captures.PAYLOAD,
        )
        self.assertEqual(frame.hex(), captures.KERNEL_FRAME.hex())

    def test_kernel_odd_payload(self) -> None:
        """The same for a payload of an odd number of bytes, which the checksum pads."""
        frame = udp_frame(
            source_mac=bytes.fromhex("020000000001"),
            destination_mac=bytes.fromhex("b827eb000001"),
            source=(IPv4Address("172.30.4.1"), 67),
            destination=(IPv4Address("172.30.4.101"), 68),
            payload=captures.ODD_PAYLOAD,
        )
        self.assertEqual(frame.hex(), captures.KERNEL_ODD_FRAME.hex())

    @given(addresses, ports, addresses, ports, st.binary(max_size=1472))
    @example(IPv4Address(0), 0, IPv4Address(0), 0, b"\xff\xda")  # sums to zero before it is sent as all ones
    def test_sums(
        self, source: IPv4Address, source_port: int, destination: IPv4Address, destination_port: int, payload: bytes
    ) -> None:
        """Both checksums hold by an independent way of adding, and lengths tell the truth."""
        frame = udp_frame(
            source_mac=bytes(6),
            destination_mac=b"\xff" * 6,
            source=(source, source_port),
            destination=(destination, destination_port),
            payload=payload,
        )
        packet = frame[ETHERNET.size :]
        header, udp = packet[: IPV4.size], packet[IPV4.size :]
        self.assertTrue(sums_to_zero(header))
        self.assertTrue(sums_to_zero(header[12:20] + bytes([0, 17]) + len(udp).to_bytes(2, "big") + udp))
        self.assertEqual(IPV4.unpack(packet)["total_length"], len(packet))
        fields = UDP.unpack(udp)
        self.assertEqual(fields["length"], len(udp))
        self.assertNotEqual(fields["checksum"], 0)
        self.assertEqual(udp[UDP.size :], payload)


class ReadTests(SynchronousTestCase):
    """The datagram in a frame that somebody else made."""

    def test_kernel(self) -> None:
        """The Linux kernel's frames give back ends and payload, of an even and of an odd length."""
        for frame, payload in (
            (captures.KERNEL_FRAME, captures.PAYLOAD),
            (captures.KERNEL_ODD_FRAME, captures.ODD_PAYLOAD),
        ):
            ends = (IPv4Address("172.30.4.1"), 67), (IPv4Address("172.30.4.101"), 68)
            self.assertEqual(udp_in_frame(frame), (*ends, payload))

    def test_broadcast(self) -> None:
        """So does one that dnsmasq broadcasts."""
        source, destination, payload = udp_in_frame(offers.PLAIN)
        self.assertEqual((source, destination[1], len(payload)), ((IPv4Address(offers.SERVER), 67), 68, 300))

    def test_padding(self) -> None:
        """What an Ethernet card adds to a short frame is no part of the datagram."""
        self.assertEqual(udp_in_frame(captures.KERNEL_FRAME + bytes(18)), udp_in_frame(captures.KERNEL_FRAME))

    def test_others(self) -> None:
        """ARP, TCP, fragments, and frames that are cut off are refused."""
        good = captures.KERNEL_FRAME
        for at, octets in ((12, b"\x08\x06"), (23, b"\x06"), (20, b"\x20\x01"), (20, b"\x20\x00"), (14, b"\x65")):
            changed = good[:at] + octets + good[at + len(octets) :]
            self.assertRaises(MalformedDatagram, udp_in_frame, changed)
        for length in range(len(good)):
            self.assertRaises(MalformedDatagram, udp_in_frame, good[:length])

    @given(st.binary(max_size=100))
    def test_random(self, octets: bytes) -> None:
        """Random octets behind an IPv4 header raise nothing else."""
        for frame in (octets, captures.KERNEL_FRAME[:14] + octets, captures.KERNEL_FRAME[:30] + octets):
            try:
                udp_in_frame(frame)
            except MalformedDatagram:
                pass


class ChecksumTests(SynchronousTestCase):
    """RFC 1071."""

    def test_rfc(self) -> None:
        """The words of the example in section 3 (0001 f203 f4f5 f6f7) sum to ddf2."""
        self.assertEqual(checksum(bytes.fromhex("0001f203f4f5f6f7")), ~0xDDF2 & 0xFFFF)

    def test_odd(self) -> None:
        """An odd byte counts as the first of a word."""
        self.assertEqual(checksum(b"\x01"), checksum(b"\x01\x00"))
