"""
The UDP transport: our socket, the plain way, and the fake of both.
"""

import errno
import select
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.host.sockets import SocketSettings, open_socket
from piman.host.transports import (
    DATAGRAMS_PER_WAKE_UP,
    FAILURES_LOGGED_PER_SECOND,
    QUEUED_DATAGRAMS,
    Address,
    IDatagramTransport,
    SocketTransport,
)
from piman.testing.udp import FakeDatagramTransport, MemoryDatagramReactor
from piman.udp import Arrival, UDPService, plain_requested, udp_service

LOOPBACK = IPv4Address("127.0.0.1")
SOMEBODY = ("127.0.0.9", 9)


class Trip(Exception):
    """The mistake of a protocol."""


class Echo(DatagramProtocol):
    """Keeps what comes and sends it back; trips over ``trip``."""

    noisy = False

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Address]] = []

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """Take one."""
        if data == b"trip":
            raise Trip
        self.received.append((data, address))
        self.transport.write(data, address)


class Recorder(DatagramProtocol):
    """Keeps what comes with its arrival."""

    noisy = False

    def __init__(self) -> None:
        self.arrivals: list[tuple[bytes, Address, Arrival]] = []

    def datagramArrived(self, data: bytes, address: Address, arrival: Arrival) -> None:
        """Take one."""
        self.arrivals.append((data, address, arrival))


def read_once(transport: SocketTransport) -> None:
    """Let the transport read when something is there; five seconds mean that nothing will be."""
    ready, _, _ = select.select([transport], [], [], 5)
    assert ready, "nothing arrived"
    transport.doRead()


class SocketCase(SynchronousTestCase):
    """A service with a socket of its own on the loopback interface, and a client of the kernel's."""

    def setUp(self) -> None:
        self.reactor = MemoryDatagramReactor()
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.client.settimeout(5)
        self.addCleanup(self.client.close)

    def serve(self, protocol: DatagramProtocol, **settings: Any) -> UDPService:
        """A started service."""
        settings = {"address": "127.0.0.1", "plain": False, **settings}
        service = udp_service(self.reactor, 0, protocol, **settings)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def send(self, service: UDPService, *datagrams: bytes) -> None:
        """From the client."""
        for data in datagrams:
            self.client.sendto(data, ("127.0.0.1", service.port_number))


class ReadTests(SocketCase):
    """From the socket to the protocol."""

    def test_echo(self) -> None:
        """A datagram reaches the protocol with its sender, and what it writes reaches that sender."""
        protocol = Echo()
        service = self.serve(protocol)
        self.send(service, b"hello")
        read_once(service.transport)
        self.assertEqual(protocol.received, [(b"hello", self.client.getsockname())])
        self.assertEqual(self.client.recvfrom(100), (b"hello", ("127.0.0.1", service.port_number)))
        self.assertEqual((service.transport.counters.received, service.transport.counters.sent), (1, 1))

    def test_drains(self) -> None:
        """One wake-up reads all that waits, empty and largest datagrams among it."""
        protocol = Echo()
        service = self.serve(protocol)
        self.send(service, b"a", b"", b"x" * 65_507, b"b")
        while len(protocol.received) < 4:
            read_once(service.transport)
        self.assertEqual([len(data) for data, _ in protocol.received], [1, 0, 65_507, 1])

    def test_bounded(self) -> None:
        """One wake-up reads at most 256 datagrams, so that timers have their turn."""
        service = self.serve(Echo())
        waiting = ScriptedSocket([b"x"] * 300)
        transport = SocketTransport(self.reactor, waiting, Echo(), SocketSettings(port=0))
        transport.start()
        transport.doRead()
        self.assertEqual(transport.counters.received, DATAGRAMS_PER_WAKE_UP)
        transport.doRead()
        self.assertEqual(transport.counters.received, 300)
        self.assertEqual(service.transport.counters.received, 0)

    def test_nothing_there(self) -> None:
        """A wake-up for nothing does nothing."""
        service = self.serve(Echo())
        service.transport.doRead()
        self.assertEqual(service.transport.counters.received, 0)

    def test_protocol_trips(self) -> None:
        """A datagram that trips the protocol is logged and counted, and the next one is delivered."""
        protocol = Echo()
        service = self.serve(protocol)
        self.send(service, b"trip", b"after")
        while service.transport.counters.received < 2:
            read_once(service.transport)
        self.assertEqual([data for data, _ in protocol.received], [b"after"])
        self.assertEqual(len(self.flushLoggedErrors(Trip)), 1)
        self.assertEqual(service.transport.counters.failed, 1)

    def test_trips_are_logged_within_bounds(self) -> None:
        """Of many such datagrams only some of each second are logged; all are counted."""
        transport = SocketTransport(self.reactor, ScriptedSocket([b"trip"] * 100), Echo(), SocketSettings(port=0))
        transport.start()
        transport.doRead()
        self.assertEqual(len(self.flushLoggedErrors(Trip)), FAILURES_LOGGED_PER_SECOND)
        self.assertEqual(transport.counters.failed, 100)
        self.reactor.advance(1)
        transport._socket.script.append(b"trip")
        transport.doRead()
        self.assertEqual(len(self.flushLoggedErrors(Trip)), 1)

    def test_receive_error(self) -> None:
        """An error of the socket (the interface went down) ends the wake-up, not the service."""
        protocol = Echo()
        script = [OSError(errno.ENETDOWN, "Network is down"), b"after"]
        transport = SocketTransport(self.reactor, ScriptedSocket(script), protocol, SocketSettings(port=0))
        transport.start()
        transport.doRead()
        transport.doRead()
        self.assertEqual([data for data, _ in protocol.received], [b"after"])

    def test_closed_by_the_protocol(self) -> None:
        """A protocol may stop its transport from within a datagram; nothing more is read."""

        class Once(Echo):
            def datagramReceived(self, data: bytes, address: Address) -> None:
                self.received.append((data, address))
                self.transport.stopListening()

        protocol = Once()
        service = self.serve(protocol)
        self.send(service, b"1", b"2")
        read_once(service.transport)
        self.assertEqual(len(protocol.received), 1)
        self.assertEqual(self.reactor.getReaders(), [])


class ArrivalTests(SocketCase):
    """What the kernel says beside a datagram."""

    def receive(self, **settings: Any) -> Arrival:
        """The arrival of one datagram."""
        protocol = Recorder()
        service = self.serve(protocol, **settings)
        self.send(service, b"hello")
        read_once(service.transport)
        [(data, address, arrival)] = protocol.arrivals
        self.assertEqual((data, address), (b"hello", self.client.getsockname()))
        return arrival

    def test_bare(self) -> None:
        """When nothing was asked for, the reactor's clock gives the time and the rest is empty."""
        self.reactor.advance(1000.5)
        self.assertEqual(self.receive(), Arrival(1000.5, 0, IPv4Address("0.0.0.0")))

    def test_packet_info(self) -> None:
        """The interface and the local address, also on a socket bound to all addresses."""
        arrival = self.receive(packet_info=True, address="0.0.0.0")
        self.assertEqual(arrival, Arrival(0.0, socket.if_nametoindex("lo"), LOOPBACK))

    def test_timestamp(self) -> None:
        """The kernel's receive time is its real-time clock's, between sending and reading."""
        before = clock_realtime()
        arrival = self.receive(timestamps=True)
        self.assertTrue(before - 0.001 <= arrival.received <= clock_realtime(), arrival)
        self.assertEqual(arrival.interface_index, 0)

    def test_both(self) -> None:
        """Both at once."""
        arrival = self.receive(timestamps=True, packet_info=True)
        self.assertEqual((arrival.interface_index, arrival.local_address), (socket.if_nametoindex("lo"), LOOPBACK))
        self.assertGreater(arrival.received, 1e9)


def clock_realtime() -> float:
    """The kernel's clock, the one thing here that cannot be given."""
    return time.clock_gettime(time.CLOCK_REALTIME)


class WriteTests(SocketCase):
    """From the protocol to the socket."""

    def test_write_from(self) -> None:
        """A datagram leaves from the address that the protocol chose, here one of the many of the loopback."""
        service = self.serve(Echo(), address="0.0.0.0")
        service.transport.write_from(b"hello", self.client.getsockname(), IPv4Address("127.5.6.7"))
        self.assertEqual(self.client.recvfrom(100), (b"hello", ("127.5.6.7", service.port_number)))

    def test_write_out_of_interface(self) -> None:
        """A datagram leaves through the interface that the protocol chose."""
        service = self.serve(Echo(), address="0.0.0.0")
        index = socket.if_nametoindex("lo")
        service.transport.write_from(b"hello", self.client.getsockname(), LOOPBACK, index)
        self.assertEqual(self.client.recvfrom(100), (b"hello", ("127.0.0.1", service.port_number)))
        service.transport.write_from(b"hello", self.client.getsockname(), LOOPBACK, 2**31 - 1)
        self.assertEqual(service.transport.counters.refused, 1)

    def test_broadcast(self) -> None:
        """Broadcasts are refused unless they were allowed."""
        for allowed, refused in ((False, 1), (True, 0)):
            service = self.serve(Echo(), broadcast=allowed)
            service.transport.write(b"all", ("127.255.255.255", 9))
            self.assertEqual(service.transport.counters.refused, refused)

    def scripted(self, *script: Any) -> SocketTransport:
        """A transport whose socket sends as scripted."""
        transport = SocketTransport(self.reactor, ScriptedSocket(sending=script), Echo(), SocketSettings(port=0))
        transport.start()
        return transport

    def test_buffer_full(self) -> None:
        """When the send buffer is full datagrams wait, and leave in order when it has room."""
        full = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        transport = self.scripted(None, full, full, None, None, None)
        for data in (b"1", b"2", b"3"):
            transport.write(data, SOMEBODY)
        self.assertEqual(transport._socket.sent, [(b"1", SOMEBODY)])
        self.assertEqual(self.reactor.getWriters(), [transport])
        transport.doWrite()  # woken in vain
        self.assertEqual(self.reactor.getWriters(), [transport])
        transport.doWrite()
        self.assertEqual([data for data, _ in transport._socket.sent], [b"1", b"2", b"3"])
        self.assertEqual(self.reactor.getWriters(), [])
        self.assertEqual(transport.counters.sent, 3)

    def test_queue_full(self) -> None:
        """No more than 1024 datagrams wait; the others are dropped and counted."""
        transport = self.scripted(BlockingIOError())
        for _ in range(QUEUED_DATAGRAMS + 5):
            transport.write(b"x", SOMEBODY)
        self.assertEqual(transport.counters.dropped, 5)
        transport.doWrite()
        self.assertEqual(transport.counters.sent, QUEUED_DATAGRAMS)

    def test_refused(self) -> None:
        """No route, a firewall, nobody there: counted, never raised, and the next datagram is sent."""
        codes = (errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENOBUFS)
        transport = self.scripted(*(OSError(code, "refused") for code in codes))
        for _ in (*codes, None):
            transport.write(b"x", SOMEBODY)
        self.assertEqual((transport.counters.refused, transport.counters.sent), (len(codes), 1))

    def test_too_long(self) -> None:
        """A datagram that cannot exist is our mistake and raises as Twisted's own transport does."""
        service = self.serve(Echo())
        self.assertRaises(MessageLengthError, service.transport.write, bytes(65_508), SOMEBODY)


class ScriptedSocket:
    """
    A socket that receives and sends as written down beforehand.

    :ivar script: what is received: bytes, or an exception that is raised.
    :ivar sent: what was sent.
    """

    def __init__(self, script: list[Any] | None = None, sending: tuple[Any, ...] = ()) -> None:
        self.script = list(script or [])
        self.sent: list[tuple[bytes, Address]] = []
        self._sending = list(sending)
        self._closed = False

    def recvfrom_into(self, buffer: memoryview) -> tuple[int, Address]:
        """The next of the script."""
        if not self.script:
            raise BlockingIOError
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        buffer[: len(item)] = item
        return len(item), SOMEBODY

    def sendto(self, data: bytes, address: Address) -> None:
        """Raise the next of the script, or send."""
        refusal = self._sending.pop(0) if self._sending else None
        if refusal:
            raise refusal
        self.sent.append((data, address))

    def fileno(self) -> int:
        """A number while it is open."""
        return -1 if self._closed else 1000

    def close(self) -> None:
        """Note it."""
        self._closed = True


class ServiceTests(SocketCase):
    """Binding and stopping."""

    def test_provides(self) -> None:
        """It is a service with a port number, known once it is bound."""
        service = udp_service(self.reactor, 0, Echo(), address="127.0.0.1", plain=False)
        verifyObject(IService, service)
        self.assertEqual(service.port_number, 0)
        service.privilegedStartService()
        self.addCleanup(service.stopService)
        self.assertGreater(service.port_number, 0)

    def test_protocol_starts_later(self) -> None:
        """While privileged only the port is bound; the protocol and the reactor learn of it in startService."""
        protocol = Echo()
        service = udp_service(self.reactor, 0, protocol, address="127.0.0.1", plain=False)
        service.privilegedStartService()
        self.addCleanup(service.stopService)
        self.assertEqual((protocol.transport, self.reactor.getReaders()), (None, []))
        service.startService()
        self.assertEqual((protocol.transport, self.reactor.getReaders()), (service.transport, [service.transport]))

    def test_stop(self) -> None:
        """Stopping leaves no descriptor with the reactor, tells the protocol, and frees the port at once."""
        protocol = Echo()
        service = self.serve(protocol)
        port, transport = service.port_number, service.transport
        service.stopService()
        self.assertEqual((self.reactor.getReaders(), self.reactor.getWriters()), ([], []))
        self.assertIsNone(protocol.transport)
        self.assertEqual(transport.fileno(), -1)
        transport.stopListening()
        open_socket(SocketSettings(port=port, address="127.0.0.1")).close()

    def test_again(self) -> None:
        """A stopped service starts again."""
        protocol = Echo()
        service = self.serve(protocol)
        service.stopService()
        service.startService()
        self.send(service, b"again")
        read_once(service.transport)
        self.assertEqual(len(protocol.received), 1)

    def test_reactor_lets_go(self) -> None:
        """When the reactor drops its descriptors the socket is closed."""
        service = self.serve(Echo())
        transport = service.transport
        transport.connectionLost(Failure(Trip()))
        self.assertEqual(transport.fileno(), -1)

    def test_never_started(self) -> None:
        """A service that was bound and never started closes its socket, and the protocol hears nothing of it."""
        protocol = Echo()
        service = udp_service(self.reactor, 0, protocol, address="127.0.0.1", plain=False)
        service.privilegedStartService()
        transport = service.transport
        service.stopService()
        self.assertEqual((transport.fileno(), protocol.numPorts), (-1, 0))

    def test_taken(self) -> None:
        """A taken port is one line that names it and says how to find the owner."""
        owner = self.serve(Echo())
        rival = udp_service(self.reactor, owner.port_number, Echo(), address="127.0.0.1", plain=False)
        refusal = self.assertRaises(CannotListenError, rival.privilegedStartService)
        self.assertIn(f"127.0.0.1:{owner.port_number}", str(refusal))
        self.assertIn(f"ss -ulpn 'sport = :{owner.port_number}'", str(refusal))
        self.assertNotIn("\n", str(refusal))

    def test_environment(self) -> None:
        """PIMAN_PLAIN asks for the plain way unless it is empty or 0."""
        wanted = [plain_requested(environment) for environment in ({}, {"PIMAN_PLAIN": "0"}, {"PIMAN_PLAIN": "1"})]
        self.assertEqual(wanted, [False, False, True])


class PlainTests(SynchronousTestCase):
    """The same protocols on ``reactor.listenUDP``."""

    def setUp(self) -> None:
        self.reactor = MemoryDatagramReactor()

    def serve(self, protocol: DatagramProtocol, **settings: Any) -> UDPService:
        """A started service."""
        service = udp_service(self.reactor, 69, protocol, plain=True, **settings)
        service.privilegedStartService()
        service.startService()
        return service

    def test_echo(self) -> None:
        """A datagram reaches the protocol, and what it writes is written."""
        protocol = Echo()
        service = self.serve(protocol, address="127.0.0.1", broadcast=True)
        [port] = self.reactor.ports
        port.protocol.datagramReceived(b"hello", SOMEBODY)
        self.assertEqual(protocol.received, [(b"hello", SOMEBODY)])
        self.assertEqual(port.written, [(b"hello", SOMEBODY)])
        self.assertEqual((service.port_number, port.getHost().host, port.broadcast), (69, "127.0.0.1", True))

    def test_arrival(self) -> None:
        """An arrival holds the reactor's time."""
        protocol = Recorder()
        self.serve(protocol, packet_info=True, timestamps=True)
        self.reactor.advance(5)
        self.reactor.ports[0].protocol.datagramReceived(b"hello", SOMEBODY)
        self.assertEqual(protocol.arrivals, [(b"hello", SOMEBODY, Arrival(5.0))])

    def test_not_started(self) -> None:
        """What comes between binding and starting is dropped."""
        protocol = Echo()
        service = udp_service(self.reactor, 69, protocol, plain=True)
        service.privilegedStartService()
        self.reactor.ports[0].protocol.datagramReceived(b"early", SOMEBODY)
        self.assertEqual(protocol.received, [])

    def test_protocol_trips(self) -> None:
        """A mistake of the protocol is logged and counted."""
        service = self.serve(Echo())
        self.reactor.ports[0].protocol.datagramReceived(b"trip", SOMEBODY)
        self.assertEqual(len(self.flushLoggedErrors(Trip)), 1)
        self.assertEqual(service.transport.counters.failed, 1)

    def test_refused(self) -> None:
        """A refusal of the kernel is counted; only a datagram that cannot exist raises."""
        service = self.serve(Echo())
        self.reactor.ports[0].refusal = OSError(errno.ENETUNREACH, "Network is unreachable")
        service.transport.write(b"x", SOMEBODY)
        service.transport.write_from(b"x", SOMEBODY, LOOPBACK)
        self.assertEqual(service.transport.counters.refused, 2)
        self.reactor.ports[0].refusal = OSError(errno.EMSGSIZE, "Message too long")
        self.assertRaises(MessageLengthError, service.transport.write, b"x", SOMEBODY)

    def test_stop(self) -> None:
        """Stopping closes the port and tells the protocol."""
        protocol = Echo()
        service = self.serve(protocol)
        self.successResultOf(service.stopService())
        self.assertFalse(self.reactor.ports[0].listening)
        self.assertIsNone(protocol.transport)

    def test_taken(self) -> None:
        """A taken port gives the same line as with a socket of our own."""
        self.serve(Echo())
        rival = udp_service(self.reactor, 69, Echo(), plain=True)
        self.assertIn("another program", str(self.assertRaises(CannotListenError, rival.privilegedStartService)))


class TransportContract:
    """What every transport promises to a protocol; mixed into the tests of each."""

    transport: Any
    closed: Callable[[], bool]

    def test_provides(self) -> None:
        """It has what the interface asks."""
        verifyObject(IDatagramTransport, self.transport)

    def test_writes(self) -> None:
        """Both ways of writing count as sent and return nothing."""
        self.assertIsNone(self.transport.write(b"1", SOMEBODY))
        self.assertIsNone(self.transport.write_from(b"2", SOMEBODY, LOOPBACK))
        self.assertIsNone(self.transport.write_from(b"3", SOMEBODY, LOOPBACK, 1))
        self.assertEqual(self.transport.counters.sent, 3)

    def test_host(self) -> None:
        """It knows where it is bound."""
        host = self.transport.getHost()
        self.assertEqual((host.type, host.host), ("UDP", "127.0.0.1"))
        self.assertGreater(host.port, 0)

    def test_stops(self) -> None:
        """It stops, and stopping twice is harmless."""
        self.assertFalse(self.closed())
        for _ in range(2):
            stopped = self.transport.stopListening()
            if isinstance(stopped, Deferred):
                self.successResultOf(stopped)
            self.assertTrue(self.closed())


class SocketTransportTests(TransportContract, SynchronousTestCase):
    """Our own socket keeps the promises."""

    def setUp(self) -> None:
        service = udp_service(MemoryDatagramReactor(), 0, Echo(), address="127.0.0.1", plain=False)
        service.startService()
        self.addCleanup(service.stopService)
        self.transport = service.transport

    def closed(self) -> bool:
        """Whether the socket is."""
        return self.transport.fileno() == -1


class ReactorTransportTests(TransportContract, SynchronousTestCase):
    """The plain way keeps the promises."""

    def setUp(self) -> None:
        reactor = MemoryDatagramReactor()
        service = udp_service(reactor, 0, Echo(), address="127.0.0.1", plain=True)
        service.startService()
        self.transport = service.transport
        [self.port] = reactor.ports

    def closed(self) -> bool:
        """Whether the port is."""
        return not self.port.listening


class FakeTransportTests(TransportContract, SynchronousTestCase):
    """The fake keeps the promises, and tells what was written."""

    def setUp(self) -> None:
        self.transport = FakeDatagramTransport()

    def closed(self) -> bool:
        """Whether it was stopped."""
        return not self.transport.listening

    def test_kept(self) -> None:
        """Each datagram is kept with its address, source and interface."""
        self.transport.write(b"1", SOMEBODY)
        self.transport.write_from(b"2", SOMEBODY, LOOPBACK, 3)
        self.assertEqual(self.transport.written, [(b"1", SOMEBODY), (b"2", SOMEBODY)])
        self.assertEqual((self.transport.sources, self.transport.interfaces), ([None, LOOPBACK], [0, 3]))


class MemoryReactorTests(SynchronousTestCase):
    """The fake reactor behaves as the real one where we rely on it."""

    def test_descriptors(self) -> None:
        """A descriptor is added once, removed harmlessly, and all can be removed."""
        reactor = MemoryDatagramReactor()
        descriptor = object()
        reactor.addReader(descriptor)
        reactor.addReader(descriptor)
        reactor.addWriter(descriptor)
        self.assertEqual((reactor.getReaders(), reactor.getWriters()), ([descriptor], [descriptor]))
        reactor.removeWriter(descriptor)
        reactor.removeWriter(descriptor)
        self.assertEqual(reactor.removeAll(), [descriptor])
        self.assertEqual(reactor.getReaders(), [])

    def test_ports(self) -> None:
        """Port 0 becomes a free one; a port is free again when it is stopped."""
        reactor = MemoryDatagramReactor()
        first = reactor.listenUDP(0, Echo())
        second = reactor.listenUDP(0, Echo())
        self.assertNotEqual(first.getHost().port, second.getHost().port)
        taken = first.getHost().port
        self.assertRaises(CannotListenError, reactor.listenUDP, taken, Echo())
        self.successResultOf(first.stopListening())
        self.assertEqual(reactor.listenUDP(taken, Echo()).getHost().port, taken)
