# -*- test-case-name: tests.scenario.test_boot -*-
"""
The cable of one virtual board on the virtual LAN.
"""

from ipaddress import IPv4Address

from twisted.internet.address import IPv4Address as HostAddress

from piman.simulator.wiring.surroundings import Address, Closed, Datagram, Deliver, Opened, Received, Socket, Stream
from piman.testing.lan import UNBOUND, VirtualLAN
from piman.testing.virtual_host import ServerTransport, VirtualHost
from piman.wire.dhcp import CLIENT_PORT


class BoardNetwork:
    """The cable of one board."""

    def __init__(self, lan: VirtualLAN, mac: bytes) -> None:
        self._lan = lan
        self._mac = mac

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> Socket:
        """A DHCP client's socket."""
        return _ClientSocket(self._lan, self._mac, deliver, address)

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> Socket:
        """A socket at this address and port."""
        return _BoardSocket(self._lan, (str(address), port), deliver)

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> Stream:
        """Begin to connect."""
        stream = BoardStream(self._lan, deliver)
        self._lan.later(stream.arrive, (str(address), 50_000), peer)
        return stream


class _BoardSocket:
    def __init__(self, lan: VirtualLAN, at: Address, deliver: Deliver) -> None:
        self._lan = lan
        self._at = at
        self._deliver = deliver
        lan.bind(at, self.receive)

    def receive(self, data: bytes, source: Address) -> None:
        self._deliver(Datagram(data, source))

    def send(self, data: bytes, destination: Address) -> None:
        self._lan.send(data, self._at, destination)

    def close(self) -> None:
        self._lan.unbind(self._at)


class _ClientSocket:
    def __init__(self, lan: VirtualLAN, mac: bytes, deliver: Deliver, address: IPv4Address | None) -> None:
        self.mac = mac
        self._lan = lan
        self._deliver = deliver
        self._at = (str(address or UNBOUND), CLIENT_PORT)
        lan.add_client(self)
        if address is not None:
            lan.bind(self._at, self.receive)

    def receive(self, data: bytes, source: Address) -> None:
        self._deliver(Datagram(data, source))

    def send(self, data: bytes, destination: Address) -> None:
        self._lan.send(data, self._at, destination)

    def close(self) -> None:
        self._lan.remove_client(self)
        if self._at[0] != UNBOUND:
            self._lan.unbind(self._at)


class BoardStream:
    """
    The board's end of a TCP connection.

    :ivar has_power: a board without power acknowledges nothing, and its peer is not told.
    """

    def __init__(self, lan: VirtualLAN, deliver: Deliver) -> None:
        self.has_power = True
        self._lan = lan
        self._deliver: Deliver | None = deliver
        self._server: ServerTransport | None = None

    def arrive(self, here: Address, there: Address) -> None:
        """The connection reaches the service, or nobody."""
        if self._deliver is None:
            return
        host = self._lan.hosts.get(there[0])
        factory = host.factories.get(there[1]) if isinstance(host, VirtualHost) else None
        protocol = factory.buildProtocol(HostAddress("TCP", *here)) if factory is not None else None
        if protocol is None or not isinstance(host, VirtualHost):
            self.ended("refused")
            return
        self._server = ServerTransport(host, self, there, here)
        self._server.protocol = protocol
        self._say(Opened(self))
        protocol.makeConnection(self._server)

    def receive(self, data: bytes) -> None:
        """Bytes of the service."""
        self._say(Received(self, data))

    def ended(self, reason: str) -> None:
        """The service ended it."""
        self._say(Closed(self, reason))
        self._deliver = None

    def _say(self, event: Opened | Received | Closed) -> None:
        if self._deliver is not None:
            self._deliver(event)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._server is not None and self._deliver is not None:
            self._lan.later(self._server.received, data)

    def close(self) -> None:
        """End it."""
        if self._deliver is not None and self._server is not None:
            self._lan.later(self._server.closed_by_peer)
        self._deliver = None

    def vanish(self) -> None:
        """The power went."""
        self._deliver = None
        self.has_power = False
