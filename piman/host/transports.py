# -*- test-case-name: tests.test_udp -*-
"""
The two transports under datagram protocols: a socket of our own, and ``reactor.listenUDP``.

Nothing that the network does raises into a protocol, and nothing that a protocol raises stops the loop.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.address import IPv4Address as HostAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.protocol import AbstractDatagramProtocol, DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from piman.host.sockets import ANCILLARY_BYTES, Arrival, SocketSettings, arrival_of, remedy, sending_from

Address = tuple[str, int]
"""A dotted-decimal address and a port; never a name, which the kernel's resolver would block on."""

DATAGRAMS_PER_WAKE_UP = 256
"""Then timers and other sockets have their turn."""

QUEUED_DATAGRAMS = 1024
"""How many wait for a full send buffer; more are dropped, as the network would."""

FAILURES_LOGGED_PER_SECOND = 10
"""Tracebacks are slow: a datagram that always trips our bug must not slow the others."""

LARGEST_DATAGRAM_BYTES = 65_535


@attrs.define
class Counters:
    """What a transport did."""

    received: int = 0
    sent: int = 0
    dropped: int = 0
    """Not sent: the send buffer and the queue were full."""
    refused: int = 0
    """Not sent: the kernel refused (no route, firewall, nobody there)."""
    failed: int = 0
    """Received, but the protocol raised: our bug."""


class IDatagramTransport(Interface):
    """What a datagram protocol finds in its ``transport``."""

    counters = Attribute("The :class:`Counters` so far.")

    def write(data: bytes, address: Address) -> None:
        """
        Send one datagram, or drop it and count that.

        :raises MessageLengthError: when no datagram can be that long; nothing else is raised.
        """

    def write_from(data: bytes, address: Address, source: IPv4Address, interface_index: int = 0) -> None:
        """Like :meth:`write`, from this local address and, unless 0, out of this interface."""

    def getHost() -> HostAddress:
        """The bound address and port."""

    def stopListening() -> "Deferred[None] | None":
        """Close the socket; harmless twice."""


# The transports


class _Transport:
    """What both transports share: whom they serve, what they count, how they log."""

    _log = Logger()

    def __init__(self, clock: Any, protocol: AbstractDatagramProtocol) -> None:
        self.counters = Counters()
        self._clock = clock
        self._protocol = protocol
        self._started = False
        self._logged_in = 0
        self._logged = 0

    def _connect(self) -> None:
        self._started = True
        self._protocol.makeConnection(self)  # type: ignore[arg-type]  # the part of IUDPTransport that servers use

    def _disconnect(self) -> None:
        if self._started:
            self._started = False
            self._protocol.doStop()

    def _refused(self, reason: OSError, address: Address) -> None:
        """Note that the kernel did not take a datagram."""
        if reason.errno == errno.EMSGSIZE:
            raise MessageLengthError("message too long")
        self.counters.refused += 1
        self._log.debug("not sent to {address}: {reason}", address=address, reason=reason)

    def _failed(self, address: Address) -> None:
        """Note that the protocol raised."""
        self.counters.failed += 1
        second = int(self._clock.seconds())
        if second != self._logged_in:
            self._logged_in, self._logged = second, 0
        if self._logged < FAILURES_LOGGED_PER_SECOND:
            self._logged += 1
            self._log.failure("a datagram from {address} met a mistake of ours", address=address)


@implementer(IDatagramTransport, IReadWriteDescriptor)
class SocketTransport(_Transport):
    """Reads and writes a socket of its own."""

    def __init__(
        self, reactor: Any, sock: socket.socket, protocol: AbstractDatagramProtocol, settings: SocketSettings
    ) -> None:
        super().__init__(reactor, protocol)
        self._reactor = reactor
        self._socket = sock
        self._buffer = memoryview(bytearray(LARGEST_DATAGRAM_BYTES))
        self._waiting: deque[tuple[bytes, Address, Any]] = deque()
        arrived = getattr(protocol, "datagramArrived", None)
        self._deliver: Callable[..., None] = arrived or protocol.datagramReceived
        self._receive: Callable[[], tuple[Any, ...]] = self._receive_bare
        if arrived and (settings.packet_info or settings.timestamps):
            self._receive = self._receive_all
        elif arrived:
            self._receive = self._receive_timed

    def start(self) -> None:
        """Begin to serve."""
        self._connect()
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """What log lines of this transport begin with."""
        return f"{type(self._protocol).__name__} (UDP)"

    def _receive_bare(self) -> tuple[bytes, Address]:
        count, address = self._socket.recvfrom_into(self._buffer)
        return bytes(self._buffer[:count]), address

    def _receive_timed(self) -> tuple[bytes, Address, Arrival]:
        return *self._receive_bare(), Arrival(self._clock.seconds())

    def _receive_all(self) -> tuple[bytes, Address, Arrival]:
        count, ancillary, _, address = self._socket.recvmsg_into([self._buffer], ANCILLARY_BYTES)
        return bytes(self._buffer[:count]), address, arrival_of(ancillary, self._clock.seconds())

    def doRead(self) -> None:
        """Deliver what waits, a bounded number of datagrams."""
        for _ in range(DATAGRAMS_PER_WAKE_UP):
            if not self._started:  # the protocol closed us
                return
            try:
                datagram = self._receive()
            except BlockingIOError:
                return
            except OSError as reason:  # the interface went away, or an ICMP error of an earlier send
                self._log.debug("nothing received: {reason}", reason=reason)
                return
            self.counters.received += 1
            try:
                self._deliver(*datagram)
            except Exception:
                self._failed(datagram[1])

    def write(self, data: bytes, address: Address) -> None:
        """Send one datagram, or drop it and count that."""
        self._send(data, address, ())

    def write_from(self, data: bytes, address: Address, source: IPv4Address, interface_index: int = 0) -> None:
        """Send one datagram from this local address and, unless 0, out of this interface."""
        self._send(data, address, sending_from(source, interface_index))

    def _send(self, data: bytes, address: Address, ancillary: Any) -> None:
        """Send now, or after those that wait already."""
        if self._waiting or not self._try(data, address, ancillary):
            self._enqueue(data, address, ancillary)

    def _try(self, data: bytes, address: Address, ancillary: Any) -> bool:
        """Offer one datagram to the kernel; whether the matter is closed."""
        try:
            if ancillary:
                self._socket.sendmsg((data,), ancillary, 0, address)
            else:
                self._socket.sendto(data, address)
        except BlockingIOError:
            return False
        except OSError as reason:
            self._refused(reason, address)
        else:
            self.counters.sent += 1
        return True

    def _enqueue(self, data: bytes, address: Address, ancillary: Any) -> None:
        if len(self._waiting) >= QUEUED_DATAGRAMS:
            self.counters.dropped += 1
            return
        self._waiting.append((data, address, ancillary))
        self._reactor.addWriter(self)

    def doWrite(self) -> None:
        """The send buffer has room again."""
        while self._waiting and self._try(*self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting:
            self._reactor.removeWriter(self)

    def getHost(self) -> HostAddress:
        """The bound address and port."""
        return HostAddress("UDP", *self._socket.getsockname())

    def stopListening(self) -> None:
        """Close the socket."""
        if self._socket.fileno() == -1:
            return
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._waiting.clear()
        self._socket.close()
        self._disconnect()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of every descriptor."""
        self.stopListening()


@implementer(IDatagramTransport)
class ReactorTransport(_Transport, DatagramProtocol):
    """The plain way: a protocol of ``reactor.listenUDP`` that is the transport of ours."""

    noisy = False

    def __init__(self, clock: Any, protocol: AbstractDatagramProtocol) -> None:
        super().__init__(clock, protocol)
        self._arrived = getattr(protocol, "datagramArrived", None)

    def listen(self, reactor: Any, settings: SocketSettings) -> None:
        """
        Bind.

        :raises CannotListenError: with the remedy in its text.
        """
        try:
            self._port = reactor.listenUDP(settings.port, self, settings.address, LARGEST_DATAGRAM_BYTES)
        except CannotListenError as refusal:
            text = remedy(refusal.socketError, settings.port, settings.interface)
            raise CannotListenError(settings.address, settings.port, text) from refusal
        self._port.setBroadcastAllowed(settings.broadcast)

    def start(self) -> None:
        """Begin to serve."""
        self._connect()

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """Hand it on."""
        if not self._started:
            return
        self.counters.received += 1
        try:
            if self._arrived:
                self._arrived(data, address, Arrival(self._clock.seconds()))
            else:
                self._protocol.datagramReceived(data, address)
        except Exception:
            self._failed(address)

    def write(self, data: bytes, address: Address) -> None:
        """Send one datagram, or drop it and count that."""
        try:
            self._port.write(data, address)
        except OSError as reason:
            self._refused(reason, address)
        else:
            self.counters.sent += 1

    def write_from(self, data: bytes, address: Address, source: IPv4Address, interface_index: int = 0) -> None:
        """Send one datagram; the kernel chooses source and interface, Twisted has no say in it."""
        self.write(data, address)

    def getHost(self) -> HostAddress:
        """The bound address and port."""
        host: HostAddress = self._port.getHost()
        return host

    def stopListening(self) -> "Deferred[None]":
        """Close the socket."""
        self._disconnect()
        return maybeDeferred(self._port.stopListening)
