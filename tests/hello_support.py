"""
A small world for tests of the hello protocol: two nodes, an image, a book, a service, and nodes' ends of connections.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address

from twisted.internet.address import IPv4Address as TCPAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IFileDescriptor
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.events import Event
from piman.fleet.interfaces import IImages, IIntentStore, ImageMissing, StoreFull
from piman.fleet.model import Image, Intent, MACAddress, Node, NodeStatus
from piman.fleet.state.intents import IntentBook
from piman.hello import HelloFactory, HelloProtocol, HelloService, HelloSettings
from piman.testing.fakes import (
    CapturedEvents,
    MemoryAddressBook,
    MemoryDirectory,
    MemoryIntentStore,
    MemoryNeighbours,
)

MAC = MACAddress.parse("b8:27:eb:00:00:01")
OTHER = MACAddress.parse("b8:27:eb:00:00:02")
ADDRESS = IPv4Address("172.30.4.13")
OTHER_ADDRESS = IPv4Address("172.30.4.14")
STRANGER_ADDRESS = IPv4Address("172.30.4.99")
DIGEST = "9f" * 32
IMAGE = Image(name="default", path="rootfs.tgz", digest=DIGEST, size_bytes=1000)
NOW = 1_795_432_530.0
"""2026-11-23 11:15:30 UTC, as `date -u -d @1795432530` of coreutils says."""
DATE = b"busybox date -s 202611231115.30\nEOM\n"


@implementer(IImages)
class OneImage:
    """One image, or none."""

    names = ("default",)

    def __init__(self, image: Image = IMAGE) -> None:
        self.image_there: Image | None = image
        self.held: list[Deferred[Image]] | None = None

    def image(self, name: str) -> "Deferred[Image]":
        """The image; when :attr:`held` is a list, later."""
        if self.held is not None:
            waiting: Deferred[Image] = Deferred()
            self.held.append(waiting)
            return waiting
        if self.image_there is None or name != self.image_there.name:
            return fail(ImageMissing(f"there is no image {name!r}"))
        return succeed(self.image_there)

    def trouble(self, name: str) -> "Deferred[str]":
        """None."""
        return self.image(name).addCallback(lambda image: "")


@implementer(IIntentStore)
class SlowStore(MemoryIntentStore):
    """A disk whose writes can be held back, and refused."""

    def __init__(self, intents: Sequence[Intent] = ()) -> None:
        super().__init__(intents)
        self.held = False
        self.waiting: list[tuple[Intent, Deferred[None]]] = []
        self.history: list[Intent] = []

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Keep it now or at the next :meth:`flush`."""
        if self.held:
            waiting: Deferred[None] = Deferred()
            self.waiting.append((intent, waiting))
            return waiting
        self.history.append(intent)
        return super().save_intent(intent)

    def flush(self) -> None:
        """Write what waits, and what that brings about."""
        while self.waiting:
            intent, waiting = self.waiting.pop(0)
            self.history.append(intent)
            super().save_intent(intent)
            waiting.callback(None)

    def refuse(self) -> None:
        """The disk is full: nothing that waits is written."""
        waiting, self.waiting = self.waiting, []
        for _, done in waiting:
            done.errback(StoreFull("state.db: database or disk is full"))


@implementer(IFileDescriptor)
class NodeTransport(StringTransport):
    """A node's connection as the manager sees it; closing it tells the protocol, as a socket would."""

    def __init__(self, address: IPv4Address, descriptor: int) -> None:
        self._descriptor = descriptor
        super().__init__(peerAddress=TCPAddress("TCP", str(address), 40000))
        self.hostAddr = TCPAddress("TCP", "172.30.4.1", 3333)
        self.protocol: HelloProtocol | None = None
        self.is_closed = False

    def fileno(self) -> int:
        """What the kernel would have given to it."""
        return self._descriptor

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do."""

    def loseConnection(self) -> None:
        """The manager closes."""
        self.close(ConnectionDone())

    def abortConnection(self) -> None:
        """The manager hangs up."""
        self.close(ConnectionAborted())

    def close(self, reason: Exception | None = None) -> None:
        """Either end closes."""
        if not self.is_closed:
            self.is_closed = True
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class Call:
    """One node's conversation, from the node's side."""

    def __init__(self, world: "World", address: IPv4Address = ADDRESS, descriptor: int = 20) -> None:
        self.transport = NodeTransport(address, descriptor)
        protocol = HelloFactory(world.service).buildProtocol(TCPAddress("TCP", str(address), 40000))
        self.is_refused = protocol is None
        if protocol is not None:
            self.transport.protocol = protocol
            protocol.makeConnection(self.transport)
            self.protocol = protocol

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""
        return self.transport.is_closed

    def says(self, *lines: str | bytes) -> bytes:
        """Send lines; what the manager answers."""
        for line in lines:
            if not self.is_closed:
                self.protocol.dataReceived((line if isinstance(line, bytes) else line.encode()) + b"\n")
        return self.hears()

    def hears(self) -> bytes:
        """What the manager has said since the last time."""
        said = self.transport.value()
        self.transport.clear()
        return said

    def hangs_up(self) -> None:
        """The node closes."""
        self.transport.close()


class World:
    """The service with everything that it asks for."""

    def __init__(self, settings: HelloSettings | None = None, statuses: Sequence[NodeStatus] = ()) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.rightNow = NOW
        self.events = CapturedEvents()
        self.store = SlowStore()
        self.nodes = MemoryDirectory(
            [Node(mac=MAC, address=ADDRESS), Node(mac=OTHER, address=OTHER_ADDRESS)], statuses
        )
        self.addresses = MemoryAddressBook({ADDRESS: MAC, OTHER_ADDRESS: OTHER})
        self.neighbours = MemoryNeighbours()
        self.images = OneImage()
        self.file_limit: int | None = None
        self.settings = settings or HelloSettings()
        self.restart()

    def restart(self) -> None:
        """The manager was killed and comes back with what is on disk."""
        self._ids = getattr(self, "_ids", 0)
        self.book = IntentBook(self.store, self.reactor, self.events, token=self._token)
        self.book.load()
        self.service = HelloService(
            self.reactor,
            settings=self.settings,
            addresses=self.addresses,
            neighbours=self.neighbours,
            nodes=self.nodes,
            intents=self.book,
            images=self.images,
            events=self.events,
            limit_of_files=lambda: self.file_limit,
        )

    def _token(self) -> str:
        self._ids += 1
        return f"{self._ids:032x}"

    def call(self, address: IPv4Address = ADDRESS, descriptor: int = 20) -> Call:
        """A node connects."""
        return Call(self, address, descriptor)

    def said(self, kind: type[Event]) -> list[Event]:
        """Events of one class."""
        return self.events.of(kind)

    def kinds(self) -> list[str]:
        """The names of all events so far, in order."""
        return [type(event).__name__ for event in self.events.events]

    def begin(self, mac: MACAddress = MAC) -> Intent:
        """The image door lets the node in."""
        intent = self.service.intent_at_work(mac)
        assert intent is not None
        self.book.image_began(intent)
        return intent

    def deliver(self, mac: MACAddress = MAC) -> None:
        """The image door saw every byte acknowledged."""
        self.book.deliver(self.begin(mac))
