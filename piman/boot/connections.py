# -*- test-case-name: tests.test_boot_connections -*-
"""
The connections of the HTTP image door: how long and how large a request may be, and how many an address has.

A client that says no more after its request (half-close) is served, as on the raw door.  A request has no body.
Specification: RFC 9112, docs/protocols/hello.md.
"""

from collections.abc import Callable
from typing import Any, cast

import attrs
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

_HEAD_BYTES = 8192
"""The request line and all headers; our initramfs sends some 250."""
_HEADERS = 64


@attrs.frozen(kw_only=True)
class Bounds:
    """
    What a caller may take.

    :ivar request_seconds: from connect, or from the answer before, until a request is complete.
    :ivar per_address: connections of one address; one more ends the oldest.
    """

    request_seconds: float = 20.0
    per_address: int = 4


@implementer(IHalfCloseableProtocol)
class ImageChannel(HTTPChannel):
    """One connection."""

    MAX_LENGTH = totalHeadersSize = _HEAD_BYTES
    maxHeaders = _HEADERS
    site: "ImageSite"
    _peer_closed = False

    def connectionMade(self) -> None:
        """The time for the first request begins."""
        super().connectionMade()
        self.site.entered(self)

    def resetTimeout(self) -> None:
        """Bytes prolong nothing: the time is for the whole request, or one byte a minute would hold a connection."""

    def timeoutConnection(self) -> None:
        """No request, or a client that does not take its answer."""
        self.abort()

    def allHeadersReceived(self) -> None:
        """Refuse a body at once: large ones become temporary files."""
        if self.length == 0:
            super().allHeadersReceived()
            return
        self._transport.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
        self.loseConnection()

    def requestDone(self, request: Any) -> None:
        """An answer is complete; a client that says no more may have asked for others before."""
        super().requestDone(request)
        if self._peer_closed and not self._handlingRequest:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close after what was written, if the client takes that in time."""
        super().loseConnection()
        if self._transport.connected:
            self.setTimeout(self.site.bounds.request_seconds)

    def readConnectionLost(self) -> None:
        """The client says no more; it may still wait for its answer."""
        self._peer_closed = True
        if not self._handlingRequest:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """We never close one direction alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.site.left(self)
        super().connectionLost(reason)

    def abort(self) -> None:
        """End it at once."""
        self._transport.abortConnection()

    @property
    def address(self) -> str:
        """Of the client."""
        return cast(str, self._transport.getPeer().host)

    @property
    def _transport(self) -> Any:
        return self.transport


class ImageSite(Site):
    """
    A site without an access log, whose lines would hold tokens, and with few connections of one address.

    :param admits: whether an address may have one more connection.
    """

    noisy = False
    protocol = ImageChannel  # type: ignore[assignment]  # Twisted's is a proxy that could change to HTTP/2

    def __init__(self, root: Resource, *, reactor: IReactorTime, bounds: Bounds, admits: Callable[[str], bool]) -> None:
        super().__init__(root, reactor=reactor, timeout=bounds.request_seconds)
        self.bounds = bounds
        self._admits = admits
        self._channels: dict[str, list[ImageChannel]] = {}

    def buildProtocol(self, addr: Any) -> Any:
        """A protocol for the caller; None: it is hung up on."""
        return super().buildProtocol(addr) if self._admits(addr.host) else None

    def entered(self, channel: ImageChannel) -> None:
        """
        A connection begins; the oldest of too many ends.

        Not the newest: what a node left behind when it lost its power must not keep it out.
        """
        channels = self._channels.setdefault(channel.address, [])
        channels.append(channel)
        for oldest in channels[: -self.bounds.per_address]:
            channels.remove(oldest)
            oldest.abort()

    def left(self, channel: ImageChannel) -> None:
        """A connection is over."""
        channels = self._channels.get(channel.address, [])
        if channel in channels:
            channels.remove(channel)
        if not channels:
            self._channels.pop(channel.address, None)

    def log(self, request: Any) -> None:
        """Nothing."""
