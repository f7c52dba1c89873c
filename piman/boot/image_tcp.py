# -*- test-case-name: tests.test_boot_images -*-
"""
The raw image door, TCP 4444: version 1 of the hello protocol.

No request, no header: the bytes of the image, then the end of the stream.  It serves only a node whose conversation
has been told to format, and closes at once on any error, because the node would wait in ``nc`` for ever.  What
the node sends is thrown away, and its half-close is no error: its ``nc`` copies its own input here.
Specification: docs/protocols/hello.md.
"""

from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IReactorTCP
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.boot.doors import Collaborators, Door, DoorSettings, Refused, Stream
from piman.boot.images import ImageLibrary
from piman.boot.streams import IFileTransport
from piman.fleet.interfaces import IAddressBook, IEventSink, IInstallers
from piman.fleet.model import Intent, IntentState
from piman.fleet.state.intents import IntentBook
from piman.fleet.throttle import Throttle

PORT = 4444
_LINGER_SECONDS = 60.0
"""How long a node may take to close after the end of the stream."""

_REFUSALS_SECONDS = 60.0
"""How often the log tells that a caller gets no image, for each address."""
_REFUSALS = 32
"""For so many addresses at most in that time."""


@attrs.frozen(kw_only=True)
class ImageSettings(DoorSettings):
    """The knobs of the raw image door."""

    port: int = PORT
    max_streams: int = 12_000


@implementer(IHalfCloseableProtocol)
class ImageProtocol(Protocol):
    """One stream."""

    _log = Logger()

    def __init__(self, door: "ImageDoor") -> None:
        self._door = door
        self.stream: Stream | None = None
        self._linger: IDelayedCall | None = None
        self._is_done = False
        self._peer_closed = False

    def connectionMade(self) -> None:
        """Serve, or close."""
        Deferred.fromCoroutine(self._serve()).addErrback(self._broken)

    def dataReceived(self, data: bytes) -> None:
        """Thrown away."""

    def readConnectionLost(self) -> None:
        """The node says no more; it may still listen."""
        self._peer_closed = True
        if self._is_done:
            cast(Any, self.transport).loseConnection()

    def writeConnectionLost(self) -> None:
        """We said that there is no more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._door.ended(self)

    async def _serve(self) -> None:
        transport = cast(Any, self.transport)
        intent = self._door.admit(transport.getPeer().host)
        stream = self.stream = Stream(intent.mac, transport)
        self._door.begun(self)
        began = self._door.clock.seconds()
        self._door.started(intent)
        try:
            size = await self._send(intent, transport)
            await self._door.delivered(intent, size, began)
        except Exception as problem:
            self._door.interrupted(intent, transport.sent_bytes(), stream.reason(problem))
            transport.abortConnection()
            return
        self._end(transport)

    async def _send(self, intent: Intent, transport: IFileTransport) -> int:
        file = await self._door.open(intent)
        try:
            await transport.send_file(file.descriptor, 0, file.image.size_bytes)
            await transport.acknowledged()
            file.check()
            return file.image.size_bytes
        finally:
            file.close()

    def _end(self, transport: Any) -> None:
        self._is_done = True
        if not transport.connected:
            return
        if self._peer_closed:
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
            self._linger = self._door.clock.callLater(_LINGER_SECONDS, transport.abortConnection)

    def _broken(self, failure: Failure) -> None:
        if failure.check(Refused) is None:
            self._log.failure("serving an image", failure=failure)
        else:
            self._door.refused(cast(Any, self.transport).getPeer().host, failure.getErrorMessage())
        cast(Any, self.transport).abortConnection()


class ImageFactory(Factory):
    """Accepts callers."""

    noisy = False

    def __init__(self, door: "ImageDoor") -> None:
        self._door = door

    def buildProtocol(self, addr: IAddress | None) -> ImageProtocol | None:
        """A protocol for the caller; None: too many."""
        return ImageProtocol(self._door) if self._door.has_room() else None


class ImageDoor(Door):
    """Owns the raw image port."""

    kind = "tcp"
    _log = Logger()

    def __init__(
        self, reactor: IReactorTCP, *, settings: ImageSettings, installers: IInstallers, parts: Collaborators
    ) -> None:
        super().__init__(reactor, settings, parts)
        self._installers = installers
        self._open: set[ImageProtocol] = set()
        self._refusals = Throttle(self.clock, _REFUSALS_SECONDS, capacity=_REFUSALS)

    def factory(self) -> Any:
        """What builds the protocols."""
        return ImageFactory(self)

    def has_room(self) -> bool:
        """Whether one more stream is accepted."""
        return len(self._open) < self.settings.max_streams

    def admit(self, address: str) -> Intent:
        """
        The intent whose image this caller gets.

        :raises Refused: none.
        """
        mac = self.caller(address)
        intent = self._installers.intent_at_work(mac)
        if intent is None or intent.state is not IntentState.ORDERED:
            raise Refused(f"{mac} has not been told to format")
        return intent

    def refused(self, address: str, reason: str) -> None:
        """Tell that a caller gets no image; of one caller now and then, of many few."""
        if self._refusals.passes(address):
            untold = self._refusals.take_held_back()
            self._log.info("no image: {reason} ({untold} like it not told before)", reason=reason, untold=untold)

    def begun(self, protocol: ImageProtocol) -> None:
        """A stream begins: it replaces an older one of the same node."""
        for older in tuple(self._open):
            if older.stream is not None and protocol.stream is not None and older.stream.mac == protocol.stream.mac:
                older.stream.abort("the node began another stream")
        self._open.add(protocol)
        if protocol.stream is not None:
            self.streams.add(protocol.stream)

    def ended(self, protocol: ImageProtocol) -> None:
        """A stream is over."""
        self._open.discard(protocol)
        if protocol.stream is not None:
            self.streams.discard(protocol.stream)


def image_service(
    reactor: IReactorTCP,
    *,
    settings: ImageSettings,
    addresses: IAddressBook,
    installers: IInstallers,
    intents: IntentBook,
    images: ImageLibrary,
    events: IEventSink,
) -> ImageDoor:
    """The service of the raw image door; ``installers`` is the hello service."""
    parts = Collaborators(addresses=addresses, intents=intents, images=images, events=events)
    return ImageDoor(reactor, settings=settings, installers=installers, parts=parts)
