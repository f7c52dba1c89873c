"""
The connections of the HTTP image door: their bounds, in virtual time and without sockets.
"""

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface.verify import verifyObject

from piman.boot.connections import Bounds, ImageChannel, ImageSite

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class SlowResource(Resource):
    """Answers when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Request] = []

    def render(self, request: Request) -> int:
        """Later."""
        self.waiting.append(request)
        return NOT_DONE_YET

    def answer(self) -> None:
        """Now."""
        self.waiting.pop(0).finish()


class ConnectionTestCase(SynchronousTestCase):
    """A site whose requests take 20 seconds at most, and two connections of one address."""

    def setUp(self) -> None:
        """The site."""
        self.clock = Clock()
        self.root = SlowResource()
        bounds = Bounds(request_seconds=20.0, per_address=2)
        self.site = ImageSite(self.root, reactor=self.clock, bounds=bounds, admits=lambda host: host != "10.0.0.9")

    def connect(self, host: str = "10.0.0.1") -> tuple[ImageChannel, StringTransport]:
        """Somebody calls."""
        address = IPv4Address("TCP", host, 40_000)
        channel = self.site.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        channel.makeConnection(transport)
        return channel, transport

    def lose(self, *channels: ImageChannel) -> None:
        """Connections are gone; nothing is left of them."""
        for channel in channels:
            channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TimeTests(ConnectionTestCase):
    """Slow clients."""

    def test_silence(self) -> None:
        """A connection without a request is ended."""
        channel, transport = self.connect()
        self.clock.advance(19.9)
        self.assertFalse(transport.disconnected)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnected)
        self.lose(channel)

    def test_drops(self) -> None:
        """A client that sends a byte now and then has no more time than others."""
        channel, transport = self.connect()
        for byte in REQUEST[:20]:
            self.assertFalse(transport.disconnected)
            channel.dataReceived(bytes([byte]))
            self.clock.advance(1)
        self.assertTrue(transport.disconnected)
        self.lose(channel)

    def test_answers_take_their_time(self) -> None:
        """The time is for the request alone; after the answer it begins anew."""
        channel, transport = self.connect()
        channel.dataReceived(REQUEST)
        self.clock.advance(1000)
        self.root.answer()
        self.clock.advance(19)
        self.assertFalse(transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)
        self.lose(channel)

    def test_answer_not_taken(self) -> None:
        """A client that does not take the end of its last answer is ended."""
        channel, transport = self.connect()
        channel.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.root.answer()
        self.assertTrue(transport.disconnecting)
        self.clock.advance(20)
        self.assertTrue(transport.disconnected)
        self.lose(channel)


class SizeTests(ConnectionTestCase):
    """Large requests."""

    def test_long_line(self) -> None:
        """A line without an end is cut off."""
        channel, transport = self.connect()
        channel.dataReceived(b"GET /" + b"x" * 9000)
        self.assertTrue(transport.disconnecting)
        self.lose(channel)

    def test_many_headers(self) -> None:
        """Too many headers, or too many bytes of them: 400."""
        for header, count in ((b"x: y\r\n", 70), (b"x: " + b"y" * 900 + b"\r\n", 10)):
            channel, transport = self.connect()
            channel.dataReceived(b"GET / HTTP/1.1\r\n" + header * count + b"\r\n")
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 400 "))
            self.assertTrue(transport.disconnecting)
            self.assertEqual(self.root.waiting, [])
            self.lose(channel)

    def test_body(self) -> None:
        """A request with a body is refused before the body comes; an empty one is none."""
        for header in (b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"):
            channel, transport = self.connect()
            channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n1\r\nx\r\n")
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))
            self.assertTrue(transport.disconnecting)
            self.assertEqual(self.root.waiting, [])
            self.lose(channel)
        channel, transport = self.connect()
        channel.dataReceived(b"GET / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        self.root.answer()
        self.assertTrue(transport.value().startswith(b"HTTP/1.0 200 "))
        self.lose(channel)


class PlacesTests(ConnectionTestCase):
    """Many connections."""

    def test_one_too_many(self) -> None:
        """One connection too many of an address ends its oldest, and nobody else's."""
        other, others = self.connect("10.0.0.2")
        channels = [self.connect() for _ in range(4)]
        self.assertEqual([transport.disconnected for _, transport in channels], [True, True, False, False])
        self.assertFalse(others.disconnected)
        self.lose(other, *(channel for channel, _ in channels))

    def test_room_again(self) -> None:
        """Connections that are over count no more."""
        first, _ = self.connect()
        second, kept = self.connect()
        first.connectionLost(Failure(ConnectionDone()))
        third, _ = self.connect()
        self.assertFalse(kept.disconnected)
        self.lose(second, third)
        self.assertEqual(self.site._channels, {})

    def test_not_admitted(self) -> None:
        """Who is not admitted is hung up on."""
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "10.0.0.9", 40_000)))


class HalfCloseTests(ConnectionTestCase):
    """Clients that say no more."""

    def test_seam(self) -> None:
        """Transports ask whether a protocol knows half-closed connections."""
        channel, _ = self.connect()
        verifyObject(IHalfCloseableProtocol, channel)
        self.lose(channel)

    def test_after_the_request(self) -> None:
        """Every request that came before is answered; then the connection is closed."""
        channel, transport = self.connect()
        channel.dataReceived(2 * REQUEST)
        channel.readConnectionLost()
        self.root.answer()
        self.assertFalse(transport.disconnecting)
        self.root.answer()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 2)
        self.lose(channel)

    def test_before_the_request(self) -> None:
        """Half a request is none."""
        channel, transport = self.connect()
        channel.dataReceived(REQUEST[:10])
        channel.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.lose(channel)
