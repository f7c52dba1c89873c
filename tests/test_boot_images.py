"""
Images, and the two doors through which nodes fetch them: real files, real sockets on loopback.
"""

import hashlib
import json
import os
import resource
import socket
import tarfile
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass, verifyObject

from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageChanged, ImageLibrary, NoDescriptorLeft, in_thread
from piman.boot.ranges import Span, covered, wanted_span
from piman.boot.streams import FileTransport, IFileTransport
from piman.fleet.events import ImageInterrupted, ImageSent, ImageStarted
from piman.fleet.interfaces import IImages, ImageMissing
from piman.fleet.model import IntentOrigin, IntentState
from piman.fleet.state.intents import IntentBook
from piman.host.listening import next_descriptor
from piman.testing.fakes import CapturedEvents, MemoryAddressBook
from piman.testing.installers import MemoryInstallers
from tests.hello_support import MAC, OTHER, SlowStore

LOOPBACK = IPv4Address("127.0.0.1")
SIZE = 3_000_001
# The first and the second line are RFC 6234's one-block test and NIST's million times "a".
KNOWN_DIGESTS = (
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
)


def at_once(work: Callable[[], str]) -> "Deferred[str]":
    """Run work here and now."""
    try:
        return succeed(work())
    except Exception:
        failed: Deferred[str] = Deferred()
        failed.errback()
        return failed


def limit_descriptors(test: SynchronousTestCase) -> None:
    """No file can be opened until the test is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    test.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_descriptor() or 0, hard))


class LibraryTests(SynchronousTestCase):
    """Digests and opening."""

    def setUp(self) -> None:
        """One image on disk."""
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"abc")
        self.cache = Path(self.mktemp())
        self.hashed: list[str] = []

    def library(self) -> ImageLibrary:
        """The library of a freshly started manager."""

        def run(work: Callable[[], str]) -> "Deferred[str]":
            self.hashed.append("once")
            return at_once(work)

        return ImageLibrary({"default": str(self.path)}, run=run, cache=self.cache)

    def test_known_digests(self) -> None:
        """The digest is SHA-256 as its publishers computed it."""
        for content, digest in KNOWN_DIGESTS:
            self.path.write_bytes(content)
            image = self.successResultOf(self.library().image("default"))
            self.assertEqual((image.digest, image.size_bytes), (digest, len(content)))

    def test_hashed_once(self) -> None:
        """A file is hashed once, also across restarts, and again when it changed."""
        library = self.library()
        self.successResultOf(library.image("default"))
        self.successResultOf(library.image("default"))
        self.successResultOf(self.library().image("default"))
        self.assertEqual(len(self.hashed), 1)
        self.path.write_bytes(b"abcd")
        changed = self.successResultOf(library.image("default"))
        self.assertEqual(changed.digest, hashlib.sha256(b"abcd").hexdigest())
        self.assertEqual(len(self.hashed), 2)

    def test_trouble(self) -> None:
        """A sound image is read to its end once, and again when it changed; what is unsound is read each time."""
        library = self.library()
        with tarfile.open(self.path, "w:gz") as archive:
            archive.add(__file__)
        for _ in range(2):
            self.assertEqual(self.successResultOf(library.trouble("default")), "")
        self.assertEqual(len(self.hashed), 1)
        self.path.write_bytes(self.path.read_bytes()[:-1])
        for _ in range(2):
            self.assertIn("cut off", self.successResultOf(library.trouble("default")))
        self.assertEqual(len(self.hashed), 3)
        self.path.unlink()
        self.failureResultOf(library.trouble("default"), ImageMissing)
        self.failureResultOf(library.trouble("other"), ImageMissing)

    def test_same_size_other_content(self) -> None:
        """A file of the same size with another time is another file."""
        library = self.library()
        first = self.successResultOf(library.image("default"))
        self.path.write_bytes(b"abd")
        os.utime(self.path, ns=(1, 1))
        self.assertNotEqual(self.successResultOf(library.image("default")).digest, first.digest)

    def test_broken_cache(self) -> None:
        """A cache that cannot be read costs a hashing, nothing else."""
        for text in ("{", "[]", '{"x": 1}'):
            self.cache.write_text(text)
            self.successResultOf(self.library().image("default"))
        self.assertEqual(len(self.hashed), 3)
        self.assertEqual(len(json.loads(self.cache.read_text())), 1)

    def test_hashed_together(self) -> None:
        """Many who ask at once share one hashing."""
        waiting: list[tuple[Callable[[], str], Deferred[str]]] = []

        def run(work: Callable[[], str]) -> "Deferred[str]":
            waiting.append((work, Deferred()))
            return waiting[-1][1]

        library = ImageLibrary({"default": str(self.path)}, run=run)
        answers = [library.image("default") for _ in range(3)]
        self.assertEqual(len(waiting), 1)
        work, done = waiting[0]
        done.callback(work())
        self.assertEqual(len({self.successResultOf(answer) for answer in answers}), 1)

    def test_missing(self) -> None:
        """No such name, or no such file: one plain sentence that names what is missing."""
        library = self.library()
        self.assertIn("default", str(self.failureResultOf(library.image("other"), ImageMissing).value))
        self.path.unlink()
        sentence = str(self.failureResultOf(library.image("default"), ImageMissing).value)
        self.assertIn(str(self.path), sentence)

    def test_vanishes_while_hashed(self) -> None:
        """A file that goes away before its hashing begins is missing."""

        def run(work: Callable[[], str]) -> "Deferred[str]":
            self.path.unlink()
            return at_once(work)

        library = ImageLibrary({"default": str(self.path)}, run=run)
        self.failureResultOf(library.image("default"), ImageMissing)

    def test_open(self) -> None:
        """An opened image keeps its content when the file is replaced, and tells when it is written to."""
        library = self.library()
        image = self.successResultOf(library.image("default"))
        file = library.open(image)
        self.addCleanup(file.close)
        replacement = Path(self.mktemp())
        replacement.write_bytes(b"xyz")
        os.replace(replacement, self.path)
        file.check()
        self.assertEqual(os.pread(file.descriptor, 9, 0), b"abc")
        self.assertRaises(ImageChanged, library.open, image)
        os.truncate(f"/proc/self/fd/{file.descriptor}", 1)
        self.assertRaises(ImageChanged, file.check)

    def test_open_missing(self) -> None:
        """An image whose file went away cannot be opened."""
        library = self.library()
        image = self.successResultOf(library.image("default"))
        self.path.unlink()
        self.assertRaises(ImageMissing, library.open, image)

    def test_shared(self) -> None:
        """All who open the same content share one descriptor, which the last one closes; others have their own."""
        library = self.library()
        image = self.successResultOf(library.image("default"))
        first, second = library.open(image), library.open(image)
        self.assertEqual(first.descriptor, second.descriptor)
        replacement = Path(self.mktemp())
        replacement.write_bytes(b"xyz")
        os.replace(replacement, self.path)
        third = library.open(self.successResultOf(library.image("default")))
        self.addCleanup(third.close)
        descriptor = first.descriptor
        first.close()
        second.check()
        self.assertEqual(os.pread(descriptor, 9, 0), b"abc")
        self.assertEqual(os.pread(third.descriptor, 9, 0), b"xyz")
        second.close()
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_opened_again(self) -> None:
        """A file that everybody closed is opened anew."""
        library = self.library()
        image = self.successResultOf(library.image("default"))
        library.open(image).close()
        again = library.open(image)
        self.addCleanup(again.close)
        self.assertEqual(os.pread(again.descriptor, 9, 0), b"abc")

    def test_no_descriptor(self) -> None:
        """Without a free descriptor an image is not missing for good, when it is opened nor when it is hashed."""
        library = self.library()
        image = self.successResultOf(library.image("default"))
        limit_descriptors(self)
        self.assertRaises(NoDescriptorLeft, library.open, image)
        self.cache.unlink()
        self.failureResultOf(self.library().image("default"), NoDescriptorLeft)

    def test_close_twice(self) -> None:
        """Closing twice closes nobody else's file."""
        library = self.library()
        file = library.open(self.successResultOf(library.image("default")))
        file.close()
        other = os.open(self.path, os.O_RDONLY)
        file.close()
        os.fstat(other)
        os.close(other)

    def test_replaced_list(self) -> None:
        """After a reload the library knows the new list."""
        library = self.library()
        library.replace_images({"new": str(self.path)})
        self.assertEqual(library.names, ("new",))
        self.failureResultOf(library.image("default"), ImageMissing)
        self.successResultOf(library.image("new"))

    def test_seam(self) -> None:
        """It is what the hello service asks for."""
        verifyObject(IImages, self.library())


class RangeTests(SynchronousTestCase):
    """Ranges of bytes."""

    def test_rfc_examples(self) -> None:
        """The byte-range examples of RFC 9110 section 14.1.2, for a representation of 10000 bytes."""
        self.assertEqual(wanted_span("bytes=0-499", 10_000), Span(0, 500))
        self.assertEqual(wanted_span("bytes=500-999", 10_000), Span(500, 1000))
        self.assertEqual(wanted_span("bytes=-500", 10_000), Span(9500, 10_000))
        self.assertEqual(wanted_span("bytes=9500-", 10_000), Span(9500, 10_000))
        self.assertIsNone(wanted_span("bytes=0-0,-1", 10_000))

    def test_ignored(self) -> None:
        """Nothing, other units and nonsense mean the whole."""
        for header in (
            None,
            "",
            "bytes",
            "bytes=-",
            "bytes=5-4",
            "lines=1-2",
            "bytes=a-b",
            "bytes=1-2-3",
            "bytes=1 2-3",
        ):
            self.assertIsNone(wanted_span(header, 10), header)

    def test_unit_in_capitals(self) -> None:
        """Range units are case-insensitive (RFC 9110 section 14.1)."""
        for header in ("BYTES=2-4", "Bytes=2-4"):
            self.assertEqual(wanted_span(header, 10), Span(2, 5), header)

    def test_other_alphabets(self) -> None:
        """Digits and letters of other alphabets are none: ARABIC-INDIC DIGIT ONE, LATIN SMALL LETTER LONG S."""
        for header in ("bytes=\u0661-", "byte\u017f=1-"):
            self.assertIsNone(wanted_span(header, 10), header)

    def test_large_numbers(self) -> None:
        """Numbers may have any number of digits: such a range begins after the end, or ends with the file."""
        for digits in (19, 20, 5000):
            self.assertRaises(ValueError, wanted_span, f"bytes={'9' * digits}-", 10)
            self.assertEqual(wanted_span(f"bytes=2-{'9' * digits}", 10), Span(2, 10))
            self.assertEqual(wanted_span(f"bytes=-{'9' * digits}", 10), Span(0, 10))
            self.assertEqual(wanted_span(f"bytes={'0' * digits}2-", 10), Span(2, 10))

    def test_unsatisfiable(self) -> None:
        """A range that begins after the end has nothing."""
        for header in ("bytes=10-", "bytes=11-12", "bytes=-0", "bytes=-000"):
            self.assertRaises(ValueError, wanted_span, header, 10)

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
    def test_covered(self, pairs: list[tuple[int, int]]) -> None:
        """Merged spans hold exactly the bytes that any of them holds."""
        spans: tuple[Span, ...] = ()
        for start, end in pairs:
            spans = covered(spans, Span(start, end))
        wanted = {byte for start, end in pairs for byte in range(start, end)}
        self.assertEqual([byte for span in spans for byte in range(span.start, span.end)], sorted(wanted))


class Fetcher(Protocol):
    """A node's end of a stream."""

    def __init__(self, paused: bool = False) -> None:
        self.data = bytearray()
        self.closed: Deferred[bytes] = Deferred()
        self.paused = paused

    def connectionMade(self) -> None:
        """Read, or do not."""
        if self.paused:
            self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connectionLost(self, reason: object = None) -> None:
        """All that came."""
        self.closed.callback(bytes(self.data))


class DoorTestCase(TestCase):
    """One image, one node with an ordered intent at 127.0.0.1."""

    stall_seconds = 300.0

    def setUp(self) -> None:
        """An ordered intent of the node behind loopback."""
        self.reactor: Any = global_reactor
        self.path = Path(self.mktemp())
        self.content = os.urandom(SIZE)
        self.path.write_bytes(self.content)
        self.events = CapturedEvents()
        self.store = SlowStore()
        self.book = IntentBook(self.store, self.reactor, self.events)
        self.addresses = MemoryAddressBook({LOOPBACK: MAC})
        self.installers = MemoryInstallers(self.book)
        self.library = ImageLibrary({"default": str(self.path)}, run=in_thread(self.reactor))
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        """Order, and open the door."""
        opened = await self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        image = await self.library.image("default")
        self.intent = await self.book.order(opened, image.digest)
        self.installers.tell_to_format(self.intent)
        self.door = self.make_door()
        self.door.privilegedStartService()
        self.door.startService()
        self.addCleanup(self.door.stopService)

    def make_door(self) -> Any:
        """The service under test."""
        raise NotImplementedError

    @property
    def parts(self) -> dict[str, Any]:
        """What both doors ask for."""
        return {
            "addresses": self.addresses,
            "intents": self.book,
            "images": self.library,
            "events": self.events,
        }

    async def connect(self, paused: bool = False) -> Fetcher:
        """A node connects."""
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.door.port)
        return await connectProtocol(endpoint, Fetcher(paused))

    async def until(self, holds: Callable[[], object]) -> None:
        """Let the reactor turn until it holds; trial's timeout is the limit."""
        while not holds():
            await deferLater(self.reactor, 0.002, lambda: None)

    def state(self) -> IntentState:
        """On disk."""
        return self.store.intents[self.intent.id].state

    def run_async(self, coroutine: Any) -> "Deferred[None]":
        """A test that awaits."""
        return Deferred.fromCoroutine(coroutine)


class RawDoorTests(DoorTestCase):
    """TCP 4444."""

    def make_door(self) -> Any:
        """The raw door on some port."""
        settings = ImageSettings(port=0, address="127.0.0.1", stall_seconds=self.stall_seconds)
        return image_service(self.reactor, settings=settings, installers=self.installers, **self.parts)

    async def test_whole_image(self) -> None:
        """The node gets every byte and then the end; by then `delivered` is on disk and ImageSent is said."""
        fetcher = await self.connect()
        self.assertEqual(await fetcher.closed, self.content)
        self.assertIs(self.state(), IntentState.DELIVERED)
        self.assertEqual(self.events.of(ImageStarted), [ImageStarted(mac=MAC, intent=self.intent.id, door="tcp")])
        sent = self.events.of(ImageSent)
        self.assertEqual([(event.intent, event.bytes, event.door) for event in sent], [(self.intent.id, SIZE, "tcp")])
        self.assertEqual(self.door.sent_bytes, SIZE)

    async def test_no_end_before_the_disk(self) -> None:
        """The end of the stream waits until `delivered` is durable."""
        self.store.held = True
        fetcher = await self.connect()
        await self.until(lambda: self.store.waiting)
        self.assertEqual(len(fetcher.data), SIZE)
        self.assertFalse(fetcher.closed.called)
        self.assertEqual(self.events.of(ImageSent), [])
        self.store.flush()
        await fetcher.closed

    async def test_sent_is_not_acknowledged(self) -> None:
        """Bytes in the kernel's buffers are not delivered: a node that does not read keeps the intent ordered."""
        self.content = self.content[:200_000]
        self.path.write_bytes(self.content)
        image = await self.library.image("default")
        self.intent = await self.book.order(self.intent, image.digest)
        self.door._listening.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.door.port))
        await self.until(lambda: any(s.transport.sent_bytes() == 200_000 for s in self.door.streams))
        await deferLater(self.reactor, 0.05, lambda: None)
        self.assertIs(self.state(), IntentState.ORDERED)
        await deferToThread(read_all, client)
        await self.until(lambda: self.state() is IntentState.DELIVERED)

    async def test_nobody(self) -> None:
        """Who has no lease, no conversation or no ordered intent gets the end of the stream at once, and no byte."""
        self.installers.hang_up(MAC)
        self.assertEqual(await (await self.connect()).closed, b"")
        self.installers.tell_to_format(self.intent)
        self.addresses.bindings = {LOOPBACK: OTHER}
        self.assertEqual(await (await self.connect()).closed, b"")
        self.addresses.bindings = {}
        self.assertEqual(await (await self.connect()).closed, b"")
        self.addresses.bindings = {LOOPBACK: MAC}
        await self.book.deliver(self.intent)
        self.assertEqual(await (await self.connect()).closed, b"")
        self.assertEqual(self.events.of(ImageStarted), [])

    async def test_many_nobodies(self) -> None:
        """Callers that get no image are one line a minute for each address."""
        self.installers.hang_up(MAC)
        with capturedLogs() as lines:
            for _ in range(5):
                await (await self.connect()).closed
        said = [formatEvent(line) for line in lines if "no image" in (line.get("log_format") or "")]
        self.assertEqual(len(said), 1)
        self.assertIn("has not been told to format", said[0])

    async def test_node_hangs_up(self) -> None:
        """A stream that breaks off delivers nothing, says so, and the next one is served from the beginning."""
        fetcher = await self.connect(paused=True)
        await self.until(lambda: self.events.of(ImageStarted))
        fetcher.transport.abortConnection()
        await self.until(lambda: self.events.of(ImageInterrupted))
        self.assertIs(self.state(), IntentState.ORDERED)
        self.assertEqual(await (await self.connect()).closed, self.content)

    async def test_a_stream_costs_the_attempt(self) -> None:
        """An order whose node never came to the door is followed by one of the same attempt; a stream ends that."""
        again = await self.book.order(self.intent, self.intent.digest or "")
        self.assertEqual(again.attempts, self.intent.attempts)
        (await self.connect(paused=True)).transport.abortConnection()
        await self.until(lambda: self.events.of(ImageInterrupted))
        last = await self.book.order(self.intent, self.intent.digest or "")
        self.assertEqual(last.attempts, self.intent.attempts + 1)

    async def test_second_stream(self) -> None:
        """A new stream of a node ends its old one."""
        old = await self.connect(paused=True)
        await self.until(lambda: self.events.of(ImageStarted))
        new = await self.connect()
        self.assertEqual(await new.closed, self.content)
        old.transport.resumeProducing()
        self.assertLess(len(await old.closed), SIZE)
        self.assertEqual(len(self.events.of(ImageSent)), 1)
        self.assertIn("another stream", self.events.of(ImageInterrupted)[0].reason)

    async def test_noise_and_half_close(self) -> None:
        """What the node says is thrown away, and its half-close is no end: its nc copies its own input here."""
        fetcher = await self.connect()
        fetcher.transport.write(b"boot\nEOM\n" * 100)
        fetcher.transport.loseWriteConnection()
        self.assertEqual(await fetcher.closed, self.content)
        self.assertIs(self.state(), IntentState.DELIVERED)

    async def test_another_image(self) -> None:
        """When the file is another one than was ordered, the stream ends before its first byte."""
        self.path.write_bytes(b"other")
        self.assertEqual(await (await self.connect()).closed, b"")
        self.assertIn("another one", self.events.of(ImageInterrupted)[0].reason)

    async def test_written_to_meanwhile(self) -> None:
        """A file that is written to under the stream aborts it; nothing is delivered."""
        fetcher = await self.connect(paused=True)
        await self.until(lambda: self.events.of(ImageStarted) and self.door.streams)
        await self.until(lambda: any(stream.transport.sent_bytes() for stream in self.door.streams))
        with self.path.open("r+b") as file:
            file.seek(SIZE - 1)
            file.write(b"x")
        fetcher.transport.resumeProducing()
        await fetcher.closed
        await self.until(lambda: self.events.of(ImageInterrupted))
        self.assertIs(self.state(), IntentState.ORDERED)

    async def test_shortened_meanwhile(self) -> None:
        """A file that ends early aborts the stream instead of waiting for ever."""
        fetcher = await self.connect(paused=True)
        await self.until(lambda: any(stream.transport.sent_bytes() for stream in self.door.streams))
        os.truncate(self.path, 1)
        fetcher.transport.resumeProducing()
        await fetcher.closed
        await self.until(lambda: self.events.of(ImageInterrupted))
        self.assertIs(self.state(), IntentState.ORDERED)

    async def test_disk_full(self) -> None:
        """When `delivered` cannot be written the stream is aborted, not ended: the node must not believe it whole."""
        self.store.held = True
        fetcher = await self.connect()
        await self.until(lambda: self.store.waiting)
        self.store.refuse()
        await fetcher.closed
        self.assertEqual(self.events.of(ImageSent), [])
        self.assertIn("disk is full", self.events.of(ImageInterrupted)[0].reason)

    async def test_taken_port(self) -> None:
        """A taken port raises CannotListenError."""
        settings = ImageSettings(port=self.door.port, address="127.0.0.1")
        other = image_service(self.reactor, settings=settings, installers=self.installers, **self.parts)
        self.assertRaises(CannotListenError, other.privilegedStartService)

    async def test_stop(self) -> None:
        """Stopping ends streams that are under way."""
        fetcher = await self.connect(paused=True)
        await self.until(lambda: self.events.of(ImageStarted))
        await self.door.stopService()
        fetcher.transport.resumeProducing()
        await fetcher.closed
        await self.until(lambda: self.events.of(ImageInterrupted))

    async def test_too_many(self) -> None:
        """Over the limit a caller is hung up on."""
        settings = ImageSettings(port=0, address="127.0.0.1", max_streams=0)
        self.door = image_service(self.reactor, settings=settings, installers=self.installers, **self.parts)
        self.door.startService()
        self.addCleanup(self.door.stopService)
        self.assertEqual(await (await self.connect()).closed, b"")

    def test_seam(self) -> None:
        """The transport is what the doors ask for."""
        verifyClass(IFileTransport, FileTransport)


class CopyingTransport(FileTransport):
    """As on a file system without sendfile."""

    copies = True


class StallTests(DoorTestCase):
    """A node that takes nothing, and a file system without sendfile."""

    stall_seconds = 0.2

    def make_door(self) -> Any:
        """The raw door, impatient."""
        settings = ImageSettings(port=0, address="127.0.0.1", stall_seconds=self.stall_seconds)
        return image_service(self.reactor, settings=settings, installers=self.installers, **self.parts)

    async def test_stall(self) -> None:
        """A stream of which nothing is taken for the limit is given up."""
        fetcher = await self.connect(paused=True)
        await self.until(lambda: self.events.of(ImageInterrupted))
        self.assertIn("took nothing", self.events.of(ImageInterrupted)[0].reason)
        fetcher.transport.resumeProducing()
        await fetcher.closed

    async def test_copies(self) -> None:
        """Where sendfile does not work the image is copied, byte for byte the same."""
        self.door._listening.transport = CopyingTransport
        self.assertEqual(await (await self.connect()).closed, self.content)
        self.assertIs(self.state(), IntentState.DELIVERED)


def read_all(client: socket.socket) -> bytes:
    """All bytes to the end."""
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


class HTTPDoorTests(DoorTestCase):
    """HTTP 4480."""

    def make_door(self) -> Any:
        """The HTTP door on some port."""
        settings = ImageHTTPSettings(port=0, address="127.0.0.1", stall_seconds=self.stall_seconds)
        return image_http_service(self.reactor, settings=settings, **self.parts)

    @property
    def target(self) -> str:
        """What the node was told to fetch."""
        return f"/images/{self.intent.digest}?token={self.intent.token}"

    async def ask(
        self, target: str | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request."""
        fetcher = await self.connect()
        lines = [f"{method} {target or self.target} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        fetcher.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return parsed(await fetcher.closed)

    async def test_whole_image(self) -> None:
        """200 with the whole image, its ETag and its length; then it is delivered."""
        status, headers, body = await self.ask()
        self.assertEqual((status, body), (200, self.content))
        self.assertEqual(headers["etag"], f'"{self.intent.digest}"')
        self.assertEqual(headers["content-length"], str(SIZE))
        self.assertEqual(headers["accept-ranges"], "bytes")
        self.assertIs(self.state(), IntentState.DELIVERED)
        self.assertEqual([event.door for event in self.events.of(ImageSent)], ["http"])

    async def test_client_closes_first(self) -> None:
        """A client that closes as soon as it has the last byte counts as served."""
        fetcher = await self.connect()
        fetcher.transport.write(f"GET {self.target} HTTP/1.0\r\n\r\n".encode())
        await self.until(lambda: len(fetcher.data) > SIZE)
        fetcher.transport.loseConnection()
        await self.until(lambda: self.state() is IntentState.DELIVERED)

    async def test_half_close(self) -> None:
        """A client that says no more after its request gets the whole image."""
        fetcher = await self.connect()
        fetcher.transport.write(f"GET {self.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        fetcher.transport.loseWriteConnection()
        status, _, body = parsed(await fetcher.closed)
        self.assertEqual((status, body), (200, self.content))
        self.assertIs(self.state(), IntentState.DELIVERED)
        self.assertEqual(self.events.of(ImageInterrupted), [])

    async def test_half_close_and_gone(self) -> None:
        """A client that half-closes and then resets while the last bytes are on the way is lost at once."""
        self.content = self.content[:200_000]
        self.path.write_bytes(self.content)
        image = await self.library.image("default")
        self.intent = await self.book.order(self.intent, image.digest)
        self.door._listening.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.door.port))
        client.sendall(f"GET {self.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        await self.until(lambda: any(s.transport.sent_bytes() == 200_000 for s in self.door.streams))
        client.close()
        await self.until(lambda: self.events.of(ImageInterrupted))
        self.assertIs(self.state(), IntentState.ORDERED)

    async def test_second_fetch(self) -> None:
        """A new fetch of a node ends its old one, also where no more streams are admitted, and goes on with a range."""
        self.door.settings = ImageHTTPSettings(port=0, max_streams=1)
        old = await self.connect(paused=True)
        old.transport.write(f"GET {self.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await self.until(lambda: any(stream.transport.sent_bytes() for stream in self.door.streams))
        status, _, body = await self.ask(Range="bytes=1000-")
        self.assertEqual((status, body), (206, self.content[1000:]))
        self.assertIn("another fetch", self.events.of(ImageInterrupted)[0].reason)
        self.assertIs(self.state(), IntentState.DELIVERED)
        old.transport.resumeProducing()
        self.assertLess(len(await old.closed), SIZE)

    async def test_stalled_fetches(self) -> None:
        """A node that stalls fetch after fetch takes a few descriptors, not all."""
        before = next_descriptor() or 0
        clients = []
        for number in range(30):
            client = socket.socket()
            self.addCleanup(client.close)
            clients.append(client)
            client.connect(("127.0.0.1", self.door.port))
            client.sendall(f"GET {self.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await self.until(lambda number=number: len(self.events.of(ImageInterrupted)) == number)
            await self.until(lambda: any(stream.transport.sent_bytes() for stream in self.door.streams))
        # Ours, the one that is served and its file, and two for those that are about to be closed.
        self.assertLess(next_descriptor() or 0, before + len(clients) + 6)
        self.assertEqual(len(self.door.streams), 1)

    async def test_two_on_one_connection(self) -> None:
        """Requests that share a connection are answered one after the other."""
        fetcher = await self.connect()
        first = f"GET {self.target} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n"
        second = f"GET {self.target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=10-19\r\n\r\n"
        fetcher.transport.write((first + second).encode())
        data = await fetcher.closed
        self.assertEqual(data.count(b"206 Partial Content"), 2)
        self.assertIn(b"\r\n\r\n" + self.content[:10] + b"HTTP/1.1", data)
        self.assertTrue(data.endswith(b"\r\n\r\n" + self.content[10:20]))

    async def test_head(self) -> None:
        """HEAD tells the length and sends nothing; nothing is delivered by it."""
        status, headers, body = await self.ask(method="HEAD")
        self.assertEqual((status, headers["content-length"], body), (200, str(SIZE), b""))
        self.assertIs(self.state(), IntentState.ORDERED)

    async def test_head_has_no_range(self) -> None:
        """A range is ignored unless the method is GET (RFC 9110 section 14.2)."""
        status, headers, body = await self.ask(method="HEAD", Range="bytes=5-9")
        self.assertEqual((status, headers["content-length"], body), (200, str(SIZE), b""))

    async def test_any_bytes_in_headers(self) -> None:
        """Headers that are not UTF-8 are nonsense like any other: the whole image."""
        for name in ("Range", "If-Range"):
            fetcher = await self.connect()
            head = f"GET {self.target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: \xff\r\n\r\n"
            fetcher.transport.write(head.encode("latin-1"))
            status, _, body = parsed(await fetcher.closed)
            self.assertEqual((status, body), (200, self.content))

    async def test_resume(self) -> None:
        """A broken fetch goes on with a range; the last byte makes it delivered."""
        status, headers, body = await self.ask(Range="bytes=0-999")
        self.assertEqual((status, body), (206, self.content[:1000]))
        self.assertEqual(headers["content-range"], f"bytes 0-999/{SIZE}")
        self.assertIs(self.state(), IntentState.ORDERED)
        status, _, body = await self.ask(Range="bytes=1000-", If_Range=f'"{self.intent.digest}"')
        self.assertEqual((status, body), (206, self.content[1000:]))
        self.assertIs(self.state(), IntentState.DELIVERED)
        self.assertEqual(len(self.events.of(ImageStarted)), 1)
        self.assertEqual(len(self.events.of(ImageSent)), 1)

    async def test_a_fetch_costs_the_attempt(self) -> None:
        """An order whose node fetched a part of the image is followed by one of the next attempt."""
        await self.ask(method="HEAD")
        again = await self.book.order(self.intent, self.intent.digest or "")
        self.assertEqual(again.attempts, self.intent.attempts)
        await self.ask(Range="bytes=0-999")
        last = await self.book.order(self.intent, self.intent.digest or "")
        self.assertEqual(last.attempts, self.intent.attempts + 1)

    async def test_hole(self) -> None:
        """The last byte alone delivers nothing."""
        await self.ask(Range="bytes=1000-")
        self.assertIs(self.state(), IntentState.ORDERED)
        await self.ask(Range="bytes=0-999")
        self.assertIs(self.state(), IntentState.ORDERED)
        await self.ask(Range="bytes=-1")
        self.assertIs(self.state(), IntentState.DELIVERED)

    async def test_broken_connection(self) -> None:
        """What a broken connection carried counts when the rest is fetched with a range."""
        fetcher = await self.connect(paused=True)
        fetcher.transport.write(f"GET {self.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await self.until(lambda: any(stream.transport.sent_bytes() for stream in self.door.streams))
        fetcher.transport.abortConnection()
        await self.until(lambda: self.events.of(ImageInterrupted))
        sent = self.events.of(ImageInterrupted)[0].sent_bytes
        self.assertGreater(sent, 0)
        await self.ask(Range=f"bytes={min(sent, 1000)}-")
        self.assertIs(self.state(), IntentState.DELIVERED)

    async def test_other_content(self) -> None:
        """If-Range with another tag gets the whole image; If-None-Match with this one gets nothing."""
        status, _, body = await self.ask(Range="bytes=5-", If_Range='"other"')
        self.assertEqual((status, len(body)), (200, SIZE))
        status, _, body = await self.ask(If_None_Match=f'"{self.intent.digest}"')
        self.assertEqual((status, body), (304, b""))

    async def test_unsatisfiable(self) -> None:
        """416 names the size."""
        for first in (SIZE, 10**30):
            status, headers, _ = await self.ask(Range=f"bytes={first}-")
            self.assertEqual((status, headers["content-range"]), (416, f"bytes */{SIZE}"))

    async def check(self, status: int, target: str | None = None, **more: str) -> None:
        """An error is one plain sentence."""
        got, headers, body = await self.ask(target, **more)
        self.assertEqual(got, status)
        self.assertIn("text/plain", headers["content-type"])
        self.assertEqual(body.count(b"\n"), 1, body)
        self.assertNotIn((self.intent.token or "").encode(), body)

    async def test_token(self) -> None:
        """No token, an invented one, another board's: 403."""
        path = f"/images/{self.intent.digest}"
        await self.check(403, path)
        await self.check(403, f"{path}?token={'0' * 32}")
        await self.check(403, f"{path}?token=%ff%00")
        self.addresses.bindings = {LOOPBACK: OTHER}
        await self.check(403)
        self.addresses.bindings = {}
        await self.check(403)
        self.assertEqual(self.events.of(ImageStarted), [])

    async def test_paths(self) -> None:
        """Other paths and other digests: 404."""
        for path in ("/", "/images", "/images/", "/images/../../etc/passwd", "/x"):
            status, _, _ = await self.ask(path)
            self.assertIn(status, (403, 404), path)
        await self.check(404, f"/images/{'0' * 64}?token={self.intent.token}")
        await self.check(404, f"/images/{self.intent.digest}/x?token={self.intent.token}")
        await self.check(404, "/x")

    async def test_methods(self) -> None:
        """Nothing but GET and HEAD: 405."""
        for method in ("POST", "PUT", "DELETE"):
            status, _, _ = await self.ask(method=method)
            self.assertEqual(status, 405)

    async def test_gone(self) -> None:
        """An intent that is over, or a file that is another one: 410."""
        self.path.write_bytes(b"other")
        await self.check(410)
        self.path.unlink()
        await self.check(410)
        await self.book.fail(self.intent, "x")
        await self.check(410)

    async def test_restarted_manager(self) -> None:
        """The token is good after a restart of the manager."""
        await self.door.stopService()
        self.book = IntentBook(self.store, self.reactor, self.events)
        self.book.load()
        self.door = self.make_door()
        self.door.startService()
        self.addCleanup(self.door.stopService)
        status, _, body = await self.ask()
        self.assertEqual((status, body), (200, self.content))

    async def test_too_many(self) -> None:
        """Over the limit: 503, and when to come again."""
        settings = ImageHTTPSettings(port=0, address="127.0.0.1", max_streams=0)
        self.door = image_http_service(self.reactor, settings=settings, **self.parts)
        self.door.startService()
        self.addCleanup(self.door.stopService)
        status, headers, _ = await self.ask()
        self.assertEqual((status, headers["retry-after"]), (503, "10"))

    async def test_no_descriptor(self) -> None:
        """Without a descriptor for the image's file: 503, and when to come again; the order stands."""
        fetcher = await self.connect()
        head = f"HEAD {self.target} HTTP/1.1\r\nHost: x\r\n\r\n"
        fetcher.transport.write(head.encode())
        await self.until(lambda: fetcher.data)
        limit_descriptors(self)
        fetcher.data.clear()
        fetcher.transport.write(f"GET {self.target} HTTP/1.0\r\n\r\n".encode())
        status, headers, _ = parsed(await fetcher.closed)
        self.assertEqual((status, headers["retry-after"]), (503, "10"))
        self.assertIs(self.state(), IntentState.ORDERED)

    async def test_descriptors_run_short(self) -> None:
        """A stranger is hung up on while the node still gets its image."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (next_descriptor() or 0) < 200:
            self.addCleanup(os.close, os.open(os.devnull, os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (250, hard))
        self.addresses.bindings = {}
        refused: Deferred[bytes] = (await self.connect()).closed
        refused.addTimeout(30, self.reactor)  # half of what a silent connection that was let in has
        self.assertEqual(await refused, b"")
        self.addresses.bindings = {LOOPBACK: MAC}
        status, _, body = await self.ask()
        self.assertEqual((status, body), (200, self.content))

    async def test_no_token_in_the_log(self) -> None:
        """No log line holds the token."""
        lines: list[str] = []

        def observer(event: object) -> None:
            lines.append(repr(event))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.ask()
        self.assertEqual([line for line in lines if (self.intent.token or "-") in line], [])


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


class ClockTests(SynchronousTestCase):
    """Nothing here waits by itself."""

    def test_nothing_at_rest(self) -> None:
        """A library and a book leave no timer behind."""
        clock = Clock()
        IntentBook(SlowStore(), clock, CapturedEvents()).load()
        self.assertEqual(clock.getDelayedCalls(), [])
