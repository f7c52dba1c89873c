"""
Frames of our own making and packet info, on a real Ethernet between network namespaces.
"""

import select
import socket
from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress
from piman.host.arp import ARPProber, ARPSocket
from piman.host.neighbours import KernelNeighbours, LinkLayerSender, mtu_of
from piman.host.sockets import SocketSettings, open_socket
from piman.testing.udp import MemoryDatagramReactor
from piman.udp import udp_service
from tests.system.namespaces import Lab, unavailable
from tests.test_udp import Recorder, read_once


class FrameTests(SynchronousTestCase):
    """From the manager to a board that may not even have an address."""

    skip = unavailable()

    def setUp(self) -> None:
        self.lab = Lab(clients=1)
        self.addCleanup(self.lab.close)
        [self.client] = self.lab.clients
        with self.lab.manager.entered():
            self.sender = LinkLayerSender(self.lab.manager.interface)
            self.sender.open()
        self.addCleanup(self.sender.close)

    def receiver(self) -> socket.socket:
        """The client's DHCP port, with the kernel checking lengths and sums."""
        with self.client.entered():
            sock = open_socket(SocketSettings(port=68))
        sock.settimeout(5)
        self.addCleanup(sock.close)
        return sock

    def test_received(self) -> None:
        """The client's kernel takes the frame: addresses, lengths and both checksums are right."""
        receiver = self.receiver()
        mac = MACAddress.parse(self.client.mac).octets
        for payload in (b"", b"odd", b"even", bytes(range(256)) * 5):
            sent = self.sender.send_udp(mac, ("172.30.4.1", 67), (str(self.client.address), 68), payload)
            self.assertTrue(sent)
            self.assertEqual(receiver.recvfrom(2000), (payload, ("172.30.4.1", 67)))
        self.assertEqual(self.sender.sent, 4)

    def test_one_board_only(self) -> None:
        """A frame to another board's address is not taken, though the IP address is this board's."""
        receiver = self.receiver()
        other, own = (MACAddress.parse(text).octets for text in ("b8:27:eb:00:00:99", self.client.mac))
        for mac, payload in ((other, b"not for you"), (own, b"for you")):
            self.sender.send_udp(mac, ("172.30.4.1", 67), (str(self.client.address), 68), payload)
        self.assertEqual(receiver.recvfrom(2000)[0], b"for you")

    def test_too_long(self) -> None:
        """A datagram that does not fit into one frame is dropped and counted."""
        with self.lab.manager.entered():
            room = mtu_of(self.lab.manager.interface) - 28
        mac = MACAddress.parse(self.client.mac).octets
        ends = ("172.30.4.1", 67), (str(self.client.address), 68)
        self.assertTrue(self.sender.send_udp(mac, *ends, bytes(room)))
        self.assertFalse(self.sender.send_udp(mac, *ends, bytes(room + 1)))
        self.assertEqual(self.sender.refused, 1)


class BroadcastTests(SynchronousTestCase):
    """A server on all addresses that serves one interface."""

    skip = unavailable()

    def setUp(self) -> None:
        self.lab = Lab(clients=1)
        self.addCleanup(self.lab.close)
        self.protocol = Recorder()
        self.service = udp_service(
            MemoryDatagramReactor(), 67, self.protocol, packet_info=True, broadcast=True, plain=False
        )
        with self.lab.manager.entered():
            self.service.privilegedStartService()
            self.index = socket.if_nametoindex(self.lab.manager.interface)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        with self.lab.clients[0].entered():
            self.client = open_socket(SocketSettings(port=68, broadcast=True))
        self.client.settimeout(5)
        self.addCleanup(self.client.close)

    def test_broadcast_arrives(self) -> None:
        """A broadcast comes with the interface and with our own address there, not with 255.255.255.255."""
        self.client.sendto(b"discover", ("172.30.4.255", 67))
        read_once(self.service.transport)
        [(data, address, arrival)] = self.protocol.arrivals
        self.assertEqual((data, address), (b"discover", ("172.30.4.101", 68)))
        self.assertEqual((arrival.interface_index, arrival.local_address), (self.index, IPv4Address("172.30.4.1")))

    def test_broadcast_leaves(self) -> None:
        """A broadcast to 255.255.255.255 without any route leaves by the interface named, from our address."""
        self.service.transport.write_from(b"offer", ("255.255.255.255", 68), IPv4Address("172.30.4.1"), self.index)
        self.assertEqual(self.client.recvfrom(100), (b"offer", ("172.30.4.1", 67)))

    def test_neighbours(self) -> None:
        """A client that was spoken to is in the kernel's table with its hardware address."""
        self.service.transport.write(b"hello", ("172.30.4.101", 68))
        self.client.recvfrom(100)
        with self.lab.manager.entered():
            found = KernelNeighbours(MemoryDatagramReactor()).mac_at(IPv4Address("172.30.4.101"))
        self.assertEqual(found, MACAddress.parse("b8:27:eb:00:00:01"))


class ARPTests(SynchronousTestCase):
    """Who has an address on this Ethernet?"""

    skip = unavailable()

    def setUp(self) -> None:
        self.lab = Lab(clients=1)
        self.addCleanup(self.lab.close)
        self.reactor = MemoryDatagramReactor()
        with self.lab.manager.entered():
            self.prober = ARPProber(self.reactor, ARPSocket(self.lab.manager.interface))
            self.prober.open()
        self.addCleanup(self.prober.close)

    def test_answer(self) -> None:
        """A kernel that has the address answers, and its hardware address is told."""
        answer = self.prober.ask(IPv4Address("172.30.4.101"))
        ready, _, _ = select.select([self.prober], [], [], 5)
        self.assertEqual(ready, [self.prober])
        self.prober.doRead()
        self.assertEqual(self.successResultOf(answer), MACAddress.parse(self.lab.clients[0].mac))

    def test_silence(self) -> None:
        """Where nobody lives nobody answers; the probes leave nothing in the other kernel's table."""
        answer = self.prober.ask(IPv4Address("172.30.4.102"))
        for _ in range(3):
            self.reactor.advance(1)
            self.prober.doRead()
        self.assertIs(self.successResultOf(answer), None)
        self.assertEqual(self.lab.clients[0].run("ip", "neighbour").stdout, "")

    def test_interface_down(self) -> None:
        """While the interface is down silence would prove nothing: the question fails."""
        self.lab.manager.ip("link", "set", self.lab.manager.interface, "down")
        self.failureResultOf(self.prober.ask(IPv4Address("172.30.4.101")), OSError)
