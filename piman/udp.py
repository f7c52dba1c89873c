# -*- test-case-name: tests.test_udp -*-
"""
The UDP transport under DHCP, TFTP and NTP.

A socket of our own, read until it is empty on each wake-up of the reactor.  On request each datagram comes with its
:class:`Arrival`: the kernel's receive time, the network interface and the address it was sent to, and an answer can
leave from a chosen address; ``reactor.listenUDP`` has none of it (docs/decisions/udp-transport.md).

With ``PIMAN_PLAIN=1`` in the environment the same protocols run on ``reactor.listenUDP``.
"""

import os
from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import AbstractDatagramProtocol

from piman.host.neighbours import KernelNeighbours, LinkLayerSender, LinkLayerUnavailable, mtu_of
from piman.host.sockets import RECEIVE_BUFFER_BYTES, Arrival, SocketSettings, open_socket
from piman.host.transports import Address, Counters, IDatagramTransport, ReactorTransport, SocketTransport

__all__ = [
    "Address",
    "Arrival",
    "Counters",
    "IDatagramTransport",
    "KernelNeighbours",
    "LinkLayerSender",
    "LinkLayerUnavailable",
    "ReactorTransport",
    "SocketTransport",
    "UDPService",
    "mtu_of",
    "plain_requested",
    "udp_service",
]


def plain_requested(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for ``reactor.listenUDP``."""
    return environment.get("PIMAN_PLAIN", "") not in ("", "0")


class UDPService(Service):
    """One bound port: the socket in ``privilegedStartService``, the protocol in ``startService``."""

    def __init__(
        self, reactor: Any, protocol: AbstractDatagramProtocol, settings: SocketSettings, *, plain: bool
    ) -> None:
        self.protocol = protocol
        self._reactor = reactor
        self._settings = settings
        self._plain = plain
        self._transport: SocketTransport | ReactorTransport | None = None

    @property
    def transport(self) -> SocketTransport | ReactorTransport | None:
        """The transport while it is bound."""
        return self._transport

    @property
    def port_number(self) -> int:
        """The port: once bound the real one, before that the one asked for."""
        return self._transport.getHost().port if self._transport else self._settings.port

    def _bind(self) -> SocketTransport | ReactorTransport:
        if self._plain:
            plain = ReactorTransport(self._reactor, self.protocol)
            plain.listen(self._reactor, self._settings)
            return plain
        return SocketTransport(self._reactor, open_socket(self._settings), self.protocol, self._settings)

    def privilegedStartService(self) -> None:
        """
        Bind the port while we may.

        :raises CannotListenError: one line with port, reason and remedy.
        """
        super().privilegedStartService()
        self._transport = self._transport or self._bind()

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self._transport = self._transport or self._bind()
        self._transport.start()

    def stopService(self) -> "Deferred[None] | None":
        """Close the port."""
        super().stopService()
        transport, self._transport = self._transport, None
        return transport.stopListening() if transport else None


def udp_service(
    reactor: Any,
    port: int,
    protocol: AbstractDatagramProtocol,
    *,
    address: str = "0.0.0.0",
    interface: str | None = None,
    receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    packet_info: bool = False,
    timestamps: bool = False,
    broadcast: bool = False,
    plain: bool | None = None,
) -> UDPService:
    """
    A service that runs ``protocol`` on a UDP port.

    :param reactor: provides IReactorFDSet, IReactorTime and, for the plain way, IReactorUDP.
    :param port: 0 takes a free one; see :attr:`UDPService.port_number`.
    :param protocol: its ``datagramReceived(data, (host, port))`` is called, or, when it has one,
        ``datagramArrived(data, (host, port), arrival)`` instead.
    :param interface: binds the socket to this network interface.
    :param packet_info: fill in the interface and local address of :class:`Arrival`.
    :param timestamps: let the kernel take the time of :class:`Arrival`.
    :param broadcast: allow sending to broadcast addresses.
    :param plain: use ``reactor.listenUDP``, without interface, packet info and timestamps; None asks the environment.
    """
    settings = SocketSettings(
        port=port,
        address=address,
        interface=interface,
        receive_buffer_bytes=receive_buffer_bytes,
        packet_info=packet_info,
        timestamps=timestamps,
        broadcast=broadcast,
    )
    return UDPService(reactor, protocol, settings, plain=plain_requested(os.environ) if plain is None else plain)
