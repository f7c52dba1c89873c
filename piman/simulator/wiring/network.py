# -*- test-case-name: tests.test_simulator_wiring_network -*-
"""
Real sockets under virtual boards, without root: all of 127.0.0.0/8 is this host.

A board owns an address of 127.77.0.0/16.  It has no Ethernet, so its DHCP goes as through a relay (RFC 2131, 4.1)
at an address of its own, which wants the answers at the port that it sends from (RFC 8357).  What the board calls
port 67, 69, 3333 or 4444 is another one here.  One file descriptor for each open socket or stream, and a board
closes what it does not use.
"""

import socket
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.simulator.wiring.surroundings import (
    DHCP_PORT,
    Address,
    Closed,
    Datagram,
    Deliver,
    Opened,
    Received,
    Socket,
    Stream,
)
from piman.wire.dhcp import Message, Option, RelaySubOption, encode
from piman.wire.layout import MalformedDatagram

DATAGRAMS_PER_WAKE_UP = 16
DATAGRAM_BYTES = 2048
"""More than a boot loader ever asks for."""


def relayed(data: bytes, relay: IPv4Address) -> bytes:
    """A client's message as a relay passes it on: its own address, a hop more, option 82 with its source port."""
    message = Message.from_wire(data)
    information = encode(Option.RELAY_INFORMATION, {RelaySubOption.SOURCE_PORT: b""})
    options = {**message.options, Option.RELAY_INFORMATION: information}
    return attrs.evolve(message, giaddr=relay, hops=message.hops + 1, options=options).to_wire()


def unrelayed(data: bytes) -> bytes:
    """
    A server's answer as a relay passes it on: without option 82 (RFC 3046, 2.1).

    :raises MalformedDatagram: when it is no DHCP message.
    """
    message = Message.from_wire(data)
    options = {code: value for code, value in message.options.items() if code != Option.RELAY_INFORMATION}
    return attrs.evolve(message, options=options).to_wire()


@implementer(IReadDescriptor)
class LoopbackSocket:
    """One UDP socket."""

    def __init__(self, reactor: Any, at: Address, ports: Mapping[int, int], deliver: Deliver) -> None:
        self._reactor = reactor
        self._ports = ports
        self._deliver = deliver
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(at)
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """What log lines of it begin with."""
        return "virtual board"

    def doRead(self) -> None:
        """Deliver what has come."""
        for _ in range(DATAGRAMS_PER_WAKE_UP):
            try:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES)
            except OSError:
                return
            self._arrived(data, source)
            if self._socket.fileno() == -1:
                return

    def _arrived(self, data: bytes, source: Address) -> None:
        self._deliver(Datagram(data, source))

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; a full buffer loses it, as a cable would."""
        host, port = destination
        try:
            self._socket.sendto(data, (host, self._ports.get(port, port)))
        except OSError:
            return

    def close(self) -> None:
        """Close it."""
        if self._socket.fileno() != -1:
            self._reactor.removeReader(self)
            self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of every descriptor."""
        self.close()


class RelaySocket(LoopbackSocket):
    """A board's DHCP, as a relay at its own address passes it on."""

    def __init__(
        self, reactor: Any, relay: IPv4Address, server: IPv4Address, ports: Mapping[int, int], deliver: Deliver
    ) -> None:
        super().__init__(reactor, (str(relay), 0), ports, deliver)
        self._relay = relay
        self._server = server

    def send(self, data: bytes, destination: Address) -> None:
        """Pass a broadcast on to the server."""
        super().send(relayed(data, self._relay), (str(self._server), destination[1]))

    def _arrived(self, data: bytes, source: Address) -> None:
        try:
            message = unrelayed(data)
        except MalformedDatagram:
            return
        super()._arrived(message, (source[0], DHCP_PORT))


class LoopbackStream(Protocol):
    """One TCP connection."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver: Deliver | None = deliver
        self.connector: Any = None

    def connectionMade(self) -> None:
        """It is open."""
        self._say(Opened(self))

    def dataReceived(self, data: bytes) -> None:
        """Bytes."""
        self._say(Received(self, data))

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008
        """It is over."""
        self.fail(reason.getErrorMessage())

    def fail(self, reason: str) -> None:
        """It is over, or never came to be."""
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(Closed(self, reason))

    def _say(self, event: Opened | Received) -> None:
        if self._deliver is not None:
            self._deliver(event)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.transport is not None and self._deliver is not None:
            self.transport.write(data)

    def close(self) -> None:
        """End it: what was written is still sent."""
        if self._deliver is None:
            return
        self._deliver = None
        if self.transport is not None:
            self.transport.loseConnection()
        else:
            self.connector.stopConnecting()


    def vanish(self) -> None:
        """As little as this host's kernel lets us say: RST instead of FIN."""
        transport: Any = self.transport
        if self._deliver is not None and transport is not None:
            self._deliver = None
            transport.abortConnection()
        self.close()


class _StreamFactory(ClientFactory):
    noisy = False

    def __init__(self, stream: LoopbackStream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: Any) -> LoopbackStream:
        """The one stream."""
        return self._stream

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Nobody there."""
        self._stream.fail(reason.getErrorMessage())


class LoopbackNetwork:
    """
    The cable of one board.

    :param relay: the address at which its DHCP is relayed.
    :param server: whom the relay asks.
    :param ports: where the well-known ports really are.
    """

    def __init__(
        self, reactor: Any, *, relay: IPv4Address, server: IPv4Address, ports: Mapping[int, int]
    ) -> None:
        self._reactor = reactor
        self._relay = relay
        self._server = server
        self._ports = ports

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> Socket:
        """The relay's socket, with or without an address."""
        return RelaySocket(self._reactor, self._relay, self._server, self._ports, deliver)

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> Socket:
        """
        A socket of the board's own.

        :raises OSError: when another program has the port on all addresses.
        """
        return LoopbackSocket(self._reactor, (str(address), port), self._ports, deliver)

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> Stream:
        """Begin to connect."""
        stream = LoopbackStream(deliver)
        host, port = peer
        stream.connector = self._reactor.connectTCP(
            host, self._ports.get(port, port), _StreamFactory(stream), bindAddress=(str(address), 0)
        )
        return stream
