# -*- test-case-name: tests.test_web_connections -*-
"""
The connections of the site: how long and how large a request may be, and how many connections there are.

Whoever may not say who he is may send little; a body is counted before it is kept.  Bodies say their length beforehand
(Content-Length): no client that the site needs sends another kind, and there is no second way to frame a request over
which a proxy and we could disagree.

1. RFC 9112: 6 Message Body, 9.6 Tear-down, 11.2 Request Smuggling
"""

import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from piman.host.listening import file_limit, next_descriptor
from piman.web.access.headers import usual_headers
from piman.web.refusals import refuse

_HEAD_BYTES = 16_384
"""A line, and all headers together: browsers send the cookies of every program on localhost."""
_HEADERS = 100


@attrs.frozen(kw_only=True)
class Bounds:
    """
    What a caller may take.

    :ivar request_seconds: from connect, or from the answer before, until a request is complete.
    :ivar linger_seconds: how long we go on reading after a refusal, so that it arrives.
    :ivar connections: in all; one more ends the one that has been idle for the longest time.
    :ivar body_bytes: of somebody who is known.
    :ivar strange_body_bytes: of everybody else: a login.
    """

    request_seconds: float = 30.0
    linger_seconds: float = 2.0
    connections: int = 512
    body_bytes: int = (1 << 20) + 4096
    """A little more than the API takes: it says what is too long in its own words."""
    strange_body_bytes: int = 16_384


_REASONS = {
    400: "Bad Request",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}


def refusal(status: int, code: str, message: str, hint: str, *, is_secure: bool) -> bytes:
    """A whole answer, for what is refused before it is a request."""
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode("ascii") + b"\n"
    named = [
        *usual_headers(is_secure=is_secure),
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in named)
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\n{head}\r\n".encode("ascii") + body


class SiteRequest(Request):
    """A request that says nothing of itself to strangers."""

    def process(self) -> None:
        """Only paths reach the site; ``*`` (OPTIONS of the server as a whole) would come past its guard."""
        if self.path.startswith(b"/"):
            super().process()
        else:
            channel: Any = self.channel
            channel.refuse(400, "bad-target", "found a strange path, expected one like /api/v1/nodes")

    def processingFailed(self, reason: Failure) -> Failure:
        """Our own mistake: the log tells it, the answer does not."""
        self._log.failure("{method} {path} failed", reason, method=self.method, path=self.path)
        if self.startedWriting:
            self.channel.abort()  # type: ignore[attr-defined]
            return reason
        self.write(refuse(self, 500, "our-mistake", "the manager made a mistake", "Its log tells which."))
        self.finish()
        return reason


class SiteChannel(HTTPChannel):
    """One connection."""

    MAX_LENGTH = totalHeadersSize = _HEAD_BYTES
    maxHeaders = _HEADERS
    site: "BoundedSite"
    _is_refused = False

    def connectionMade(self) -> None:
        """The time for the first request begins."""
        super().connectionMade()
        self.site.entered(self)

    def resetTimeout(self) -> None:
        """Bytes prolong nothing: the time is for the whole request, or one byte a minute would hold a connection."""

    def timeoutConnection(self) -> None:
        """No request in time, or a client that does not take its answer."""
        self.abort()

    def dataReceived(self, data: bytes) -> None:
        """After a refusal nothing counts any more."""
        if not self._is_refused:
            super().dataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A header that is too long."""
        self.refuse(431, "too-large", f"found a line of more than {_HEAD_BYTES} bytes")

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before it arrives."""
        request: Any = self.requests[-1]
        if self.length is None:
            self.refuse(411, "length-required", "found a body in chunks", "Send its Content-Length.")
            return
        bounds = self.site.bounds
        most = bounds.strange_body_bytes
        if self.length > most and self.site.knows(request):
            most = bounds.body_bytes
        if self.length > most:
            self.refuse(413, "too-large", f"found a body of {self.length} bytes, expected at most {most}")
            return
        super().allHeadersReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What is no HTTP; Twisted's own answer has no headers."""
        self.refuse(400, "bad-request", "this is no HTTP that can be read")

    def refuse(self, status: int, code: str, message: str, hint: str = "") -> None:
        """
        Answer and close, but go on reading for a moment: a reset would take the answer away (RFC 9112, 9.6).
        """
        if self._is_refused:
            return
        self._is_refused = True
        self._wire.write(refusal(status, code, message, hint, is_secure=self.isSecure()))
        self._networkProducer.resumeProducing()
        self.setTimeout(self.site.bounds.linger_seconds)
        self.clearLineBuffer()
        self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        """The body, or what came with a request that was refused."""
        if not self._is_refused:
            super().rawDataReceived(data)

    def loseConnection(self) -> None:
        """Close after what was written, if the client takes that in time."""
        super().loseConnection()
        self.setTimeout(self.site.bounds.request_seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.site.left(self)
        super().connectionLost(reason)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self._is_refused or not self._handlingRequest

    def abort(self) -> None:
        """End it at once."""
        self._wire.abortConnection()

    @property
    def _wire(self) -> Any:
        return self.transport


class TurnedAway(Protocol):
    """A connection for which there is no room."""

    def connectionMade(self) -> None:
        """End it."""
        wire: Any = self.transport
        wire.abortConnection()


class BoundedSite(Site):
    """
    A site with few connections and no access log: what matters is an event.

    :param knows: whether a request, of which only the head is there, comes from somebody who may send more.
    """

    noisy = False
    protocol = SiteChannel  # type: ignore[assignment]  # Twisted's is a proxy that could change to HTTP/2
    displayTracebacks = False

    def __init__(
        self, root: IResource, *, reactor: IReactorTime, knows: Callable[[IRequest], bool], bounds: Bounds | None = None
    ) -> None:
        self.bounds = bounds or Bounds()
        super().__init__(root, requestFactory=SiteRequest, reactor=reactor, timeout=self.bounds.request_seconds)
        self.knows = knows
        self._channels: dict[SiteChannel, None] = {}

    def acceptableProtocols(self) -> list[bytes]:
        """Of TLS: HTTP/1.1 alone."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: Any) -> Any:
        """
        A protocol for the caller; one too many is hung up on.  A quarter of all descriptors is left to the boards.

        None would say the same, but Twisted's TLS takes it for a protocol.
        """
        limit, descriptor = file_limit(), next_descriptor()
        is_short = descriptor is None or (limit is not None and descriptor >= limit - limit // 4)
        if is_short or (len(self._channels) >= self.bounds.connections and not self._end_idle()):
            return TurnedAway()
        return super().buildProtocol(addr)

    def _end_idle(self) -> bool:
        """End the connection that has been idle for the longest time; whether there was one."""
        idle = next((channel for channel in self._channels if channel.is_idle), None)
        if idle is not None:
            self.left(idle)
            idle.abort()
        return idle is not None

    def entered(self, channel: SiteChannel) -> None:
        """A connection begins."""
        self._channels[channel] = None

    def left(self, channel: SiteChannel) -> None:
        """A connection is over."""
        self._channels.pop(channel, None)

    def abort_all(self) -> None:
        """End all connections."""
        for channel in list(self._channels):
            channel.abort()

    def log(self, request: Any) -> None:
        """Nothing."""
