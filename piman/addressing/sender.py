# -*- test-case-name: tests.test_dhcp -*-
"""
Sends answers the way that their :func:`piman.addressing.replies.destination` says, at once or after a while.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from piman.addressing.decisions import DHCPSettings
from piman.addressing.replies import LinkLayer, destination, endpoint, is_for_everybody, with_broadcast_flag
from piman.fleet.model import MACAddress
from piman.wire.dhcp import CLIENT_PORT, Message


class Link(Protocol):
    """Sends frames to boards that have no address yet: :class:`piman.udp.LinkLayerSender`."""

    def open(self) -> None:
        """Take the socket."""

    def close(self) -> None:
        """Let go of it."""

    def send_udp(
        self,
        destination_mac: bytes,
        source: tuple[str | IPv4Address, int],
        destination: tuple[str | IPv4Address, int],
        payload: bytes,
    ) -> bool:
        """Send one datagram; whether it went out."""


class DHCPSender:
    """
    The way out.

    :ivar link: None: boards without an address are answered by broadcast.
    :ivar transport: an :class:`piman.udp.IDatagramTransport`.
    """

    def __init__(self, clock: IReactorTime, settings: DHCPSettings, link: Link | None) -> None:
        self.link = link
        self.transport: Any = None
        self._clock = clock
        self._settings = settings
        self._delayed: dict[MACAddress, list[IDelayedCall]] = {}

    def send(self, request: Message, source_port: int, reply: Message) -> None:
        """Send the reply to where it belongs; what cannot go out as a frame is broadcast."""
        target = destination(request, reply, source_port, self.link is not None)
        if isinstance(target, LinkLayer) and self.link:
            source = self._settings.server_address, self._settings.port
            if self.link.send_udp(target.mac, source, (target.address, CLIENT_PORT), reply.to_wire()):
                return
        if is_for_everybody(target):
            reply = with_broadcast_flag(reply)
        self.transport.write_from(reply.to_wire(), endpoint(target), self._settings.server_address)

    def at(self, delays: Sequence[float], mac: MACAddress, act: Callable[[int], None]) -> None:
        """Do something for a board after each of these seconds, and for this board nothing else that still waits."""
        self.cancel(mac)
        if delays:
            self._delayed[mac] = [self._clock.callLater(delay, act, index) for index, delay in enumerate(delays)]
            self._delayed[mac].append(self._clock.callLater(max(delays), self._delayed.pop, mac))

    def cancel(self, mac: MACAddress) -> None:
        """Do nothing that still waits for this board."""
        for call in self._delayed.pop(mac, ()):
            if call.active():
                call.cancel()

    def cancel_all(self) -> None:
        """Do nothing that still waits."""
        for mac in list(self._delayed):
            self.cancel(mac)
