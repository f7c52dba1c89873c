# -*- test-case-name: tests.test_udp -*-
"""
Stand-ins for sockets and the reactor under datagram protocols.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet.address import IPv4Address as HostAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFDSet,
    IReactorTime,
    IReactorUDP,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.internet.task import Clock
from zope.interface import implementer

from piman.udp import Address, Counters, IDatagramTransport


@implementer(IDatagramTransport)
class FakeDatagramTransport:
    """
    Keeps what was written.

    :ivar written: ``(data, address)`` of each datagram, in order.
    :ivar sources: the source address of each, None where :meth:`write` was used.
    :ivar interfaces: the interface index of each, 0 where none was named.
    :ivar listening: until :meth:`stopListening`.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 10_000) -> None:
        self.written: list[tuple[bytes, Address]] = []
        self.sources: list[IPv4Address | None] = []
        self.interfaces: list[int] = []
        self.listening = True
        self.counters = Counters()
        self._host = HostAddress("UDP", host, port)

    def _keep(self, data: bytes, address: Address, source: IPv4Address | None, interface_index: int) -> None:
        self.written.append((data, address))
        self.sources.append(source)
        self.interfaces.append(interface_index)
        self.counters.sent += 1

    def write(self, data: bytes, address: Address) -> None:
        """Keep one datagram."""
        self._keep(data, address, None, 0)

    def write_from(self, data: bytes, address: Address, source: IPv4Address, interface_index: int = 0) -> None:
        """Keep one datagram with its source."""
        self._keep(data, address, source, interface_index)

    def getHost(self) -> HostAddress:
        """The address and port it was given."""
        return self._host

    def stopListening(self) -> None:
        """Note it."""
        self.listening = False


@implementer(IListeningPort)
class MemoryPort:
    """
    A port of :class:`MemoryDatagramReactor`.

    :ivar written: ``(data, address)`` of each datagram, in order.
    :ivar refusal: what :meth:`write` raises from now on.
    """

    def __init__(self, port: int, protocol: AbstractDatagramProtocol, interface: str) -> None:
        self.protocol = protocol
        self.listening = False
        self.broadcast = False
        self.refusal: OSError | None = None
        self.written: list[tuple[bytes, Address]] = []
        self._host = HostAddress("UDP", interface or "0.0.0.0", port)

    def startListening(self) -> None:
        """Connect the protocol."""
        self.listening = True
        self.protocol.makeConnection(self)  # type: ignore[arg-type]

    def stopListening(self) -> "Deferred[None]":
        """Disconnect the protocol."""
        if self.listening:
            self.listening = False
            self.protocol.doStop()
        return succeed(None)

    def write(self, data: bytes, address: Address) -> None:
        """Keep one datagram, or raise :attr:`refusal`."""
        if self.refusal:
            raise self.refusal
        self.written.append((data, address))

    def setBroadcastAllowed(self, allowed: bool) -> None:
        """Note it."""
        self.broadcast = allowed

    def getHost(self) -> HostAddress:
        """Where it listens."""
        return self._host


@implementer(IReactorFDSet, IReactorTime, IReactorUDP)
class MemoryDatagramReactor(Clock):
    """
    A clock that also keeps descriptors and UDP ports; nothing is read until a test says so.

    :ivar ports: the ports of ``listenUDP``, stopped ones too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.ports: list[MemoryPort] = []
        self._readers: list[IReadDescriptor] = []
        self._writers: list[IWriteDescriptor] = []

    def listenUDP(
        self, port: int, protocol: AbstractDatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        """A :class:`MemoryPort`; port 0 becomes 49152 and up."""
        number = port or 49_152 + len(self.ports)
        if any(taken.listening and taken.getHost().port == number for taken in self.ports):
            raise CannotListenError(interface, number, OSError(98, "Address already in use"))
        listening = MemoryPort(number, protocol, interface)
        self.ports.append(listening)
        listening.startListening()
        return listening

    def addReader(self, reader: IReadDescriptor) -> None:
        """Keep it, once."""
        if reader not in self._readers:
            self._readers.append(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Keep it, once."""
        if writer not in self._writers:
            self._writers.append(writer)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Forget it, if it is here."""
        if reader in self._readers:
            self._readers.remove(reader)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Forget it, if it is here."""
        if writer in self._writers:
            self._writers.remove(writer)

    def removeAll(self) -> "list[Any]":
        """Forget all."""
        removed: set[Any] = {*self._readers, *self._writers}
        self._readers.clear()
        self._writers.clear()
        return list(removed)

    def getReaders(self) -> list[IReadDescriptor]:
        """Who reads."""
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        """Who waits to write."""
        return list(self._writers)
