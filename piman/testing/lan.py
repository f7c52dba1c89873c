# -*- test-case-name: tests.scenario.test_boot -*-
"""
A local network in virtual time: virtual boards on one side, real services on the other, one Clock, no sockets.

Services get a :class:`piman.testing.virtual_host.VirtualHost` for their reactor; boards a
:class:`piman.testing.virtual_board.BoardNetwork` for their cable.  Whatever is sent arrives a little later, in order;
faults are for :class:`piman.simulator.wiring.faults.FaultyNetwork`.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.task import Clock

from piman.simulator.wiring.surroundings import Address
from piman.wire.dhcp import CLIENT_PORT

LATENCY_SECONDS = 0.0002
BROADCAST = "255.255.255.255"
UNBOUND = "0.0.0.0"

Receive = Callable[[bytes, Address], None]


class Listener(Protocol):
    """A DHCP client that has no address yet, or no other than its hardware address."""

    mac: bytes

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram for it."""


class VirtualLAN:
    """
    One segment.

    :ivar hosts: who runs services, by address.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._udp: dict[Address, Receive] = {}
        self.hosts: dict[str, object] = {}
        self._clients: list[Listener] = []

    def later(self, act: Callable[..., object], *arguments: object) -> None:
        """What travels arrives after a moment."""
        self.clock.callLater(LATENCY_SECONDS, act, *arguments)

    def bind(self, at: Address, receive: Receive) -> None:
        """
        Take a UDP port.

        :raises OSError: when it is taken.
        """
        if at in self._udp:
            raise OSError(98, "Address already in use")
        self._udp[at] = receive

    def unbind(self, at: Address) -> None:
        """Give a UDP port back."""
        self._udp.pop(at, None)

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Carry a datagram; nobody there is nobody's business."""
        self.later(self._arrive, data, source, destination)

    def _arrive(self, data: bytes, source: Address, destination: Address) -> None:
        host, port = destination
        if host == BROADCAST and port == CLIENT_PORT:
            for client in tuple(self._clients):
                client.receive(data, source)
        elif host == BROADCAST:
            for at, receive in tuple(self._udp.items()):
                if at[1] == port and at[0] != source[0]:
                    receive(data, source)
        elif destination in self._udp:
            self._udp[destination](data, source)

    def send_frame(self, mac: bytes, data: bytes, source: Address) -> None:
        """Carry a frame to the one board with this hardware address."""
        self.later(self._arrive_frame, mac, data, source)

    def _arrive_frame(self, mac: bytes, data: bytes, source: Address) -> None:
        for client in tuple(self._clients):
            if client.mac == mac:
                client.receive(data, source)

    def add_client(self, client: Listener) -> None:
        """A DHCP client listens."""
        self._clients.append(client)

    def remove_client(self, client: Listener) -> None:
        """A DHCP client listens no more."""
        if client in self._clients:
            self._clients.remove(client)
