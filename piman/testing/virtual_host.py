# -*- test-case-name: tests.scenario.test_boot -*-
"""
A computer on the virtual LAN: a reactor for services, with UDP ports, TCP ports and the transports behind them.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Protocol

from twisted.internet.address import IPv4Address as HostAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.boot.streams import IFileTransport
from piman.simulator.wiring.surroundings import Address
from piman.testing.lan import LATENCY_SECONDS, VirtualLAN

FREE_PORTS = range(40_000, 50_000)


class Client(Protocol):
    """The other end of a TCP connection."""

    has_power: bool

    def receive(self, data: bytes) -> None:
        """Bytes of the service."""

    def ended(self, reason: str) -> None:
        """The service ended it."""


@implementer(IReactorTime, IReactorUDP, IReactorTCP)
class VirtualHost:
    """
    A computer on the LAN: the reactor of the services that run there.

    It takes the place of an older one with the same address.

    :param ahead: by how many seconds its clock was before the network's when it started.
    :ivar factories: what listens on TCP ports.
    """

    def __init__(self, lan: VirtualLAN, address: IPv4Address, *, ahead: float = 0.0) -> None:
        self.lan = lan
        self._ahead = ahead
        self.address = str(address)
        lan.hosts[self.address] = self
        self.factories: dict[int, Any] = {}
        self._calls: list[IDelayedCall] = []
        self._ports: list[_Port] = []
        self.connections: list[ServerTransport] = []

    def crash(self) -> None:
        """The process is gone in the middle of everything; its kernel closes what it had open."""
        for call in self._calls:
            if call.active():
                call.cancel()
        for port in tuple(self._ports):
            port.vanish()
        for connection in tuple(self.connections):
            connection.process_died()
        self.factories.clear()

    # IReactorTime

    def seconds(self) -> float:
        """The time: that of its clock at the start, and what has passed since."""
        return self.lan.clock.seconds() + self._ahead

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """Later."""
        call = self.lan.clock.callLater(delay, callable, *args, **kw)
        self._calls = [known for known in self._calls if known.active()] if len(self._calls) > 512 else self._calls
        self._calls.append(call)
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """What waits."""
        return [call for call in self._calls if call.active()]

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:
        """There is but one thread."""
        callable(*args)

    # IReactorUDP, IReactorTCP

    def listenUDP(
        self, port: int, protocol: AbstractDatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> "_Port":
        """A UDP port; 0 takes a free one."""
        listening = _Port(self, port, protocol)
        self._ports.append(listening)
        return listening

    def forget(self, port: "_Port") -> None:
        """A port was closed."""
        if port in self._ports:
            self._ports.remove(port)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> "_Listening":
        """A TCP port."""
        if port in self.factories:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.factories[port] = factory
        factory.doStart()
        return _Listening(self, port)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: tuple[str, int] | None = None
    ) -> Any:
        """Services call nobody here."""
        raise NotImplementedError("services call nobody on the virtual LAN")


@implementer(IListeningPort)
class _Port:
    """A service's UDP port."""

    def __init__(self, host: VirtualHost, port: int, protocol: AbstractDatagramProtocol) -> None:
        self._host = host
        self._protocol = protocol
        for number in (port,) if port else FREE_PORTS:
            self._at = host.address, number
            try:
                host.lan.bind(self._at, protocol.datagramReceived)
                break
            except OSError as reason:
                if port:
                    raise CannotListenError(host.address, port, reason) from reason
        protocol.makeConnection(self)  # type: ignore[arg-type]

    def startListening(self) -> None:
        """It listens already."""

    def write(self, data: bytes, address: Address) -> None:
        """Send one datagram."""
        self._host.lan.send(data, self._at, address)

    def setBroadcastAllowed(self, allowed: bool) -> None:
        """It is."""

    def getHost(self) -> HostAddress:
        """Where it listens."""
        return HostAddress("UDP", *self._at)

    def vanish(self) -> None:
        """Without a word to the protocol."""
        self._host.lan.unbind(self._at)
        self._host.forget(self)

    def stopListening(self) -> "Deferred[None]":
        """Close it."""
        self.vanish()
        self._protocol.doStop()
        return succeed(None)


@implementer(IListeningPort)
class _Listening:
    """A service's TCP port."""

    def __init__(self, host: VirtualHost, port: int) -> None:
        self._host = host
        self._port = port

    def startListening(self) -> None:
        """It listens already."""

    def getHost(self) -> HostAddress:
        """Where it listens."""
        return HostAddress("TCP", self._host.address, self._port)

    def stopListening(self) -> "Deferred[None]":
        """Close it."""
        factory = self._host.factories.pop(self._port, None)
        if factory is not None:
            factory.doStop()
        return succeed(None)


@implementer(IFileTransport)
class ServerTransport:
    """The service's end of a TCP connection."""

    def __init__(self, host: VirtualHost, client: Client, here: Address, there: Address) -> None:
        self.connected = True
        self.disconnecting = False
        self.protocol: Any = None
        self._host = host
        self._client = client
        self._here, self._there = here, there
        self._sent = 0
        host.connections.append(self)

    def getHost(self) -> HostAddress:
        """Our address."""
        return HostAddress("TCP", *self._here)

    def getPeer(self) -> HostAddress:
        """The board's address."""
        return HostAddress("TCP", *self._there)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.connected and not self.disconnecting:
            self._host.lan.later(self._client.receive, bytes(data))

    def writeSequence(self, data: Any) -> None:
        """Send bytes."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """End it after what was written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._host.lan.later(self._client.ended, "closed by the manager")
            self._host.callLater(LATENCY_SECONDS, self._over, ConnectionDone())

    loseWriteConnection = loseConnection

    def abortConnection(self) -> None:
        """End it at once."""
        if self.connected:
            self.disconnecting = True
            self._host.lan.later(self._client.ended, "reset by the manager")
            self._over(ConnectionAborted())

    def process_died(self) -> None:
        """The kernel closes what the process had open; the protocol learns nothing any more."""
        self._host.connections.remove(self)
        self.connected = False
        self._host.lan.later(self._client.ended, "reset by the manager's kernel")

    def received(self, data: bytes) -> None:
        """Bytes of the board."""
        if self.connected:
            self.protocol.dataReceived(data)

    def closed_by_peer(self) -> None:
        """The board ended it."""
        self._over(ConnectionDone())

    def _over(self, reason: Exception) -> None:
        if self.connected:
            self.connected = False
            self._host.connections.remove(self)
            self.protocol.connectionLost(Failure(reason))

    def send_file(self, descriptor: int, offset: int, count: int) -> "Deferred[None]":
        """Send these bytes of an open file."""
        if not self.connected:
            return fail(ConnectionLost("not connected"))
        data = os.pread(descriptor, count, offset)
        self._sent = len(data)
        self.write(data)
        return succeed(None)

    def acknowledged(self) -> "Deferred[None]":
        """Fires when the board has everything; never, when it lost its power."""
        done: Deferred[None] = Deferred()

        def look() -> None:
            if not self._client.has_power:
                return
            if self.connected:
                done.callback(None)
            else:
                done.errback(ConnectionLost())

        self._host.callLater(2 * LATENCY_SECONDS, look)
        return done

    def sent_bytes(self) -> int:
        """Bytes of the file that were sent."""
        return self._sent

    def progress_bytes(self) -> int:
        """Grows whenever the board takes something."""
        return self._sent

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """What is written is taken at once."""

    def unregisterProducer(self) -> None:
        """Nothing to undo."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """No such thing here."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """No such thing here."""

    def getTcpNoDelay(self) -> bool:
        """No such thing here."""
        return True

    def getTcpKeepAlive(self) -> bool:
        """No such thing here."""
        return False


class VirtualLink:
    """Frames from a host, as :class:`piman.udp.LinkLayerSender` sends them."""

    def __init__(self, lan: VirtualLAN) -> None:
        self._lan = lan

    def open(self) -> None:
        """It is open."""

    def close(self) -> None:
        """Nothing to close."""

    def send_udp(
        self,
        destination_mac: bytes,
        source: tuple[str | IPv4Address, int],
        destination: tuple[str | IPv4Address, int],
        payload: bytes,
    ) -> bool:
        """Send one datagram to the board with this hardware address."""
        self._lan.send_frame(destination_mac, payload, (str(source[0]), source[1]))
        return True
