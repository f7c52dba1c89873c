# -*- test-case-name: tests.test_boot_images -*-
"""
The HTTP image door, port 4480: version 2 of the hello protocol.

``GET /images/<sha256>?token=<token>``, with single ranges (RFC 9110 section 14), so that a node resumes a broken fetch,
also after a restart of the manager: the token is durable and bound to one intent and one MAC.
Specification: docs/protocols/hello.md.
"""

from collections import OrderedDict
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from piman.boot.connections import Bounds, ImageSite
from piman.boot.doors import Collaborators, Door, DoorSettings, Refused, Stream
from piman.boot.images import ImageChanged, ImageFile, ImageLibrary, NoDescriptorLeft
from piman.boot.ranges import Span, covered, wanted_span
from piman.fleet.interfaces import IAddressBook, IEventSink, ImageMissing
from piman.fleet.model import Intent, IntentState, MACAddress
from piman.fleet.state.intents import IntentBook

PORT = 4480
_FETCHES_KEPT = 16_384
_LATER = {"retry-after": "10"}


@attrs.frozen(kw_only=True)
class ImageHTTPSettings(DoorSettings):
    """The knobs of the HTTP image door."""

    port: int = PORT
    max_streams: int = 4096
    bounds: Bounds = attrs.field(factory=Bounds)


class Answer(Exception):
    """The request ends with a status and one plain sentence."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers


@attrs.define
class Fetch:
    """What one attempt of an intent has fetched so far."""

    attempt: int
    began: float
    spans: tuple[Span, ...] = ()


# The door


class ImageResource(Resource):
    """One image, by its digest."""

    isLeaf = True

    def __init__(self, door: "ImageHTTPDoor", digest: str) -> None:
        super().__init__()
        self._door = door
        self._digest = digest

    def render(self, request: Any) -> int:
        """Answer, in time."""
        serving = Deferred.fromCoroutine(self._door.serve(request, self._digest))
        request.notifyFinish().addErrback(lambda _: None)
        serving.addErrback(self._door.broken, request)
        return NOT_DONE_YET


class PlainResource(Resource):
    """One sentence."""

    isLeaf = True

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__()
        self._status = status
        self._sentence = sentence

    def render(self, request: Any) -> bytes:
        """The sentence."""
        request.setResponseCode(self._status)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return f"{self._sentence}\n".encode()


class ImagesResource(Resource):
    """``/images/``."""

    def __init__(self, door: "ImageHTTPDoor") -> None:
        super().__init__()
        self._door = door

    def getChild(self, path: bytes, request: Any) -> Resource:
        """The image with this digest, if the path ends there."""
        if request.postpath:
            return PlainResource(404, "There is nothing here.")
        return ImageResource(self._door, path.decode("ascii", "replace"))

    def render(self, request: Any) -> bytes:
        """Nobody gets a list of images."""
        return PlainResource(404, "There is nothing here.").render(request)


class RootResource(Resource):
    """``/``."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Nothing but images."""
        return PlainResource(404, "There is nothing here.")


class ImageHTTPDoor(Door):
    """Owns the HTTP image port."""

    kind = "http"
    _log = Logger()

    def __init__(self, reactor: IReactorTCP, *, settings: ImageHTTPSettings, parts: Collaborators) -> None:
        super().__init__(reactor, settings, parts)
        self._bounds = settings.bounds
        self._fetches: OrderedDict[str, Fetch] = OrderedDict()

    def factory(self) -> Any:
        """The site."""
        root = RootResource()
        root.putChild(b"images", ImagesResource(self))
        return ImageSite(root, reactor=self.clock, bounds=self._bounds, admits=self.has_descriptors)

    async def serve(self, request: Any, digest: str) -> None:
        """One request from beginning to end."""
        intent = self.admit(request, digest)
        try:
            file = await self.open(intent)
        except NoDescriptorLeft as reason:
            raise Answer(503, "The manager has too many files open.", **_LATER) from reason
        except (Refused, ImageChanged, ImageMissing) as reason:
            raise Answer(410, f"{reason}: say HELLO again") from reason
        try:
            if request._disconnected:
                return
            span = self._head(request, file)
            if span is None or request.method == b"HEAD":
                request.finish()
            else:
                await self._body(request, intent, file, span)
        finally:
            file.close()

    def admit(self, request: Any, digest: str) -> Intent:
        """
        The intent by which the caller gets this image.

        :raises Answer: it gets none.
        """
        if request.method not in (b"GET", b"HEAD"):
            raise Answer(405, "Images can be fetched with GET and HEAD.", allow="GET, HEAD")
        token = request.args.get(b"token", [b""])[0].decode("ascii", "replace")
        intent = self.parts.intents.with_token(token) if token else None
        if intent is None:
            raise Answer(403, "The token is not known.")
        try:
            mac = self.caller(request.getClientAddress().host)
        except Refused as reason:
            raise Answer(403, f"{reason}.") from reason
        if mac != intent.mac:
            raise Answer(403, "The token belongs to another board.")
        if digest != intent.digest:
            raise Answer(404, "The token is for another image.")
        if intent.state not in (IntentState.ORDERED, IntentState.DELIVERED):
            raise Answer(410, "The installation is over: say HELLO again.")
        if len(self.streams) >= self.settings.max_streams and not self._streams_of(mac):
            raise Answer(503, "Too many nodes fetch images.", **_LATER)
        return intent

    def _head(self, request: Any, file: ImageFile) -> Span | None:
        """Status and headers; None: there is no body to send."""
        size, etag = file.image.size_bytes, f'"{file.image.digest}"'
        request.setHeader("accept-ranges", "bytes")
        request.setHeader("content-type", "application/octet-stream")
        if request.setETag(etag.encode()) is not None:
            return None
        # RFC 9110 section 14.2: "A server MUST ignore a Range header field received with a request method that is
        # unrecognized or for which range handling is not defined.  For this specification, GET is the only method".
        header = _text(request, b"range") if request.method == b"GET" else None
        if _text(request, b"if-range") not in (None, etag):
            header = None
        try:
            span = wanted_span(header, size)
        except ValueError as reason:
            raise Answer(416, f"The range: {reason}.", **{"content-range": f"bytes */{size}"}) from reason
        if span is not None:
            request.setResponseCode(206)
            request.setHeader("content-range", f"bytes {span.start}-{span.end - 1}/{size}")
        span = span or Span(0, size)
        request.setHeader("content-length", str(span.end - span.start))
        return span

    async def _body(self, request: Any, intent: Intent, file: ImageFile, span: Span) -> None:
        transport = request.channel.transport
        for older in self._streams_of(intent.mac):
            older.abort("the node began another fetch")
        stream = Stream(intent.mac, transport)
        self.streams.add(stream)
        fetch = self._fetch(intent)
        try:
            request.write(b"")  # the head
            await transport.send_file(file.descriptor, span.start, span.end - span.start)
            await transport.acknowledged()
            file.check()
            await self._fetched(intent, fetch, span, file.image.size_bytes)
        except Exception as problem:
            sent = transport.sent_bytes()
            fetch.spans = covered(fetch.spans, Span(span.start, span.start + sent))
            self.interrupted(intent, span.start + sent, stream.reason(problem))
            transport.abortConnection()
            return
        finally:
            self.streams.discard(stream)
        if transport.connected:
            request.finish()

    async def _fetched(self, intent: Intent, fetch: Fetch, span: Span, size: int) -> None:
        """A range is with the node; was it the rest of the image?"""
        fetch.spans = covered(fetch.spans, span)
        living = self.parts.intents.current(intent.mac)
        is_ordered = living is not None and living.id == intent.id and living.state is IntentState.ORDERED
        if is_ordered and living is not None and span.end == size and fetch.spans == (Span(0, size),):
            await self.delivered(living, size, fetch.began)

    def _streams_of(self, mac: MACAddress) -> list[Stream]:
        return [stream for stream in self.streams if stream.mac == mac]

    def _fetch(self, intent: Intent) -> Fetch:
        fetch = self._fetches.get(intent.id)
        if fetch is None or fetch.attempt != intent.attempts:
            fetch = self._fetches[intent.id] = Fetch(attempt=intent.attempts, began=self.clock.seconds())
            self.started(intent)
            if len(self._fetches) > _FETCHES_KEPT:
                self._fetches.popitem(last=False)
        return fetch

    def broken(self, failure: Failure, request: Any) -> None:
        """A request that got no image."""
        if failure.check(Answer) is None:
            self._log.failure("serving an image", failure=failure)
        answer = failure.value if isinstance(failure.value, Answer) else Answer(500, "The manager failed.")
        if request.startedWriting or request._disconnected:
            return
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        body = f"{answer}\n".encode()
        request.setResponseCode(answer.status)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        request.setHeader("content-length", str(len(body)))
        request.write(body)
        request.finish()


def _text(request: Any, name: bytes) -> str | None:
    """A header of a request; any bytes are text."""
    value = request.getHeader(name)
    return None if value is None else value.decode("latin-1")


def image_http_service(
    reactor: IReactorTCP,
    *,
    settings: ImageHTTPSettings,
    addresses: IAddressBook,
    intents: IntentBook,
    images: ImageLibrary,
    events: IEventSink,
) -> ImageHTTPDoor:
    """The service of the HTTP image door."""
    parts = Collaborators(addresses=addresses, intents=intents, images=images, events=events)
    return ImageHTTPDoor(reactor, settings=settings, parts=parts)
