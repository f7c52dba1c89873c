# -*- test-case-name: tests.test_simulator_booting_machine -*-
"""
What a virtual board is plugged into: a clock, sockets and streams, given to it from outside.

Boards name the well-known ports; whoever stands behind :class:`Network` may put them elsewhere.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

import attrs

DHCP_PORT, TFTP_PORT, HELLO_PORT, IMAGE_PORT = 67, 69, 3333, 4444

Address = tuple[str, int]


@attrs.frozen
class Datagram:
    """A datagram arrived."""

    data: bytes
    source: Address


@attrs.frozen
class Opened:
    """A stream is connected."""

    stream: "Stream"


@attrs.frozen
class Received:
    """Bytes arrived on a stream."""

    stream: "Stream"
    data: bytes


@attrs.frozen
class Closed:
    """A stream is over, or never came to be."""

    stream: "Stream"
    reason: str


Event = Datagram | Opened | Received | Closed
Deliver = Callable[[Event], None]


class Socket(Protocol):
    """An open UDP socket; what arrives is delivered as :class:`Datagram`."""

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; it may be lost."""

    def close(self) -> None:
        """Nothing more arrives; harmless twice."""


class Stream(Protocol):
    """A TCP connection; it says :class:`Opened`, :class:`Received` and, once, :class:`Closed`."""

    def write(self, data: bytes) -> None:
        """Send bytes; harmless after the end."""

    def close(self) -> None:
        """End it; nothing more is said of it; harmless twice."""

    def vanish(self) -> None:
        """The power went: nothing more is said of it, and the peer is told as little as possible."""


class Network(Protocol):
    """What the cable of one board leads to.  Nothing is ever delivered before the call at hand returns."""

    def dhcp(self, deliver: Deliver, address: IPv4Address | None = None) -> Socket:
        """
        A DHCP client's socket: sends to DHCP servers and takes their answers.

        :param address: what the client has already; None: it takes only what comes to its hardware address.
        """

    def udp(self, address: IPv4Address, port: int, deliver: Deliver) -> Socket:
        """
        A socket at this address and port of the board.

        :raises OSError: when it cannot be had.
        """

    def connect(self, address: IPv4Address, peer: Address, deliver: Deliver) -> Stream:
        """Begin to connect from this address of the board."""
