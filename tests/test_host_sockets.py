"""
How UDP sockets are made.
"""

import errno
import os
import socket
import struct
from ipaddress import IPv4Address

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from piman.host.sockets import (
    IP_PKTINFO,
    SO_TIMESTAMPNS,
    Arrival,
    SocketSettings,
    arrival_of,
    open_socket,
    remedy,
    sending_from,
)


class ArrivalTests(SynchronousTestCase):
    """The control messages of ip(7) and socket(7), byte by byte."""

    def test_none(self) -> None:
        """Without any the given time stands and the rest is empty."""
        self.assertEqual(arrival_of([], 12.5), Arrival(12.5, 0, IPv4Address("0.0.0.0")))

    def test_packet_info(self) -> None:
        """``struct in_pktinfo``: the interface, our address there, the destination in the header."""
        info = struct.pack("=I", 7) + bytes([172, 30, 4, 1]) + bytes([255, 255, 255, 255])
        arrival = arrival_of([(socket.IPPROTO_IP, IP_PKTINFO, info)], 12.5)
        self.assertEqual(arrival, Arrival(12.5, 7, IPv4Address("172.30.4.1")))

    def test_timestamp(self) -> None:
        """``struct timespec``: seconds and nanoseconds in the machine's long."""
        stamp = struct.pack("@ll", 1_795_433_436, 443_487_000)
        arrival = arrival_of([(socket.SOL_SOCKET, SO_TIMESTAMPNS, stamp)], 12.5)
        self.assertApproximates(arrival.received, 1795433436.443487, 1e-6)
        self.assertTrue(arrival.is_stamped)

    def test_unknown(self) -> None:
        """A control message that we did not ask for is ignored."""
        self.assertEqual(arrival_of([(socket.SOL_SOCKET, 99, b"?")], 12.5), Arrival(12.5))

    def test_sending(self) -> None:
        """The way out uses the same struct, the destination left empty."""
        [(level, kind, data)] = sending_from(IPv4Address("172.30.4.1"), 7)
        self.assertEqual((level, kind), (socket.IPPROTO_IP, IP_PKTINFO))
        self.assertEqual(data, struct.pack("=I", 7) + bytes([172, 30, 4, 1]) + bytes(4))


class RemedyTests(SynchronousTestCase):
    """What the operator reads when a port cannot be had."""

    def test_each(self) -> None:
        """Each reason that we know names what to do, in one line; others are told as the system tells them."""
        expected = {
            errno.EADDRINUSE: "ss -ulpn 'sport = :67'",
            errno.EACCES: "CAP_NET_BIND_SERVICE",
            errno.EPERM: "CAP_NET_RAW",
            errno.EADDRNOTAVAIL: "ip addr",
            errno.ENODEV: "no network interface ens4; this host has lo",
            errno.ENOMEM: "Cannot allocate memory",
        }
        for code, part in expected.items():
            text = remedy(OSError(code, os.strerror(code)), 67, "ens4")
            self.assertIn(part, text)
            self.assertNotIn("\n", text)


class OpenTests(SynchronousTestCase):
    """The socket itself."""

    def open(self, **settings: object) -> socket.socket:
        """A socket on the loopback interface."""
        sock = open_socket(SocketSettings(**{"port": 0, "address": "127.0.0.1", **settings}))
        self.addCleanup(sock.close)
        return sock

    def test_options(self) -> None:
        """It does not block, is exclusive, and has the options that were asked for."""
        sock = self.open(packet_info=True, timestamps=True, broadcast=True)
        self.assertFalse(sock.getblocking())
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), 0)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST), 1)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, IP_PKTINFO), 1)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS), 1)

    def test_no_options(self) -> None:
        """What was not asked for is off."""
        sock = self.open()
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST), 0)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, IP_PKTINFO), 0)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS), 0)

    def test_receive_buffer(self) -> None:
        """The receive buffer grows with what is asked for, as far as the kernel lets it."""
        small = self.open(receive_buffer_bytes=8192).getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        large = self.open().getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.assertEqual(small, 2 * 8192)  # socket(7): the kernel doubles it
        self.assertGreater(large, small)

    def test_loopback_interface(self) -> None:
        """Binding to the loopback interface works, with the right to it or without."""
        self.assertGreater(self.open(interface="lo").getsockname()[1], 0)

    def test_no_such_interface(self) -> None:
        """A missing interface is told by name."""
        refusal = self.assertRaises(CannotListenError, self.open, interface="nonesuch0")
        self.assertIn("no network interface nonesuch0", str(refusal))

    def test_no_such_address(self) -> None:
        """An address of somebody else is told (192.0.2.0/24 is for documents, RFC 5737)."""
        refusal = self.assertRaises(CannotListenError, self.open, address="192.0.2.1")
        self.assertIn("192.0.2.1", str(refusal))
        self.assertIn("does not have that address", str(refusal))
